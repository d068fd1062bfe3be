"""Outlines along pixels' edges, against GDAL's."""

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from orthomask.engine.shapes.contours import in_order, outlines

PICTURES = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
"""The hole touches what is outside at a corner."""


@given(PICTURES)
@example(RING)
@example(np.zeros((3, 3), bool))
@example(np.ones((1, 1), bool))
def test_they_are_those_of_gdal(picture):
    labels = ndimage.label(picture)[0].astype(np.int32)
    polygons, found = outlines(labels, (7, 5))
    transform = rasterio.Affine.translation(7, 5)
    shapes = rasterio.features.shapes(labels, labels > 0, 4, transform)
    expected = {int(label): shapely.geometry.shape(geometry) for geometry, label in shapes}
    assert found.tolist() == sorted(expected)
    assert shapely.is_valid(polygons).all()
    assert shapely.equals_exact(polygons, in_order(polygons)).all()
    for label, polygon in zip(found.tolist(), polygons):
        assert polygon.normalize().equals(expected[label].normalize())


def test_long_rings_and_many_holes():
    rng = np.random.default_rng(1)
    labels = ndimage.label(ndimage.gaussian_filter(rng.random((700, 500)), 2) > 0.5)[0].astype(np.int32)
    polygons, _ = outlines(labels)
    assert shapely.area(polygons).tolist() == np.bincount(labels.ravel())[1:].tolist()
    assert shapely.get_num_interior_rings(polygons).max() > 20
    assert shapely.is_valid(polygons).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_straight_edges_have_no_vertices_between(dtype):
    (polygon,), _ = outlines(np.full((40, 60), 3, dtype))
    assert shapely.get_num_coordinates(polygon) == 5
    assert polygon.bounds == (0, 0, 60, 40)
