"""Labels of other classes than the model's, and the areas on which the best threshold is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import evaluation_data as data
import pytest
from click.testing import CliRunner

from orthomask.cli import commands
from orthomask.engine.compute import devices
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Areas,
    ChipSet,
    ChipsRequest,
    ClassInfo,
    ClassValue,
    ErrorCode,
    EvaluateRequest,
    EvaluateResult,
    LabelledData,
    LabelledImage,
    Labels,
    OrthomaskError,
    ProjectRequest,
    Split,
)
from orthomask.protocol.matching import finds_any, fitted, lacking
from orthomask.training.accuracy import evaluate, report
from orthomask.training.chips import chips
from orthomask.training.truth import project

SQUARE, SHED = (10, 10, 30, 30), (40, 10, 60, 30)
FIELD, ORCHARD = ClassInfo(1, "field", "#00ff00"), ClassInfo(2, "orchard", "#ff0000")


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the class “square” that finds what is bright."""
    monkeypatch.setattr(devices, "prepare", data.predictor)
    monkeypatch.setattr(report, "_plot", lambda _: "data:,")
    return data.write_model(tmp_path)


def run(model: Path, folder: Path, **labelled) -> EvaluateResult:
    return evaluate.run(
        EvaluateRequest(str(model), LabelledData(**labelled), str(folder / "out"), device="cpu"), Progress()
    )


def kinds(folder: Path, *values: str) -> LabelledImage:
    """Two bright squares, labelled with these values of the attribute `kind`."""
    image = data.labelled(folder, [SQUARE, SHED], [])
    path = data.write_boxes(folder / "kinds.gpkg", "kinds", [SQUARE, SHED], kind=list(values))
    return replace(image, labels=(Labels(str(path), class_field="kind"),))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Field", "orchard", "house"], [1, 2, 0]),
        (["1", "2", "3"], [1, 2, 0]),
        (["1", "300"], [0, 0]),
        (["0", "255", ""], [0, 255, 255]),
        (["true", "false"], [1, 0]),
        (["true", "maybe"], [0, 0]),
    ],
)
def test_values_mean_classes_by_name_then_by_number(values: list[str], expected: list[int]) -> None:
    mapping = fitted([(value, value) for value in values], (FIELD, ORCHARD))
    assert [entry.value for entry in mapping] == expected
    assert finds_any(mapping) == bool({1, 2} & set(expected))


def test_a_number_does_not_take_the_class_that_another_value_names() -> None:
    mapping = fitted([("1", "tree"), ("2", "Field"), ("3", "wood")], (FIELD,))
    assert mapping == (ClassValue("1", 0, "tree"), ClassValue("2", 1, "Field"), ClassValue("3", 0, "wood"))
    assert lacking(mapping) == ("tree", "wood")


def test_classes_that_the_model_lacks_are_background_and_that_is_said(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, projects=(kinds(tmp_path, "square", "shed"),))
    assert result.confusion[0][1] == result.confusion[1][1] == 400
    assert "The model has no class for “shed”: counted as background." in result.warnings
    assert "no class for “shed”" in Path(result.report_path).read_text(encoding="utf-8")


def test_labels_without_a_class_are_not_counted(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, projects=(kinds(tmp_path, "square", ""),))
    assert (result.confusion[0][1], result.confusion[1][1]) == (0, 400)
    assert any("without a class" in warning for warning in result.warnings)


def test_labels_of_which_no_value_is_a_class_are_refused(bright: Path, tmp_path: Path) -> None:
    with pytest.raises(OrthomaskError, match="No class is assigned to “house”, “shed”") as caught:
        run(bright, tmp_path, projects=(kinds(tmp_path, "house", "shed"),))
    assert caught.value.code is ErrorCode.LABELS_CLASSES
    assert not (tmp_path / "out").exists()


def test_a_label_project_is_read_by_the_names_of_its_classes(bright: Path, tmp_path: Path) -> None:
    """Its class 1 is a tree, its class 2 what the model calls 1."""
    own = (ClassInfo(1, "tree", "#00ff00"), ClassInfo(2, "square", "#ff0000"))
    path = tmp_path / "town.gpkg"
    project.run(ProjectRequest(str(path), data.CRS, own), Progress())
    image = data.labelled(tmp_path, [SQUARE], [])
    data.write_boxes(path, "labels", [SQUARE, SHED], **{"class": [2, 1]})
    result = run(bright, tmp_path, projects=(replace(image, labels=(Labels(str(path), "labels"),)),))
    assert result.confusion[1] == (0, 400)
    assert "The model has no class for “tree”: counted as background." in result.warnings


