"""The benchmark of accuracy: the engine's own scores, other resolutions, places, and plain models."""

from __future__ import annotations

import json
from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orthomask.benchmarks import accuracy, baselines, places
from orthomask.benchmarks.places import Place
from orthomask.engine.compute import devices
from orthomask.engine.progress import Progress
from orthomask.engine.runs.runs import SCALE
from orthomask.protocol import SPECK_PX, UNKNOWN, EvaluateRequest, LabelledData, Pictures, Split
from orthomask.training.accuracy import evaluate, report
from orthomask.training.chips.pictures import Tile

LEAST_M2 = SPECK_PX * data.GSD**2
TRUE = [(20, 20, 60, 60), (80, 20, 120, 60), (20, 120, 60, 160)]


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "prepare", data.predictor)
    monkeypatch.setattr(report, "_plot", lambda _: "data:,")
    return data.write_model(tmp_path)


def tile(found=TRUE, true=TRUE, shape=(200, 160), gsd_m=data.GSD, **changes) -> Tile:
    mask = np.zeros(shape, np.uint8)
    for left, top, right, bottom in true:
        mask[top:bottom, left:right] = 1
    return Tile("t", data.paint(shape, *found), mask, gsd_m, Split.TEST, "here")._replace(**changes)


def write_pictures(folder: Path, tiles: dict[str, Tile]) -> None:
    for name, one in tiles.items():
        for kind, bands in (("images", one.pixels), ("masks", one.mask[None] * 255)):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = one.mask.shape
            with rasterio.open(
                path, "w", driver="PNG", count=len(bands), height=height, width=width, dtype="uint8"
            ) as f:
                f.write(bands)


def test_scores_are_those_of_an_evaluation(bright: Path, tmp_path: Path) -> None:
    shifted = [(24, 20, 64, 60), (80, 70, 120, 110), *TRUE[2:]]
    one = tile(found=shifted)
    write_pictures(tmp_path, {"a": one})
    pictures = Pictures("images", "masks", data.GSD, places.MAPPING, Split.TEST)
    request = EvaluateRequest(
        str(bright), LabelledData(pictures=(pictures,), root=str(tmp_path)), str(tmp_path / "out")
    )
    expected = evaluate.run(request, Progress())
    scored = accuracy.score(accuracy.bundle_model(str(bright)), {"here": [one]}, 1.0, LEAST_M2)["here"]
    pixels, (objects,) = expected.pixels[1], expected.objects
    assert (scored.iou, scored.f1, scored.precision, scored.recall) == pytest.approx(
        (pixels.iou, pixels.f1, pixels.precision, pixels.recall)
    )
    assert scored.object_f1 == pytest.approx(objects.f1)
    assert scored.calibration_error == pytest.approx(expected.calibration_error)
    assert 0.3 < scored.iou < 0.9


@pytest.mark.parametrize("scale", accuracy.SCALES)
def test_squares_on_even_pixels_survive_other_resolutions(bright: Path, scale: float) -> None:
    scored = accuracy.score(accuracy.bundle_model(str(bright)), {"here": [tile()]}, scale, LEAST_M2)["here"]
    assert scored.iou > 0.9
    assert scored.object_f1 == 1


def test_places_that_are_too_coarse_are_left_out(bright: Path) -> None:
    fine, coarse = tile(), tile(gsd_m=1.5)
    table = accuracy.score(accuracy.bundle_model(str(bright)), {"fine": [fine], "coarse": [coarse]}, 2.0, LEAST_M2)
    assert list(table) == ["fine", accuracy.MEAN, accuracy.ALL]
    assert table["fine"] == table[accuracy.MEAN] == table[accuracy.ALL]
    assert any(line.startswith("| coarse | – |") for line in accuracy.rows_of(table, ["fine", "coarse"]))


def test_the_mean_is_of_places_and_weak_ones_are_marked() -> None:
    def score(iou: float) -> accuracy.Score:
        return accuracy.Score(iou, 0, 0, 0, 0, 0)

    table = {"good": score(0.9), "bad": score(0.1)}
    table |= {accuracy.MEAN: accuracy.mean(table.values()), accuracy.ALL: score(0.8)}
    assert table[accuracy.MEAN].iou == pytest.approx(0.5)
    assert accuracy.weak(table) == ["bad"]
    marked = [line for line in accuracy.rows_of(table, ["good", "bad"]) if accuracy.SIGN in line]
    assert len(marked) == 1
    assert marked[0].startswith("| bad")


def test_means_are_of_the_places_that_no_model_refuses() -> None:
    def table(**places: float) -> accuracy.Table:
        scores = {name: accuracy.Score(iou, 0, 0, 0, 0, 0) for name, iou in places.items()}
        return {**scores, accuracy.MEAN: accuracy.mean(scores.values()), accuracy.ALL: accuracy.mean(scores.values())}

    ours = {scale: table(a=0.6) if scale == 2 else table(a=0.6, b=0.4) for scale in accuracy.SCALES}
    theirs = dict.fromkeys(accuracy.SCALES, table(a=0.5, b=0.3))
    rows = accuracy.means_of({"ours": ours, "forest": theirs}, ["forest"])[2:]
    assert rows == [
        "| ours | 0.500 | 0.500 | 0.500 | 0.600 | 1.25 |",
        "| forest | 0.400 | 0.400 | 0.400 | 0.500 | 1.00 |",
    ]


