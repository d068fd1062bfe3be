"""Right angles for a polygon that exists already, by the rules for those of a run."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from affine import Affine

from ...protocol import ErrorCode, OrthomaskError, SquareRequest, SquareResult
from ...protocol.words import tr
from ..images import georeference as geo
from ..images import regions
from ..progress import Progress
from ..shapes import outlines


def run(request: SquareRequest, progress: Progress) -> SquareResult:
    """Give a polygon right angles where that fits; otherwise return it unchanged.

    Raises:
        OrthomaskError: it is no polygon, or its CRS is not known.
    """
    progress.report(0)
    try:
        drawn = shapely.force_2d(shapely.from_wkt(request.wkt))
        crs = pyproj.CRS.from_user_input(request.crs)
    except (shapely.errors.ShapelyError, pyproj.exceptions.CRSError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The polygon, or its coordinate reference system, cannot be read."),
            tr("Choose a polygon of a layer with a CRS."),
            str(error),
        ) from error
    parts = shapely.get_parts(drawn)
    if not len(parts) or (shapely.get_dimensions(parts) != 2).any() or not shapely.is_valid(parts).all():
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("This is not a valid polygon."),
            tr("Repair it first (in QGIS: Vector geometry ‣ Fix geometries)."),
        )
    middle = shapely.get_coordinates(drawn).mean(axis=0)
    flat = geo.utm(crs, (middle[0], middle[1])) if geo.is_stretched(crs, (middle[0], middle[1])) else crs
    unit = 1.0 if flat != crs else float(np.mean(np.hypot(*geo.ground(flat, Affine.identity(), *middle))))
    placed = parts if flat == crs else regions.reprojected(parts, crs, flat)
    left, bottom, _, _ = shapely.total_bounds(placed)
    pixels = Affine.translation(left, bottom) @ Affine.scale(request.gsd_m / unit)
    squared, is_squared = outlines.squared(regions.transformed(placed, ~pixels))
    if not is_squared.all():
        return SquareResult(request.wkt, False)
    back = regions.transformed(squared, pixels)
    result = back if flat == crs else regions.reprojected(back, flat, crs, float(middle[0]))
    whole = result[0] if len(result) == 1 else shapely.multipolygons(result)
    return SquareResult(shapely.to_wkt(whole, rounding_precision=9), True)
