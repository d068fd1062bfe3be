"""Chips: image and mask move together, and only where they should."""

import numpy as np
import pytest

from orthomask.training.augment import augment, placement, recolour, warp
from orthomask.training.recipe import Augmentation
from orthomask.training.scenes import UNKNOWN, Tile, make_scene

STILL = Augmentation(
    scale=(1.0, 1.0),
    rotate=False,
    brightness=0,
    contrast=(1.0, 1.0),
    gamma=(1.0, 1.0),
    saturation=(1.0, 1.0),
    colour=0,
    blur=0,
    noise=0,
    shade=0,
    blank=0,
)


def scene_of(pixels, mask, gsd_m=0.3):
    return make_scene(Tile("scene", pixels, mask), gsd_m)


@pytest.fixture
def noise():
    random = np.random.default_rng(7)
    return scene_of(random.integers(0, 256, (3, 64, 64), np.uint8), random.integers(0, 2, (64, 64)).astype(np.uint8))


def test_identity_gives_the_very_same_pixels(noise):
    pixels, mask = warp(noise, placement(np.array([32.0, 32.0]), 1.0, 0.0, 1.0, 64), 64)
    np.testing.assert_array_equal(pixels[:3], noise.levels[0][:3])
    np.testing.assert_array_equal(mask, noise.mask)
    assert (pixels[3] == 255).all()


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_flips_and_right_angles_are_exact(noise, quarters, flip):
    pixels, mask = warp(noise, placement(np.array([32.0, 32.0]), 1.0, quarters * np.pi / 2, flip, 64), 64)
    expected = np.concatenate([noise.levels[0], noise.mask[None]])
    expected = np.rot90(expected, quarters, axes=(1, 2))
    expected = expected[..., ::-1] if flip < 0 else expected
    np.testing.assert_array_equal(pixels, expected[:4])
    np.testing.assert_array_equal(mask, expected[4])


def test_outside_of_the_scene_is_unknown_and_not_image(noise):
    pixels, mask = warp(noise, placement(np.array([0.0, 32.0]), 1.0, 0.0, 1.0, 64), 64)
    assert (mask[:, :32] == UNKNOWN).all()
    assert (pixels[:, :, :31] == 0).all()
    np.testing.assert_array_equal(mask[:, 32:], noise.mask[:, :32])


@pytest.mark.parametrize("gsd_m", [0.075, 0.15, 0.3, 0.6])
def test_image_and_mask_stay_together_at_any_scale_and_angle(gsd_m):
    """A bright disc is the class: after any warp the bright pixels are the class, but for its rim."""
    rows, columns = np.mgrid[:400, :400]
    disc = ((rows - 190) ** 2 + (columns - 230) ** 2 < 120**2).astype(np.uint8)
    scene = scene_of(np.repeat(disc[None] * 200, 3, axis=0), disc, gsd_m)
    options = Augmentation(**{**vars(STILL), "scale": (0.5, 2.0), "rotate": True})
    for seed in range(8):
        pixels, mask = augment(scene, 0.3, 96, options, np.random.default_rng(seed))
        known = mask != UNKNOWN
        differs = ((pixels[0] > 100) != (mask == 1)) & known
        assert differs.sum() <= 0.02 * known.sum()
        assert known.sum() > 0


def test_shrinking_does_not_alias():
    """A chessboard of single pixels, shrunk four times, is grey."""
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    scene = scene_of(np.repeat(board[None], 3, axis=0), board // 255)
    pixels, _ = warp(scene, placement(np.array([128.0, 128.0]), 4.0, 0.3, 1.0, 32), 32)
    assert np.abs(pixels[:3] - 128).max() <= 2


def test_colours_stay_in_range_and_can_stay_as_they_are(noise):
    pixels = noise.levels[0][:3].astype(np.float32)
    same = recolour(pixels, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(same, pixels, atol=0.01)
    changed = recolour(pixels, Augmentation(), np.random.default_rng(0))
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert np.abs(changed - pixels).mean() > 1


def test_blank_blocks_are_background(noise):
    scene = scene_of(np.full((3, 64, 64), 100, np.uint8), np.ones((64, 64), np.uint8))
    pixels, mask = augment(scene, 0.3, 64, Augmentation(**{**vars(STILL), "blank": 1.0}), np.random.default_rng(3))
    assert 0 < (mask == 0).sum() < mask.size
    blank = np.isin(pixels[0], [0, 255])
    np.testing.assert_array_equal(mask == 0, blank)
    assert (pixels[3] == 255).all()
