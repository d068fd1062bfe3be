"""Sizes on the ground in true metres in any CRS, as `engine/images/raster.py` measures them."""

from __future__ import annotations

import math

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsDistanceArea,
    QgsPointXY,
    QgsRectangle,
)

WGS_84, DEGREES = "EPSG:7030", "EPSG:4326"
PART = 1e-3
"""Of a place: the part measured, in its middle."""


def measuring(crs: QgsCoordinateReferenceSystem, context: QgsCoordinateTransformContext) -> QgsDistanceArea:
    """A calculator on the ellipsoid of a CRS.

    QGIS takes coordinates for degrees on an ellipsoid without a code, and measures continents: WGS 84 serves instead,
    which is right to 0.02% for all but the oldest ellipsoids.
    """
    acronym = crs.ellipsoidAcronym()
    measure = QgsDistanceArea()
    measure.setSourceCrs(crs, context)
    measure.setEllipsoid(WGS_84 if acronym.startswith("PARAMETER:") else acronym)
    return measure


def share_of_globe(
    crs: QgsCoordinateReferenceSystem, box: QgsRectangle, context: QgsCoordinateTransformContext
) -> float:
    """How much of the globe a box covers, 0 to 1; 0 where it cannot be said."""
    try:
        place = QgsCoordinateTransform(crs, QgsCoordinateReferenceSystem(DEGREES), context).transformBoundingBox(box)
    except QgsCsException:
        return 0.0
    south, north = (math.sin(math.radians(min(max(y, -90.0), 90.0))) for y in (place.yMinimum(), place.yMaximum()))
    return float(min(place.width() / 360, 1.0) * (north - south) / 2)


def ground_units(crs: QgsCoordinateReferenceSystem, place: QgsRectangle) -> tuple[float, float]:
    """True metres per CRS unit, to the east and to the north, in the middle of a place.

    In Web Mercator that is the cosine of the latitude, not 1.
    """
    measure = measuring(crs, QgsCoordinateTransformContext())
    x, y, side = place.center().x(), place.center().y(), max(place.width(), place.height()) * PART
    half = side / 2
    east = measure.measureLine(QgsPointXY(x - half, y), QgsPointXY(x + half, y))
    north = measure.measureLine(QgsPointXY(x, y - half), QgsPointXY(x, y + half))
    return float(east / side), float(north / side)


def metres_per_unit(crs: QgsCoordinateReferenceSystem, place: QgsRectangle) -> float:
    """True metres per CRS unit in the middle of a place: the geometric mean of east and north, true to area."""
    return math.sqrt(math.prod(ground_units(crs, place)))
