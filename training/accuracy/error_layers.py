"""Map layers of a model's errors: a raster, and polygons of objects found, missed and false."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from rasterio.io import DatasetWriter
from rasterio.windows import Window as Block

from ...engine.images import regions
from ...engine.images.grid import Window
from ...engine.progress import Progress
from ...engine.runs.cogs import Band, Frame, class_band, open_cog
from ...engine.shapes.layers import write_layer
from ...protocol import UNKNOWN, ClassInfo, to_json
from .comparison import Comparison, Ground
from .tally import Matched

RIGHT, FALSE, MISSED, WRONG_CLASS = 1, 2, 3, 4
"""Values of the error raster; 0 is correct background, 255 unknown."""
KINDS = (
    ClassInfo(RIGHT, "right", "#1b9e77"),
    ClassInfo(FALSE, "false", "#d7301f"),
    ClassInfo(MISSED, "missed", "#2b6cb0"),
    ClassInfo(WRONG_CLASS, "wrong class", "#f2c037"),
)
FIELDS = ("status", "class", "iou", "confidence", "area_m2")


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Classify pixels by error from class values: see `RIGHT`, `FALSE`, `MISSED` and `WRONG_CLASS`."""
    here, there = found > 0, truth > 0
    kinds = [truth == UNKNOWN, here & there & (found == truth), here & there, here, there]
    return np.select(kinds, [UNKNOWN, RIGHT, WRONG_CLASS, FALSE, MISSED], 0).astype(np.uint8)


class ErrorRaster:
    """The errors of one image, on its lattice, around its areas. Made by `open_errors`."""

    def __init__(self, dataset: DatasetWriter, extent: Window) -> None:
        self._dataset, self._extent = dataset, extent

    def write(self, piece: Comparison) -> None:
        """Add a piece; where areas overlap, the later one wins."""
        x, y, width, height = piece.window
        block = Block(x - self._extent.x, y - self._extent.y, width, height)
        now = errors(piece.found, piece.truth)
        self._dataset.write(np.where(now == UNKNOWN, self._dataset.read(1, window=block), now), 1, window=block)


@contextmanager
def open_errors(path: Path, ground: Ground, progress: Progress) -> Iterator[ErrorRaster]:
    """An error raster to write piece by piece, saved as a Cloud Optimized GeoTIFF."""
    extent = ground.extent
    transform = ground.lattice.transform @ Affine.translation(extent.x, extent.y)
    frame = Frame(extent.width, extent.height, ground.lattice.crs, transform)
    record = json.dumps({"classes": [to_json(info) for info in KINDS]})
    with open_cog(path, frame, Band("uint8", UNKNOWN, class_band(KINDS), "mode"), record, progress) as dataset:
        yield ErrorRaster(dataset, extent)


class ObjectLayer:
    """The layer `objects` of a GeoPackage, in the CRS of the first image."""

    def __init__(self, path: Path, classes: tuple[ClassInfo, ...]) -> None:
        self.path, self._names = path, {info.value: info.name for info in classes}
        self._crs: pyproj.CRS | None = None

    def write(self, ground: Ground, piece: Comparison, matched: Matched) -> None:
        """Add the objects of a piece: those found, matched or false, and those missed."""
        crs = self._crs = self._crs or ground.plan.source.crs
        matches, names = matched.matches, self._names
        found = {
            row.number: ("matched" if row.partner else "false", names[row.value], row.iou, row.confidence)
            for row in matches.found
        }
        missed = {row.number: ("missed", names[row.value], row.iou, float("nan")) for row in matches.missed}
        for numbers, rows in ((matched.numbers, found), (piece.objects, missed)):
            outlines = _outlines(numbers, list(rows), piece.window)
            pixels = shapely.area(outlines)
            self._append(_placed(outlines, ground, crs), crs, list(rows.values()), pixels * matched.pixel_m2)

    def _append(
        self, geometry: np.ndarray, crs: pyproj.CRS, rows: list[tuple[str, str, float, float]], area_m2: np.ndarray
    ) -> None:
        status, names, iou, confidence = zip(*rows) if rows else ((), (), (), ())
        values = [
            np.array(status, object), np.array(names, object), np.round(np.array(iou, float), 3),
            np.round(np.array(confidence, float), 3), np.round(area_m2.astype(float), 2),
        ]  # fmt: skip
        columns = dict(zip(FIELDS, values))
        write_layer(self.path, "objects", columns, shapely.to_wkb(geometry), "MultiPolygon", crs.to_wkt())


def _placed(outlines: np.ndarray, ground: Ground, crs: pyproj.CRS) -> np.ndarray:
    """Outlines from lattice pixels to a CRS."""
    placed = regions.transformed(outlines, ground.lattice.transform)
    lattice_crs = pyproj.CRS.from_user_input(ground.lattice.crs)
    return np.asarray(placed if lattice_crs == crs else regions.reprojected(placed, lattice_crs, crs))


def _outlines(numbers: np.ndarray, wanted: list[int], window: Window) -> np.ndarray:
    """The objects with these numbers as multipolygons along pixel edges, in lattice pixels."""
    parts: dict[int, list[shapely.Polygon]] = {number: [] for number in wanted}
    chosen = np.isin(numbers, wanted)
    place = Affine.translation(window.x, window.y)
    for outline, number in rasterio.features.shapes(numbers, chosen, 4, place):
        rings = outline["coordinates"]
        parts[int(number)].append(shapely.Polygon(rings[0], rings[1:]))
    return np.array([shapely.MultiPolygon(polygons) for polygons in parts.values()], object)
