"""Shifts between the images of two dates, measured in windows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyproj
import shapely
from affine import Affine
from shapely import Geometry

from ...protocol import Cancelled, Image, OrthomaskError
from ..images.bands import BandName
from ..images.grid import Lattice, Window
from ..images.raster import Source, open_image, open_reader
from ..images.regions import reprojected
from ..progress import Progress
from . import correlation, field
from .field import Measured

FINEST_M = 0.2
"""Finer pixels are not needed."""
SIDES = (256, 128, 64)
"""Sizes of a window, in pixels."""
MANY = 25
"""The largest windows are taken of which so many fit, half over another."""
MOST = 256
"""Windows looked at."""
REACH = 0.25
"""Shifts are looked for up to this share of a window's side."""
FINER = 4.0
"""A step of the pyramid is at most so many times finer than the one before."""
STEP_PX = 3.0
"""What a coarser step can be off by, in its own pixels."""
TOLERANCE_PX, TOLERANCE_M = 1.5, 0.75
"""Windows agree within the larger of these: relief moves good orthophotos against each other by some decimetres."""
WIDE = 4.0
"""Shifts are looked for so many tolerances away at least: else agreement proves nothing."""
LEAST_PX = 0.1
"""Resampling moves all windows by up to this: GDAL's warper is exact to an eighth of a pixel."""
RELIABLE = 0.25
"""Windows of a lower reliability say nothing."""
FIRST = 3
"""Bands of unknown colours that are compared; a fourth one is often infrared."""
WHOLE = 0.6
"""A window needs data in this share of both dates."""


class Seen(NamedTuple):
    """What windows show.

    Attributes:
        measured: of the reliable ones.
        reach_m: how far shifts were looked for, from where they were expected.
        tolerance_m: within which they agree.
        least_m: error that all have, from resampling.
        tried: how many were looked at.
    """

    measured: Measured
    reach_m: float
    tolerance_m: float
    least_m: float
    tried: int


class _Pair(NamedTuple):
    """Two opened images, their bands that are compared, and the ground `(Multi)Polygon` that both cover."""

    sources: tuple[Source, Source]
    bands: tuple[tuple[int, ...], tuple[int, ...]]
    ground: Geometry
    gsd_m: float


def look(
    images: tuple[Image, Image], ground: Geometry, crs: pyproj.CRS, reach_m: float, progress: Progress
) -> Seen | None:
    """Measure shifts of up to `reach_m` on common ground; None where the images cannot be opened or do not overlap.

    A pyramid: the coarsest pixels are those at which the reach is a quarter of a window. Each step reads the earlier
    image through the affine transform that the step before found, so a turn does not blur the correlation.
    """
    try:
        with _opened(images, ground, crs, progress) as pair:
            return _pyramid(pair, crs, reach_m, progress) if pair else None
    except Cancelled:
        raise
    except OrthomaskError:
        return None


@contextmanager
def _opened(
    images: tuple[Image, Image], ground: Geometry, crs: pyproj.CRS, progress: Progress
) -> Iterator[_Pair | None]:
    plain = [replace(image, stretch=()) for image in images]  # edges are the same in any stretch
    with open_image(plain[0], progress) as before, open_image(plain[1], progress) as after:
        common = ground & footprint(before, crs) & footprint(after, crs)
        gsd_m = max(FINEST_M, *before.gsd_m, *after.gsd_m)
        yield _Pair((before, after), alike_bands(before, after), common, gsd_m) if common.area > 0 else None


def footprint(source: Source, crs: pyproj.CRS) -> Geometry:
    """The ground under a raster, in a CRS."""
    width, height = source.dataset.width, source.dataset.height
    corners = [source.transform @ corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]
    outline = shapely.polygons(corners)
    dense = shapely.segmentize(outline, outline.length / 100)
    return shapely.make_valid(reprojected(dense, source.crs, crs))


def alike_bands(before: Source, after: Source) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the bands to compare, of those each request asks for: of the same colours, else the first ones."""
    asked = [_asked(source) for source in (before, after)]
    known = [{band.colour: band.number for band in bands if band.colour and not band.in_second} for bands in asked]
    common = sorted(known[0].keys() & known[1].keys())
    if common:
        return tuple(known[0][colour] for colour in common), tuple(known[1][colour] for colour in common)
    count = min(FIRST, *map(len, asked))
    first, second = (tuple(band.number for band in bands[:count]) for bands in asked)
    return first, second


def _asked(source: Source) -> list[BandName]:
    """The bands that a request asks for, else all pictures; those of the first one's pixel type."""
    numbers = source.bands(source.asked_bands())
    kinds = source.dataset.dtypes
    alike = [number for number in numbers if kinds[number - 1] == kinds[numbers[0] - 1]]
    return [source.named_bands[number - 1] for number in alike]


