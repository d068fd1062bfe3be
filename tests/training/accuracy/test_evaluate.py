"""Evaluation end to end: scores counted by hand, the same path as a run, outputs, bad input."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import evaluation_data as data
import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from images import write_tile
from sklearn import metrics

from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Cancelled,
    ChipSet,
    ChipsRequest,
    ClassValue,
    ErrorCode,
    EvaluateRequest,
    EvaluateResult,
    Existing,
    Image,
    LabelledData,
    LabelledImage,
    Labels,
    OrthomaskError,
    Pictures,
    PredictRequest,
    Split,
    from_json,
    to_json,
)
from orthomask.training.accuracy import comparison, evaluate, report
from orthomask.training.truth.labels import Grid, open_truth

FOUND = [(10, 10, 30, 30), (40, 10, 60, 30), (80, 60, 100, 80)]
TRUE = [(10, 10, 30, 30), (45, 10, 65, 30), (10, 70, 30, 90)]
WHOLE = (120, 160)
PLOT = report._plot


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that finds what is bright in the first band; plots, which take longest, are left out of its report."""
    monkeypatch.setattr(devices, "prepare", data.predictor)
    monkeypatch.setattr(report, "_plot", lambda _: "data:,")
    return data.write_model(tmp_path)


def request(model: Path, tmp_path: Path, *projects: LabelledImage, **changes) -> EvaluateRequest:
    fields = {"data": LabelledData(projects) if projects else None, "output_dir": str(tmp_path / "report")}
    return EvaluateRequest(str(model), device="cpu", **{**fields, **changes})


def run(*arguments, **changes) -> EvaluateResult:
    return evaluate.run(request(*arguments, **changes), Progress())


def refused(*arguments, **changes) -> OrthomaskError:
    with pytest.raises(OrthomaskError) as caught:
        run(*arguments, **changes)
    assert caught.value.remedy
    return caught.value


def burned(boxes, shape=WHOLE) -> np.ndarray:
    mask = np.zeros(shape, int)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def test_scores_are_those_counted_by_hand(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, data.labelled(tmp_path, FOUND, TRUE))
    truth, found = burned(TRUE).ravel(), burned(FOUND).ravel()
    assert result.classes == ("background", "square")
    assert np.array(result.confusion).tolist() == metrics.confusion_matrix(truth, found).tolist()
    assert result.pixels[1].iou == pytest.approx(metrics.jaccard_score(truth, found))
    assert result.accuracy == pytest.approx(metrics.accuracy_score(truth, found))
    assert result.kappa == pytest.approx(metrics.cohen_kappa_score(truth, found))
    (objects,) = result.objects
    assert (objects.matched, objects.missed, objects.false) == (2, 1, 1)
    assert [place.name for place in result.places] == ["land"]


def test_only_the_areas_of_the_split_count(bright: Path, tmp_path: Path) -> None:
    """The area cuts the second square: 5 columns of it, found and labelled, lie outside."""
    area = (5, 5, 60, 40)
    image = data.labelled(tmp_path, FOUND, TRUE, {"here": area})
    left, top, right, bottom = area
    inside = np.s_[top:bottom, left:right]
    result = run(bright, tmp_path, image)
    truth, found = (burned(boxes)[inside].ravel() for boxes in (TRUE, FOUND))
    assert np.array(result.confusion).tolist() == metrics.confusion_matrix(truth, found).tolist()
    (objects,) = result.objects
    assert (objects.matched, objects.missed, objects.false) == (2, 0, 0)
    record = json.loads(Path(result.json_path).read_text(encoding="utf-8"))
    assert [(row["name"], row["pixels"]) for row in record["areas_scored"]] == [("here", truth.size)]


def test_the_predictions_are_those_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights, two classes, windows that overlap: the same pixels as in the run's own class raster."""
    prepare = devices.prepare
    monkeypatch.setattr(devices, "prepare", lambda opened, device, _="": prepare(opened, device, "fp32"))
    model = data.write_model(tmp_path, classes=2)
    random = np.random.default_rng(2)
    image = data.write_image(tmp_path / "noise.tif", random.integers(0, 255, (3, 600, 700)).astype(np.uint8))
    labels = data.write_boxes(tmp_path / "labels.gpkg", "labels", [(100, 100, 400, 300), (350, 250, 500, 590)])
    project = LabelledImage(Image(str(image)), (Labels(str(labels)),))
    ran = predict.run(PredictRequest(Image(str(image)), str(model), str(tmp_path / "run"), device="cpu"), Progress())
    with rasterio.open(ran.classes_path) as dataset:
        found = dataset.read(1)
    result = run(model, tmp_path, project)
    truth = burned([(100, 100, 400, 300), (350, 250, 500, 590)], found.shape)
    expected = metrics.confusion_matrix(truth.ravel(), found.ravel(), labels=[0, 1, 2])
    assert np.array(result.confusion).tolist() == expected.tolist()


