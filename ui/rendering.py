"""Pictures of map services as files: the part around some places, at a resolution, in a temporary GeoTIFF.

The layer's provider is copied on the main thread and used in a task's thread, so the layer, the map and the project are
only read, and nothing waits for the network but the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsDistanceArea,
    QgsGeometry,
    QgsProject,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QByteArray
from qgis.PyQt.QtGui import QImage

from ..protocol import Cancelled, ErrorCode, Image, OrthomaskError
from .engine_client import Feedback
from .sources import crs_name
from .vector_snapshot import file_name
from .words import tr

TILE_PX = 512
MOST_TILES = 4000
"""A thousand million pixels: more is no task for a map service."""
BANDS = 4
OPTIONS = ["PHOTOMETRIC=RGB", "ALPHA=YES", "TILED=YES", "COMPRESS=DEFLATE", "SPARSE_OK=TRUE", "BIGTIFF=IF_SAFER"]


@dataclass(frozen=True)
class RenderedImage:
    """A picture that is to be rendered. Made by `of`, written by `write`.

    Attributes:
        extent: of the whole picture, in the CRS of the layer.
        tiles: column and row of those that are needed.
    """

    name: str
    crs: Any
    extent: QgsRectangle
    width_px: int
    height_px: int
    tiles: tuple[tuple[int, int], ...]
    provider: Any = field(repr=False)

    @classmethod
    def of(cls, layer: QgsRasterLayer, gsd_m: float, places: Sequence[QgsRectangle]) -> RenderedImage:
        """Freeze what is needed of a layer to render it around some places. Main thread only.

        Args:
            layer: any raster layer, such as XYZ tiles or a WMS.
            gsd_m: of the picture, in true metres on the ground.
            places: extents in the CRS of the layer.

        Raises:
            OrthomaskError: there are no places, no resolution, or the picture would be too large.
        """
        if gsd_m <= 0 or not places:
            sentence = tr("The layer {} is a map service, which has no end and no resolution of its own.")
            remedy = tr("Choose areas, and write a resolution in metres per pixel.")
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence.format(layer.name()), remedy)
        whole = QgsRectangle(places[0])
        for place in places[1:]:
            whole.combineExtentWith(place)
        step = gsd_m / metres_per_unit(layer, whole)
        width, height = math.ceil(whole.width() / step), math.ceil(whole.height() / step)
        left, top = whole.xMinimum(), whole.yMaximum()
        extent = QgsRectangle(left, top - height * step, left + width * step, top)
        tiles = tuple(sorted(set().union(*(_tiles(place, extent, step * TILE_PX) for place in places))))
        if len(tiles) > MOST_TILES:
            sentence = tr("The part of {} that is needed is too large.").format(layer.name())
            remedy = tr("Choose fewer or smaller areas, or a coarser resolution.")
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy, f"{len(tiles)} × {TILE_PX} px")
        return cls(layer.name(), layer.crs(), extent, width, height, tiles, layer.dataProvider().clone())

    def write(self, folder: Path, feedback: Feedback) -> Image:
        """Render it into the folder; any thread. What the service does not show is transparent.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: the service shows nothing at all, or the file cannot be written.
        """
        path = folder / f"{file_name(self.name)}.tif"
        writer = QgsRasterFileWriter(str(path))
        writer.setOutputFormat("GTiff")
        writer.setCreateOptions(OPTIONS)
        size = (self.width_px, self.height_px)
        file = writer.createMultiBandRaster(Qgis.DataType.Byte, *size, self.extent, self.crs, BANDS)
        if file is None or not file.isEditable():
            sentence, remedy = tr("The picture of {} cannot be written."), tr("Make room for temporary files.")
            raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence.format(self.name), remedy)
        shown = cancelled = False
        for number, (column, row) in enumerate(self.tiles):
            cancelled = feedback.isCanceled()
            if cancelled:
                break
            feedback.setProgressText(tr("Rendering {}: tile {} of {}").format(self.name, number + 1, len(self.tiles)))
            shown = self._write_tile(file, column, row) or shown
        file.setEditable(False)
        del file  # closes it; an error would keep it open as long as the error is kept
        if cancelled:
            raise Cancelled
        if not shown:
            sentence = tr("The map service {} shows nothing there.").format(self.name)
            remedy = tr("See whether it can be reached, and whether it covers the areas at that resolution.")
            raise OrthomaskError(ErrorCode.IMAGE_EMPTY, sentence, remedy)
        return Image(str(path), crs_name(self.crs), ("1", "2", "3"))

    def _write_tile(self, file: Any, column: int, row: int) -> bool:
        """Render a tile and write it; whether it shows anything."""
        x, y = column * TILE_PX, row * TILE_PX
        width, height = min(TILE_PX, self.width_px - x), min(TILE_PX, self.height_px - y)
        step = self.extent.width() / self.width_px
        left, top = self.extent.xMinimum() + x * step, self.extent.yMaximum() - y * step
        box = QgsRectangle(left, top - height * step, left + width * step, top)
        picture = self.provider.block(1, box, width, height).image()
        pixels = _bytes(picture.convertToFormat(QImage.Format.Format_RGBA8888))
        for band in range(BANDS):
            file.write(QByteArray(pixels[band::BANDS]), band + 1, width, height, x, y)
        return any(pixels[BANDS - 1 :: BANDS])


def metres_per_unit(layer: QgsRasterLayer, extent: QgsRectangle) -> float:
    """True metres on the ground of a unit of the layer's CRS, in the middle of an extent."""
    measure = QgsDistanceArea()
    measure.setSourceCrs(layer.crs(), QgsProject.instance().transformContext())
    measure.setEllipsoid(layer.crs().ellipsoidAcronym())
    side = max(extent.width(), extent.height()) * 1e-3
    center = extent.center()
    square = QgsRectangle(center.x() - side / 2, center.y() - side / 2, center.x() + side / 2, center.y() + side / 2)
    return math.sqrt(measure.measureArea(QgsGeometry.fromRect(square))) / side


def _tiles(place: QgsRectangle, extent: QgsRectangle, side: float) -> set[tuple[int, int]]:
    """Columns and rows of the tiles that a place touches."""
    first, last = (math.floor((x - extent.xMinimum()) / side) for x in (place.xMinimum(), place.xMaximum()))
    top, bottom = (math.floor((extent.yMaximum() - y) / side) for y in (place.yMaximum(), place.yMinimum()))
    columns, rows = math.ceil(extent.width() / side - 1e-9), math.ceil(extent.height() / side - 1e-9)
    return {
        (column, row)
        for column in range(max(0, first), min(last + 1, columns))
        for row in range(max(0, top), min(bottom + 1, rows))
    }


def _bytes(picture: QImage) -> bytes:
    """The pixels of a picture, row by row; of four bytes each, rows need no padding."""
    data = picture.constBits()
    return bytes(data.asstring(picture.sizeInBytes()))
