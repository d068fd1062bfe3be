"""Chips: image and mask move together, and only where they should."""

import numpy as np
import pytest

from orthomask.engine.models.bundle import BandStatistics
from orthomask.protocol import UNKNOWN, Augmentation
from orthomask.training.data.scenes import make_scene
from orthomask.training.fit.augment import augment, placement, recolour, usual_range, warp

STILL = Augmentation(
    scale=(1.0, 1.0),
    flip=False,
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
BANDS = tuple(BandStatistics(name, 100, 40, 30, 220) for name in ("red", "green", "blue"))
BYTES = usual_range(BANDS, "uint8")


def scene_of(pixels, mask, gsd_m=0.3):
    return make_scene(pixels, np.ones(mask.shape, bool), mask, gsd_m)


@pytest.fixture
def noise():
    random = np.random.default_rng(7)
    return scene_of(random.integers(0, 256, (3, 64, 64), np.uint8), random.integers(0, 2, (64, 64)).astype(np.uint8))


def test_identity_gives_the_very_same_pixels(noise):
    pixels, mask, _ = warp(noise, placement(np.array([32.0, 32.0]), 1.0, 0.0, 1.0, 64), 64)
    np.testing.assert_array_equal(pixels[:3], noise.levels[0][:3])
    np.testing.assert_array_equal(mask, noise.mask)
    assert (pixels[3] == 255).all()


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_flips_and_right_angles_are_exact(noise, quarters, flip):
    pixels, mask, _ = warp(noise, placement(np.array([32.0, 32.0]), 1.0, quarters * np.pi / 2, flip, 64), 64)
    expected = np.concatenate([noise.levels[0], noise.mask[None]])
    expected = np.rot90(expected, quarters, axes=(1, 2))
    expected = expected[..., ::-1] if flip < 0 else expected
    np.testing.assert_array_equal(pixels, expected[:4])
    np.testing.assert_array_equal(mask, expected[4])


def test_outside_of_the_scene_is_unknown_and_not_image(noise):
    pixels, mask, _ = warp(noise, placement(np.array([0.0, 32.0]), 1.0, 0.0, 1.0, 64), 64)
    assert (mask[:, :32] == UNKNOWN).all()
    assert (pixels[:, :, :31] == 0).all()
    np.testing.assert_array_equal(mask[:, 32:], noise.mask[:, :32])


@pytest.mark.parametrize("gsd_m", [0.075, 0.15, 0.3, 0.6])
def test_image_and_mask_stay_together_at_any_scale_and_angle(gsd_m):
    """A bright disc is the class: after any warp the bright pixels are the class, but for its rim."""
    rows, columns = np.mgrid[:400, :400]
    disc = ((rows - 190) ** 2 + (columns - 230) ** 2 < 120**2).astype(np.uint8)
    scene = scene_of(np.repeat(disc[None] * 200, 3, axis=0), disc, gsd_m)
    options = Augmentation(**{**vars(STILL), "scale": (0.5, 2.0), "rotate": True, "flip": True})
    for seed in range(8):
        pixels, mask, _ = augment(scene, 0.3, 96, options, BYTES, np.random.default_rng(seed))
        known = mask != UNKNOWN
        differs = ((pixels[0] > 100) != (mask == 1)) & known
        assert differs.sum() <= 0.02 * known.sum()
        assert known.sum() > 0


def test_shrinking_does_not_alias():
    """A chessboard of single pixels, shrunk four times, is grey."""
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    scene = scene_of(np.repeat(board[None], 3, axis=0), board // 255)
    pixels, _, _ = warp(scene, placement(np.array([128.0, 128.0]), 4.0, 0.3, 1.0, 32), 32)
    assert np.abs(pixels[:3] - 128).max() <= 2


def test_colours_stay_in_range_and_can_stay_as_they_are(noise):
    pixels, valid = noise.levels[0][:3].astype(np.float32), noise.levels[0][3] == 255
    same = recolour(pixels, valid, STILL, BYTES, np.random.default_rng(0))
    np.testing.assert_allclose(same, pixels, atol=0.01)
    changed = recolour(pixels, valid, Augmentation(), BYTES, np.random.default_rng(0))
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert np.abs(changed - pixels).mean() > 1


@pytest.mark.parametrize(("dtype", "factor", "offset"), [("uint16", 50, 1000), ("float32", 0.001, -0.2)])
def test_other_types_change_as_much_as_bytes_do_and_are_not_clipped(noise, dtype, factor, offset):
    """The same picture in other units is recoloured to the same picture in other units, beyond its usual range too."""
    small = noise.levels[0][:3].astype(np.float64) * 0.5 + 60
    bands = tuple(BandStatistics(name, 120, 40, 70, 180) for name in ("red", "green", "blue"))
    scaled = tuple(
        BandStatistics(b.name, 0, 1, b.percentile_2 * factor + offset, b.percentile_98 * factor + offset) for b in bands
    )
    valid = np.ones(small.shape[1:], bool)
    first = recolour(small, valid, Augmentation(), usual_range(bands, "int16"), np.random.default_rng(4))
    second = recolour(
        small * factor + offset, valid, Augmentation(), usual_range(scaled, dtype), np.random.default_rng(4)
    )
    np.testing.assert_allclose((second - offset) / factor, first, atol=0.2)
    same = recolour(small, valid, STILL, usual_range(bands, "int16"), np.random.default_rng(0))
    np.testing.assert_allclose(same, small, atol=0.01)
    assert same.max() > 180


def test_blank_blocks_are_background(noise):
    scene = scene_of(np.full((3, 64, 64), 100, np.uint8), np.ones((64, 64), np.uint8))
    options = Augmentation(**{**vars(STILL), "blank": 1.0})
    pixels, mask, _ = augment(scene, 0.3, 64, options, BYTES, np.random.default_rng(3))
    assert 0 < (mask == 0).sum() < mask.size
    blank = np.isin(pixels[0], [0, 255])
    np.testing.assert_array_equal(mask == 0, blank)
    assert (pixels[3] == 255).all()


def test_hidden_blocks_are_unknown(noise):
    scene = scene_of(np.full((3, 64, 64), 100, np.uint8), np.ones((64, 64), np.uint8))
    options = Augmentation(**{**vars(STILL), "cutout": 1.0})
    pixels, mask, _ = augment(scene, 0.3, 64, options, BYTES, np.random.default_rng(3))
    assert 0 < (mask == UNKNOWN).sum() < mask.size
    np.testing.assert_array_equal(mask == UNKNOWN, pixels[3] == 0)
    assert (pixels[:, mask == UNKNOWN] == 0).all()


def test_weights_move_with_the_mask(noise):
    weights = np.where(noise.mask == 1, 7.0, 1.0).astype(np.float16)
    scene = make_scene(noise.levels[0][:3], np.ones((64, 64), bool), noise.mask, 0.3, weights=weights)
    chip = augment(scene, 0.3, 48, Augmentation(), BYTES, np.random.default_rng(2))
    known = chip.mask != UNKNOWN
    np.testing.assert_array_equal(chip.weights[known & (chip.mask == 1)], 7)
    np.testing.assert_array_equal(chip.weights[known & (chip.mask == 0)], 1)


def test_without_flips_nothing_is_mirrored():
    """A scene brighter to the right and downwards: turned by right angles it keeps its sense of rotation."""
    columns, rows = np.meshgrid(np.arange(64), np.arange(64))
    scene = scene_of(np.stack([columns, rows, rows]).astype(np.uint8), np.zeros((64, 64), np.uint8))
    for seed in range(8):
        pixels = augment(scene, 0.3, 64, STILL, BYTES, np.random.default_rng(seed)).pixels
        right, down = pixels[:2, 32, 40] - pixels[:2, 32, 24], pixels[:2, 40, 32] - pixels[:2, 24, 32]
        assert right[0] * down[1] - right[1] * down[0] > 0
