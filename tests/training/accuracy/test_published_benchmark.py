"""Published results reproduced: what is scored, what is held back, and that the curve is the bundle's."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from orthomask.benchmarks import published
from orthomask.benchmarks.baselines import PATCH_PX
from orthomask.benchmarks.published import Agreement, Patches
from orthomask.engine.models import bundle as bundles
from orthomask.training.fit import recipe

CLASSES = 6
COLOURS = [(155, 155, 155), (60, 16, 152), (132, 41, 246), (110, 193, 228), (254, 221, 58), (226, 169, 41)]
"""Of the masks of Dubai: unlabelled, building, land, road, vegetation, water."""


def scored(*batches):
    found = Agreement(np.zeros((CLASSES, CLASSES), np.int64))
    for probabilities, mask in batches:
        found.add(probabilities, mask)
    return found


@given(st.integers(0, 99))
def test_scores_are_those_of_one_hot_maps(seed):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, CLASSES, (3, 5, 7)).astype(np.uint8)
    soft = rng.dirichlet(np.full(CLASSES, 0.5), mask.shape).transpose(0, 3, 1, 2)
    truth = np.eye(CLASSES)[mask].transpose(0, 3, 1, 2)
    hard = np.eye(CLASSES)[soft.argmax(axis=1)].transpose(0, 3, 1, 2)
    found = scored((soft[:2], mask[:2]), (soft[2:], mask[2:]))
    assert found.accuracy == pytest.approx((soft.argmax(axis=1) == mask).mean())
    assert found.jaccard == pytest.approx((truth * soft).sum() / (truth + soft - truth * soft).sum())
    assert found.hard_jaccard == pytest.approx((truth * hard).sum() / (truth + hard - truth * hard).sum())
    assert found.confusion[2, 4] == ((mask == 2) & (soft.argmax(axis=1) == 4)).sum()


def test_the_truth_agrees_with_itself():
    mask = np.arange(CLASSES, dtype=np.uint8).reshape(1, 2, 3)
    found = scored((np.eye(CLASSES)[mask].transpose(0, 3, 1, 2), mask))
    assert (found.accuracy, found.jaccard, found.hard_jaccard) == (1, 1, 1)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60), st.integers(0, 9))
def test_groups_are_held_back_whole_and_just_enough(groups, seed):
    held = published.drawn(groups, 0.15, seed)
    names = {name for name, is_held in zip(groups, held) if is_held}
    assert names.isdisjoint(name for name, is_held in zip(groups, held) if not is_held)
    assert held.mean() >= 0.15
    assert any(held.sum() - groups.count(name) < 0.15 * len(groups) for name in names)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_dubai_splits_by_patch_and_by_image(tmp_path):
    for tile in range(1, 9):
        for image in range(2):
            _write_image(tmp_path / f"landcover_dubai/Tile {tile}", f"{image + 1:03}", 10 * tile + image)
    classes = published.recipe_of("dubai", tmp_path).classes
    sides = {}
    for split in ("random", "images"):
        published.write_dubai(tmp_path, tmp_path / split, split, classes)
        train, held = (published.load(tmp_path / split / f"{part}.npz") for part in ("train", "validation"))
        assert len(train.img) + len(held.img) == 7 * 2 * 2
        sides[split] = [set(part.img[:, 0, 0, 0].tolist()) for part in (train, held)]
    assert sides["random"][0] & sides["random"][1]
    assert not sides["images"][0] & sides["images"][1]
    unseen = published.load(tmp_path / "images" / "tile-8.npz")
    assert set(unseen.img[:, 0, 0, 0].tolist()) == {80, 81}
    assert [unseen.mask[0, 0, column] for column in range(CLASSES)] == list(range(CLASSES))


def _write_image(folder, name, grey):
    """An image of two patches and a rest; its mask shows every class in its first row."""
    size = PATCH_PX + 3, 2 * PATCH_PX + 9
    mask = np.full((3, *size), 155, np.uint8)
    mask[:, 0, :CLASSES] = np.array(COLOURS).T
    for part, pixels in (("images", np.full((3, *size), grey, np.uint8)), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            folder / part / f"image_part_{name}.png", "w", driver="PNG", dtype="uint8", count=3,
            height=size[0], width=size[1],
        ) as dataset:  # fmt: skip
            dataset.write(pixels)


def test_the_curve_ends_with_the_scores_of_the_bundle(tmp_path):
    rng = np.random.default_rng(1)
    patches = Patches(rng.integers(0, 255, (2, 64, 64, 3), np.uint8), rng.integers(0, CLASSES, (2, 64, 64), np.uint8))
    for name in ("train", "validation"):
        np.savez(tmp_path / f"{name}.npz", **patches._asdict())
    small = {"schedule.epochs": 1, "schedule.steps": 2, "schedule.batch": 2, "schedule.chip_px": 64}
    request = recipe.with_settings(published.recipe_of("dubai", tmp_path), {**small, "hardware.device": "cpu"})
    scoring = lambda network, bands: published.agreement(network, bands, CLASSES, patches)  # noqa: E731
    path = published.trained(request, scoring)
    bundle = bundles.load(str(path))
    found = scoring(bundle.model(), bundle.card.bands)
    (row,) = csv.reader((path.parent / "published.csv").open(encoding="utf-8"))
    assert row[0] == "1"
    assert [float(value) for value in row[1:]] == pytest.approx([found.accuracy, found.jaccard], abs=2e-3)
    assert published.trained(request, pytest.fail) == path
