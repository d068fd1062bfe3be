"""Squared outlines: all at once as one by one, and areas in common as GEOS has them."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from orthomask.engine.shapes import outlines
from orthomask.engine.shapes.contours import outlines as pixel_outlines


def blobs(seed: int) -> np.ndarray:
    """Ragged objects, some with holes."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).random((80, 80)), 2)
    return pixel_outlines(ndimage.label(rough > np.quantile(rough, 0.6))[0])[0]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 100_000))
def test_neighbours_do_not_matter(seed: int) -> None:
    polygons = blobs(seed)
    drawn, is_squared = outlines.squared(polygons)
    for polygon, outline, square in zip(polygons, drawn, is_squared):
        (alone,), (alone_square,) = outlines.squared(np.array([polygon], object))
        assert alone_square == square
        assert shapely.equals_exact(alone, outline, 1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000))
def test_areas_within_rectangles_are_those_of_intersections(seed: int) -> None:
    random, polygons = np.random.default_rng(seed), blobs(seed)
    frames = shapely.get_coordinates(shapely.oriented_envelope(polygons)).reshape(-1, 5, 2)
    middle = frames[:, :4].mean(axis=1, keepdims=True)
    size, shift = random.uniform(0.3, 1.2, (len(frames), 1, 1)), random.normal(0, 2, (len(frames), 1, 2))
    rectangles = shapely.polygons(middle + (frames - middle) * size + shift * random.integers(0, 2))
    expected = shapely.area(shapely.intersection(rectangles, polygons))
    assert outlines._area_within(rectangles, polygons) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([1, 5]))
def test_groups_apart_are_simplified_as_if_together(seed: int, grouped: int) -> None:
    """Of three classes, so that some touch and others do not."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).random((3, 90, 90)), (0, 2, 2))
    classes = np.where(rough.max(axis=0) > np.quantile(rough, 0.8), rough.argmax(axis=0) + 1, 0)
    fields = np.concatenate([pixel_outlines(ndimage.label(classes == value)[0])[0] for value in (1, 2, 3)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlines, "GROUPED", grouped)
        found = outlines.share_borders(fields)
    expected = shapely.coverage_simplify(shapely.segmentize(fields, 1.0), tolerance=2.0)
    assert shapely.equals_exact(found, expected).all()
