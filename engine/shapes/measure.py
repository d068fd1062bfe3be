"""Area and perimeter on the ellipsoid, of all polygons at once."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely

from ..images.georeference import angle_unit, degrees, ellipsoid

STEP_M = 50.0
"""How far around a place the scale of a CRS is measured."""


def measured(polygons: np.ndarray, crs: pyproj.CRS) -> tuple[np.ndarray, np.ndarray]:
    """Areas in m², and lengths of the outer rings in m, on the ellipsoid of the CRS.

    Edges are straight in the CRS. An area is the planar one times the scale of the CRS at its centroid: for polygons
    of less than 10 km, accurate to a few millionths.

    Args:
        polygons: `(N,)`, in the CRS.
    """
    corners, polygon = shapely.get_coordinates(shapely.get_exterior_ring(polygons), return_index=True)
    length = np.hypot(*_steps(_radians(corners, crs), crs)) * (np.diff(polygon, append=-1) == 0)
    areas = shapely.area(polygons) * _scales(shapely.get_coordinates(shapely.centroid(polygons)), crs)
    return areas, np.bincount(polygon, length, len(polygons)).astype(float)


def _scales(places: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Square metres on the ellipsoid per square unit of the CRS at places `(N, 2)`."""
    half = STEP_M / (angle_unit(crs, ellipsoid(crs)[1].a) if crs.is_geographic else 1.0)
    around = [_radians(places + step, crs) for step in ((-half, 0), (half, 0), (0, -half), (0, half))]
    pairs = (np.stack(pair, axis=2).reshape(2, -1) for pair in (around[:2], around[2:]))
    (x_east, x_north), (y_east, y_north) = (_steps(pair, crs)[:, ::2] for pair in pairs)
    scales: np.ndarray = np.abs(x_east * y_north - x_north * y_east) / (2 * half) ** 2
    return scales


def _radians(places: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Longitudes and latitudes `(2, N)` of places `(N, 2)`."""
    return np.asarray(np.radians(degrees(places, crs)))


def _steps(places: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Metres to the east and to the north `(2, N)` from each place `(2, N)` to the next; the last is meaningless.

    By the radii of curvature at their middle latitude (Snyder 1987, Map Projections, equations 4-18 and 4-20).
    """
    _, geod = ellipsoid(crs)
    east, north = np.diff(places, append=0)
    east = east - 2 * np.pi * np.round(east / (2 * np.pi))  # across the antimeridian
    middle = places[1] + north / 2
    flat = 1 - geod.es * np.sin(middle) ** 2
    return np.stack([geod.a / np.sqrt(flat) * np.cos(middle) * east, geod.a * (1 - geod.es) / flat**1.5 * north])
