"""The command `orthomask evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import evaluation_data as data
import pyogrio.raw
import pytest
import shapely
from click.testing import CliRunner, Result
from images import write_tile

from orthomask.cli import commands
from orthomask.engine.compute import devices
from orthomask.protocol import ClassInfo
from orthomask.training.accuracy import report

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


def test_labels_without_crs_need_a_name_of_it(bright: Path, tmp_path: Path) -> None:
    data.labelled(tmp_path, FOUND, TRUE)
    meta, _, geometry, _ = pyogrio.raw.read(tmp_path / "labels.gpkg", columns=[])
    path = tmp_path / "labels.csv"
    path.write_text("WKT\n" + "".join(f'"{shape.wkt}"\n' for shape in shapely.from_wkb(geometry)))
    command = (bright, tmp_path / "land.tif", "--labels", path, "--out", tmp_path / "out")
    refused = orthomask(*command)
    assert (refused.exit_code, len(refused.output.splitlines())) == (2, 2)
    assert "--labels-crs" in refused.output
    result = orthomask(*command, "--labels-crs", meta["crs"])
    assert result.exit_code == 0, result.output
    assert "square                0.667" in result.output


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


def test_0_and_255_alone_need_no_mapping(bright: Path, tmp_path: Path) -> None:
    mask = data.paint((64, 64), *TRUE)[0] > 100
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64), *FOUND), mask * 255)
    folders = ("--images", tmp_path / "set" / "images", "--masks", tmp_path / "set" / "masks", "--gsd-m", 0.5)
    result = orthomask(bright, *folders, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["confusion"] == [[64 * 64 - 600, 0], [200, 400]]
    assert "255 was read as class 1" in result.output


def test_masks_hold_class_values_whatever_the_model_calls_its_classes(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "CLASSES", (ClassInfo(1, "300", "#ff0000"),))
    model = data.write_model(tmp_path)
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64), *FOUND), data.paint((64, 64), *TRUE)[0] > 100)
    folders = ("--images", tmp_path / "set" / "images", "--masks", tmp_path / "set" / "masks", "--gsd-m", 0.5)
    result = orthomask(model, *folders, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["confusion"] == [[64 * 64 - 600, 0], [200, 400]]


def test_a_picture_that_does_not_suit_the_model_is_called_by_its_own_name(bright: Path, tmp_path: Path) -> None:
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64), *FOUND)[:1], data.paint((64, 64), *TRUE)[0] > 100)
    folders = ("--images", tmp_path / "set" / "images", "--masks", tmp_path / "set" / "masks", "--gsd-m", 0.5)
    result = orthomask(bright, *folders, "--out", tmp_path / "out")
    assert (result.exit_code, len(result.output.splitlines())) == (2, 2)
    assert "“town_1.png”" in result.output


def test_nothing_labelled_and_a_folder_in_use_end_with_one_sentence_and_a_remedy(bright: Path, tmp_path: Path) -> None:
    nothing = orthomask(bright, "--out", tmp_path / "out")
    assert (nothing.exit_code, len(nothing.output.splitlines())) == (2, 2)
    data.labelled(tmp_path, FOUND, TRUE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    taken = orthomask(bright, tmp_path / "land.tif", "--labels", tmp_path / "labels.gpkg", "--out", tmp_path / "out")
    assert (taken.exit_code, len(taken.output.splitlines())) == (3, 2)