def _pyramid(pair: _Pair, crs: pyproj.CRS, reach_m: float, progress: Progress) -> Seen:
    """What the windows of the finest step show, or those of the first one on which too few agree."""
    reach_m = max(reach_m, WIDE * _tolerance_m(pair.gsd_m))
    side = _side(pair, reach_m)
    steps = _steps(max(pair.gsd_m, reach_m / (REACH * side)), pair.gsd_m)
    move, tried = Affine.identity(), 0
    near_m = reach_m
    for number, gsd_m in enumerate(steps):
        part = progress.part(number / len(steps), (number + 1) / len(steps))
        found, windows = _windows(pair, crs, gsd_m, side, move, near_m, part)
        tried = max(tried, windows)
        seen = Seen(found, near_m, _tolerance_m(gsd_m), LEAST_PX * gsd_m, tried)
        agreed = field.agreement(found, near_m, seen.tolerance_m)
        if agreed is None or number == len(steps) - 1:
            break
        move = field.fit(found.xy[agreed], found.shift[agreed], seen.least_m).field.affine
        near_m = max(STEP_PX * gsd_m, WIDE * _tolerance_m(steps[number + 1]))
    return seen


def _tolerance_m(gsd_m: float) -> float:
    return max(TOLERANCE_PX * gsd_m, TOLERANCE_M)


def _side(pair: _Pair, reach_m: float) -> int:
    """The size of windows in pixels: the largest of which there are many."""
    left, bottom, right, top = pair.ground.bounds
    for side in SIDES:
        length_m = side * max(pair.gsd_m, reach_m / (REACH * side))
        if (2 * (right - left) / length_m - 1) * (2 * (top - bottom) / length_m - 1) >= MANY:
            return side
    return SIDES[-1]


def _steps(coarsest_m: float, finest_m: float) -> list[float]:
    """Pixel sizes from coarse to fine, at least two: the last is measured after a turn has been taken out."""
    count = max(1, math.ceil(math.log(coarsest_m / finest_m) / math.log(FINER)))
    return [float(gsd_m) for gsd_m in np.geomspace(coarsest_m, finest_m, count + 1)]


def _windows(
    pair: _Pair, crs: pyproj.CRS, gsd_m: float, side: int, move: Affine, reach_m: float, progress: Progress
) -> tuple[Measured, int]:
    """Shifts in windows of `side` pixels of `gsd_m` metres, and how many were looked at.

    Args:
        move: from coordinates of the earlier date to the later one's, as far as it is known.
    """
    left, bottom, right, top = pair.ground.bounds
    size = math.ceil((right - left) / gsd_m), math.ceil((top - bottom) / gsd_m)
    later = Affine(gsd_m, 0, left, 0, -gsd_m, top)
    corners = _corners(pair.ground, later, size, side)
    places, reads = [], []
    lattices = [Lattice(crs.to_wkt(), transform, *size, side, 0) for transform in (~move @ later, later)]
    readers = [open_reader(*parts) for parts in zip(pair.sources, lattices, pair.bands)]
    with readers[0] as before, readers[1] as after:
        for number, (x, y) in enumerate(corners.tolist()):
            progress.report(number / len(corners))
            window = Window(x, y, side, side)
            parts = [reader.read(window) for reader in (before, after)]
            if min(valid.mean() for _, valid in parts) < WHOLE:
                continue
            first, second = (correlation.edges(pixels, valid) for pixels, valid in parts)
            peak = correlation.correlate(first, second, reach_m / gsd_m)
            if peak.reliability >= RELIABLE:
                places.append((x + side / 2, y + side / 2))
                reads.append(peak.shift_px)
    middle = np.reshape(places, (-1, 2))
    found = placed(later, middle + np.reshape(reads, (-1, 2)))
    earlier = placed(~move @ later, middle)
    return Measured(earlier, found - earlier, np.arange(len(places))), len(corners)


def placed(transform: Affine, pixels: np.ndarray) -> np.ndarray:
    """Coordinates `(N, 2)` of pixels `(N, 2)`."""
    a, b, c, d, e, f = transform[:6]
    return np.asarray(pixels @ [[a, d], [b, e]] + [c, f])


def _corners(ground: Geometry, transform: Affine, size: tuple[int, int], side: int) -> np.ndarray:
    """Top left pixels `(N, 2)` of windows spread evenly over the ground, half over another, at most `MOST`."""
    step = max(side / 2, math.sqrt(ground.area / abs(transform.determinant) / MOST))
    while True:
        axes = [np.linspace(0, max(length - side, 0), max(1, math.ceil((length - side) / step) + 1)) for length in size]
        x, y = (part.ravel().round().astype(int) for part in np.meshgrid(*axes))
        middles = placed(transform, np.stack([x, y], 1) + side / 2)
        inside = shapely.contains_xy(ground, *middles.T)
        if inside.sum() <= MOST:
            return np.asarray(np.stack([x, y], 1)[inside])
        step *= math.sqrt(inside.sum() / MOST) * 1.01