def test_blank_parts_are_unknown_but_shadows_are_not() -> None:
    pixels = np.full((3, 100, 100), 90, np.uint8)
    pixels[:, :, :30] = 0
    pixels[:, 50:60, 50:60] = 0
    mask = places.with_blanks(tile(true=[], shape=(100, 100), pixels=pixels)).mask
    assert (mask[:, :30] == UNKNOWN).all()
    assert (mask[:, 30:] == 0).all()


def test_pixels_are_made_square() -> None:
    square = places.squared(tile(shape=(200, 160)), 0.5)
    assert square.pixels.shape == (3, 200, 80)
    assert (square.mask == tile().mask[:, ::2]).all()
    assert (square.pixels == tile().pixels[:, :, ::2]).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 70), st.integers(20, 70), st.floats(0.4, 2.5))
def test_what_is_even_stays_even_at_any_resolution(height: int, width: int, scale: float) -> None:
    pixels = np.full((3, height, width), 200, np.uint8)
    there = places.resampled(pixels, 1.0, scale)
    assert there.shape[1:] == (max(1, round(height / scale)), max(1, round(width / scale)))
    assert (there == 200).all()
    assert (places.resampled_mask(pixels[0], 1.0, scale) == 200).all()
    assert (places.laid_back(there[0], scale, 1.0, (height, width)) == 200).all()


def test_every_test_place_says_how_its_resolution_is_known() -> None:
    for test in places.TEST_SETS.values():
        assert len({place.name for place in test.places}) == len(test.places)
        assert all(place.reason and 0.1 < place.gsd_m < 3 for place in test.places)


def test_the_command_prints_tables_and_writes_them(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "set", {"a_1": tile(), "b_1": tile(found=TRUE[:1])})
    test = places.TestSet(
        "set", "square", False, LEAST_M2, (Place("A", "a_*", data.GSD, "-"), Place("B", "b_*", data.GSD, "-"))
    )
    monkeypatch.setitem(places.TEST_SETS, "squares", test)
    path = tmp_path / "scores.json"
    arguments = [str(bright), "--data", str(tmp_path), "--json", str(path)]
    result = CliRunner().invoke(accuracy.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "| A | 1.000 | 1.000 |" in result.output
    scores = json.loads(path.read_text())["scores"][str(bright)]
    assert set(scores) == {"1", "0.75", "1.5", "2"}
    assert scores["1"]["B"]["iou"] == pytest.approx(1 / 3)
    assert scores["1"][accuracy.MEAN]["iou"] == pytest.approx(2 / 3)


def test_the_workshop_network_has_its_published_size() -> None:
    network = baselines.PlainUNet(6, 0.2)
    assert sum(weights.numel() for weights in network.parameters()) == 1_941_190


class Red(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :1]


def test_patches_are_laid_where_they_were_cut() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 300, 530)).astype(np.uint8)
    found = baselines.predicted(Red(), baselines.WAYS["s4"], pixels)
    expected = SCALE / (1 + np.exp(-pixels[0].astype(float) / 255))
    assert found.shape == (300, 530)
    assert np.abs(found - expected).max() <= 0.51


def test_epochs_hold_every_patch_once_and_batches_one_zoom() -> None:
    patches = [baselines.Patch(np.array([number]), np.array([0]), 0.1 + number % 3) for number in range(70)]
    dealt = baselines.batches(patches, by_zoom=True, random=np.random.default_rng(1))
    assert sorted(int(patch.pixels[0]) for batch in dealt for patch in batch) == list(range(70))
    assert all(len({patch.gsd_m for patch in batch}) == 1 and len(batch) <= baselines.BATCH for batch in dealt)


@pytest.mark.parametrize("loss", [baselines.dice_and_focal, baselines.cross_entropy])
def test_losses_are_small_where_all_is_right_and_ignore_the_unknown(loss) -> None:
    truth = (torch.rand(2, 32, 32) > 0.5).float()
    known = torch.ones_like(truth)
    known[:, :, 20:] = 0
    right, wrong = loss(truth, truth, known), loss(1 - truth, truth, known)
    assert right < 0.01 < wrong
    strange = torch.where(known > 0, truth, 1 - truth)
    assert loss(strange, truth, known) == pytest.approx(float(right))


def test_a_network_trains_goes_on_and_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "PATCH_PX", 64)
    pictures = tile(shape=(64, 64))
    material = baselines.Data([pictures], [pictures], data.GSD)
    baselines.train_unet("s3", material, tmp_path, minutes=1e-4)
    first = torch.load(tmp_path / "s3.pt", weights_only=True)
    baselines.train_unet("s3", material, tmp_path, minutes=1e-4)
    assert first["epoch"] == torch.load(tmp_path / "s3.pt", weights_only=True)["epoch"] == 1
    baselines.train_unet("s3", material, tmp_path, minutes=1.51 * first["seconds"] / 60)
    assert torch.load(tmp_path / "s3.pt", weights_only=True)["epoch"] > 1
    baseline = baselines.load("s3", tmp_path)
    assert baseline(pictures.pixels, data.GSD).shape == (64, 64)


def test_a_forest_finds_what_is_bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "SAMPLES", 2000)
    monkeypatch.setattr(baselines, "TREES", 10)
    pictures = tile()
    baselines.train_forest(baselines.Data([pictures], [pictures], 1.0), tmp_path)
    model = accuracy.baseline_model("forest", tmp_path)
    assert accuracy.score(model, {"here": [tile(gsd_m=0.4)]}, 1.0, LEAST_M2)["here"].iou > 0.85
