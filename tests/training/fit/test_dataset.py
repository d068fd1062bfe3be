"""Chips that repeat themselves, and views that show every labelled pixel once."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.engine.models.bundle import BandStatistics, Card
from orthomask.engine.models.unet import UNetArguments
from orthomask.protocol import UNKNOWN, Augmentation, ClassInfo, Schedule
from orthomask.training.data.scenes import Source, make_scene
from orthomask.training.fit.augment import usual_range
from orthomask.training.fit.dataset import Chips, Numbers, Views

BAND = (BandStatistics("grey", 100, 50, 10, 200),)


def card_of(gsd_m=0.3, levels=4):
    shape = UNetArguments(1, 3, widths=(16,) * levels)
    classes = (ClassInfo(1, "a", "#ff0000"), ClassInfo(2, "b", "#00ff00"))
    return Card("m", "M", shape, BAND, "uint8", gsd_m, classes, 0.5, "", "")


def scene_of(mask, gsd_m=0.3, place=""):
    pixels = np.random.default_rng(0).integers(1, 255, (1, *mask.shape)).astype(np.uint8)
    return make_scene(pixels, np.ones(mask.shape, bool), mask, gsd_m, place)


@given(height=st.integers(20, 700), width=st.integers(20, 700), margin=st.integers(0, 9), levels=st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_views_show_every_labelled_pixel_once(height, width, margin, levels):
    mask = np.full((height, width), UNKNOWN, np.uint8)
    inner = mask[margin : height - margin, margin : width - margin]
    inner[:] = np.random.default_rng(height).integers(0, 3, inner.shape)
    views = Views([scene_of(mask)], card_of(levels=levels))
    counted = np.zeros(4, int)
    for image, seen, _ in (views[index] for index in range(len(views))):
        assert image.shape[1:] == seen.shape
        assert not any(size % 2**levels for size in seen.shape)
        counted += np.bincount(seen.numpy().ravel().clip(max=3), minlength=4)
    np.testing.assert_array_equal(counted[:3], np.bincount(inner.ravel(), minlength=3))


def test_views_at_the_scenes_own_resolution_are_its_pixels():
    scene = scene_of(np.zeros((64, 48), np.uint8), place="here")
    image, mask, place = Views([scene], card_of())[0]
    assert place == "here"
    expected = (scene.levels[0][0].astype(np.float32) - 100) / 50
    torch.testing.assert_close(image[0, :64, :48], torch.from_numpy(expected))
    assert (image[0, :, 48:] == 0).all()
    assert (mask[:, 48:] == UNKNOWN).all()


def test_views_are_at_the_models_resolution():
    image, mask, _ = Views([scene_of(np.zeros((64, 96), np.uint8), gsd_m=0.15)], card_of())[0]
    assert (mask != UNKNOWN).sum() == 32 * 48
    assert image.shape[1:] == (48, 48)


def test_the_richest_views_come_first():
    masks = [np.zeros((32, 32), np.uint8) for _ in range(3)]
    masks[1][:8], masks[2][:16] = 1, 2
    assert Views([scene_of(mask) for mask in masks], card_of()).richest(2) == [2, 1]


def test_chips_depend_on_seed_and_number_alone():
    sources = [Source(1.0, (scene_of(np.zeros((80, 80), np.uint8)),))]
    card, usual = card_of(), usual_range(BAND, "uint8")
    first, again, other = (Chips(sources, card, usual, Augmentation(), Schedule(seed=s, chip_px=32)) for s in (1, 1, 2))
    for index in (5, 0):
        for one, two in zip(first[index], again[index]):
            torch.testing.assert_close(one, two, rtol=0, atol=0)
        assert not torch.equal(first[index][0], other[index][0])
    assert not torch.equal(first[0][0], first[1][0])


def test_every_epoch_has_chips_of_its_own():
    numbers = Numbers(6)
    seen = []
    for epoch in range(3):
        numbers.set_epoch(epoch)
        seen += list(numbers)
    assert seen == list(range(18))
    assert len(numbers) == 6


def test_sources_are_drawn_by_weight():
    rare, often = np.zeros((64, 64), np.uint8), np.ones((64, 64), np.uint8)
    sources = [Source(1.0, (scene_of(rare),)), Source(9.0, (scene_of(often), scene_of(often)))]
    options = Augmentation(blank=0.0)
    chips = Chips(sources, card_of(), usual_range(BAND, "uint8"), options, Schedule(chip_px=16))
    drawn = [bool((chips[index][1] == 1).any()) for index in range(200)]
    assert 0.8 < np.mean(drawn) < 0.97
