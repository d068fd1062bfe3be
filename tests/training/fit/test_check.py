"""The preflight of a training: lights for data that cannot teach, and the time it will take."""

from dataclasses import replace

import pytest
from click.testing import CliRunner
from trainings import NETWORK, parent_of, training, write_polygons, write_project

from orthomask.cli import commands
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Areas,
    CheckTrainingRequest,
    ChipsRequest,
    ErrorCode,
    LabelledData,
    Labels,
    Level,
    OrthomaskError,
)
from orthomask.training.chips import chips
from orthomask.training.fit import check, pace

LEFT, RIGHT, CORNER = (0, 0, 100, 120), (110, 0, 160, 120), (0, 60, 15, 75)
"""Areas with four, two and no houses."""
MEASURED = pace.seconds


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Lights need no measuring; what it takes has a test of its own."""
    monkeypatch.setattr(pace, "seconds", lambda *_: 60.0)
    monkeypatch.setattr(check, "FEW_SCRATCH", 3)
    monkeypatch.setattr(check, "FEW_VALIDATION", 2)


def looked_at(folder, areas=(), splits=(), states=None, **changes):
    """The check of a project; its lights by name."""
    project = write_project(folder, areas, splits)
    if states is not None:
        path = write_polygons(folder / "areas.gpkg", "areas", areas, 0.5, split=list(splits), state=states)
        project = replace(project, areas=Areas(str(path)))
    result = check.run(CheckTrainingRequest(training(LabelledData((project,)), folder / "run", **changes)), Progress())
    assert not (folder / "run").exists()
    return result, {light.name: (light.level, light.reason) for light in result.lights}


def test_data_that_teach_are_green(tmp_path):
    result, lights = looked_at(tmp_path, (LEFT, RIGHT), ("train", "validation"))
    assert lights["objects"] == (Level.GREEN, "Enough to learn from: 4 labels in 1 area for training.")
    assert lights["validation"] == (Level.GREEN, "Enough to validate on: 2 labels.")
    assert (result.level, result.seconds) == (Level.GREEN, 60.0)


def test_an_image_without_areas_is_split_by_itself(tmp_path):
    _, lights = looked_at(tmp_path)
    assert lights["objects"] == (Level.GREEN, "Enough to learn from: about 4 labels for training.")
    assert set(lights) == {"objects", "validation"}


def test_areas_without_labels_are_asked_about_unless_confirmed(tmp_path):
    three = (LEFT, RIGHT, CORNER), ("train", "validation", "train")
    _, lights = looked_at(tmp_path / "a", *three)
    words = "1 area without labels counts as background: is nothing there, or not drawn yet?"
    assert lights["areas"] == (Level.AMBER, words)
    _, lights = looked_at(tmp_path / "b", *three, states=["todo"] * 3)
    assert lights["labels"] == (
        Level.AMBER, "1 area without labels is left out: is nothing there, or not drawn yet?",
    )  # fmt: skip
    result, _ = looked_at(tmp_path / "c", *three, states=["todo", "todo", "checked"])
    assert result.level is Level.GREEN


def test_nothing_to_learn_from_or_to_validate_on_is_red(tmp_path):
    result, lights = looked_at(tmp_path / "a", (CORNER, RIGHT), ("train", "validation"))
    assert lights["objects"][0] is Level.RED
    assert result.seconds is None
    _, lights = looked_at(tmp_path / "b", (LEFT, CORNER), ("train", "validation"))
    assert lights["validation"][0] is Level.RED
    assert "add an area that contains some" in lights["validation"][1]


def test_few_labels_and_no_validation_are_amber(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "FEW_SCRATCH", 5)
    _, lights = looked_at(tmp_path, (LEFT,), ("train",))
    assert lights["objects"] == (Level.AMBER, "Only 4 labels to learn from: expect little. 5 or more are better.")
    assert lights["validation"][0] is Level.AMBER
    assert "No area is for validation" in lights["validation"][1]


def test_labels_outside_every_area_are_counted(tmp_path):
    _, lights = looked_at(tmp_path, ((0, 0, 45, 40),), ("train",))
    assert lights["labels"][0] is Level.AMBER
    assert lights["labels"][1].startswith("5 labels lie outside every area")


def test_chips_are_counted_by_split(tmp_path):
    project = write_project(tmp_path, (LEFT, RIGHT), ("train", "train"))
    chips.run(ChipsRequest((project,), str(tmp_path / "chips"), chip_px=32, stride_px=32), Progress())
    arguments = ("train", "--chips", str(tmp_path / "chips"), "--out", str(tmp_path / "run"), "--check")
    told = CliRunner().invoke(commands, arguments)
    assert told.exit_code == 0, told.output
    assert " amber  No chip is for validation" in told.output
    assert "About 1 min on" in told.output


def test_labels_that_cannot_be_read_end_the_check_as_they_would_the_training(tmp_path):
    project = replace(write_project(tmp_path), labels=(Labels(str(tmp_path / "none.gpkg")),))
    with pytest.raises(OrthomaskError) as caught:
        check.run(CheckTrainingRequest(training(LabelledData((project,)), tmp_path / "run")), Progress())
    assert caught.value.code is ErrorCode.LABELS_UNREADABLE


def test_the_time_grows_with_epochs_and_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "seconds", MEASURED)
    parent = parent_of(tmp_path)
    given = {"model": str(parent.path), "network": NETWORK}
    one, _ = looked_at(tmp_path / "a", (LEFT, RIGHT), ("train", "validation"), epochs=1, steps=1, **given)
    monkeypatch.setattr(pace, "_measured", None)  # calling it again would fail
    many, _ = looked_at(tmp_path / "b", (LEFT, RIGHT), ("train", "validation"), epochs=1000, steps=100, **given)
    assert pace.START_SECONDS <= one.seconds < many.seconds


def test_too_little_memory_is_red(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "seconds", lambda *_: None)
    _, lights = looked_at(tmp_path, (LEFT, RIGHT), ("train", "validation"))
    assert lights["memory"][0] is Level.RED
