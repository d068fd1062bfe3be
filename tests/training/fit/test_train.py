"""A training, small but whole: it learns, repeats, goes on after a crash, and ends well whatever happens."""

import csv
import json
import math
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
from faults import KilledAt, run_in_child
from torch.optim.lr_scheduler import ReduceLROnPlateau
from trainings import training, write_pictures, write_project

from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    UNKNOWN,
    Cancelled,
    ClassInfo,
    Decay,
    ErrorCode,
    Existing,
    Hardware,
    LabelledData,
    Objective,
    OrthomaskError,
    Schedule,
    Tracker,
    from_json,
)
from orthomask.training.accuracy.scores import THRESHOLDS, Scoreboard, Scores
from orthomask.training.fit import learner as learners
from orthomask.training.fit import train
from orthomask.training.fit.keeper import Keeper
from orthomask.training.fit.learner import Learner, decisions, eased
from orthomask.training.fit.numerics import layout, precision

CLOCKED = {"images_per_second", "waiting_share"}
PLAIN = {"averaging": 0.0, "clip_norm": 0.0}
PLATEAU = {"epochs": 6, "decay": Decay.PLATEAU, "steps": 2}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Tiny networks are slower with several threads."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data"))


def run(request, progress=None):
    return train.run(request, progress or Progress())


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return run(training(data, tmp_path_factory.mktemp("run"), title="Squares", steps=8))


def rows(folder):
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return [{k: float(v or "nan") for k, v in row.items() if k not in CLOCKED} for row in csv.DictReader(file)]


def weights(result):
    return safetensors.torch.load_file(result.model_path)


def same(first, second):
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_it_learns_and_its_card_says_how_well(trained):
    card = bundle.load(trained.model_path).card
    assert trained.scores["iou"] > 0.8
    assert trained.stopped == "finished"
    accuracy = card.accuracy["validation areas"]
    assert accuracy["iou"] == pytest.approx(trained.scores["iou"], abs=1e-4)
    assert set(accuracy["by_place"]) == {"aville", "bville"}
    assert card.threshold == pytest.approx(trained.threshold)
    assert card.training["places"] == ["Nowhere"]
    assert card.training["best_epoch"] == trained.best_epoch
    assert (card.title, card.gsd_m, card.dtype) == ("Squares", 0.3, "uint8")


def test_the_run_folder_is_as_agreed(trained):
    folder = Path(trained.run_dir)
    names = {path.name for path in folder.iterdir()}
    files = {"request.json", "metrics.csv", "preview.png", "model.safetensors", "last.ckpt", "run.json"}
    assert names == files | {"tensorboard"}
    assert from_json(type(trained), json.loads((folder / "run.json").read_text())) == trained
    assert list((folder / "tensorboard").glob("events*"))
    curve = rows(folder)
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    assert [row["step"] for row in curve] == [8, 16, 24]
    assert max(row["iou"] for row in curve) == pytest.approx(trained.scores["iou"])
    with rasterio.open(folder / "preview.png") as picture:
        assert picture.count == 3
        assert picture.width == 2 * (60 + 8 + 6)  # a margin where the window goes on
        image, prediction = np.split(picture.read(), 2, axis=2)
        assert not np.array_equal(image, prediction)


def test_the_bundle_predicts_what_was_measured(trained, data):
    """Read and scored again by hand, the saved bundle has its card's scores, but for the rounding of its weights."""
    opened = bundle.load(trained.model_path)
    board = Scoreboard((opened.card.threshold,))
    for path in sorted((Path(data.root) / "validation" / "images").iterdir()):
        with rasterio.open(path) as image, rasterio.open(str(path).replace("images", "masks")) as mask:
            pixels, truth = image.read(), torch.from_numpy(mask.read(1).astype(np.int64))
        normal = torch.from_numpy(opened.normalise(pixels, np.ones(truth.shape, bool)))
        with torch.inference_mode():
            board.add("", opened.model()(normal[None]).softmax(1)[0, 1], truth)
    assert board.scores(0).iou == pytest.approx(trained.scores["iou"], abs=0.005)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    first, again, other = (
        run(training(data, tmp_path / name, epochs=1, seed=seed, workers=workers))
        for name, seed, workers in (("a", 3, 0), ("b", 3, 1), ("c", 4, 0))
    )
    assert same(first, again)
    assert not same(first, other)


