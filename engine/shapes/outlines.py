"""Outlines that a person would draw: right angles for buildings, shared borders for fields. Units are pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array, csgraph
from shapely import Geometry

THREADS = os.cpu_count() or 1
"""shapely releases the GIL while it computes on arrays."""
STAIRCASE_PX = 1.0
"""A slanted edge drawn on pixels strays this far from the straight line; smaller detail is not shape."""
SNAP_PX = 2.0
"""Parallel walls closer than this become one wall."""
SQUARE_IOU = 0.8
"""A squared outline with a smaller IoU to the pixels' is not used."""
ALIGNED_SHARE = 0.7
"""Share of the outline, by length, that must run within 20 degrees of the two axes; else it has other directions."""
RECTANGLE_IOU = 0.9
"""A building that its smallest rectangle fits this well becomes it."""

GROUPED = 256
"""About this many polygons are simplified together if they do not touch others."""


def squared(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons `(N,)`, squared along their main directions where that fits, and which of them are.

    The main direction is the edges' weighted mean direction modulo 90 degrees; edges are then moved onto the two axes
    and neighbouring edges on one axis merged. The result must overlap the original well (IoU), be valid and have
    as many holes. The others only lose the staircase of their pixels (Douglas and Peucker 1973).
    """
    result = _in_threads(_simplified, polygons)
    rectangles = _in_threads(shapely.oriented_envelope, result)
    is_rectangle = shapely.get_num_interior_rings(polygons) == 0
    is_rectangle[is_rectangle] = _overlap(rectangles[is_rectangle], polygons[is_rectangle], RECTANGLE_IOU)
    angle, aligned = _directions(shapely.get_exterior_ring(result))
    others = np.flatnonzero(~is_rectangle & (aligned >= ALIGNED_SHARE))
    turned, where = _right_angled(result[others], angle[others])
    is_valid = shapely.is_valid(turned)
    turned, drawn = turned[is_valid], others[where[is_valid]]
    good = _overlap(turned, polygons[drawn], SQUARE_IOU)
    result[drawn[good]] = turned[good]
    result[is_rectangle] = rectangles[is_rectangle]
    is_squared = is_rectangle.copy()
    is_squared[drawn[good]] = True
    return result, is_squared


def share_borders(polygons: Sequence[Geometry]) -> np.ndarray:
    """Simplify polygons that touch, so that neighbours keep one common border (Visvalingam and Whyatt 1993).

    The edges run along pixels; split at every pixel corner, they match their neighbours' vertex by vertex. Polygons
    whose boxes are apart cannot touch, before or after: such groups are simplified separately, which is much faster.
    """
    whole = np.array(polygons, object)
    one, other = shapely.STRtree(whole).query(whole)
    graph = coo_array((np.ones(len(one), bool), (one, other)), (len(whole), len(whole)))
    _, group = csgraph.connected_components(graph, directed=False)
    touches = np.bincount(group)[group] > 1
    whole[touches] = shapely.segmentize(whole[touches], 1.0)
    order = np.argsort(group, kind="stable")
    begins = np.searchsorted(group[order], group[order])
    batches = np.split(whole[order], np.flatnonzero(np.diff(begins // GROUPED)) + 1)
    with ThreadPoolExecutor(THREADS) as executor:
        simple = executor.map(partial(shapely.coverage_simplify, tolerance=2 * STAIRCASE_PX), batches)
        whole[order] = np.concatenate(list(simple))
    return whole


def _in_threads(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Apply an elementwise function to arrays, on all cores."""
    with ThreadPoolExecutor(THREADS) as executor:
        return np.concatenate(list(executor.map(function, *(np.array_split(array, THREADS) for array in arrays))))


def _simplified(polygons: np.ndarray) -> np.ndarray:
    """Polygons without their pixels' staircase: ring by ring, or topology-preserving where that would break one."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    simple = shapely.simplify(rings, STAIRCASE_PX, preserve_topology=False)
    is_lost = shapely.get_type_id(simple) != shapely.GeometryType.LINEARRING
    simple[is_lost] = rings[is_lost]
    result: np.ndarray = shapely.polygons(simple, indices=polygon)
    is_broken = ~shapely.is_valid(result)
    is_broken[polygon[is_lost]] = True
    careful = shapely.simplify(polygons[is_broken], STAIRCASE_PX, preserve_topology=True)
    is_whole = (shapely.get_type_id(careful) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(careful)
    result[is_broken] = np.where(is_whole, careful, polygons[is_broken])
    return result


def _overlap(some: np.ndarray, others: np.ndarray, least: float) -> np.ndarray:
    """Which pairs of polygons have an IoU of at least `least`; it never exceeds the ratio of their areas.

    Args:
        some: polygons `(N,)` with right angles, of which those with four corners are rectangles.
    """
    areas = np.stack([shapely.area(some), shapely.area(others)])
    enough: np.ndarray = areas.min(axis=0) >= least * areas.max(axis=0)
    is_box = shapely.get_num_coordinates(some) == 5
    common = np.zeros(len(some))
    boxes, rest = np.flatnonzero(enough & is_box), np.flatnonzero(enough & ~is_box)
    common[boxes] = _area_within(some[boxes], others[boxes])
    common[rest] = shapely.area(_in_threads(shapely.intersection, some[rest], others[rest]))
    enough &= common >= least * (areas.sum(axis=0) - common)
    return enough


def _area_within(rectangles: np.ndarray, polygons: np.ndarray) -> np.ndarray:
    """The area that each polygon shares with its rectangle, much faster than by their intersection.

    The rectangle becomes the unit square. Each edge of the polygon is clipped at the square's sides, and contributes
    the area between it and the base within the square; running backwards, it counts as negative (Green's theorem).
    """
    corners = shapely.get_coordinates(rectangles).reshape(-1, 5, 2)
    sides = corners[:, [1, 3]] - corners[:, :1]
    size = (sides**2).sum(axis=2)
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    places, ring = shapely.get_coordinates(rings, return_index=True)
    which, is_edge = polygon[ring], np.diff(ring) == 0
    along, up = np.einsum("nd,nkd->kn", places - corners[which, 0], (sides / size[..., None])[which])
    run, rise = np.diff(along), np.diff(up)
    ends = np.clip([along[:-1], along[1:]], 0, 1)
    slope = np.divide(rise, run, out=np.zeros_like(run), where=run != 0)
    heights = up[:-1] + (ends - along[:-1]) * slope
    below = np.clip(heights, 0, 1) ** 2 / 2 + np.maximum(heights - 1, 0)  # the integral of the clipped height
    change = heights[1] - heights[0]
    is_steep = np.abs(change) > 1e-6
    flat = np.clip(heights.mean(axis=0), 0, 1)
    height = np.divide(below[1] - below[0], change, out=flat, where=is_steep)
    area = np.bincount(which[:-1][is_edge], ((ends[1] - ends[0]) * height)[is_edge], len(rectangles))
    common: np.ndarray = np.abs(area) * np.sqrt(size.prod(axis=1))
    return common


def _directions(rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The main direction of each ring, and the share of its length that runs within 20 degrees of it or across it.

    Angles are in radians, averaged modulo a right angle, weighted by squared length.
    """
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = np.diff(ring) == 0
    (dx, dy), ring = np.diff(corners, axis=0)[is_edge].T, ring[:-1][is_edge]
    angle, weight = np.arctan2(dy, dx), dx**2 + dy**2
    sine, cosine = (np.bincount(ring, weight * part(4 * angle), len(rings)) for part in (np.sin, np.cos))
    main = np.arctan2(sine, cosine) / 4
    off = np.abs((angle - main[ring] + math.pi / 4) % (math.pi / 2) - math.pi / 4)
    length = np.hypot(dx, dy)
    aligned = np.bincount(ring, length * (off < math.radians(20)), len(rings))
    return main, aligned / np.bincount(ring, length, len(rings))


class _Walls(NamedTuple):
    """Alternating walls of closed rings, ring by ring.

    Attributes:
        axis: 0 for a wall of constant x, 1 for one of constant y.
        position: that x or y.
        length: of the edges it was made of.
        ring: the number of its ring, ascending.
    """

    axis: np.ndarray
    position: np.ndarray
    length: np.ndarray
    ring: np.ndarray

    def where(self, which: np.ndarray) -> _Walls:
        """Some of them."""
        return _Walls(*(column[which] for column in self))


def _right_angled(polygons: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons with every edge on one of two perpendicular axes, and the indices of their originals.

    Those with fewer than four edges left in a ring are omitted.
    """
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    turn = np.exp(1j * angles)[polygon]
    walls = _without_jogs(_walls(corners @ (1, 1j) * turn[ring].conj(), ring))
    is_whole = np.ones(len(polygons), bool)
    is_whole[polygon[np.bincount(walls.ring, minlength=len(rings)) < 4]] = False
    walls = walls.where(is_whole[polygon[walls.ring]])
    following = walls.position[_neighbours(walls.ring)[1]]
    x, y = np.where(walls.axis == 0, (walls.position, following), (following, walls.position))
    placed = (x + 1j * y) * turn[walls.ring]
    left, number = np.unique(walls.ring, return_inverse=True)
    drawn = shapely.linearrings(placed.real, placed.imag, indices=number)
    where, number = np.unique(polygon[left], return_inverse=True)
    return np.asarray(shapely.polygons(drawn, indices=number)), where


def _walls(places: np.ndarray, ring: np.ndarray) -> _Walls:
    """Edges between places `(N,)`, complex, as walls: each on the nearer axis, consecutive ones merged.

    Rings with all edges on one axis have none.
    """
    is_edge = np.diff(ring) == 0
    step, middle, ring = np.diff(places)[is_edge], ((places[1:] + places[:-1]) / 2)[is_edge], ring[:-1][is_edge]
    across, down = np.abs(step.real), np.abs(step.imag)
    axis = (across > down).astype(np.int8)
    length, position = np.maximum(across, down), np.where(axis == 1, middle.imag, middle.real)
    begins = axis != axis[_neighbours(ring)[0]]
    begun, walls = np.cumsum(begins), np.bincount(ring, begins)
    is_early = begun == (np.cumsum(walls) - walls)[ring]  # these belong to the last wall of their ring
    order = np.lexsort((is_early, ring))
    order = order[walls[ring[order]] > 0]
    number, starts = np.cumsum(begins[order]) - 1, order[begins[order]]
    whole = np.bincount(number, length[order])
    return _Walls(axis[starts], np.bincount(number, (length * position)[order]) / whole, whole, ring[starts])


def _without_jogs(walls: _Walls) -> _Walls:
    """Merge parallel walls that a short step separates, the shortest step of each ring first."""
    finished = []
    while True:
        _, position, length, ring = walls
        before, after = _neighbours(ring)
        gap = np.abs(position[before] - position[after])
        gap[np.bincount(ring)[ring] <= 4] = np.inf
        step = np.lexsort((gap, ring))[np.flatnonzero(np.diff(ring, prepend=-1))]
        step = step[gap[step] < SNAP_PX]
        one, other = before[step], after[step]
        weight = length[one] + length[other]
        position[one] = (position[one] * length[one] + position[other] * length[other]) / weight
        length[one] = weight
        is_busy = np.isin(ring, ring[step])
        finished.append(walls.where(~is_busy))
        if not len(step):
            break
        is_busy[step] = is_busy[other] = False
        walls = walls.where(is_busy)
    result = _Walls(*map(np.concatenate, zip(*finished)))
    return result.where(np.argsort(result.ring, kind="stable"))


def _neighbours(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices before and after each element of closed rings, stored ring by ring."""
    before, after = np.arange(len(ring)) - 1, np.arange(len(ring)) + 1
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    last = np.append(first, len(ring))[1:] - 1
    before[first], after[last] = last, first
    return before, after
