"""Sampling probability of areas at each place of an image: by data coverage, weight and class."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from ...engine.images.grid import Window
from ...engine.images.raster import Source
from ...engine.shapes.vector_files import choose_layer, is_vector, raster_path, require_field
from ...protocol import BACKGROUND, UNKNOWN, AreasRequest, ErrorCode, Labels, OrthomaskError, Touch
from ...protocol.words import tr
from .burning import burn
from .labels import Grid, open_truth
from .vectors import read_polygons

MAP_PX = 1024
"""Longer side of a chance map, cells."""


class Chances(NamedTuple):
    """Maps `(rows, columns)` of weights, one per stratum, and the size of their cells in image pixels."""

    maps: list[np.ndarray]
    cell_px: tuple[float, float]

    def draw(self, stratum: int, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
        """Endless random points in image pixels: a cell by its weight, anywhere within it."""
        weights = self.maps[stratum].ravel()
        total = np.cumsum(weights, dtype=np.float64)
        while True:
            cell = int(np.searchsorted(total, rng.uniform(0, total[-1]), side="right"))
            row, column = divmod(min(cell, len(total) - 1), self.maps[stratum].shape[1])
            x, y = rng.uniform(size=2)
            yield float((column + x) * self.cell_px[0]), float((row + y) * self.cell_px[1])


def chances(request: AreasRequest, source: Source, grid: Grid, region: shapely.Geometry) -> Chances:
    """The chances of each place, for each stratum present.

    Raises:
        OrthomaskError: weights or strata cannot be read, or do not occur in the region.
    """
    scale = max(1.0, max(grid.width_px, grid.height_px) / MAP_PX)
    columns, rows = math.ceil(grid.width_px / scale), math.ceil(grid.height_px / scale)
    cell = grid.width_px / columns, grid.height_px / rows
    coarse = Grid(grid.crs, grid.transform @ Affine.scale(*cell), columns, rows)
    inside = np.zeros((rows, columns), np.uint8)
    burn(coarse, [shapely.affinity.scale(region, 1 / cell[0], 1 / cell[1], origin=(0, 0))], [1], Touch.ALL, 0, inside)
    there = (source.dataset.dataset_mask(out_shape=(rows, columns)) > 0) & (inside > 0)
    weights = there * _weights(request, coarse) if request.weight_path else there.astype(np.float32)
    strata = _strata(request.strata, coarse) if request.strata else [np.ones_like(there)]
    maps = [weights * stratum for stratum in strata]
    maps = [found for found in maps if found.any()]
    if not maps:
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            tr("No place in the region has both data and a weight or class to sample by."),
            tr("Check that image, region and weights or classes overlap."),
        )
    return Chances(maps, cell)


def _weights(request: AreasRequest, grid: Grid) -> np.ndarray:
    """Weights `(H, W)` float32 on a grid, 0 where missing."""
    path = request.weight_path
    if is_vector(path, request.weight_layer):
        return _vector_weights(
            path, choose_layer(path, request.weight_layer, ""), request.weight_field, request.weight_crs, grid
        )
    try:
        with (
            rasterio.open(raster_path(path, request.weight_layer)) as dataset,
            WarpedVRT(
                dataset, src_crs=dataset.crs or request.weight_crs or None, crs=grid.crs, transform=grid.transform,
                width=grid.width_px, height=grid.height_px, resampling=Resampling.average, dtype="float32",
                nodata=np.nan,
            ) as warped,
        ):  # fmt: skip
            return np.asarray(np.maximum(np.nan_to_num(warped.read(1), posinf=0), 0))
    except (rasterio.errors.RasterioError, rasterio.errors.CRSError) as error:
        raise OrthomaskError(
            ErrorCode.LABELS_UNREADABLE,
            tr("“{}” cannot be read as weights.").format(os.path.basename(path)),
            tr("Choose a georeferenced raster, or a layer of polygons."),
            str(error),
        ) from error


def _vector_weights(path: str, layer: str, field: str, crs: str, grid: Grid) -> np.ndarray:
    if field:
        require_field(path, layer, field)
    read = read_polygons(path, layer, [field] if field else [], crs, grid)
    try:
        values = [max(0.0, float(text or 0)) for text in read.columns[field]] if field else [1.0] * len(read.geometries)
    except ValueError as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The attribute “{}” of “{}” is not numeric.").format(field, layer),
            tr("Choose a numeric attribute."),
            str(error),
        ) from error
    weights = np.zeros((grid.height_px, grid.width_px), np.float32)
    burn(grid, read.geometries, values, Touch.ALL, 0, weights)
    return weights


def _strata(labels: Labels, grid: Grid) -> list[np.ndarray]:
    """Where each class lies on a grid."""
    with open_truth([labels], None, (), grid, Touch.ALL) as truth:
        classes = truth.mask(Window(0, 0, grid.width_px, grid.height_px))
    values = [value for value in np.unique(classes) if value not in {BACKGROUND, UNKNOWN}]
    return [classes == value for value in values]