class Crash(BaseException):
    """Stands for whatever ends a process."""


class Crashing(Progress):
    """Raises at a step, counted from 1; a report comes before the step counts as done."""

    def __init__(self, step, steps, epochs, error=Crash):
        self._at, self._error = step / (steps * epochs), error

    def show(self, fraction, message):
        if message.startswith("Epoch") and fraction - 0.05 >= self._at * 0.95 - 1e-6:
            raise self._error


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, (5,)),
        ({}, (4, 9)),
        (PLATEAU, (7, 11)),
        ({"frozen_epochs": 1}, (6,)),
        ({"averaging": 0.0, "clip_norm": 0.0}, (8,)),
    ],
    ids=["mid-epoch", "twice", "plateau", "frozen", "plain"],
)
def test_a_crash_changes_nothing(data, tmp_path, changes, steps):
    """Stopped in mid-epoch or at the end of one, and resumed, it ends with the same curve and the same weights."""
    undisturbed = run(training(data, tmp_path / "a", **changes))
    request = training(data, tmp_path / "b", existing=Existing.RESUME, **changes)
    for step in steps:
        with pytest.raises(Crash):
            run(request, Crashing(step, request.schedule.steps, request.schedule.epochs))
    resumed = run(request)
    assert rows(tmp_path / "b") == rows(tmp_path / "a")
    assert same(undisturbed, resumed)
    assert (resumed.best_epoch, resumed.scores) == (undisturbed.best_epoch, undisturbed.scores)


@pytest.mark.parametrize("moment", ["bundle.save", "preview", "write_atomically"])
def test_a_crash_between_two_files_changes_nothing(data, tmp_path, monkeypatch, moment):
    """The end of an epoch writes several files: wherever it is torn, the next run makes them whole."""
    undisturbed = run(training(data, tmp_path / "a"))
    request = training(data, tmp_path / "b", existing=Existing.RESUME)
    target, calls = f"orthomask.training.fit.keeper.{moment}", []
    with monkeypatch.context() as patch:

        def torn(*arguments):
            calls.append(1)
            if len(calls) == 2:
                raise Crash
            return original(*arguments)

        original = {"bundle.save": bundle.save}.get(moment) or vars(sys.modules[Keeper.__module__])[moment]
        patch.setattr(target, torn)
        with pytest.raises(Crash):
            run(request)
    assert same(undisturbed, run(request))
    assert rows(tmp_path / "b") == rows(tmp_path / "a")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_killed_process_goes_on(data, tmp_path):
    request = training(data, tmp_path / "b", epochs=2, workers=1, existing=Existing.RESUME)
    assert run_in_child(KilledAt(0.55), request).status == -signal.SIGKILL  # in the second epoch
    assert len(rows(tmp_path / "b")) == 1
    assert same(run(request), run(training(data, tmp_path / "a", epochs=2, workers=1)))


def test_a_person_can_cancel_and_keeps_the_best(data, tmp_path):
    request = training(data, tmp_path, existing=Existing.RESUME)
    with pytest.raises(Cancelled):
        run(request, Crashing(5, 4, 3, Cancelled))
    assert bundle.load(str(tmp_path / "model.safetensors")).card.training["best_epoch"] == 1
    assert (tmp_path / "last.ckpt").exists()
    assert not (tmp_path / "run.json").exists()
    assert run(request).epochs == 3


def test_a_finished_training_is_not_trained_again(trained, data):
    request = training(data, trained.run_dir, title="Squares", steps=8, existing=Existing.RESUME)
    before = {path: path.stat().st_mtime_ns for path in Path(trained.run_dir).iterdir()}
    assert run(request) == trained
    assert {path: path.stat().st_mtime_ns for path in Path(trained.run_dir).iterdir()} == before


def test_a_taken_folder_is_refused_and_other_settings_are_named(trained, data):
    with pytest.raises(OrthomaskError) as caught:
        run(training(data, trained.run_dir))
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    with pytest.raises(OrthomaskError, match=r"other settings: schedule\.steps, title") as caught:
        run(training(data, trained.run_dir, existing=Existing.RESUME))
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS


