"""Scenes in memory: any pixel type, what is not image, what is held back, how values are distributed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.protocol import UNKNOWN
from orthomask.training.data.scenes import VALID, Source, band_statistics, hold_back, make_scene


def scene_of(mask, pixels=None, valid=None, **more):
    mask = np.asarray(mask, np.uint8)
    pixels = np.ones((1, *mask.shape), np.uint8) if pixels is None else pixels
    return make_scene(pixels, np.ones(mask.shape, bool) if valid is None else valid, mask, 0.3, **more)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64", "int32", "int8"])
def test_values_of_any_type_are_kept_at_every_level(dtype):
    random = np.random.default_rng(1)
    limit = {"uint8": 255, "int8": 127}.get(dtype, 30_000)
    pixels = random.uniform(0, limit, (2, 16, 24)).astype(dtype)
    scene = scene_of(np.zeros((16, 24)), pixels)
    np.testing.assert_allclose(scene.levels[0][:2], pixels, rtol=1e-6)
    quads = pixels.astype(float).reshape(2, 8, 2, 12, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(scene.levels[1][:2], quads, atol=0.51, rtol=1e-6)
    assert all((level[2] == VALID).all() for level in scene.levels)


def test_what_is_no_image_is_not_labelled_and_spreads_to_coarse_pixels():
    valid = np.ones((8, 8), bool)
    valid[0, 0] = False
    scene = scene_of(np.zeros((8, 8)), valid=valid)
    assert scene.mask[0, 0] == UNKNOWN
    assert scene.known_px == 63
    assert (scene.levels[1][-1] == VALID).sum() == 15


@given(count=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_what_is_held_back_is_not_trained_on(count, seed):
    """Every labelled pixel is in exactly one of the two, and both have objects."""
    random = np.random.default_rng(seed)
    masks = [random.choice([0, 1, UNKNOWN], (12, 20), p=[0.5, 0.3, 0.2]) for _ in range(count)]
    source = Source(1.0, tuple(scene_of(mask, place=str(number)) for number, mask in enumerate(masks)))
    kept, held = hold_back([source], random)
    total = np.zeros((count, 12, 20), int)
    for scene in (*(scene for part in kept for scene in part.scenes), *held):
        total[int(scene.place)] += scene.mask != UNKNOWN
    np.testing.assert_array_equal(total, np.array(masks) != UNKNOWN)
    assert any(scene.found.any() for scene in held)
    assert any(scene.found.any() for part in kept for scene in part.scenes)
    assert sum(scene.known_px for scene in held) < sum(scene.known_px for part in kept for scene in part.scenes)


@given(seed=st.integers(0, 1000), dtype=st.sampled_from(["uint8", "uint16", "float32"]))
@settings(max_examples=20, deadline=None)
def test_statistics_are_those_of_the_labelled_pixels(seed, dtype):
    random = np.random.default_rng(seed)
    scale = 0.004 if dtype == "float32" else 1
    pixels = (random.integers(0, 250, (2, 40, 30)) * scale).astype(dtype)
    mask = random.choice([0, 1, UNKNOWN], (40, 30))
    bands = band_statistics(["red", "nir"], [Source(2.0, (scene_of(mask, pixels),))])
    assert [band.name for band in bands] == ["red", "nir"]
    for band, values in zip(bands, pixels[:, mask != UNKNOWN].astype(float)):
        assert band.mean == pytest.approx(values.mean(), rel=1e-4)
        assert band.std == pytest.approx(values.std(), rel=1e-4)
        low, high = np.percentile(values, [2, 98])
        assert band.percentile_2 == pytest.approx(low, abs=2 * scale)
        assert band.percentile_98 == pytest.approx(high, abs=2 * scale)


def test_sources_count_by_weight_not_by_size():
    small, large = (
        Source(weight, (scene_of(np.zeros((side, side)), np.full((1, side, side), value, np.uint8)),))
        for weight, side, value in ((3.0, 4, 100), (1.0, 40, 200))
    )
    (band,) = band_statistics(["grey"], [small, large])
    assert band.mean == pytest.approx(125)
    assert band.std == pytest.approx(np.sqrt(0.75 * 25**2 + 0.25 * 75**2), rel=1e-4)


def test_a_constant_band_has_a_harmless_deviation():
    (band,) = band_statistics(["grey"], [Source(1.0, (scene_of(np.zeros((4, 4))),))])
    assert band.std == 1.0
