"""The grid of a rendered picture: squares of 256 pixels, and blocks of them that are requested at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qgis.core import QgsGeometry, QgsRectangle

from ...protocol import ErrorCode, OrthomaskError
from ..toolkit.present import present
from ..toolkit.words import in_digits, tr
from .pixels import CELL_PX, Step

BLOCK_CELLS = 4
"""Squares along a side of a block: one request covers up to 16 tiles, or 1024 pixels of a WMS."""
MOST_TILES = 64_000
"""Four billion pixels: more is too much for a map service."""
MOST_THERE = 4_000_000
"""Squares of the whole picture, most of which may be empty: its file keeps 16 bytes for each."""
FUZZ = 1e-6


class Block(NamedTuple):
    """A rectangle of squares: first column and row, number of each, and which squares are needed."""

    column: int
    row: int
    columns: int
    rows: int
    cells: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Grid:
    """Squares of `CELL_PX` pixels from the top left corner, in CRS units."""

    left: float
    top: float
    step: Step
    columns: int
    rows: int

    @classmethod
    def around(cls, places: Sequence[QgsGeometry], step: Step, corner: tuple[float, float]) -> Grid:
        """The squares around some places, aligned to those that begin in the top left `corner`.

        So pictures that overlap have the same pixels there.

        Raises:
            OrthomaskError: there are no places.
        """
        if not places:
            sentence, remedy = tr("The region does not overlap the layer."), tr("Draw it on the layer.")
            raise OrthomaskError(ErrorCode.REGION_OUTSIDE, sentence, remedy)
        box = QgsRectangle(places[0].boundingBox())
        for place in places[1:]:
            box.combineExtentWith(place.boundingBox())
        across, down = step[0] * CELL_PX, step[1] * CELL_PX
        left = corner[0] + math.floor((box.xMinimum() - corner[0]) / across + FUZZ) * across
        top = corner[1] - math.floor((corner[1] - box.yMaximum()) / down + FUZZ) * down
        columns = max(1, math.ceil((box.xMaximum() - left) / across - FUZZ))
        return cls(left, top, step, columns, max(1, math.ceil((top - box.yMinimum()) / down - FUZZ)))

    @property
    def width_px(self) -> int:
        """Width of the whole picture in pixels."""
        return self.columns * CELL_PX

    @property
    def height_px(self) -> int:
        """Height of the whole picture in pixels."""
        return self.rows * CELL_PX

    @property
    def extent(self) -> QgsRectangle:
        """The picture's extent."""
        return self.box(0, 0, self.columns, self.rows)

    def box(self, column: int, row: int, columns: int = 1, rows: int = 1) -> QgsRectangle:
        """The extent of some squares."""
        across, down = self.step[0] * CELL_PX, self.step[1] * CELL_PX
        left, top = self.left + column * across, self.top - row * down
        return QgsRectangle(left, top - rows * down, left + columns * across, top)

    def part(self, column: int, row: int) -> Grid:
        """The grid of one square."""
        box = self.box(column, row)
        return Grid(box.xMinimum(), box.yMaximum(), self.step, 1, 1)


def blocks_of(grid: Grid, places: Sequence[QgsGeometry], name: str) -> tuple[Block, ...]:
    """The blocks that cover the places, row by row.

    Args:
        name: the layer's.

    Raises:
        OrthomaskError: too many blocks, or too far apart.
    """
    square = grid.step[0] * grid.step[1] * CELL_PX**2
    least = sum(place.area() for place in places) / len(places) / square  # places may overlap
    if least > MOST_TILES or grid.columns * grid.rows > MOST_THERE:
        raise _too_large(name, round(least))
    cells: dict[tuple[int, int], set[tuple[int, int]]] = {}
    count = 0
    for place in places:
        for row, column in _touched(grid, place):
            block = cells.setdefault((row // BLOCK_CELLS, column // BLOCK_CELLS), set())
            count += (row, column) not in block
            block.add((row, column))
            if count > MOST_TILES:
                raise _too_large(name, count)
    return tuple(_block(cells[key]) for key in sorted(cells))


def _block(cells: set[tuple[int, int]]) -> Block:
    """The rectangle around some squares, given as row and column."""
    rows, columns = sorted(row for row, _ in cells), sorted(column for _, column in cells)
    size = (columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    return Block(columns[0], rows[0], *size, tuple((column, row) for row, column in sorted(cells)))


def _touched(grid: Grid, place: QgsGeometry) -> Iterator[tuple[int, int]]:
    """Row and column of the squares that a place touches; large parts outside it are skipped."""
    engine = present(QgsGeometry.createGeometryEngine(place.constGet()))
    engine.prepareGeometry()
    waiting = [(0, 0, grid.columns, grid.rows)]
    while waiting:
        column, row, columns, rows = waiting.pop()
        part = QgsGeometry.fromRect(grid.box(column, row, columns, rows))  # kept alive: the engine reads it
        if not engine.intersects(part.constGet()):
            continue
        if columns == rows == 1 or engine.contains(part.constGet()):
            yield from ((row + down, column + across) for down in range(rows) for across in range(columns))
            continue
        for across, width in _halves(columns):
            waiting += [(column + across, row + down, width, height) for down, height in _halves(rows)]


def _halves(size: int) -> list[tuple[int, int]]:
    """Start and size of the two halves of a row of squares; of one square, the whole."""
    half = size // 2
    return [(0, half), (half, size - half)] if half else [(0, size)]


def _too_large(name: str, tiles: int) -> OrthomaskError:
    sentence = tr("The required part of {} is too large to render.").format(name)
    remedy = tr("Choose a smaller region or fewer areas, or a coarser resolution.")
    return OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy, tr("{} tiles or more").format(in_digits(tiles)))