def test_a_folder_can_be_overwritten(data, tmp_path):
    first = run(training(data, tmp_path, epochs=1))
    second = run(training(data, tmp_path, epochs=2, existing=Existing.OVERWRITE))
    assert (first.epochs, second.epochs) == (1, 2)
    assert len(rows(tmp_path)) == 2


def diverging(at):
    """A loss that is infinite from step `at` on."""
    calls = []

    def loss(objective, logits, mask, weights):
        calls.append(1)
        value = (logits - logits.mean()).square().mean()
        return value * (math.inf if len(calls) >= at else 1)

    return loss


def test_a_loss_that_is_no_number_keeps_the_best_so_far(data, tmp_path, monkeypatch):
    monkeypatch.setattr(learners.losses, "loss", diverging(6))
    result = run(training(data, tmp_path))
    assert (result.stopped, result.epochs) == ("diverged", 1)
    assert "infinite in epoch 2" in result.warnings[-1]
    assert bundle.load(result.model_path).card.training["best_epoch"] == 1
    assert torch.isfinite(weights(result)["head.weight"]).all()


def test_a_loss_that_is_no_number_at_once_is_an_error(data, tmp_path, monkeypatch):
    monkeypatch.setattr(learners.losses, "loss", diverging(2))
    with pytest.raises(OrthomaskError) as caught:
        run(training(data, tmp_path))
    assert caught.value.code is ErrorCode.TRAINING_DIVERGED
    assert "learning rate" in caught.value.remedy


