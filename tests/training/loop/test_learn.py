"""Learning on synthetic houses with a tiny network: what is kept, what is refused, what a stop leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from trainings import NETWORK, parent_of, write_project

from orthomask.cli import commands
from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Areas,
    Cancelled,
    CheckLearningRequest,
    Decay,
    ErrorCode,
    Existing,
    LabelledImage,
    LearnRequest,
    LearnResult,
    Objective,
    OrthomaskError,
    Schedule,
    from_json,
    to_json,
)
from orthomask.training.data.scenes import make_scene
from orthomask.training.fit import rehearsal
from orthomask.training.loop import blend, check, compare, learn, replay, requests, verdict

BOXES = ((0, 0, 50, 60), (55, 0, 110, 60), (0, 65, 60, 120), (110, 0, 160, 60), (115, 70, 160, 120))
SPLITS = ("train", "train", "train", "validation", "test")
SHAPE = UNetArguments(3, 2, widths=NETWORK.widths, blocks=1, detail=16)
QUICK = Schedule(
    epochs=2, steps=8, batch=4, chip_px=32, learning_rate=0.02, warmup_steps=2, averaging=0.5, frozen_epochs=1,
    precision="32-true", workers=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> LabelledImage:
    return write_project(tmp_path_factory.mktemp("town"), BOXES, SPLITS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    torch.manual_seed(0)
    return parent_of(tmp_path_factory.mktemp("base"), shape=SHAPE)


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory, base: bundle.Bundle) -> Path:
    """A replay set of the base: eight labelled chips and two without labels."""
    folder, rng = tmp_path_factory.mktemp("replay"), np.random.default_rng(1)
    chips = [
        replay.Drawn(smooth(rng), np.full((192, 192), 255 if number >= 8 else 0, np.uint8), f"place {number}")
        for number in range(10)
    ]
    for number, chip in enumerate(chips[:8]):
        chip.mask[20 : 60 + number, 30:90] = 1
        chip.pixels[:, 20 : 60 + number, 30:90] += 90
    replay.write(folder / "town.tif", base.card, [base.sha256], chips)
    return folder


def smooth(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(np.repeat(rng.integers(20, 120, (3, 12, 12)), 16, axis=1), 16, axis=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, replays: Path) -> None:
    monkeypatch.setattr(requests, "LEARNING", QUICK)
    monkeypatch.setattr(replay, "FOLDER", replays)


def command(town: LabelledImage, base: bundle.Bundle, out: Path | str, *more: str) -> dict[str, Any]:
    """The JSON that the command prints."""
    labels, areas = town.labels[0], town.areas
    assert areas is not None
    words = [
        "learn", town.image.path, "--labels", f"{labels.path}|{labels.layer}", "--class-field", "kind",
        "--areas", areas.path, "--model", str(base.path), "--out", str(out), "--json", *more,
    ]  # fmt: skip
    return json.loads(CliRunner().invoke(commands, words, catch_exceptions=False).output)


@pytest.fixture(scope="module")
def learnt(
    tmp_path_factory: pytest.TempPathFactory, town: LabelledImage, base: bundle.Bundle, replays: Path
) -> Iterator[LearnResult]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(requests, "LEARNING", QUICK)
        patched.setattr(replay, "FOLDER", replays)
        yield from_json(LearnResult, command(town, base, tmp_path_factory.mktemp("learnt")))


def test_the_candidate_is_a_blend_of_the_base_and_what_it_became(
    learnt: LearnResult, base: bundle.Bundle, town: LabelledImage
) -> None:
    candidate = bundle.load(learnt.model_path)
    tuned = bundle.load(str(Path(learnt.run_dir, "tuned.safetensors"))).model().state_dict()
    for name, weight in candidate.model().state_dict().items():
        if not name.startswith(("stem.0", "encoder.0.0.0")) and "running_mean" not in name:  # folded into the new bands
            old = base.model().state_dict()[name]
            expected = old.lerp(tuned[name], learnt.share) if old.is_floating_point() else old
            torch.testing.assert_close(weight, expected, atol=2e-3, rtol=2e-3)
    assert candidate.card.threshold == base.card.threshold
    summary = candidate.card.training["learning"]
    assert summary["base"]["sha256"] == base.sha256
    assert (summary["areas"], summary["squares"], summary["share"]) == (5, learnt.squares, learnt.share)


def test_batch_statistics_stay_the_bases(learnt: LearnResult, base: bundle.Bundle) -> None:
    old, new = (
        each.model().state_dict() for each in (base, bundle.load(str(Path(learnt.run_dir, "tuned.safetensors"))))
    )
    changed = {name for name in old if not torch.allclose(old[name].float(), new[name].float(), atol=2e-3, rtol=2e-3)}
    inputs = {"stem.1.running_mean", "encoder.0.0.1.running_mean"}  # they carry what is folded into the new bands
    assert any(name.startswith("decoder") for name in changed)
    assert not any("running" in name for name in changed - inputs)


def test_the_decoder_learns_first_and_the_rest_more_slowly() -> None:
    schedule = replace(QUICK, decay=Decay.CONSTANT, warmup_steps=0)
    learner = rehearsal.Rehearser(UNet(SHAPE), Objective(), schedule, rehearses=False)
    assert [learner.rate(step) for step in (0, 7, 8, 15)] == [1, 1, rehearsal.RELEASED, rehearsal.RELEASED]


def test_it_says_how_it_does_here_and_at_home(learnt: LearnResult) -> None:
    assert learnt.here.areas == 2  # validation and test
    assert learnt.home is not None
    assert learnt.home.areas == 2  # every fourth of eight labelled chips
    assert learnt.home.after.iou >= learnt.home.before.iou - blend.FORGOTTEN
    assert learnt.here.low <= learnt.here.after.iou - learnt.here.before.iou <= learnt.here.high
    assert learnt.verdict


def test_a_finished_learning_is_not_repeated(learnt: LearnResult, town: LabelledImage, base: bundle.Bundle) -> None:
    assert command(town, base, learnt.run_dir, "--resume") == to_json(learnt)
    few = LabelledImage(town.image, town.labels, Areas(town.labels[0].path, "no such areas"))
    with pytest.raises(OrthomaskError):  # what is there stays until there is something to replace it
        learn.run(LearnRequest(few, str(base.path), learnt.run_dir, existing=Existing.OVERWRITE), Progress())
    assert command(town, base, learnt.run_dir, "--resume") == to_json(learnt)
    with pytest.raises(OrthomaskError) as caught:
        learn.run(LearnRequest(town, str(base.path), learnt.run_dir), Progress())
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS


class _Impatient(Progress):
    """Cancels once an epoch has been finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_cancelled(self) -> None:
        if (self._folder / "last.ckpt").exists():
            raise Cancelled


