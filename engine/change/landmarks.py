"""Shifts between the objects of two dates, measured from one object to the same one later."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from scipy.spatial import cKDTree

from ..progress import Progress
from . import field
from .field import Measured

MOST = 20_000
"""Objects of the earlier date looked at, drawn at random from more."""
VOTERS = 300
"""As many of them vote for the first move."""
ALIKE = 1.5
"""Areas of the same object differ by at most this factor."""
TOLERANCE = 0.12
"""Centroids agree within this share of a usual object's size, at least `LEAST_M` metres."""
LEAST_M = 0.75
EXACT_M = 0.01
"""Outlines are no more exact."""
NEAR = (3.0, 3.0, 2.0)
"""Objects are matched again, after the field they gave, within so many tolerances."""
TOGETHER = 8
"""Objects in a place at least, where that leaves `FEW` places; their median is its shift."""
FEW, PLACES = 24, 256
"""Places at least, and at most."""


def pair(before: np.ndarray, after: np.ndarray, reach_m: float, progress: Progress) -> tuple[Measured | None, int]:
    """Shifts of places where objects stayed, up to `reach_m`, and how many objects were looked at.

    First, pairs of like area within reach vote for one move of the plane. Then each object is matched to its nearest
    one, if it is the nearest of that, too, and like in area; and so again after the field of these (iterative closest
    points, Besl and McKay 1992, trimmed). Objects that lie together form a place whose shift is their median, so that
    the noise of outlines and objects that changed hardly count.

    Args:
        before, after: polygons in a metric CRS.
    """
    first, second = _objects(before), _objects(after)
    if min(len(first.xy), len(second.xy)) < 3:
        return None, 0
    drawn = first.drawn(MOST)
    tried = len(drawn.xy)
    usual = float(np.sqrt(np.median(drawn.area)))
    tolerance_m = min(max(LEAST_M, TOLERANCE * usual), reach_m / 6)
    candidates = _candidates(drawn.drawn(VOTERS), second, reach_m)
    agreed = field.agreement(candidates, reach_m, tolerance_m)
    progress.report(0.4)
    if agreed is None:
        return None, tried
    places = Measured(*(part[agreed] for part in candidates))
    for near in NEAR:
        found = field.fit(places.xy, places.shift, EXACT_M).field
        xy, shift = _matched(drawn, second, found, near * tolerance_m)
        if len(xy) < 3:
            return None, tried
        places = _places(xy, shift, found)
        progress.report(0.5)
    return places, tried


class _Objects(NamedTuple):
    """Centroids `(N, 2)` and areas `(N,)` of polygons."""

    xy: np.ndarray
    area: np.ndarray

    def drawn(self, most: int) -> _Objects:
        """At most so many of them, at random."""
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.xy))[:most])
        return _Objects(self.xy[chosen], self.area[chosen])


def _objects(polygons: np.ndarray) -> _Objects:
    """Those that have an area."""
    area = shapely.area(polygons)
    return _Objects(shapely.get_coordinates(shapely.centroid(polygons[area > 0])), area[area > 0])


def _is_alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(np.log(first / second)) <= np.log(ALIKE))


def _candidates(first: _Objects, second: _Objects, reach_m: float) -> Measured:
    """All pairs of like objects within reach."""
    near = cKDTree(second.xy).query_ball_point(first.xy, reach_m)
    group = np.repeat(np.arange(len(first.xy)), [len(found) for found in near])
    other = np.concatenate([np.asarray(found, int) for found in near])
    alike = _is_alike(first.area[group], second.area[other])
    group, other = group[alike], other[alike]
    return Measured(first.xy[group], second.xy[other] - first.xy[group], group)


def _matched(first: _Objects, second: _Objects, found: field.Field, near_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Places and shifts `(N, 2)` of objects that are each other's nearest after a field has moved the earlier ones."""
    moved = first.xy + found.at(first.xy)
    off, there = cKDTree(second.xy).query(moved, distance_upper_bound=near_m)
    index = np.flatnonzero(np.isfinite(off))
    _, back = cKDTree(moved).query(second.xy[there[index]])
    mutual = (back == index) & _is_alike(first.area[index], second.area[there[index]])
    index = index[mutual]
    return first.xy[index], second.xy[there[index]] - first.xy[index]


def _places(xy: np.ndarray, shift: np.ndarray, found: field.Field) -> Measured:
    """Medians of objects that lie together, beyond the field: halves of halves, along the longer side."""
    parts = [np.arange(len(xy))]
    smallest = max(1.0, min(TOGETHER, len(xy) / FEW), len(xy) / PLACES)
    while min(map(len, parts)) >= 2 * smallest:
        parts = [half for part in parts for half in _halves(xy, part)]
    rest = shift - found.at(xy)
    middle = np.array([xy[part].mean(axis=0) for part in parts])
    medians = np.array([np.median(rest[part], axis=0) for part in parts])
    return Measured(middle, found.at(middle) + medians, np.arange(len(parts)))


def _halves(xy: np.ndarray, part: np.ndarray) -> list[np.ndarray]:
    axis = np.ptp(xy[part], axis=0).argmax()
    return np.array_split(part[np.argsort(xy[part, axis], kind="stable")], 2)