def test_too_little_memory_is_said(data, tmp_path, monkeypatch):
    def loss(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(learners.losses, "loss", loss)
    with pytest.raises(OrthomaskError, match="smaller batch") as caught:
        run(training(data, tmp_path))
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY


def test_patience_ends_it_early(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Scoreboard, "best", lambda board, _: board.scores(0))
    monkeypatch.setattr(Scoreboard, "scores", lambda *_: Scores(0.5, 0.5, 0.5, 0.5, THRESHOLDS[0], 1))
    result = run(training(data, tmp_path, epochs=9, patience=2, steps=1))
    assert (result.stopped, result.epochs, result.best_epoch) == ("early", 3, 1)


def test_a_model_gets_the_threshold_that_was_asked_for(data, tmp_path):
    result = run(training(data, tmp_path, epochs=1, threshold=0.7))
    card = bundle.load(result.model_path).card
    assert result.threshold == card.threshold == card.accuracy["validation areas"]["threshold"] == 0.7


def test_a_frozen_encoder_stays_as_it_is(trained, data, tmp_path):
    request = training(data, tmp_path, model=trained.model_path, epochs=2, frozen_epochs=2, averaging=0.0)
    before, after = weights(trained), weights(run(request))
    for name in before:
        frozen = name.startswith(("stem", "encoder"))
        counter = name.endswith("num_batches_tracked")
        assert counter or torch.equal(before[name], after[name]) == frozen, name


def test_fine_tuning_begins_where_the_model_stopped(trained, data, tmp_path):
    tuned = run(training(data, tmp_path, model=trained.model_path, epochs=1, learning_rate=1e-6, averaging=0.0))
    assert tuned.scores["iou"] == pytest.approx(trained.scores["iou"], abs=0.05)
    assert bundle.load(tuned.model_path).card.training["parent"]["name"] == "model"


def test_the_base_is_scored_first_and_a_training_that_does_not_beat_it_says_so(trained, data, tmp_path):
    """It is row 0 of the curves; a training resumed later knows it, too."""
    request = training(
        data, tmp_path, model=trained.model_path, epochs=2, learning_rate=1e-9, threshold=trained.threshold,
        existing=Existing.RESUME,
    )  # fmt: skip
    with pytest.raises(Crash):
        run(request, Crashing(5, 4, 2))
    tuned = run(request)
    base, *epochs = rows(tmp_path)
    assert [row["epoch"] for row in (base, *epochs)] == [0, 1, 2]
    assert base["iou"] == tuned.base_scores["iou"] == pytest.approx(trained.scores["iou"], abs=0.005)
    assert ("keep using that one" in "".join(tuned.warnings)) == (tuned.scores["iou"] <= base["iou"])
    assert bundle.load(tuned.model_path).card.training["best_epoch"] > 0


def test_a_training_from_scratch_or_of_new_classes_has_no_base(trained, data, tmp_path):
    classes = (ClassInfo(1, "orchard", "#123456"),)
    tuned = run(training(data, tmp_path, model=trained.model_path, epochs=1, steps=1, classes=classes))
    assert trained.base_scores == tuned.base_scores == {}
    assert [row["epoch"] for row in rows(tmp_path)] == [1]


def test_a_project_of_sixteen_bits_is_learnt(tmp_path):
    areas = ((0, 0, 110, 120), (110, 0, 160, 120))
    project = write_project(tmp_path, areas, ("train", "validation"), "uint16")
    result = run(training(LabelledData((project,)), tmp_path / "run", steps=10, objective=Objective(border_weight=5.0)))
    assert result.scores["iou"] > 0.8
    assert bundle.load(result.model_path).card.dtype == "uint16"


@pytest.mark.parametrize("changes", [{"precision": "12-bit"}, {"hardware": Hardware(strategy="magic")}])
def test_settings_that_lightning_does_not_know_are_refused(data, tmp_path, changes):
    with pytest.raises(OrthomaskError) as caught:
        run(training(data, tmp_path, **changes))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_training_that_cannot_begin_leaves_the_folder_free(data, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(OrthomaskError):
        run(training(data, out, chip_px=30))
    assert not out.exists()


def test_a_tracker_that_is_not_installed_is_said(data, tmp_path, monkeypatch):
    monkeypatch.setattr("orthomask.training.fit.loggers.WandbLogger", Mock(side_effect=ModuleNotFoundError("wandb")))
    with pytest.raises(OrthomaskError, match="“wandb” is not installed"):
        run(training(data, tmp_path / "run", trackers=(Tracker.WANDB,)))
    assert not (tmp_path / "run").exists()


def rates(schedule, scores=()):
    learner = Learner(UNet(UNetArguments(1, 2, (16, 16), 1)), Objective(), schedule)
    learner.scores = list(scores)
    return [learner.rate(step) for step in range(schedule.epochs * schedule.steps + 1)]


def test_the_rate_warms_up_and_falls_to_zero():
    found = rates(Schedule(epochs=10, steps=10, warmup_steps=10))
    assert found[0] == pytest.approx(0.1)
    assert max(found) == pytest.approx(1)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[100] == pytest.approx(0)
    constant = rates(Schedule(epochs=10, steps=10, warmup_steps=10, decay=Decay.CONSTANT))
    assert constant[:10] == found[:10]
    assert set(constant[10:]) == {1.0}


def test_the_plateau_is_that_of_torch():
    random = np.random.default_rng(1)
    scores = [float(value) for value in np.round(np.minimum(np.arange(60) / 20, 1) + random.normal(0, 0.05, 60), 3)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    plateau = ReduceLROnPlateau(
        optimizer, "max", learners.PLATEAU_FACTOR, learners.PLATEAU_EPOCHS, threshold=0.0, threshold_mode="abs"
    )
    for count, score in enumerate(scores, 1):
        plateau.step(score)
        assert eased(scores[:count]) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-3)
    assert eased(scores) < 0.1


def test_a_wrong_class_is_a_false_alarm_and_a_miss():
    probabilities = torch.tensor([[0.7, 0.1, 0.6, 0.2], [0.2, 0.8, 0.3, 0.1]])[:, None]
    mask = torch.tensor([[1, 1, UNKNOWN, 2]])
    board = Scoreboard((0.5,))
    board.add("", *decisions(probabilities, mask))
    scores = board.scores(0)
    assert scores.precision == pytest.approx(1 / 2)
    assert scores.recall == pytest.approx(1 / 3)
    assert scores.iou == pytest.approx(1 / 4)


@pytest.mark.parametrize(("detail", "expected"), [(8, torch.contiguous_format), (16, torch.channels_last)])
def test_narrow_networks_keep_the_safe_memory_layout(detail, expected):
    assert layout(UNetArguments(3, 2, widths=(16, 32), detail=detail)) is expected


def test_precision_is_chosen_by_the_device_or_by_hand():
    cpu = torch.device("cpu")
    assert precision(Schedule(precision="16-mixed"), cpu) == "16-mixed"
    assert precision(replace(Schedule()), cpu) in {"bf16-mixed", "32-true"}
