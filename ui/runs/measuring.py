"""Area and perimeter on the ellipsoid as QGIS expressions that give what `engine/shapes/measure.py` gives.

`$area` and `$perimeter` would follow the ellipsoid and the units of whichever project the layer is in.
"""

from __future__ import annotations

import math

from qgis.core import QgsCoordinateReferenceSystem, QgsEllipsoidUtils, QgsExpression, QgsRectangle

from ..layers.ground import ground_units

STEP_M = 50.0
"""How far around a polygon's centroid the scale of the CRS is measured."""
DEGREE_M = 111_320.0
DEGREES = "EPSG:4326"
AROUND = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def measures(crs: QgsCoordinateReferenceSystem, extent: QgsRectangle) -> tuple[str, str]:
    """Expressions for the area in m² and the length of the outer ring in m of a feature.

    Args:
        extent: of the layer. Where QGIS can name no geographic CRS, the scale in its middle serves for all of it.
    """
    scales = _scales(crs) or _constant_scales(crs, extent)
    east_x, east_y, north_x, north_y = (f"@scales[{index}]" for index in range(4))
    moved = f"make_point({east_x} * x(@p) + {east_y} * y(@p), {north_x} * x(@p) + {north_y} * y(@p))"
    points = (
        "array_foreach(generate_series(1, num_points(exterior_ring($geometry))), "
        f"with_variable('p', point_n(exterior_ring($geometry), @element), {moved}))"
    )
    area = f"area($geometry) * abs({east_x} * {north_y} - {east_y} * {north_x})"
    return _with(scales, f"round({area}, 2)"), _with(scales, f"round(length(make_line({points})), 2)")


def _scales(crs: QgsCoordinateReferenceSystem) -> dict[str, str]:
    """Metres to the east for a step in x and in y at a feature's centroid, and the same to the north; empty if unknown.

    By the radii of curvature at its latitude (Snyder 1987, Map Projections, equations 4-18 and 4-20).

    Returns:
        The variable `scales`, after those that it needs: few, as the time to parse them doubles with each.
    """
    geographic = QgsCoordinateReferenceSystem(crs.geographicCrsAuthId())
    ellipsoid = QgsEllipsoidUtils.ellipsoidParameters(crs.ellipsoidAcronym())
    in_degrees = geographic.mapUnits() == QgsCoordinateReferenceSystem(DEGREES).mapUnits()
    if not (crs.authid() and ellipsoid.valid and geographic.isGeographic() and in_degrees):
        return {}
    source, target = (QgsExpression.quotedString(one.authid()) for one in (crs, geographic))
    half = STEP_M / (DEGREE_M if crs.isGeographic() else 1.0)
    places = (f"make_point(x(@c) + {x * half!r}, y(@c) + {y * half!r})" for x, y in AROUND)
    flattening = 1 - (ellipsoid.semiMinor / ellipsoid.semiMajor) ** 2
    sharpness = f"(1 - {flattening!r} * sin(radians(y(@around[0]))) ^ 2)"
    east = f"{ellipsoid.semiMajor!r} / sqrt({sharpness}) * cos(radians(y(@around[0])))"
    north = f"{ellipsoid.semiMajor * (1 - flattening)!r} / {sharpness} ^ 1.5"
    steps = [  # the longitude's across the antimeridian, too
        f"{radius} * radians({step.format(*pair)}) / {2 * half!r}"
        for radius, step in ((east, "(x({0}) - x({1}) + 540) % 360 - 180"), (north, "y({0}) - y({1})"))
        for pair in (("@around[1]", "@around[2]"), ("@around[3]", "@around[4]"))
    ]
    return {
        "c": "centroid($geometry)",
        "around": f"array({', '.join(f'transform({place}, {source}, {target})' for place in places)})",
        "scales": f"array({', '.join(steps)})",
    }


def _constant_scales(crs: QgsCoordinateReferenceSystem, extent: QgsRectangle) -> dict[str, str]:
    """The same in the middle of an extent; NULL, and so the measures, if that cannot be said: of no layer, no CRS."""
    scales = (math.nan, math.nan) if extent.isEmpty() else ground_units(crs, extent)
    east, north = (repr(scale) if math.isfinite(scale) else "NULL" for scale in scales)
    return {"scales": f"array({east}, 0, 0, {north})"}


def _with(variables: dict[str, str], expression: str) -> str:
    """An expression in which variables are set, the later ones from the earlier ones."""
    for name, value in reversed(variables.items()):
        expression = f"with_variable('{name}', {value}, {expression})"
    return expression
