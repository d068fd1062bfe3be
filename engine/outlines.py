"""Outlines that a person would draw: right angles for buildings, shared borders for fields. Units are pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from shapely import Geometry, LinearRing, Polygon

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


def simplified(polygon: Polygon) -> Polygon:
    """The polygon without the staircase of its pixels (Douglas and Peucker 1973), still valid."""
    simple = polygon.simplify(STAIRCASE_PX, preserve_topology=True)
    return simple if simple.geom_type == "Polygon" and not simple.is_empty else polygon


def squared(polygon: Polygon) -> Polygon | None:
    """The polygon with right angles along its main direction, or None where that would hurt.

    The main direction is that of the edges' lengths, averaged modulo 90 degrees; edges are then moved onto the two axes
    and neighbouring edges on one axis merged. The result must overlap the original well (IoU), be valid and have
    as many holes.
    """
    simple = simplified(polygon)
    rectangle = simple.minimum_rotated_rectangle
    if not polygon.interiors and _iou(rectangle, polygon) >= RECTANGLE_IOU:
        return rectangle
    angle = _main_direction(simple.exterior)
    if _aligned_share(simple.exterior, angle) < ALIGNED_SHARE:
        return None
    rings = [_squared_ring(ring, angle) for ring in (simple.exterior, *simple.interiors)]
    if any(ring is None for ring in rings):
        return None
    result = Polygon(rings[0], rings[1:])
    return result if result.is_valid and _iou(result, polygon) >= SQUARE_IOU else None


def share_borders(polygons: Sequence[Geometry]) -> np.ndarray:
    """Simplify polygons that touch, so that neighbours keep one common border (Visvalingam and Whyatt 1993).

    The edges run along pixels; cut at every pixel corner they match their neighbours' vertex by vertex.
    """
    cut = shapely.segmentize(np.asarray(polygons, object), 1.0)
    return np.asarray(shapely.coverage_simplify(cut, tolerance=2 * STAIRCASE_PX))


def _iou(one: Polygon, other: Polygon) -> float:
    common = one.intersection(other).area
    return float(common / (one.area + other.area - common))


def _main_direction(ring: LinearRing) -> float:
    """Angle in radians, 0 to pi/2, of the edges averaged modulo a right angle, weighted by squared length."""
    dx, dy = np.diff(shapely.get_coordinates(ring), axis=0).T
    angle, weight = 4 * np.arctan2(dy, dx), dx**2 + dy**2
    return math.atan2(float(np.sum(weight * np.sin(angle))), float(np.sum(weight * np.cos(angle)))) / 4


def _aligned_share(ring: LinearRing, angle: float) -> float:
    """Share of the ring's length that runs within 20 degrees of the direction `angle` or across it."""
    dx, dy = np.diff(shapely.get_coordinates(ring), axis=0).T
    off = np.abs((np.arctan2(dy, dx) - angle + math.pi / 4) % (math.pi / 2) - math.pi / 4)
    return float(np.average(off < math.radians(20), weights=np.hypot(dx, dy)))


def _squared_ring(ring: LinearRing, angle: float) -> np.ndarray | None:
    """Vertices of the ring with every edge on one of two perpendicular axes; None if fewer than four edges remain."""
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    points = shapely.get_coordinates(ring) @ rotation
    walls = _walls(points)
    if len(walls) < 4:
        return None
    corners = [_corner(wall, following) for wall, following in zip(walls, walls[1:] + walls[:1])]
    squared_ring: np.ndarray = np.array(corners) @ rotation.T
    return squared_ring


def _walls(points: np.ndarray) -> list[tuple[int, float]]:
    """Alternating walls as (axis, position): axis 0 has constant x, axis 1 constant y."""
    start, end = points[:-1], points[1:]
    step = np.abs(end - start)
    axis = (step[:, 0] > step[:, 1]).astype(int)
    length = step.max(axis=1)
    position = np.where(axis == 0, start[:, 0] + end[:, 0], start[:, 1] + end[:, 1]) / 2
    runs = _runs(axis)
    walls = [(int(axis[run[0]]), float(np.average(position[run], weights=length[run]))) for run in runs]
    return _without_jogs(walls, [float(length[run].sum()) for run in runs])


def _runs(axis: np.ndarray) -> list[list[int]]:
    """Indices of consecutive equal values, around the ring."""
    changes = np.flatnonzero(axis != np.roll(axis, 1))
    if changes.size == 0:
        return []
    order = np.roll(np.arange(axis.size), -changes[0])
    return [part.tolist() for part in np.split(order, changes[1:] - changes[0])]


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
