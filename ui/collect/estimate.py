"""How many tiles a collection takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)

from ...protocol import Sampled
from ..layers.pixels import WEB_MERCATOR, WORLD

TILE_PX = 256
EQUATOR_M = 2 * math.pi * 6378137.0
"""Length of the equator in Web Mercator."""


def gsd_of(level: int, latitude: float) -> float:
    """True metres per pixel of a zoom level of 256-pixel tiles in Web Mercator, at a latitude in degrees."""
    return float(EQUATOR_M * math.cos(math.radians(latitude)) / (TILE_PX * 2**level))


def latitude_of(box: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> float:
    """The latitude of the middle of a box, in degrees; 0 where it has none."""
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    try:
        middle = QgsCoordinateTransform(crs, degrees, QgsProject.instance()).transform(QgsPointXY(box.center()))
    except QgsCsException:
        return 0.0
    return min(max(float(middle.y()), -85.0), 85.0)


def in_metres(sample: Sampled, levels: Sequence[int], latitude: float) -> Sampled:
    """The same places with their size on the ground, where it is given in pixels of the coarsest of these levels."""
    if sample.size_m or not levels:
        return sample
    return replace(sample, size_m=sample.size_px * gsd_of(min(levels), latitude))


def tiles_of_areas(shapes: Iterable[QgsGeometry], crs: QgsCoordinateReferenceSystem, levels: Sequence[int]) -> int:
    """Number of tiles that the bounding boxes of areas touch, on all levels; 0 where Web Mercator has no place."""
    transform = QgsCoordinateTransform(crs, QgsCoordinateReferenceSystem(WEB_MERCATOR), QgsProject.instance())
    try:
        boxes = [transform.transformBoundingBox(shape.boundingBox()) for shape in shapes]
    except QgsCsException:
        return 0
    return sum(_touched(box, 2 * WORLD / 2**level) for box in boxes for level in levels)


def tiles_of_places(count: int, side_px: float, levels: Sequence[int]) -> int:
    """Mean number of tiles of so many square places, whose side is given in pixels of the coarsest level."""
    sides = (side_px * 2.0 ** (level - min(levels)) / TILE_PX + 1 for level in levels)
    return round(count * sum(side * side for side in sides))


def _touched(box: QgsRectangle, side: float) -> int:
    across = math.floor(box.xMaximum() / side) - math.floor(box.xMinimum() / side) + 1
    down = math.floor(box.yMaximum() / side) - math.floor(box.yMinimum() / side) + 1
    return across * down
