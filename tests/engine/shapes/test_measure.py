"""Areas and lengths on the ellipsoid, against geodesics (Karney 2013) of edges cut into short pieces."""

import numpy as np
import pyproj
import pytest
import shapely

from orthomask.engine.shapes.measure import measured

PLACES = {
    32645: (330_000, 3_060_000),
    3857: (9_520_461, 3_202_482),
    4326: (85.5, 27.6),
    4807: (2.5, 54.0),  # in grads, from Paris
    2056: (2_600_000, 1_200_000),
    3031: (1_000_000, 1_000_000),
}


@pytest.mark.parametrize("code", PLACES)
def test_they_are_those_of_geodesics(code):
    crs, rng = pyproj.CRS.from_epsg(code), np.random.default_rng(code)
    unit = 1e-5 if crs.is_geographic else 1.0
    polygons = np.array([irregular(rng, PLACES[code], unit) for _ in range(40)], object)
    areas, lengths = measured(polygons, crs)
    expected = [geodesic(polygon, crs, 50 * unit) for polygon in polygons]
    assert areas == pytest.approx([area for area, _ in expected], rel=2e-5)
    assert lengths == pytest.approx([length for _, length in expected], rel=1e-6)


def test_across_the_antimeridian():
    crs = pyproj.CRS.from_epsg(32760)
    polygon = shapely.box(812_000, 8_000_000, 824_000, 8_010_000)  # from 179.95 east to 179.94 west
    areas, lengths = measured(np.array([polygon], object), crs)
    area, length = geodesic(polygon, crs, 50)
    assert (areas[0], lengths[0]) == (pytest.approx(area, rel=1e-5), pytest.approx(length, rel=1e-6))


def test_nothing_has_no_measures():
    areas, lengths = measured(np.array([], object), pyproj.CRS.from_epsg(32645))
    assert (areas.shape, lengths.shape, lengths.dtype) == ((0,), (0,), float)


def irregular(rng, place, unit):
    """A star of up to 4 km across with a hole, somewhere within 30 km."""
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    radii = rng.uniform(5, 2000) * unit * rng.uniform(0.5, 1, 8)
    center = np.array(place) + rng.uniform(-30_000, 30_000, 2) * unit
    star = center + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    hole = center + (star - center) * 0.4
    return shapely.Polygon(star, [hole])


def geodesic(polygon, crs, piece):
    transformer = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    degrees = np.degrees(crs.geodetic_crs.axis_info[0].unit_conversion_factor)
    dense = shapely.segmentize(shapely.orient_polygons(polygon), piece)
    turned = shapely.transform(dense, lambda xy: np.column_stack(transformer.transform(*xy.T)) * degrees)
    area, length = crs.get_geod().geometry_area_perimeter(turned)
    return abs(area), length