def test_a_stop_keeps_what_was_learnt(town: LabelledImage, base: bundle.Bundle, tmp_path: Path) -> None:
    request = LearnRequest(town, str(base.path), str(tmp_path / "run"))
    with pytest.raises(OrthomaskError, match="Nothing has been learnt yet"):
        learn.run(replace(request, existing=Existing.RESUME, stop=True), Progress())
    with pytest.raises(Cancelled):
        learn.run(request, _Impatient(tmp_path / "run"))
    assert not (tmp_path / "run" / "learn.json").exists()
    result = learn.run(replace(request, existing=Existing.RESUME, stop=True), Progress())
    assert Path(result.model_path).exists()
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3  # header, base, one epoch


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        (("train", "train", "validation", "todo", "todo"), "3 of the 4 squares"),
        (("train",) * 5, "No checked square is for validation"),
        (("validation",) * 5, "No checked square is for training"),
    ],
)
def test_too_few_squares_or_all_for_one_purpose_are_refused(
    splits: tuple[str, ...], sentence: str, base: bundle.Bundle, tmp_path: Path
) -> None:
    request = LearnRequest(write_project(tmp_path, BOXES, splits), str(base.path), str(tmp_path / "run"))
    told = check.run(CheckLearningRequest(request), Progress())
    assert told.problem.startswith(sentence)
    assert told.seconds is None
    with pytest.raises(OrthomaskError, match=sentence) as caught:
        learn.run(request, Progress())
    assert caught.value.code is ErrorCode.TRAINING_DATA
    assert not (tmp_path / "run" / "request.json").exists()


def test_what_there_is_to_learn_from_and_how_long_it_takes(
    town: LabelledImage, base: bundle.Bundle, tmp_path: Path
) -> None:
    told = check.run(CheckLearningRequest(LearnRequest(town, str(base.path), str(tmp_path))), Progress())
    assert told.counts == {"train": 3, "validation": 1, "test": 1}
    assert told.problem == ""
    assert told.seconds is not None
    assert told.seconds > 0


