"""Where a model is wrong, as layers of a map: a raster of errors, and polygons of objects found, missed and false."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyogrio.raw
import pyproj
import rasterio
import rasterio.features
import rasterio.shutil
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.io import DatasetWriter
from rasterio.windows import Window as Block

from ..engine import regions
from ..engine.grid import Window
from ..engine.outputs import output_error, writing
from ..protocol import UNKNOWN, ClassInfo
from .comparison import Comparison, Ground
from .tally import Matched

RIGHT, FALSE, MISSED, WRONG_CLASS = 1, 2, 3, 4
"""Values of the raster of errors; 0 is background that is right, 255 unknown."""
COLOURS = {RIGHT: "#1b9e77", FALSE: "#d7301f", MISSED: "#2b6cb0", WRONG_CLASS: "#f2c037"}
FIELDS = ("status", "class", "iou", "confidence", "area_m2")


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is right and what is not, from class values: see `RIGHT`, `FALSE`, `MISSED` and `WRONG_CLASS`."""
    here, there = found > 0, truth > 0
    kinds = [truth == UNKNOWN, here & there & (found == truth), here & there, here, there]
    return np.select(kinds, [UNKNOWN, RIGHT, WRONG_CLASS, FALSE, MISSED], 0).astype(np.uint8)


class ErrorRaster:
    """The errors of one image, on its lattice, around its areas."""

    def __init__(self, path: Path, ground: Ground) -> None:
        self.path, self._sparse = path, path.with_name(f"{path.stem}.partial.tif")
        self._extent = extent = ground.extent
        profile = {
            "driver": "GTiff", "width": extent.width, "height": extent.height, "count": 1, "dtype": "uint8",
            "nodata": UNKNOWN, "crs": ground.lattice.crs, "tiled": True, "blockxsize": 512, "blockysize": 512,
            "transform": ground.lattice.transform @ Affine.translation(extent.x, extent.y),
            "compress": "deflate", "sparse_ok": True, "bigtiff": "if_safer",
        }  # fmt: skip
        with writing(path):
            self._dataset: DatasetWriter = rasterio.open(self._sparse, "w+", **profile)
            self._dataset.write_colormap(1, _palette())
            self._dataset.set_band_description(1, "0 right background, 1 right, 2 false, 3 missed, 4 wrong class")

    def write(self, piece: Comparison) -> None:
        """Add a piece; where areas overlap, the later one counts."""
        block = Block(
            piece.window.x - self._extent.x, piece.window.y - self._extent.y, piece.window.width, piece.window.height
        )
        with writing(self.path):
            before = self._dataset.read(1, window=block)
            now = errors(piece.found, piece.truth)
            self._dataset.write(np.where(now == UNKNOWN, before, now), 1, window=block)

    def close(self) -> None:
        """Turn it into a Cloud Optimized GeoTIFF."""
        with writing(self.path):
            self._dataset.close()
            rasterio.shutil.copy(
                self._sparse, self.path, driver="COG", compress="deflate", blocksize=512, overview_resampling="mode"
            )
            with rasterio.open(self.path) as whole:  # GDAL can end a copy on a full disk without an error
                whole.read(1, window=Block(whole.width - 1, whole.height - 1, 1, 1))
            self._sparse.unlink()


def _palette() -> dict[int, tuple[int, int, int, int]]:
    colours = {value: (*bytes.fromhex(colour[1:]), 255) for value, colour in COLOURS.items()}
    return {0: (255, 255, 255, 0), **colours, UNKNOWN: (0, 0, 0, 0)}


class ObjectLayer:
    """The layer `objects` of a GeoPackage, in the CRS of the first image."""

    def __init__(self, path: Path, classes: tuple[ClassInfo, ...]) -> None:
        self.path, self._names = path, {info.value: info.name for info in classes}
        self._crs: pyproj.CRS | None = None

    def write(self, ground: Ground, piece: Comparison, matched: Matched) -> None:
        """Add the objects of a piece: those found, matched or false, and those missed."""
        self._crs = self._crs or ground.plan.source.crs
        matches, names = matched.matches, self._names
        found = {
            row.number: ("matched" if row.partner else "false", names[row.value], row.iou, row.confidence)
            for row in matches.found
        }
        missed = {row.number: ("missed", names[row.value], row.iou, float("nan")) for row in matches.missed}
        for numbers, rows in ((matched.numbers, found), (piece.objects, missed)):
            outlines = _outlines(numbers, list(rows), piece.window)
            pixels = shapely.area(outlines)
            geometry = self._placed(outlines, ground)
            self._append(geometry, list(rows.values()), pixels * matched.pixel_m2)

    def _placed(self, outlines: np.ndarray, ground: Ground) -> np.ndarray:
        """Outlines in lattice pixels, in the CRS of the layer."""
        placed = regions.transformed(outlines, ground.lattice.transform)
        lattice_crs = pyproj.CRS.from_user_input(ground.lattice.crs)
        assert self._crs is not None
        return np.asarray(placed if lattice_crs == self._crs else regions.reprojected(placed, lattice_crs, self._crs))

    def _append(self, geometry: np.ndarray, rows: list[tuple[str, str, float, float]], area_m2: np.ndarray) -> None:
        assert self._crs is not None
        status, names, iou, confidence = zip(*rows) if rows else ((), (), (), ())
        columns = [
            np.array(status, object), np.array(names, object), np.round(np.array(iou, float), 3),
            np.round(np.array(confidence, float), 3), np.round(area_m2.astype(float), 2),
        ]  # fmt: skip
        try:
            pyogrio.raw.write(
                self.path, shapely.to_wkb(geometry), columns, list(FIELDS), layer="objects", driver="GPKG",
                geometry_type="MultiPolygon", crs=self._crs.to_wkt(), append=self.path.exists(),
                dataset_options={"VERSION": "1.2"},  # what the GDAL of QGIS 3.22 knows
            )  # fmt: skip
        except (DataSourceError, DataLayerError, FeatureError) as error:
            raise output_error(self.path, OSError(errno.EIO, str(error))) from error


def _outlines(numbers: np.ndarray, wanted: list[int], window: Window) -> np.ndarray:
    """The objects of these numbers as multipolygons along pixel edges, in lattice pixels."""
    parts: dict[int, list[shapely.Polygon]] = {number: [] for number in wanted}
    chosen = np.isin(numbers, wanted)
    place = Affine.translation(window.x, window.y)
    for outline, number in rasterio.features.shapes(numbers, chosen, 4, place):
        rings = outline["coordinates"]
        parts[int(number)].append(shapely.Polygon(rings[0], rings[1:]))
    return np.array([shapely.MultiPolygon(polygons) for polygons in parts.values()], object)