def test_an_area_in_pieces_scores_the_same(bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = data.labelled(tmp_path, FOUND, TRUE)
    whole = run(bright, tmp_path, image, output_dir=str(tmp_path / "whole"))
    monkeypatch.setattr(comparison, "PIECE_PX", 50)
    cut = run(bright, tmp_path, image, output_dir=str(tmp_path / "cut"))
    assert cut.confusion == whole.confusion
    rasters = []
    for result in (whole, cut):
        with rasterio.open(result.errors_path) as dataset:
            rasters.append(dataset.read(1))
    assert (rasters[0] == rasters[1]).all()


def test_the_error_raster_says_what_is_wrong_where(bright: Path, tmp_path: Path) -> None:
    area = (5, 5, 70, 100)
    result = run(bright, tmp_path, data.labelled(tmp_path, FOUND, TRUE, {"here": area, "there": (90, 90, 100, 100)}))
    expected = np.full(WHOLE, 255)
    truth, found = burned(TRUE) > 0, burned(FOUND) > 0
    for left, top, right, bottom in (area, (90, 90, 100, 100)):
        box = np.s_[top:bottom, left:right]
        expected[box] = np.select([truth & found, found, truth], [1, 2, 3], 0)[box]
    with rasterio.open(result.errors_path) as dataset:
        assert dataset.transform == data.TRANSFORM @ dataset.transform.translation(5, 5)
        assert (dataset.crs, dataset.nodata) == (rasterio.crs.CRS.from_string(data.CRS), 255)
        assert dataset.read(1).tolist() == expected[5:100, 5:100].tolist()
        assert dataset.colormap(1)[2] == (0xD7, 0x30, 0x1F, 255)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_objects_are_written_as_polygons(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, data.labelled(tmp_path, FOUND, TRUE))
    meta, _, geometry, fields = pyogrio.raw.read(result.objects_path, layer="objects")
    assert list(meta["fields"]) == ["status", "class", "iou", "confidence", "area_m2"]
    rows = {
        (
            status,
            tuple(np.array(shapely.transform(shape, lambda xy: (xy - data.TRANSFORM @ (0, 0)) * 2).bounds).round()),
        )
        for status, shape in zip(fields[0], shapely.from_wkb(geometry))
    }
    assert rows == {
        ("matched", (10, -30, 30, -10)), ("matched", (40, -30, 60, -10)), ("false", (80, -80, 100, -60)),
        ("missed", (10, -90, 30, -70)),
    }  # fmt: skip
    ious = dict(zip(fields[0], fields[2]))
    assert (ious["false"], ious["missed"]) == (0, 0)
    assert sorted(fields[2])[-2:] == [pytest.approx(0.6), 1]
    assert fields[4] == pytest.approx([400 * data.GSD**2] * 4, rel=2e-3)
    assert np.isnan(fields[3][fields[0] == "missed"]).all()


def test_classes_that_are_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A square that is labelled as a bar, and a bar that is right: one wrong object on both sides."""
    monkeypatch.setattr(devices, "prepare", data.predictor)
    model = data.write_model(tmp_path, classes=2)
    square, bar = (10, 10, 30, 30), (50, 10, 90, 20)
    pixels = np.maximum(data.paint(WHOLE, square), data.paint(WHOLE, bar, band=1))
    image = data.write_image(tmp_path / "land.tif", pixels)
    labels = data.write_boxes(tmp_path / "labels.gpkg", "labels", [square, bar], kind=["bar", "bar"])
    result = run(model, tmp_path, LabelledImage(Image(str(image)), (Labels(str(labels), class_field="kind"),)))
    background = WHOLE[0] * WHOLE[1] - 800
    assert result.confusion == ((background, 0, 0), (0, 0, 0), (0, 400, 400))
    scores = [(row.name, row.precision, row.recall) for row in result.pixels]
    assert scores == [("all", 1, 1), ("square", 0, 0), ("bar", 1, 0.5)]
    objects = {row.name: (row.matched, row.missed, row.false) for row in result.objects}
    assert objects == {"square": (0, 0, 1), "bar": (1, 1, 0)}
    with rasterio.open(result.errors_path) as dataset:
        assert dataset.read(1)[10:30, 10:30].tolist() == [[4] * 20] * 20
        assert np.count_nonzero(dataset.read(1) == 1) == 400


def test_another_threshold_and_several_images(bright: Path, tmp_path: Path) -> None:
    projects = []
    for name in ("east", "west"):
        (tmp_path / name).mkdir()
        projects.append(replace(data.labelled(tmp_path / name, FOUND, TRUE), place=name))
    result = run(bright, tmp_path, *projects, threshold=0.9)
    assert result.threshold == 0.9
    assert [place.name for place in result.places] == ["east", "west"]
    assert {path.name for path in Path(result.report_path).parent.glob("errors*.tif")} == {"errors.tif", "errors-2.tif"}


def test_pictures_are_scored_by_place_and_split(bright: Path, tmp_path: Path) -> None:
    for number, place in enumerate(("town", "town", "village")):
        box = (10, 10, 30 + number, 30)
        write_tile(tmp_path / "set", f"{place}_{number}", data.paint((64, 64), box), 255 * burned([box], (64, 64)))
    mapping = (ClassValue("0", 0), ClassValue("255", 1))
    pictures = Pictures("set/images", "set/masks", 0.5, mapping, Split.TEST)
    result = run(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert [(place.name, place.iou, place.pixels) for place in result.places] == [
        ("town", 1, 2 * 64 * 64), ("village", 1, 64 * 64),
    ]  # fmt: skip
    assert (result.errors_path, result.objects_path) == ("", "")
    error = refused(
        bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)), split=Split.VALIDATION,
        output_dir=str(tmp_path / "other"),
    )  # fmt: skip
    assert error.code is ErrorCode.AREAS_EMPTY


@pytest.mark.parametrize(("gsd_m", "side"), [(0.25, 20), (1.0, 5)])
def test_pictures_of_another_resolution_are_brought_to_the_models(
    bright: Path, tmp_path: Path, gsd_m: float, side: int
) -> None:
    box, shape = (side, side, 3 * side, 3 * side), (7 * side, 7 * side)
    write_tile(tmp_path / "set", "town_1", data.paint(shape, box), burned([box], shape))
    pictures = Pictures("set/images", "set/masks", gsd_m, split=Split.TEST)
    result = run(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert result.pixels[0].pixels == 20 * 20
    assert result.pixels[0].iou == pytest.approx(1, abs=0.1)


def test_exported_chips_of_the_split_are_scored(bright: Path, tmp_path: Path) -> None:
    from orthomask.training.chips import chips

    image = data.labelled(tmp_path, FOUND, TRUE, {"here": (0, 0, 128, 64)})
    chips.run(ChipsRequest((image,), str(tmp_path / "chips"), chip_px=64, stride_px=64), Progress())
    result = run(bright, tmp_path, data=LabelledData(chips=(ChipSet(str(tmp_path / "chips")),)))
    inside = np.s_[:64, :128]
    truth, found = (burned(boxes)[inside].ravel() for boxes in (TRUE, FOUND))
    assert np.array(result.confusion).tolist() == metrics.confusion_matrix(truth, found).tolist()


def test_chips_whose_bands_lie_in_another_order_are_scored_by_name(bright: Path, tmp_path: Path) -> None:
    """The squares are bright in red alone, which lies last; only the model's first band is looked at."""
    from orthomask.training.chips import chips

    image = data.labelled(tmp_path, FOUND, FOUND, {"here": (0, 0, 128, 64)})
    with rasterio.open(image.image.path, "r+") as dataset:
        pixels = dataset.read()
        dataset.write(np.stack([np.full_like(pixels[0], 10), np.full_like(pixels[0], 10), pixels[0]]))
        dataset.descriptions = ("B02", "B03", "B04")
    chips.run(ChipsRequest((image,), str(tmp_path / "chips"), chip_px=64, stride_px=64), Progress())
    result = run(bright, tmp_path, data=LabelledData(chips=(ChipSet(str(tmp_path / "chips")),)))
    assert result.pixels[0].iou == 1


def test_messages_name_the_picture_and_no_copy_of_it(bright: Path, tmp_path: Path) -> None:
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64)), burned([], (64, 64)))
    (path,) = (tmp_path / "set" / "images").iterdir()
    with rasterio.open(path, "w", driver="PNG", count=3, height=64, width=64, dtype="uint16") as dataset:
        dataset.write(np.ones((3, 64, 64), np.uint16))
    pictures = Pictures("set/images", "set/masks", 0.5, split=Split.TEST)
    error = refused(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert "“town_1.png”" in error.sentence


@pytest.mark.parametrize("height", [100, 400])
def test_the_area_on_a_map_is_corrected_by_its_errors(bright: Path, tmp_path: Path, height: int) -> None:
    """A model that finds twice what is there: the estimate comes out at half of the map; known if all is labelled."""
    image = data.labelled(tmp_path, [(0, 0, 40, 120)], [(0, 0, 20, 120)])
    classes = tmp_path / "classes.tif"
    record = {"run_id": "x", "classes": [to_json(data.CLASSES[0])]}
    with rasterio.open(
        classes, "w", driver="GTiff", width=100, height=height, count=1, dtype="uint8", nodata=255, crs=data.CRS,
        transform=data.TRANSFORM,
    ) as dataset:  # fmt: skip
        dataset.write((np.arange(100) < 40).astype(np.uint8)[None, None].repeat(height, axis=1))
        dataset.update_tags(ORTHOMASK=json.dumps(record))
    result = run(bright, tmp_path, image, map_path=str(classes))
    (area,) = result.areas
    assert area.mapped_m2 == pytest.approx(40 * height * data.GSD**2, rel=2e-3)
    assert area.estimated_m2 == pytest.approx(area.mapped_m2 / 2, rel=1e-3, abs=2 * area.margin_m2)
    is_known = height == 100
    assert area.margin_m2 == 0 if is_known else 0 < area.margin_m2 < area.mapped_m2 / 10
    assert any("only 1 labelled areas" in warning for warning in result.warnings) != is_known
    assert any("in one area, which says nothing" in warning for warning in result.warnings)
    assert ("<td>counted</td>" in Path(result.report_path).read_text()) == is_known


def test_the_report_is_whole_by_itself_and_shows_the_worst_first(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_plot", PLOT)
    areas = {"good <b>": (5, 5, 35, 35), "bad": (75, 55, 105, 85), "half": (35, 5, 70, 35)}
    result = run(bright, tmp_path, data.labelled(tmp_path, FOUND, TRUE, areas))
    page = Path(result.report_path).read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", page)
    assert "<script" not in page
    assert "good &lt;b&gt;" in page
    assert html.escape("Bright & <sure>") in page
    assert [page.index(f'of {name}">') for name in ("bad", "half")] == sorted(
        page.index(f'of {name}">') for name in ("bad", "half")
    )
    assert "of good" not in page
    assert f"{result.pixels[0].iou:.3f}" in page
    assert page.count("data:image/svg+xml;base64,") == 3
    assert page.count("data:image/png;base64,") == 2
    for words in ("truth ↓", "prediction →", "Calibration", "Precision and recall", "Threshold", "Olofsson"):
        assert words in page


def test_the_record_holds_the_result_and_the_curves(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, data.labelled(tmp_path, FOUND, TRUE))
    record = json.loads(Path(result.json_path).read_text(encoding="utf-8"))
    again = from_json(EvaluateResult, {name: record[name] for name in EvaluateResult.__dataclass_fields__})
    assert again == result
    assert len(record["sweep"]) == 254
    assert record["model"]["sha256"] == bundle.load(str(bright)).sha256
    assert sum(row["share"] for row in record["reliability"]) == pytest.approx(1)


def test_an_evaluation_is_replaced_only_when_asked_and_other_files_stay(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, FOUND, TRUE)
    folder = Path(run(bright, tmp_path, image).report_path).parent
    (folder / "notes.txt").write_text("mine")
    (folder / "errors-2.tif").write_text("of an older evaluation")
    before = (folder / "report.html").read_bytes()
    assert refused(bright, tmp_path, image).code is ErrorCode.OUTPUT_EXISTS
    assert (folder / "report.html").read_bytes() == before
    run(bright, tmp_path, image, existing=Existing.OVERWRITE, threshold=0.7)
    assert (folder / "report.html").read_bytes() != before
    names = {path.name for path in folder.iterdir()} - {"errors.tif.aux.xml"}
    assert names == {"report.html", "evaluation.json", "errors.tif", "objects.gpkg", "notes.txt"}
    assert not list(tmp_path.glob(".report*"))


def test_a_folder_of_other_things_is_never_replaced(bright: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.odt").write_text("mine")
    image = data.labelled(tmp_path, FOUND, TRUE)
    assert refused(bright, tmp_path, image, existing=Existing.OVERWRITE).code is ErrorCode.OUTPUT_EXISTS
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["thesis.odt"]


class CancelAt(Progress):
    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    def report(self, fraction: float, message: str = "") -> None:
        if fraction >= self._fraction:
            raise Cancelled

    show = report


def test_cancelling_leaves_nothing(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, FOUND, TRUE)
    with pytest.raises(Cancelled):
        evaluate.run(request(bright, tmp_path, image), CancelAt(0.5))
    assert not list(tmp_path.glob("*report*"))


def test_no_area_of_the_split_is_an_error_with_a_remedy(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, FOUND, TRUE, {"here": (5, 5, 60, 40)}, split="train")
    error = refused(bright, tmp_path, image)
    assert error.code is ErrorCode.AREAS_EMPTY
    assert "test" in error.remedy
    assert not list(tmp_path.glob("*report*"))


def test_a_model_of_other_bands_is_refused(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, FOUND, TRUE)
    model = data.write_model(tmp_path, bands=5)
    assert refused(model, tmp_path, image).code is ErrorCode.IMAGE_BANDS


def test_picture_and_mask_of_different_size_are_refused(bright: Path, tmp_path: Path) -> None:
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64)), burned([], (60, 64)))
    pictures = Pictures("set/images", "set/masks", 0.5, split=Split.TEST)
    error = refused(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert error.code is ErrorCode.LABELS_SIZE


def test_labels_outside_the_image_are_refused(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, FOUND, [(5000, 5000, 5020, 5020)])
    assert refused(bright, tmp_path, image).code is ErrorCode.LABELS_OUTSIDE


def test_classes_that_the_model_does_not_know_are_refused(bright: Path, tmp_path: Path) -> None:
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64)), 3 * burned([(5, 5, 20, 20)], (64, 64)))
    pictures = Pictures("set/images", "set/masks", 0.5, split=Split.TEST)
    error = refused(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert error.code is ErrorCode.LABELS_CLASSES


def test_nothing_labelled_as_an_object_is_said(bright: Path, tmp_path: Path) -> None:
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64)), burned([], (64, 64)))
    pictures = Pictures("set/images", "set/masks", 0.5, split=Split.TEST)
    result = run(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert any("No objects are labelled here" in warning for warning in result.warnings)
    assert result.pixels[0].iou == 0


def test_unknown_ground_in_a_mask_is_not_counted(bright: Path, tmp_path: Path) -> None:
    mask = burned([(10, 10, 30, 30)], (64, 64))
    mask[:, 32:] = 255
    write_tile(tmp_path / "set", "town_1", data.paint((64, 64), (10, 10, 30, 30), (40, 0, 60, 60)), mask)
    pictures = Pictures("set/images", "set/masks", 0.5, split=Split.TEST)
    result = run(bright, tmp_path, data=LabelledData(pictures=(pictures,), root=str(tmp_path)))
    assert (result.pixels[0].iou, np.sum(result.confusion)) == (1, 64 * 32)
    assert result.objects[0].false == 0


def test_truth_and_prediction_of_a_label_project_lie_on_one_grid(bright: Path, tmp_path: Path) -> None:
    """The labels of a whole image, burned here and by `open_truth`, are the same."""
    image = data.labelled(tmp_path, FOUND, TRUE)
    with rasterio.open(image.image.path) as dataset:
        grid = Grid(dataset.crs.to_wkt(), dataset.transform, dataset.width, dataset.height)
    with open_truth(image.labels, None, data.CLASSES[:1], grid, image.touch) as truth:
        assert (truth.mask(comparison.Window(0, 0, 160, 120)) == burned(TRUE)).all()
