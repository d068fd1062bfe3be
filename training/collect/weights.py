"""Random points by a raster of weights, such as of people: read strip by strip, so that a world's raster fits."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import pyproj
import rasterio
import rasterio.features
import rasterio.windows
import shapely
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from ...engine.images import georeference
from ...engine.images.regions import mended, reprojected, transformed
from ...engine.progress import Progress
from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr

STRIP_PX = 1 << 23
"""Most pixels in memory at a time."""


class People:
    """Where points fall: a pixel by its weight, anywhere within it, and inside the region only.

    So the chance of a place is its share of what the raster counts inside the region, whatever the pixels' sizes.

    Args:
        region: polygons in WGS 84; None for the whole raster.
        density: values are per area, and are multiplied by the ground that a pixel covers.

    Raises:
        OrthomaskError: the raster cannot be read, or holds nothing above 0 inside the region.
    """

    def __init__(self, path: str, region: shapely.Geometry | None, density: bool, progress: Progress) -> None:
        self._path, self._density = path, density
        with self._opened() as dataset:
            self._crs = pyproj.CRS.from_user_input(dataset.crs)
            whole = rasterio.windows.Window(0, 0, dataset.width, dataset.height)
            self._region = None
            if region is not None:
                fine = min(0.25, max(region.bounds[2] - region.bounds[0], region.bounds[3] - region.bounds[1]) / 50)
                self._region = mended(reprojected(shapely.segmentize(region, fine), "EPSG:4326", self._crs))
                shapely.prepare(self._region)
                whole = _around(dataset, self._region, whole)
            self._window = whole
            totals = [strip.sum(axis=1) for _, strip in self._strips(dataset, None, progress)]
        rows = np.cumsum(np.concatenate([np.empty(0), *totals]))
        if not len(rows) or rows[-1] <= 0:
            raise OrthomaskError(
                ErrorCode.AREAS_EMPTY,
                tr("“{}” holds no number above 0 inside the polygons.").format(self._name),
                tr("Check that weights and polygons overlap."),
            )
        self._rows = rows

    @property
    def _name(self) -> str:
        return os.path.basename(self._path)

    def draw(self, rng: np.random.Generator, count: int, progress: Progress) -> np.ndarray:
        """At most so many random points `(N, 2)`: longitude and latitude."""
        wanted = rng.uniform(0, self._rows[-1], count)
        rows = np.minimum(np.searchsorted(self._rows, wanted, side="right"), len(self._rows) - 1)
        within, offsets = rng.uniform(size=count), rng.uniform(size=(count, 2))
        columns = np.zeros(count)
        with self._opened() as dataset:
            for top, strip in self._strips(dataset, rows, progress):
                for row in np.unique(rows[(rows >= top) & (rows < top + len(strip))]):
                    chosen, totals = rows == row, np.cumsum(strip[row - top])
                    found = np.searchsorted(totals, within[chosen] * totals[-1], side="right")
                    columns[chosen] = np.minimum(found, np.searchsorted(totals, totals[-1]))
            place = _placed(dataset, self._window)
        points = transformed(shapely.points(columns + offsets[:, 0], rows + offsets[:, 1]), place)
        if self._region is not None:
            points = points[shapely.contains(self._region, points)]
        found = shapely.get_coordinates(points)
        return np.column_stack(pyproj.Transformer.from_crs(self._crs, "EPSG:4326", always_xy=True).transform(*found.T))

    def _strips(
        self, dataset: DatasetReader, rows: np.ndarray | None, progress: Progress
    ) -> Iterator[tuple[int, np.ndarray]]:
        """First row and weights `(H, W)` of each strip, or of those that hold some of the rows."""
        whole, band = self._window, dataset.block_shapes[0][0]
        height = max(1, STRIP_PX // max(1, int(whole.width)) // band) * band
        for top in range(0, int(whole.height), height):
            progress.check_cancelled()
            size = min(height, int(whole.height) - top)
            if rows is None or ((rows >= top) & (rows < top + size)).any():
                window = rasterio.windows.Window(whole.col_off, whole.row_off + top, whole.width, size)
                yield top, self._weights(dataset, window)

    def _weights(self, dataset: DatasetReader, window: rasterio.windows.Window) -> np.ndarray:
        try:
            values = dataset.read(1, window=window, masked=True).astype(np.float64).filled(0)
        except RasterioError as error:
            raise self._unreadable(error) from error
        weights = np.where(np.isfinite(values) & (values > 0), values, 0)
        transform = _placed(dataset, window)
        if self._region is not None:
            weights[rasterio.features.geometry_mask([self._region], weights.shape, transform, all_touched=True)] = 0
        if self._density:
            weights *= _ground_m2(self._crs, transform, weights.shape)[:, None]
        return weights

    def _opened(self) -> DatasetReader:
        try:
            dataset = rasterio.open(self._path)
        except RasterioError as error:
            raise self._unreadable(error) from error
        if dataset.crs is None:
            dataset.close()
            raise self._unreadable(ValueError("no CRS"))
        return dataset

    def _unreadable(self, error: Exception) -> OrthomaskError:
        return OrthomaskError(
            ErrorCode.LABELS_UNREADABLE,
            tr("“{}” cannot be read as weights.").format(self._name),
            tr("Choose a georeferenced raster of numbers, such as of WorldPop or GHS-POP."),
            str(error),
        )


def _placed(dataset: DatasetReader, window: rasterio.windows.Window) -> Affine:
    """From pixels of a window to coordinates."""
    transform: Affine = dataset.transform
    return transform @ Affine.translation(window.col_off, window.row_off)


def _around(
    dataset: DatasetReader, region: shapely.Geometry, whole: rasterio.windows.Window
) -> rasterio.windows.Window:
    """The pixels under a region's bounds; none if it lies elsewhere."""
    try:
        window = rasterio.windows.from_bounds(*region.bounds, transform=dataset.transform)
        left, top = math.floor(window.col_off), math.floor(window.row_off)
        right, bottom = math.ceil(window.col_off + window.width), math.ceil(window.row_off + window.height)
        wider = rasterio.windows.Window(left, top, max(1, right - left), max(1, bottom - top))
        return wider.intersection(whole)
    except rasterio.errors.WindowError:
        return rasterio.windows.Window(0, 0, 0, 0)


def _ground_m2(crs: pyproj.CRS, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """Ground that a pixel of each row `(H,)` covers, m², in the middle of the row."""
    height, width = shape
    sides = (georeference.ground(crs, transform, width / 2, row + 0.5) for row in range(height))
    return np.array([abs(np.linalg.det(np.asarray(each))) for each in sides])