def test_chips_are_read_by_the_names_of_their_classes(bright: Path, tmp_path: Path) -> None:
    own = (ClassInfo(1, "shed", "#00ff00"), ClassInfo(2, "square", "#ff0000"))
    areas = data.write_boxes(tmp_path / "here.gpkg", "areas", [(0, 0, 64, 64)], name=["here"], split=["test"])
    image = replace(kinds(tmp_path, "square", "shed"), areas=Areas(str(areas)))
    request = ChipsRequest((image,), str(tmp_path / "chips"), chip_px=64, stride_px=64, classes=own)
    chips.run(request, Progress())
    result = run(bright, tmp_path, chips=(ChipSet(str(tmp_path / "chips")),))
    assert result.confusion[0][1] == result.confusion[1][1] == 400
    assert "The model has no class for “shed”: counted as background." in result.warnings


def test_a_test_takes_the_best_threshold_from_the_validation_areas(bright: Path, tmp_path: Path) -> None:
    """The shed is nothing where it is validated: the validation areas want it out, so the threshold is high."""
    image = data.labelled(tmp_path, [SQUARE, SHED], [SQUARE], {"a": (0, 0, 35, 40)})
    alone = run(bright, tmp_path, projects=(image,))
    assert alone.tuned_on is Split.TEST
    boxes = [(0, 0, 35, 40), (5, 5, 70, 40)]
    both = data.write_boxes(tmp_path / "both.gpkg", "areas", boxes, name=["a", "b"], split=["test", "validation"])
    image = replace(image, areas=Areas(str(both)))
    tuned = EvaluateRequest(str(bright), LabelledData((image,)), str(tmp_path / "tuned"), device="cpu")
    result = evaluate.run(tuned, Progress())
    assert result.tuned_on is Split.VALIDATION
    assert result.confusion == alone.confusion
    validated = evaluate.run(replace(tuned, split=Split.VALIDATION, output_dir=str(tmp_path / "validated")), Progress())
    assert validated.tuned_on is Split.VALIDATION
    assert result.best_threshold == validated.best_threshold


@pytest.mark.parametrize(("split", "said"), [("test", "no longer honest"), ("validation", "areas for validation")])
def test_the_command_says_where_the_threshold_was_chosen(bright: Path, tmp_path: Path, split: str, said: str) -> None:
    image = data.labelled(tmp_path, [SQUARE], [SQUARE], {"here": (0, 0, 64, 64)}, split=split)
    command = [
        "evaluate",
        image.image.path,
        "--model",
        str(bright),
        "--labels",
        image.labels[0].path,
        "--device",
        "cpu",
    ]
    areas = ["--areas", f"{tmp_path / 'areas.gpkg'}|areas", "--split", split, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(commands, [*command, *areas])
    assert result.exit_code == 0, result.output
    assert said in result.output
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))["tuned_on"] == split


def test_without_objects_no_threshold_is_called_best(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, [SQUARE], [(100, 100, 110, 110)], {"here": (0, 0, 64, 64)})
    command = [
        "evaluate",
        image.image.path,
        "--model",
        str(bright),
        "--labels",
        image.labels[0].path,
        "--device",
        "cpu",
    ]
    areas = ["--areas", f"{tmp_path / 'areas.gpkg'}|areas", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(commands, [*command, *areas])
    assert result.exit_code == 0, result.output
    assert "best" not in result.output
    assert "best," not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_areas_without_a_split_are_refused_with_the_reason(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, [SQUARE], [SQUARE])
    plots = data.write_boxes(tmp_path / "plots.gpkg", "plots", [(0, 0, 64, 64)], title=["here"])
    with pytest.raises(OrthomaskError, match="The areas have no attribute “split”") as caught:
        run(bright, tmp_path, projects=(replace(image, areas=Areas(str(plots))),))
    assert caught.value.code is ErrorCode.AREAS_EMPTY
