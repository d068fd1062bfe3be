"""Outlines that a person would draw: right angles for buildings, shared borders for fields. Units are pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise

import numpy as np
import shapely
from shapely import Geometry, LinearRing, Polygon

THREADS = os.cpu_count() or 1
"""shapely lets others work while it computes on arrays."""
STAIRCASE_PX = 1.0
"""A slanted edge drawn on pixels strays this far from the straight line; what is smaller is no shape."""
SNAP_PX = 2.0
"""Parallel walls closer than this become one wall."""
SQUARE_IOU = 0.8
"""A squared outline that overlaps the pixels' by less is not used."""
ALIGNED_SHARE = 0.7
"""Share of the outline, by length, that must run within 20 degrees of the two axes; else it has other directions."""
RECTANGLE_IOU = 0.9
"""A building that its smallest rectangle fits this well is that rectangle."""


def squared(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons `(N,)` with right angles along their main directions, and which are so: not where that would hurt.

    The main direction is that of the edges' lengths, averaged modulo 90 degrees; edges are then moved onto the two axes
    and neighbouring edges on one axis merged. The result must overlap the original well (IoU), be valid and have
    as many holes. The others are only rid of the staircase of their pixels (Douglas and Peucker 1973).
    """
    result = _in_threads(_simplified, polygons)
    rectangles = _in_threads(shapely.oriented_envelope, result)
    is_rectangle = shapely.get_num_interior_rings(polygons) == 0
    is_rectangle[is_rectangle] = _overlap(rectangles[is_rectangle], polygons[is_rectangle], RECTANGLE_IOU)
    angle, aligned = _directions(shapely.get_exterior_ring(result))
    others = np.flatnonzero(~is_rectangle & (aligned >= ALIGNED_SHARE))
    turned = [_right_angled(result[index], angle[index]) for index in others]
    drawn = others[[polygon is not None and polygon.is_valid for polygon in turned]]
    candidates = np.array([polygon for polygon in turned if polygon is not None and polygon.is_valid], object)
    good = _overlap(candidates, polygons[drawn], SQUARE_IOU)
    result[drawn[good]] = candidates[good]
    result[is_rectangle] = rectangles[is_rectangle]
    is_squared = is_rectangle.copy()
    is_squared[drawn[good]] = True
    return result, is_squared


def share_borders(polygons: Sequence[Geometry]) -> np.ndarray:
    """Simplify polygons that touch, so that neighbours keep one common border (Visvalingam and Whyatt 1993).

    The edges run along pixels; cut at every pixel corner they match their neighbours' vertex by vertex.
    """
    cut = shapely.segmentize(np.asarray(polygons, object), 1.0)
    return np.asarray(shapely.coverage_simplify(cut, tolerance=2 * STAIRCASE_PX))


def _in_threads(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """What a function of arrays gives for each of their elements, on all cores."""
    with ThreadPoolExecutor(THREADS) as executor:
        return np.concatenate(list(executor.map(function, *(np.array_split(array, THREADS) for array in arrays))))


def _simplified(polygons: np.ndarray) -> np.ndarray:
    simple: np.ndarray = shapely.simplify(polygons, STAIRCASE_PX, preserve_topology=True)
    is_lost = (shapely.get_type_id(simple) != shapely.GeometryType.POLYGON) | shapely.is_empty(simple)
    simple[is_lost] = polygons[is_lost]
    return simple


def _overlap(some: np.ndarray, others: np.ndarray, least: float) -> np.ndarray:
    """Which pairs of polygons have an IoU of at least so much; it is never more than the ratio of their areas."""
    areas = np.stack([shapely.area(some), shapely.area(others)])
    enough: np.ndarray = areas.min(axis=0) >= least * areas.max(axis=0)
    common = shapely.area(_in_threads(shapely.intersection, some[enough], others[enough]))
    enough[enough] = common >= least * (areas[:, enough].sum(axis=0) - common)
    return enough


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


def _right_angled(polygon: Polygon, angle: float) -> Polygon | None:
    """The polygon with every edge on one of two perpendicular axes; None if fewer than four edges of a ring remain."""
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    rings = [_right_angled_ring(ring, rotation) for ring in (polygon.exterior, *polygon.interiors)]
    return None if any(ring is None for ring in rings) else Polygon(rings[0], rings[1:])


def _right_angled_ring(ring: LinearRing, rotation: np.ndarray) -> np.ndarray | None:
    walls = _walls((shapely.get_coordinates(ring) @ rotation).tolist())
    if len(walls) < 4:
        return None
    corners = [_corner(wall, following) for wall, following in zip(walls, walls[1:] + walls[:1])]
    turned: np.ndarray = np.array(corners) @ rotation.T
    return turned


def _walls(points: list[list[float]]) -> list[tuple[int, float]]:
    """Alternating walls as (axis, position): axis 0 has constant x, axis 1 constant y."""
    edges = []
    for (x, y), (next_x, next_y) in pairwise(points):
        across, down = abs(next_x - x), abs(next_y - y)
        edges.append((1, across, (y + next_y) / 2) if across > down else (0, down, (x + next_x) / 2))
    first = next((index for index, edge in enumerate(edges) if edge[0] != edges[index - 1][0]), len(edges))
    if first == len(edges):
        return []
    walls, lengths = [], []
    for axis, run in groupby(edges[first:] + edges[:first], key=lambda edge: edge[0]):
        parts = list(run)
        lengths.append(sum(length for _, length, _ in parts))
        walls.append((axis, sum(length * position for _, length, position in parts) / lengths[-1]))
    return _without_jogs(walls, lengths)


def _without_jogs(walls: list[tuple[int, float]], lengths: list[float]) -> list[tuple[int, float]]:
    """Merge parallel walls that a short step separates, the shortest step first."""
    while len(walls) > 4:
        gaps = [abs(walls[i - 1][1] - walls[(i + 1) % len(walls)][1]) for i in range(len(walls))]
        step = int(np.argmin(gaps))
        if gaps[step] >= SNAP_PX:
            break
        before, after = (step - 1) % len(walls), (step + 1) % len(walls)
        weight = lengths[before] + lengths[after]
        position = (walls[before][1] * lengths[before] + walls[after][1] * lengths[after]) / weight
        walls[before], lengths[before] = (walls[before][0], position), weight
        drop = {step, after}
        walls = [wall for i, wall in enumerate(walls) if i not in drop]
        lengths = [length for i, length in enumerate(lengths) if i not in drop]
    return walls


def _corner(wall: tuple[int, float], following: tuple[int, float]) -> tuple[float, float]:
    return (wall[1], following[1]) if wall[0] == 0 else (following[1], wall[1])
