"""Pictures of non-file layers: the part around some places, at a resolution, in a temporary GeoTIFF.

A picture is planned on the main thread, without server requests, and written in a task's thread. It uses the pixels of
the service's level for the resolution, so nothing is interpolated here; the engine does that, as for files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from osgeo import gdal
from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsRectangle

from ...protocol import OVERLAP_PX, WINDOW_PX, ErrorCode, Image, OrthomaskError, Rendered
from ..client.engine_client import Feedback
from ..toolkit.words import in_digits, tr
from .block_reader import COLOR_BANDS, BlockReader
from .ground import ground_units
from .picture_grid import Block, Grid, blocks_of
from .pixels import CELL_PX, Pixels, Step
from .reading import Reading
from .sources import crs_name
from .vector_snapshot import file_name

SQUARE = 0.05
"""A CRS whose units differ by less to the east and north gets square pixels."""
COLOR_OPTIONS = ["PHOTOMETRIC=RGB", "ALPHA=YES"]
OPTIONS = ["TILED=YES", "COMPRESS=DEFLATE", "ZLEVEL=1", "SPARSE_OK=TRUE", "BIGTIFF=IF_SAFER"]


@dataclass(frozen=True)
class Picture:
    """A picture to render. Made by `of`, written by `write`.

    Attributes:
        gsd_m: pixel size in true metres on the ground.
        blocks: the parts needed.
        reading: how the engine reads its bands.
    """

    pixels: Pixels = field(repr=False)
    grid: Grid
    gsd_m: float
    blocks: tuple[Block, ...] = field(repr=False)
    reading: Reading = Reading()

    @classmethod
    def of(cls, pixels: Pixels, gsd_m: float, places: Sequence[QgsGeometry], margin_px: int = 0) -> Picture:
        """Plan the picture of some places. Main thread only.

        Args:
            gsd_m: wanted, in true metres on the ground; a service has its own levels.
            places: in the CRS of the pixels.
            margin_px: around them, in pixels of `gsd_m`.

        Raises:
            OrthomaskError: there are no places, no resolution, or the picture would be too large.
        """
        if gsd_m <= 0 or not places:
            sentence = tr("{} is not a file: it has no extent and no resolution of its own.").format(pixels.name)
            remedy = tr("Choose a region or areas, and a resolution in metres per pixel.")
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
        whole = QgsRectangle(places[0].boundingBox())
        for place in places[1:]:
            whole.combineExtentWith(place.boundingBox())
        units = ground_units(pixels.crs, whole)
        step = pixels.step(whole, gsd_m) or _free_step(units, gsd_m)
        needed = [_grown(place, margin_px * gsd_m / min(units), pixels.extent) for place in places]
        grid = Grid.around([place for place in needed if not place.isEmpty()], step, pixels.corner)
        gsd_there = math.sqrt(step[0] * units[0] * step[1] * units[1])
        return cls(pixels, grid, gsd_there, blocks_of(grid, needed, pixels.name))

    @property
    def name(self) -> str:
        """The layer's."""
        return self.pixels.name

    @property
    def tiles(self) -> int:
        """Number of squares of 256 pixels needed."""
        return sum(len(block.cells) for block in self.blocks)

    @property
    def requests(self) -> int:
        """Approximate number of server requests."""
        return self.pixels.requests(sum(block.columns * block.rows for block in self.blocks), len(self.blocks))

    @property
    def key(self) -> Image:
        """Placeholder in a request until the picture is rendered: the same for the same layer, level and place."""
        box = self.grid.extent
        image = Image(f"{self.pixels.source} {box.toString(3)} {self.gsd_m:.6g}", crs_name(self.pixels.crs))
        return self.reading.applied(image)

    def windows(self, gsd_m: float) -> int:
        """Approximate number of windows for a model of this resolution."""
        side = CELL_PX * self.gsd_m / gsd_m / (WINDOW_PX - OVERLAP_PX)
        share = self.tiles / (self.grid.columns * self.grid.rows)
        return max(1, round(share * math.ceil(self.grid.columns * side) * math.ceil(self.grid.rows * side)))

    def frozen(self) -> Picture:
        """The same with copies of the layers as they are now, for another thread to write. Main thread only."""
        return replace(self, pixels=self.pixels.frozen())

    def sample(self) -> Picture:
        """One square in the middle, to check its values."""
        block = self.blocks[len(self.blocks) // 2]
        cell = block.cells[len(block.cells) // 2]
        return replace(self, grid=self.grid.part(*cell), blocks=(Block(0, 0, 1, 1, ((0, 0),)),))

    def write(self, folder: Path, feedback: Feedback) -> Image:
        """Render it into the folder; any thread. Missing parts are transparent or nodata, that is, unknown.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: the service shows nothing, or too little, or the file cannot be written.
        """
        path, partial = (folder / f"{file_name(self.name)}{ending}" for ending in (".tif", ".part.tif"))
        try:
            with _Canvas(partial, self) as canvas, self.pixels.reading():
                missing = self._render(canvas, feedback)
            os.replace(partial, path)
        except OSError as error:
            raise _unwritable(self.name, error) from error
        finally:
            partial.unlink(missing_ok=True)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        rendered = Rendered(self.name, self.pixels.source, round(self.gsd_m, 4), now, self.tiles, missing)
        bands = ("1", "2", "3") if self.pixels.color else ()
        return self.reading.applied(Image(str(path), crs_name(self.pixels.crs), bands, rendered))

    def empty(self, folder: Path) -> Image:
        """Write a file of its size, place and bands without pixels into the folder; any thread.

        Raises:
            OrthomaskError: the file cannot be written.
        """
        path = folder / f"{file_name(self.name)}.tif"
        try:
            with _Canvas(path, self):
                return Image(str(path), crs_name(self.pixels.crs))
        except OSError as error:
            raise _unwritable(self.name, error) from error

    def _render(self, canvas: _Canvas, feedback: Feedback) -> int:
        """Draw all blocks, and count missing squares."""
        words, total = tr("Rendering {}: {} of {} tiles"), self.tiles
        with BlockReader(self.pixels, self.grid, total, feedback) as reader:
            for block in self.blocks:
                feedback.setProgress(100 * reader.done / total)
                feedback.setProgressText(words.format(self.name, in_digits(reader.done), in_digits(total)))
                canvas.draw(block, reader.read(block))
        feedback.setProgress(100)
        return reader.missing


class _Canvas:
    """A picture's file, by GDAL's own bindings: two Python wrappers of a QGIS provider could get in each other's way.

    Raises `OSError` if it cannot be written.
    """

    def __init__(self, path: Path, picture: Picture) -> None:
        self._path, self._color = str(path), picture.pixels.color
        self._file: Any = None
        self._try(lambda: self._create(picture))

    def draw(self, block: Block, bands: Sequence[bytes]) -> None:
        """Write a block."""
        self._try(lambda: self._draw(block, bands))

    def __enter__(self) -> _Canvas:
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        """Close it, which writes what GDAL has buffered."""
        if kind is None:
            self._try(lambda: self._file.FlushCache())  # noqa: PLW0108 (a bound method keeps the file open)
        self._file = None

    def _create(self, picture: Picture) -> None:
        pixels, grid = picture.pixels, picture.grid
        kind, bands = (gdal.GDT_Byte, COLOR_BANDS) if self._color else (int(pixels.data_type), pixels.bands)
        options = OPTIONS + (COLOR_OPTIONS if self._color else [])
        driver = gdal.GetDriverByName("GTiff")
        self._file = driver.Create(self._path, grid.width_px, grid.height_px, bands, kind, options)
        if self._file is not None:
            self._file.SetGeoTransform((grid.left, grid.step[0], 0, grid.top, 0, -grid.step[1]))
            kind = QgsCoordinateReferenceSystem.WktVariant.WKT_PREFERRED_GDAL  # type: ignore[attr-defined] # as in sources
            self._file.SetProjection(pixels.crs.toWkt(kind))
            for band in range(1, 1 if self._color else bands + 1):
                self._file.GetRasterBand(band).SetNoDataValue(pixels.nodata)

    def _draw(self, block: Block, bands: Sequence[bytes]) -> None:
        box = (block.column * CELL_PX, block.row * CELL_PX, block.columns * CELL_PX, block.rows * CELL_PX)
        if self._color:
            line = COLOR_BANDS * block.columns * CELL_PX
            self._file.WriteRaster(*box, bands[0], buf_pixel_space=COLOR_BANDS, buf_line_space=line, buf_band_space=1)
        else:
            for number, band in enumerate(bands, start=1):
                self._file.GetRasterBand(number).WriteRaster(*box, band)

    def _try(self, work: Callable[[], object]) -> None:
        """Run GDAL; raise its errors, whether other code in this QGIS made it raise or only report them.

        An error closes the file; the traceback of GDAL's own exception would keep it open.
        """
        errors: list[str] = []
        gdal.PushErrorHandler(lambda kind, _, message: errors.append(message) if kind >= gdal.CE_Failure else None)
        try:
            work()
        except RuntimeError as error:
            errors.append(str(error))
        finally:
            gdal.PopErrorHandler()
        if errors:
            self._file = None
            raise OSError(errors[0])


def _unwritable(name: str, error: OSError) -> OrthomaskError:
    sentence = tr("The rendered image of {} cannot be written.").format(name)
    return OrthomaskError(
        ErrorCode.OUTPUT_UNWRITABLE, sentence, tr("Free some disk space, then try again."), str(error)
    )


def _free_step(units: Step, gsd_m: float) -> Step:
    """The pixel size for a source that has none of its own."""
    if abs(units[0] / units[1] - 1) < SQUARE:
        side = gsd_m / math.sqrt(units[0] * units[1])
        return side, side
    return gsd_m / units[0], gsd_m / units[1]


def _grown(place: QgsGeometry, margin: float, limits: QgsRectangle) -> QgsGeometry:
    """A place with a margin around it, within the limits."""
    grown = place.buffer(margin, 4) if margin else place
    return grown if limits.isNull() else grown.intersection(QgsGeometry.fromRect(limits))
