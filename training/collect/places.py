"""Places to collect: squares drawn at random on the ground or by a raster of weights, or areas that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pyogrio.raw
import pyproj
import shapely

from ...engine.images.regions import mended, polygonal, reprojected
from ...engine.progress import Progress
from ...engine.shapes.layers import read_layer
from ...engine.shapes.vector_files import NOT_READ, choose_layer, crs_of, fields_of, plain, unreadable
from ...protocol import (
    AREA_CHECKED,
    AREA_STATE,
    AREA_TODO,
    Areas,
    ErrorCode,
    OrthomaskError,
    Sampled,
    Split,
)
from ...protocol.words import tr
from .grids import MERCATOR, ground_scale
from .weights import People

EQUAL_AREA = pyproj.CRS.from_epsg(6933)
TRIES = 500
"""Points drawn for each area wanted, before giving up."""
ROUND = 4_096
"""Points drawn at once."""
POLE = 85.0
"""Latitude to which web maps reach."""


class Place(NamedTuple):
    """An area to collect; what stands in `Areas`."""

    name: str
    split: str
    state: str
    polygon: shapely.Geometry


def existing(areas: Areas) -> tuple[list[Place], str]:
    """All polygons of a layer of areas, and their CRS.

    Raises:
        OrthomaskError: it cannot be read, or holds no polygon.
    """
    layer = choose_layer(areas.path, areas.layer, "areas")
    crs = crs_of(areas.path, layer, areas.crs)
    there = fields_of(areas.path, layer)
    columns = [name for name in ("name", areas.split_field, AREA_STATE) if name in there]
    try:
        meta, wkb, data = read_layer(areas.path, layer, columns=columns)
    except NOT_READ as error:
        raise unreadable(areas.path, error) from error
    values = dict(zip(meta["fields"], data))
    places = []
    for number, geometry in enumerate(shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))):
        polygon = mended(geometry) if geometry is not None else shapely.Polygon()
        if polygon.area > 0:
            texts = (plain(values[name][number]) if name in values else "" for name in
                     ("name", areas.split_field, AREA_STATE))  # fmt: skip
            name, split, state = texts
            usual = Split.TRAIN.value if areas.split_field not in there else Split.TODO.value
            places.append(Place(name or f"area {number + 1}", split.lower() or usual, state, polygon))
    if not places:
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            tr("There are no areas in “{}”.").format(layer),
            tr("Choose a layer of polygons, each of which is an area."),
        )
    return places, crs.to_wkt()


def sampled(
    wanted: Sampled, side_of: Callable[[float], tuple[float, float]], progress: Progress
) -> tuple[list[Place], tuple[str, ...]]:
    """Squares in web mercator, and a warning if they are fewer than wanted.

    Args:
        side_of: length of a side and what corners are multiples of, in web mercator, at a latitude.

    Raises:
        OrthomaskError: polygons or weights cannot be read or do not meet, or no area fits.
    """
    rng = np.random.default_rng(wanted.seed)
    region = polygons_of(wanted) if wanted.within else None
    draw, bounds = _drawing(wanted, region, rng, progress), None
    if region is not None:
        bounds = mended(reprojected(shapely.segmentize(region, 0.05), "EPSG:4326", MERCATOR))
        shapely.prepare(bounds)
    squares: list[shapely.Geometry] = []
    for point in _points(draw, wanted.count * TRIES, progress, lambda: len(squares) / wanted.count):
        square = _square(point, side_of)
        if (bounds is None or bounds.covers(square)) and _apart(square, squares, wanted.min_distance_m):
            squares.append(square)
            if len(squares) == wanted.count:
                break
    if not squares:
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            tr("No area fits into the polygons."),
            tr("Choose a smaller size, or larger polygons."),
        )
    warnings = (tr("Only {} of {} areas fit.").format(len(squares), wanted.count),)
    state = AREA_CHECKED if wanted.checked else AREA_TODO
    splits = _dealt(len(squares), wanted.shares, rng)
    named = [Place(f"area {n}", split, state, square) for n, (split, square) in enumerate(zip(splits, squares), 1)]
    return named, warnings if len(squares) < wanted.count else ()


def polygons_of(wanted: Sampled) -> shapely.Geometry:
    """The polygons to sample in, in WGS 84, as far as web maps reach.

    Raises:
        OrthomaskError: they cannot be read, none meets the condition, or the condition is not valid.
    """
    layer = choose_layer(wanted.within, wanted.within_layer, "")
    crs = crs_of(wanted.within, layer, wanted.within_crs)
    try:
        _, _, wkb, _ = pyogrio.raw.read(wanted.within, layer=layer, columns=[], where=wanted.within_where or None)
    except (ValueError, *NOT_READ) as error:
        if not wanted.within_where:
            raise unreadable(wanted.within, error) from error
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” is not a condition on the attributes of “{}”.").format(wanted.within_where, layer),
            tr("Write one such as name = 'France', with an attribute of: {}.").format(
                ", ".join(fields_of(wanted.within, layer))
            ),
            str(error),
        ) from error
    drawn = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
    merged = shapely.union_all([mended(polygon) for polygon in drawn if polygon is not None])
    if not crs.is_geographic and merged.area > 0:
        left, bottom, right, top = merged.bounds
        merged = shapely.segmentize(merged, max(right - left, top - bottom) / 200)
    region = polygonal(mended(reprojected(merged, crs, "EPSG:4326")).intersection(shapely.box(-180, -POLE, 180, POLE)))
    if region.area == 0:
        raise OrthomaskError(
            ErrorCode.REGION_EMPTY,
            tr("No polygon of “{}” is left to sample in.").format(layer),
            tr("Choose a layer of polygons, and check the condition."),
        )
    return region


def _drawing(
    wanted: Sampled, region: shapely.Geometry | None, rng: np.random.Generator, progress: Progress
) -> Callable[[], np.ndarray]:
    """What draws random points `(N, 2)`: longitude and latitude."""
    if wanted.weights or region is None:
        return partial(People(wanted.weights, region, wanted.density, progress).draw, rng, ROUND, progress)
    ground = mended(reprojected(shapely.segmentize(region, 0.25), "EPSG:4326", EQUAL_AREA))
    return partial(_on_ground, ground, rng)


def _points(
    draw: Callable[[], np.ndarray], most: int, progress: Progress, done: Callable[[], float]
) -> Iterator[tuple[float, float]]:
    """Random points one by one, in web mercator, at most so many."""
    to_map, given = pyproj.Transformer.from_crs("EPSG:4326", MERCATOR, always_xy=True), 0
    while given < most:
        progress.report(done(), tr("Placing areas"))
        longitudes, latitudes = draw().T
        reached = np.abs(latitudes) <= POLE
        given += ROUND
        yield from zip(*to_map.transform(longitudes[reached], latitudes[reached]))


def _on_ground(ground: shapely.Geometry, rng: np.random.Generator) -> np.ndarray:
    """Random points `(N, 2)` in WGS 84, equally likely everywhere in a polygon of `EQUAL_AREA`."""
    parts = shapely.get_parts(ground)
    boxes = shapely.bounds(parts)
    of_part = rng.choice(len(parts), ROUND, p=shapely.area(parts) / shapely.area(parts).sum())
    found = np.empty((ROUND, 2))
    left = np.arange(ROUND)
    while len(left):
        low, high = boxes[of_part[left], :2], boxes[of_part[left], 2:]
        found[left] = rng.uniform(low, high)
        left = left[~shapely.contains_xy(parts[of_part[left]], *found[left].T)]
    back = pyproj.Transformer.from_crs(EQUAL_AREA, "EPSG:4326", always_xy=True)
    return np.column_stack(back.transform(*found.T))


def _square(middle: tuple[float, float], side_of: Callable[[float], tuple[float, float]]) -> shapely.Geometry:
    """The square around a point of web mercator, on the pixels of its zoom."""
    x, y = middle
    side, step = side_of(y)
    left, bottom = (round((value - side / 2) / step) * step for value in (x, y))
    return shapely.box(left, bottom, left + side, bottom + side)


def _apart(square: shapely.Geometry, others: list[shapely.Geometry], distance_m: float) -> bool:
    """Whether a square of web mercator is so far from others, metres on the ground, and overlaps none."""
    if not others:
        return True
    left, bottom, right, top = square.bounds
    boxes = shapely.bounds(np.array(others, object))
    across = np.maximum(boxes[:, 0] - right, left - boxes[:, 2])
    along = np.maximum(boxes[:, 1] - top, bottom - boxes[:, 3])
    gap_m = np.hypot(np.maximum(across, 0), np.maximum(along, 0)) / ground_scale((bottom + top) / 2)
    touching = np.maximum(across, along) >= -1e-6 * (right - left)
    return bool((touching & (gap_m >= distance_m - 1e-9)).all())


def _dealt(count: int, shares: tuple[float, ...], rng: np.random.Generator) -> list[str]:
    ends = [0, *np.round(np.cumsum(shares) * count).astype(int)]
    splits = [Split.TODO.value] * count
    for split, start, stop in zip((Split.TRAIN, Split.VALIDATION, Split.TEST), ends, ends[1:]):
        splits[start:stop] = [split.value] * (stop - start)
    return [splits[index] for index in rng.permutation(count)]
