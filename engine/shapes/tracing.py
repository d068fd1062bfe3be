"""Objects of a probability raster: 4-connected pixels of one class, traced tile by tile and joined across seams.

Objects within a tile are finished with it; those that reach a tile's edge wait for the end of its row of tiles, or
longer if they continue below. So memory holds a few tiles, and the objects at the edges of one row of tiles: these
are few, and grow with the raster's width, not with its height. An object itself is held until it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, product
from typing import NamedTuple

import numpy as np
import shapely
from rasterio.windows import Window as Block
from scipy import ndimage
from shapely import Polygon

from ...protocol.words import tr
from ..images.grid import Window
from ..progress import Progress
from ..runs.runs import NODATA, classify
from ..waiting import ahead
from . import contours
from .section import Section

TILE_PX = 1024
TILES_AHEAD = 2
"""Tiles that a thread traces while the objects of earlier ones are finished."""
BATCH_CORNERS = 1 << 17
"""Finished objects are passed on when they have this many corners in total."""
TOP, LEFT, RIGHT, BOTTOM = EDGES = np.s_[0, :], np.s_[:, 0], np.s_[:, -1], np.s_[-1, :]


Mask = Callable[[Window], np.ndarray]
"""Which pixels of a tile are looked at `(H, W)`."""


class Objects(NamedTuple):
    """Whole objects.

    Attributes:
        values: class values `(N,)`.
        polygons: pixel-edge polygons in raster pixels `(N,)`.
        pixels: numbers of pixels `(N,)`.
        probabilities: sums of the pixels' probabilities `(N,)`, 0 to `SCALE` each.
    """

    values: np.ndarray
    polygons: np.ndarray
    pixels: np.ndarray
    probabilities: np.ndarray

    def where(self, which: np.ndarray) -> Objects:
        """Some of them."""
        return Objects(*(column[which] for column in self))


@dataclass
class Part:
    """An object that reaches a tile's edge, or as much of it as has been seen so far.

    Attributes:
        shapes: pixel-edge polygons in raster pixels, one for each tile it is in, or for several.
        pixels: number of pixels.
        probability: sum of their probabilities, 0 to `SCALE` each.
    """

    value: int
    shapes: list[Polygon]
    pixels: int
    probability: float

    @property
    def polygon(self) -> Polygon:
        """The whole object in raster pixels, without the vertices that seams leave on straight edges."""
        if len(self.shapes) > 1:
            self.shapes = contours.in_order(np.array([shapely.union_all(self.shapes).simplify(0)])).tolist()
        return self.shapes[0]

    def absorb(self, other: Part) -> None:
        """Make `other` part of this object."""
        self.shapes += other.shapes
        self.pixels += other.pixels
        self.probability += other.probability


def traced(
    section: Section, threshold: float, min_pixels: float, progress: Progress, mask: Mask | None = None
) -> Iterator[tuple[Objects, list[Part]]]:
    """Objects of a part of a probability raster, some at a time, each time with those still unfinished.

    Args:
        min_pixels: objects of fewer pixels are left out.
        mask: of the pixels that objects are made of; None for all.
    """
    seam, held, corners = _Seam(section.width), list[Objects](), 0
    trace = partial(_traced, threshold=threshold, min_pixels=min_pixels)
    for tile in ahead(trace, _read(section, mask, progress), TILES_AHEAD, progress):
        finished = [seam.add(tile)]
        if tile.right == section.width:
            finished.append(seam.finish_row(min_pixels, last=tile.bottom == section.height))
        held += finished
        corners += sum(int(shapely.get_num_coordinates(objects.polygons).sum()) for objects in finished)
        if corners >= BATCH_CORNERS:
            yield _joined(held), seam.open_parts()
            held, corners = [], 0
    if held:
        yield _joined(held), []


class _Read(NamedTuple):
    """Probabilities `(K, H, W)` of a tile, no data where they do not count, and its first pixel's column and row."""

    left: int
    top: int
    bands: np.ndarray


def _read(section: Section, mask: Mask | None, progress: Progress) -> Iterator[_Read]:
    for top, left in product(range(0, section.height, TILE_PX), range(0, section.width, TILE_PX)):
        progress.report(top / section.height, tr("Tracing outlines"))
        width, height = min(TILE_PX, section.width - left), min(TILE_PX, section.height - top)
        wanted = mask(Window(left, top, width, height)) if mask else None
        if wanted is not None and not wanted.any():
            yield _Read(left, top, np.full((section.count, height, width), NODATA, np.uint8))
            continue
        bands = section.read(Block(left, top, width, height))
        if wanted is not None:
            bands[:, ~wanted] = NODATA
        yield _Read(left, top, bands)


class _Tile(NamedTuple):
    """The objects of one tile.

    Attributes:
        right, bottom: column and row after its last pixel.
        at_edge: which objects reach its edge `(N,)`.
        edges: along each of `EDGES`, the objects' places, from 1 (0 is background), and their classes `(2, L)`.
    """

    left: int
    right: int
    bottom: int
    objects: Objects
    at_edge: np.ndarray
    edges: list[np.ndarray]


