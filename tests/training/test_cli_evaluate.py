"""The command `orthomask evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orthomask.cli import commands
from orthomask.engine import devices
from orthomask.training import report

from . import evaluation_data as data
from .images import write_tile

FOUND, TRUE = [(10, 10, 30, 30)], [(10, 10, 30, 40)]


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "prepare", data.predictor)
    monkeypatch.setattr(report, "_plot", lambda _: "data:,")
    return data.write_model(tmp_path)


def orthomask(model: Path, *arguments: object) -> Result:
    return CliRunner().invoke(commands, ["evaluate", "--model", str(model), "--device", "cpu", *map(str, arguments)])


def test_an_image_with_labels_and_areas(bright: Path, tmp_path: Path) -> None:
    data.labelled(tmp_path, FOUND, TRUE, {"here": (0, 0, 60, 60)})
    result = orthomask(
        bright, tmp_path / "land.tif", "--labels", f"{tmp_path / 'labels.gpkg'}|squares",
        "--areas", f"{tmp_path / 'areas.gpkg'}|layername=areas", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "square                0.667" in result.output
    assert result.output.endswith(f"{tmp_path / 'out' / 'report.html'}\n")


def test_pictures_with_masks_as_json(bright: Path, tmp_path: Path) -> None:
    mask = data.paint((64, 64), *TRUE)[0] > 100
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64), *FOUND), mask * 255)
    folders = ("--images", tmp_path / "set" / "images", "--masks", tmp_path / "set" / "masks", "--gsd-m", 0.5)
    result = orthomask(bright, *folders, "--map", "255=1", "--out", tmp_path / "out", "--json", "--threshold", 0.4)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert answer["classes"] == ["background", "square"]
    assert answer["confusion"] == [[64 * 64 - 600, 0], [200, 400]]
    assert answer["threshold"] == 0.4


def test_nothing_labelled_and_a_folder_in_use_end_with_one_sentence_and_a_remedy(bright: Path, tmp_path: Path) -> None:
    nothing = orthomask(bright, "--out", tmp_path / "out")
    assert (nothing.exit_code, len(nothing.output.splitlines())) == (2, 2)
    data.labelled(tmp_path, FOUND, TRUE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    taken = orthomask(bright, tmp_path / "land.tif", "--labels", tmp_path / "labels.gpkg", "--out", tmp_path / "out")
    assert (taken.exit_code, len(taken.output.splitlines())) == (3, 2)
