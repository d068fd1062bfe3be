"""What an export would write, drawn on the map: the footprints of chips, or the extent of a mask."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Optional, cast

from qgis.core import QgsGeometry, QgsPointXY, QgsRasterLayer, QgsVectorLayer, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt.QtGui import QColor

from ...protocol import Split
from ..layers.ground import metres_per_unit
from ..layers.map_view import ImageSource
from ..layers.rendering import Picture
from ..toolkit.present import present
from .sources import Rendering, areas_on, planned_image

MOST_OUTLINES = 2000
MISSING_SHARE = 0.25
"""Must match `training/chips/plan.py`."""
COLOR, CASING = QColor(255, 205, 40), QColor(40, 40, 40, 160)
SHADE, NOTHING = QColor(0, 0, 0, 70), QColor(0, 0, 0, 0)


@dataclass(frozen=True)
class ChipGrid:
    """Squares of `chip_px` every `stride_px`, at `gsd_m` (0 for the image's own), turned clockwise by `degrees`."""

    chip_px: int
    stride_px: int
    gsd_m: float = 0.0
    degrees: float = 0.0


class ExportPreview:
    """One rubber band with many outlines.

    Args:
        canvas: the map.
    """

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self._canvas = canvas
        self._band: Optional[QgsRubberBand] = None

    def show(self, outlines: Sequence[QgsGeometry], layer: Optional[ImageSource], *, shaded: bool = False) -> None:
        """Draw or shade outlines, given in the layer's CRS, in place of the last ones."""
        self.clear()
        if not outlines or layer is None:
            return
        self._band = QgsRubberBand(self._canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
        self._band.setFillColor(SHADE if shaded else NOTHING)
        self._band.setStrokeColor(NOTHING if shaded else COLOR)
        self._band.setSecondaryStrokeColor(NOTHING if shaded else CASING)
        self._band.setWidth(1)
        self._band.setToGeometry(QgsGeometry.collectGeometry(list(outlines)), layer.crs())

    def clear(self) -> None:
        """Draw nothing."""
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None


def mask_outlines(image: ImageSource, areas: Optional[QgsVectorLayer]) -> list[QgsGeometry]:
    """The image's extent; with areas, the part outside them, where the mask is unknown."""
    extent = QgsGeometry.fromRect(image.extent())
    if areas is None:
        return [extent]
    known = [geometry for geometry, _ in islice(areas_on(image, areas), MOST_OUTLINES)]
    return [extent.difference(QgsGeometry.unaryUnion(known))] if known else []


def chip_outlines(
    image: ImageSource, areas: Optional[QgsVectorLayer], grid: ChipGrid
) -> tuple[list[QgsGeometry], bool]:
    """The footprints of chips, at most `MOST_OUTLINES`, and whether these are all.

    Placed as the engine does: from an area's edge, one every stride, and one more that ends at the other edge
    unless little would be missing without it; without areas, all over the image. Which chips the engine leaves out
    for their content is not known here.
    """
    lattice = _Lattice(image, areas, grid)
    shapes: list[QgsGeometry] = [QgsGeometry.fromRect(image.extent())]
    if areas is not None:
        shapes = [geometry for geometry, split in areas_on(image, areas) if split != Split.TODO.value]
    outlines: list[QgsGeometry] = []
    for shape in shapes:
        for outline in lattice.chips(shape):
            if len(outlines) == MOST_OUTLINES:
                return outlines, False
            outlines.append(outline)
    return outlines, True


class _Lattice:
    """The pixels of an image at another resolution, rotated; its origin is the image's, as in the engine.

    Raises:
        OrthomaskError: it is a map service, and areas or resolution are missing.
    """

    def __init__(self, image: ImageSource, areas: Optional[QgsVectorLayer], grid: ChipGrid) -> None:
        planned = planned_image(image, areas, Rendering(grid.gsd_m, grid.chip_px))
        if isinstance(planned, Picture):
            extent, own_m = planned.grid.extent, planned.gsd_m
            own_x, own_y = planned.grid.step
        else:
            extent, layer = image.extent(), cast(QgsRasterLayer, image)
            own_x, own_y = layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()
            own_m = math.sqrt(own_x * own_y) * metres_per_unit(image.crs(), extent)
        scale = grid.gsd_m / own_m if grid.gsd_m else 1.0
        self._step_x, self._step_y = own_x * scale, own_y * scale
        width, height = math.ceil(extent.width() / self._step_x), math.ceil(extent.height() / self._step_y)
        turn = math.radians(grid.degrees)
        self._cosine, self._sine = math.cos(turn), math.sin(turn)
        self._width = math.ceil(abs(width * self._cosine) + abs(height * self._sine))
        self._height = math.ceil(abs(width * self._sine) + abs(height * self._cosine))
        self._left, self._top = extent.xMinimum(), extent.yMaximum()
        self._middle = (width / 2, height / 2)
        self._grid = grid

    def chips(self, shape: QgsGeometry) -> Iterator[QgsGeometry]:
        """The footprints of chips that intersect a shape."""
        corners = [self._to_pixel(QgsPointXY(point)) for point in shape.vertices()]
        columns = self._starts([x for x, _ in corners], self._width)
        rows = self._starts([y for _, y in corners], self._height)
        engine = present(QgsGeometry.createGeometryEngine(shape.constGet()))
        engine.prepareGeometry()
        for y in rows:
            for x in columns:
                outline = self._outline(x, y)
                if engine.intersects(outline.constGet()):
                    yield outline

    def _starts(self, coordinates: list[float], size: int) -> list[int]:
        side = self._grid.chip_px
        first, end = max(0, math.floor(min(coordinates) + 1e-6)), min(size, math.ceil(max(coordinates) - 1e-6))
        room = end - first - side
        if room < 0:
            return [max(0, min(first + room // 2, size - side))]
        steps, missing = divmod(room, self._grid.stride_px)
        more = missing > self._grid.stride_px * MISSING_SHARE
        start = first if more else first + missing // 2
        regular = [start + step * self._grid.stride_px for step in range(steps + 1)]
        return [*regular, end - side] if more else regular

    def _outline(self, x: int, y: int) -> QgsGeometry:
        side = self._grid.chip_px
        corners = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
        return QgsGeometry.fromPolygonXY([[self._to_map(*corner) for corner in corners]])

    def _to_pixel(self, point: QgsPointXY) -> tuple[float, float]:
        x = (point.x() - self._left) / self._step_x - self._middle[0]
        y = (self._top - point.y()) / self._step_y - self._middle[1]
        turned_x, turned_y = x * self._cosine + y * self._sine, y * self._cosine - x * self._sine
        return turned_x + self._width / 2, turned_y + self._height / 2

    def _to_map(self, column: float, row: float) -> QgsPointXY:
        x, y = column - self._width / 2, row - self._height / 2
        turned_x, turned_y = x * self._cosine - y * self._sine, y * self._cosine + x * self._sine
        across, down = turned_x + self._middle[0], turned_y + self._middle[1]
        return QgsPointXY(self._left + across * self._step_x, self._top - down * self._step_y)
