"""Sizes on the ground in true metres in any CRS, as `engine/images/raster.py` measures them."""

from __future__ import annotations

import math

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsDistanceArea,
    QgsPointXY,
    QgsRectangle,
)

PART = 1e-3
"""Of a place: the part measured, in its middle."""


def ground_units(crs: QgsCoordinateReferenceSystem, place: QgsRectangle) -> tuple[float, float]:
    """True metres per CRS unit, to the east and to the north, in the middle of a place.

    In Web Mercator that is the cosine of the latitude, not 1.
    """
    measure = QgsDistanceArea()
    measure.setSourceCrs(crs, QgsCoordinateTransformContext())
    measure.setEllipsoid(crs.ellipsoidAcronym())
    x, y, side = place.center().x(), place.center().y(), max(place.width(), place.height()) * PART
    half = side / 2
    east = measure.measureLine(QgsPointXY(x - half, y), QgsPointXY(x + half, y))
    north = measure.measureLine(QgsPointXY(x, y - half), QgsPointXY(x, y + half))
    return float(east / side), float(north / side)


def metres_per_unit(crs: QgsCoordinateReferenceSystem, place: QgsRectangle) -> float:
    """True metres per CRS unit in the middle of a place: the geometric mean of east and north, true to area."""
    return math.sqrt(math.prod(ground_units(crs, place)))
