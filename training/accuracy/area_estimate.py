"""The area of each class, corrected for map errors, with its confidence interval.

Source: Olofsson et al. (2014), Good practices for estimating area and assessing accuracy of land change, Remote Sensing
of Environment 148, 42-57: the stratified estimator, with the map's classes as strata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window as Block

from ...engine.images import regions
from ...engine.images.georeference import degrees, ellipsoid
from ...engine.images.grid import Lattice, Window
from ...engine.progress import Progress
from ...protocol import UNKNOWN, AreaEstimate, ClassInfo, ErrorCode, OrthomaskError, from_json
from ...protocol.words import tr
from .scores import ratio

SAMPLE = 300
"""Pixels drawn in each stratum. Neighbours are correlated: counting all would make the interval far too narrow."""
ROWS = 1024
"""Rows of a map counted at a time, with the mean ground size of their pixels."""
Z_95 = 1.96
OFF_PX = 1e-3
"""Pixels of two grids that differ by less are the same."""


class Sample:
    """A random sample of labelled pixels in each class of the map, drawn from a stream."""

    def __init__(self, classes: int, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self._keys = [np.empty(0) for _ in range(classes)]
        self._truth = [np.empty(0, np.int64) for _ in range(classes)]

    def add(self, mapped: np.ndarray, truth: np.ndarray) -> None:
        """Add labelled pixels: their class on the map and their true class, both `(N,)`.

        Every pixel gets a random number, and the lowest are kept, so that all have the same chance.
        """
        for value in range(len(self._keys)):
            true = truth[mapped == value]
            keys = np.concatenate([self._keys[value], self._random.random(true.size)])
            lowest = np.argpartition(keys, SAMPLE)[:SAMPLE] if keys.size > SAMPLE else slice(None)
            self._keys[value] = keys[lowest]
            self._truth[value] = np.concatenate([self._truth[value], true])[lowest]

    def counts(self) -> np.ndarray:
        """Sampled pixels `(classes, classes)`: row = class of the map (stratum), column = true class."""
        return np.stack([np.bincount(truth, minlength=len(self._truth)) for truth in self._truth])


def estimate(
    counts: np.ndarray, mapped_m2: np.ndarray, names: Sequence[str], labelled_m2: np.ndarray | None = None
) -> tuple[AreaEstimate, ...]:
    """The area of each class with half of its 95% confidence interval (equations 9, 10 and 11).

    What is labelled is counted, and only the rest of the map is estimated. The variance shrinks by the labelled share
    of each class (finite population correction; Cochran 1977, Sampling Techniques, section 2.6): where everything is
    labelled, the area is known, and the interval has no width.

    Args:
        counts: sampled pixels, row = class of the map, column = true class.
        mapped_m2: area of each class on the map. A class without samples is taken as mapped.
        labelled_m2: the part of that which is labelled, row and column like `counts`; None for a negligible part.
    """
    labelled = np.zeros(counts.shape) if labelled_m2 is None else labelled_m2
    labelled = labelled * np.minimum(1, mapped_m2 / np.maximum(labelled.sum(axis=1), 1e-9))[:, None]
    rest = mapped_m2 - labelled.sum(axis=1)
    sizes = counts.sum(axis=1)
    shares = np.where(sizes[:, None] > 0, counts / np.maximum(sizes, 1)[:, None], np.eye(len(counts)))
    variance = (mapped_m2 * rest)[:, None] * shares * (1 - shares) / np.maximum(sizes - 1, 1)[:, None]
    estimated = labelled.sum(axis=0) + rest @ shares
    margin = Z_95 * np.sqrt(np.maximum(variance.sum(axis=0), 0))
    return tuple(
        AreaEstimate(name, round(float(mapped_m2[i]), 1), round(float(estimated[i]), 1), round(float(margin[i]), 1))
        for i, name in enumerate(names)
    )


def pixel_m2(crs: pyproj.CRS, transform: Affine, window: Window) -> float:
    """Mean ground area of the pixels of a window, on the ellipsoid."""
    _, geod = ellipsoid(crs)
    outline = shapely.segmentize(shapely.box(0, 0, window.width, window.height), max(window.width, window.height) / 8)
    placed = regions.transformed(outline, transform @ Affine.translation(window.x, window.y))
    area, _ = geod.geometry_area_perimeter(shapely.transform(placed, lambda places: degrees(places, crs).T))
    return ratio(abs(area), window.width * window.height)


def map_areas(path: Path, classes: Sequence[ClassInfo], progress: Progress) -> np.ndarray:
    """Ground area in m² of background and each class in the `classes.tif` of a run, counted in windows.

    Raises:
        OrthomaskError: it is not our class raster, or its classes differ.
    """
    try:
        with rasterio.open(path) as dataset:
            _require_same(path, dataset.tags(), classes)
            crs, areas = pyproj.CRS.from_user_input(dataset.crs.to_wkt()), np.zeros(len(classes) + 1)
            for top in range(0, dataset.height, ROWS):
                progress.report(top / dataset.height, tr("Measuring the map"))
                window = Window(0, top, dataset.width, min(ROWS, dataset.height - top))
                values = dataset.read(1, window=Block(*window))
                areas += np.bincount(values.ravel(), minlength=256)[: areas.size] * pixel_m2(
                    crs, dataset.transform, window
                )
            return areas
    except RasterioError as error:
        raise _no_map(path, str(error)) from error


def map_at(path: Path, lattice: Lattice, window: Window) -> np.ndarray | None:
    """Class values `(H, W)` of the map of a run in a window of a lattice, 255 beyond it; None if its pixels are others.

    Raises:
        OrthomaskError: it cannot be read.
    """
    try:
        with rasterio.open(path) as dataset:
            step = ~dataset.transform @ lattice.transform
            same_crs = pyproj.CRS.from_user_input(dataset.crs.to_wkt()) == pyproj.CRS.from_user_input(lattice.crs)
            if not same_crs or not np.allclose(step[:6], np.round((1, 0, step.c, 0, 1, step.f)), atol=OFF_PX):
                return None
            place = Block(window.x + round(step.c), window.y + round(step.f), window.width, window.height)
            return np.asarray(dataset.read(1, window=place, boundless=True, fill_value=UNKNOWN))
    except RasterioError as error:
        raise _no_map(path, str(error)) from error


def _require_same(path: Path, tags: dict[str, str], classes: Sequence[ClassInfo]) -> None:
    try:
        found = [from_json(ClassInfo, info) for info in json.loads(tags["ORTHOMASK"])["classes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _no_map(path, str(error)) from error
    names = [[(info.value, info.name) for info in infos] for infos in (found, classes)]
    if names[0] != names[1]:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The classes in “{}” differ from those of the model.").format(path.name),
            tr("Choose the classes.tif of a run with this model."),
            f"{names[0]} and {names[1]}",
        )


def _no_map(path: Path, details: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.IMAGE_UNREADABLE,
        tr("“{}” is not an Orthomask class raster.").format(path.name),
        tr("Choose the classes.tif in the folder of a run."),
        details,
    )