def _traced(read: _Read, threshold: float, min_pixels: float) -> _Tile:
    """Classify, label and outline a tile; omit what is too small and does not reach the tile's edge."""
    classes = classify(read.bands, threshold)
    labels, values = _labelled(classes, len(read.bands))
    inside = np.flatnonzero(labels)
    flat, best = labels.ravel()[inside], read.bands.max(axis=0).ravel()[inside]
    pixels, probabilities = np.bincount(flat, minlength=1), np.bincount(flat, best, minlength=1)
    at_edge = np.zeros(len(values), bool)
    for edge in EDGES:
        at_edge[labels[edge]] = True
    keep = at_edge | (pixels >= min_pixels)
    keep[0] = False
    polygons, found = contours.outlines(np.where(keep, np.arange(len(keep), dtype=np.int32), 0)[labels], read[:2])
    place = np.zeros(len(values), np.int64)
    place[found] = np.arange(1, len(found) + 1)
    edges = [np.stack([place[labels[edge]], classes[edge]]) for edge in EDGES]
    objects = Objects(values[found], polygons, pixels[found], probabilities[found])
    height, width = classes.shape
    return _Tile(read.left, read.left + width, read.top + height, objects, at_edge[found], edges)


def _labelled(classes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """4-connected labels from 1 (0 is background), and the class value of each label."""
    labels, values = np.zeros(classes.shape, np.int32), [0]
    for value in range(1, count + 1):
        part, number = ndimage.label(classes == value)
        labels = np.where(part > 0, part + np.int32(len(values) - 1), labels)
        values += [value] * number
    return labels, np.array(values, np.uint8)


@dataclass
class _Seam:
    """Joins objects across tiles: what touches the tile above or to the left becomes one object (union-find)."""

    width: int
    parts: dict[int, Part] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.above = np.zeros((2, self.width), np.int64)
        self.below = np.zeros((2, self.width), np.int64)
        self.beside = np.zeros((2, 0), np.int64)

    def add(self, tile: _Tile) -> Objects:
        """Add the next tile of the row; return the objects that do not reach its edge."""
        number = np.zeros(len(tile.at_edge) + 1, np.int64)
        for place in np.flatnonzero(tile.at_edge).tolist():
            number[place + 1] = identity = next(self.numbers)
            value, polygon, pixels, probability = (column[place] for column in tile.objects)
            self.parts[identity] = Part(int(value), [polygon], int(pixels), float(probability))
            self.parents[identity] = identity
        top, left, right, bottom = (np.stack([number[places], classes]) for places, classes in tile.edges)
        columns = slice(tile.left, tile.right)
        self._join(self.above[:, columns], top)
        if tile.left:
            self._join(self.beside, left)
        self.beside, self.below[:, columns] = right, bottom
        return tile.objects.where(~tile.at_edge)

    def finish_row(self, min_pixels: float, last: bool) -> Objects:
        """Objects that are whole after this row of tiles, in the order they began."""
        self._merge()
        numbers, where = np.unique(self.below[0], return_inverse=True)
        roots = np.array([self._root(number) if number else 0 for number in numbers.tolist()], np.int64)
        going = set() if last else set(roots.tolist())
        done = [self.parts.pop(identity) for identity in sorted(self.parts) if identity not in going]
        self.above, self.below = np.stack([roots[where], self.below[1]]), np.zeros_like(self.below)
        self.parents = {identity: identity for identity in self.parts}
        return _whole([part for part in done if part.pixels >= min_pixels])

    def open_parts(self) -> list[Part]:
        """The unfinished objects at edges of tiles."""
        self._merge()
        return list(self.parts.values())

    def _merge(self) -> None:
        """Merge parts that have turned out to be one object."""
        for identity in list(self.parts):
            root = self._root(identity)
            if root != identity:
                self.parts[root].absorb(self.parts.pop(identity))

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        same = (one[0] > 0) & (other[0] > 0) & (one[1] == other[1])
        for pair in np.unique(np.stack([one[0][same], other[0][same]]), axis=1).T.tolist():
            first, second = sorted(map(self._root, pair))
            self.parents[second] = first

    def _root(self, identity: int) -> int:
        while self.parents[identity] != identity:
            self.parents[identity] = self.parents[self.parents[identity]]
            identity = self.parents[identity]
        return identity


def _whole(parts: Sequence[Part]) -> Objects:
    return Objects(
        np.array([part.value for part in parts], np.uint8),
        np.array([part.polygon for part in parts], object),
        np.array([part.pixels for part in parts], np.int64),
        np.array([part.probability for part in parts], np.float64),
    )


def _joined(batches: Sequence[Objects]) -> Objects:
    return Objects(*map(np.concatenate, zip(*batches)))