def test_a_model_without_a_replay_set_learns_and_says_so(town: LabelledImage, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = parent_of(tmp_path, shape=SHAPE)
    result = learn.run(LearnRequest(town, str(other.path), str(tmp_path / "run")), Progress())
    assert result.home is None
    assert any("has no replay set" in warning for warning in result.warnings)


def test_a_replay_set_reads_back_as_written(base: bundle.Bundle, replays: Path) -> None:
    found = replay.replay_of(base, replays)
    assert found is not None
    assert [scene.place for scene in found.kept_out] == ["place 0", "place 4"]
    assert len(found.learnt) == 8
    for scene in (*found.kept_out, *found.learnt):
        number = int(scene.place.split()[1])
        assert (scene.mask == 255).all() if number >= 8 else scene.mask[20 : 60 + number, 30:90].all()
    child = replace(base.card, training={"parent": {"sha256": base.sha256}})
    assert replay.replay_of(replace(base, sha256="other", card=child), replays) is not None
    assert replay.replay_of(replace(base, sha256="other"), replays) is None
    shed = replace(child, classes=(replace(base.card.classes[0], name="shed"),))  # its value 1 is not the masks'
    assert replay.replay_of(replace(base, sha256="other", card=shed), replays) is None
    assert replay.replay_of(replace(base, sha256="other", card=replace(child, dtype="uint16")), replays) is None


@pytest.mark.parametrize(
    "damage", [lambda sheet: sheet.write_bytes(b"II*\0"), lambda sheet: sheet.with_suffix(".png").unlink()]
)
def test_a_damaged_replay_set_is_said(damage, base: bundle.Bundle, replays: Path, tmp_path: Path) -> None:
    for file in replays.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path / "town.tif")
    with pytest.raises(OrthomaskError, match="is damaged"):
        replay.replay_of(base, tmp_path)


@pytest.mark.parametrize("model", ["buildings", "farmland"])
def test_embedded_models_have_a_replay_set(model: str) -> None:
    folder = Path(replay.__file__).resolve().parents[2] / "resources" / "replay"
    found = replay.replay_of(bundle.load(model), folder)
    assert found is not None
    assert len(found.kept_out) >= 20
    assert any(scene.found.any() for scene in found.kept_out)
    assert sum(file.stat().st_size for file in folder.glob(f"{model}.*")) <= 1_500_000


rows = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6).map(
    lambda found: np.array([[right, right + false, right + missed, 0, 0, 0] for right, false, missed in found])
)


@given(st.lists(rows, min_size=2, max_size=5), st.data())
def test_the_best_share_is_chosen_of_those_that_forget_little(here: list[np.ndarray], data: st.DataObject) -> None:
    home = [data.draw(rows) for _ in here]
    chosen = blend.choose(here, home)
    kept = [n for n in range(len(here)) if compare.marks(home[n]).iou >= compare.marks(home[0]).iou - blend.FORGOTTEN]
    assert chosen in kept
    assert compare.marks(here[chosen]).iou == max(compare.marks(here[n]).iou for n in kept)


@given(rows)
def test_a_model_gains_nothing_over_itself(found: np.ndarray) -> None:
    gain = compare.gain(found, found)
    assert gain.before == gain.after
    assert gain.low == gain.high == 0


def test_better_needs_a_gain() -> None:
    worse, better = (compare.marks(np.array([[right, 100, 100, 1, 2, 2]])) for right in (50, 80))
    gained, none = compare.gain(*np.array([[[50, 100, 100, 1, 2, 2]], [[80, 100, 100, 1, 2, 2]]])), None
    assert gained.before == worse
    assert gained.after == better
    assert verdict.of(gained, none, 0.7, gained)[0]
    assert not verdict.of(gained, none, 0.0, gained)[0]
    lost = replace(gained, before=better, after=worse)
    assert not verdict.of(lost, none, 0.7, gained)[0]
    assert "contradict" in verdict.of(lost, none, 0.7, replace(gained, after=worse))[1]


def test_rehearsing_costs_nothing_where_the_network_still_is_the_base() -> None:
    logits = torch.randn(2, 3, 8, 8)
    assert rehearsal._distance(logits, logits).item() == pytest.approx(0, abs=1e-6)
    assert rehearsal._distance(logits, logits + torch.randn(2, 3, 8, 8)).item() > 0


def test_every_batch_ends_with_replayed_chips(base: bundle.Bundle) -> None:
    own = [("own", number) for number in range(16)]
    scene = make_scene(np.full((3, 64, 64), 90, np.uint8), np.ones((64, 64), bool), np.zeros((64, 64), np.uint8), 0.4)
    usual = rehearsal.Range(np.zeros((3, 1, 1)), np.full((3, 1, 1), 255.0), True)
    chips = rehearsal.RehearsedChips(own, [scene], base.card, usual, QUICK)  # type: ignore[arg-type]
    assert [chips[number][0] == "own" for number in range(8)] == [True, True, False, False] * 2
