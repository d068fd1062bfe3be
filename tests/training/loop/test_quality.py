"""Faults planted among the labels of a town that a model knows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluation_data as data
import numpy as np
import pyogrio.raw
import pytest
import shapely
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.cli import commands
from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.images.regions import reprojected
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import (
    Areas,
    ErrorCode,
    Image,
    InspectRequest,
    InspectResult,
    Labels,
    OrthomaskError,
    PredictRequest,
    Region,
)
from orthomask.training.loop import quality
from orthomask.training.loop.doubles import doubles
from orthomask.training.loop.offset import REACH_PX, estimate, fits, outline
from orthomask.training.loop.shifts import shifts
from orthomask.training.truth.labels import Grid

Box = tuple[float, float, float, float]
HOUSES: list[Box] = [
    (x, y, x + 20 + x % 7, y + 16 + y % 5) for x, y in itertools.product(range(40, 400, 45), (40, 90, 140))
]
YARD: Box = (430, 30, 450, 50)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an image of houses, `land.tif`, and a run on it, `run`."""
    folder = tmp_path_factory.mktemp("town")
    noise = np.random.default_rng(1).integers(0, 20, (3, 220, 480)).astype(np.uint8)
    pixels = data.paint((220, 480), *[tuple(map(int, house)) for house in HOUSES])  # type: ignore[misc]
    data.write_image(folder / "land.tif", pixels + noise)
    model = data.write_model(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "prepare", data.predictor)
        asked = PredictRequest(Image(str(folder / "land.tif")), str(model), str(folder / "run"), device="cpu")
        predict.run(asked, Progress())
        yield folder


@pytest.fixture
def ask(town: Path, tmp_path: Path) -> Callable[..., InspectResult]:
    """Inspects boxes, or what `labels` names."""

    def ask(boxes: list[Box], areas: list[Box] | None = None, **options: Any) -> InspectResult:
        path = data.write_boxes(tmp_path / "labels.gpkg", "labels", boxes, note=["kept"] * len(boxes))  # type: ignore[arg-type]
        given_: dict[str, Any] = {"labels": (Labels(str(path)),), "run_dir": str(town / "run")}
        given_["output_path"] = str(tmp_path / "findings.gpkg")
        if areas is not None:
            data.write_boxes(tmp_path / "areas.gpkg", "areas", areas, split=["train"] * len(areas))  # type: ignore[arg-type]
            given_["areas"] = Areas(str(tmp_path / "areas.gpkg"))
        return quality.run(InspectRequest(**{**given_, **options}), Progress())

    return ask


def rows(result: InspectResult) -> list[dict[str, Any]]:
    """The findings, in their order, with geometries in pixels."""
    meta, _, wkb, columns = pyogrio.raw.read(result.findings_path, layer="findings")
    drawn = shapely.transform(shapely.from_wkb(wkb), lambda xy: (xy - data.TRANSFORM @ (0, 0)) / [data.GSD, -data.GSD])
    names = [*meta["fields"], "geometry"]
    return [dict(zip(names, row)) for row in zip(*columns, drawn)]


def kinds(result: InspectResult) -> dict[str, int]:
    return {kind: count for kind, count in result.counts.items() if count}


def moved(box: Box, x: float, y: float) -> Box:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


def test_right_labels_give_no_finding(ask: Callable[..., InspectResult]) -> None:
    result = ask(HOUSES)
    assert kinds(result) == {}
    assert rows(result) == []
    assert (result.labels, result.shift, result.warnings) == (len(HOUSES), None, ())


def test_planted_faults_are_found_with_reasons_and_ids(ask: Callable[..., InspectResult]) -> None:
    x, y, right, bottom = HOUSES[3]
    part = (x + 1, y + 1, right - 4, bottom)
    result = ask([*HOUSES[1:], YARD, HOUSES[5], part])
    found = {row["kind"]: row for row in rows(result)}
    assert kinds(result) == {"unlabelled": 1, "contradicted": 1, "double": 2}
    assert found["unlabelled"]["geometry"].buffer(1).contains(shapely.box(*HOUSES[0]))
    assert found["unlabelled"]["reason"] == "The model is 100% sure of square here, and there is no label"
    assert found["contradicted"]["label"] == len(HOUSES)
    assert found["contradicted"]["reason"].startswith("Labelled square, but the model finds background: ")
    same, within = [row for row in rows(result) if row["kind"] == "double"]
    assert (same["label"], same["other"], same["reason"]) == (len(HOUSES) + 1, 5, "Two labels have the same outline")
    assert (within["label"], within["other"]) == (len(HOUSES) + 2, 3)
    assert within["reason"] == "100% of it lies in another label"
    severities = [row["severity"] for row in rows(result)]
    assert severities == sorted(severities, reverse=True)


def test_nothing_outside_the_areas_is_a_finding(ask: Callable[..., InspectResult]) -> None:
    around = (0, 0, 200, 220)
    inside = [house for house in HOUSES if house[2] < 200]
    result = ask([*inside, YARD], [around])
    assert kinds(result) == {}
    assert result.labels == len(inside)


@pytest.mark.parametrize(("x", "y"), [(4, 0), (-3, 5), (0, -8)])
def test_a_shift_is_found_in_metres_and_its_copy_lies_right(
    ask: Callable[..., InspectResult], tmp_path: Path, x: float, y: float
) -> None:
    target = tmp_path / "moved.gpkg"
    result = ask([moved(house, x, y) for house in HOUSES], moved_path=str(target))
    assert result.shift is not None
    found = (result.shift.east_m / data.GSD, -result.shift.north_m / data.GSD)
    assert found == pytest.approx((-x, -y), abs=0.25)
    first = rows(result)[0]
    assert (first["kind"], first["severity"]) == ("shifted", 1.0)
    assert result.shift.in_words in first["reason"]
    _, _, _, (notes,) = pyogrio.raw.read(target, layer="labels")
    assert set(notes) == {"kept"}
    again = ask([], labels=(Labels(str(target)),), output_path=str(tmp_path / "again.gpkg"))
    assert (again.shift, again.counts["shifted"]) == (None, 0)


def test_labels_in_degrees_and_broken_ones_are_moved_by_degrees(
    ask: Callable[..., InspectResult], tmp_path: Path
) -> None:
    shapes = np.array([shapely.box(*moved(house, 4, 4)) for house in HOUSES], object)
    shapes[0] = shapely.Polygon([*shapes[0].exterior.coords[:3], shapes[0].centroid.coords[0]])
    left, top, right, bottom = moved(HOUSES[1], 4, 4)
    shapes[1] = shapely.Polygon([(left, top), (right, bottom), (right, top), (left, bottom)])  # a bow tie
    placed = shapely.transform(shapes, lambda xy: xy * [data.GSD, -data.GSD] + data.TRANSFORM @ (0, 0))
    path, target = tmp_path / "degrees.gpkg", tmp_path / "moved.gpkg"
    degrees = reprojected(placed, data.CRS, "EPSG:4326")
    write_layer(path, "labels", {"n": np.arange(len(shapes))}, shapely.to_wkb(degrees), "Polygon", "EPSG:4326")
    result = ask([], labels=(Labels(str(path)),), moved_path=str(target))
    assert result.shift is not None
    assert abs(result.shift.x) < 1e-3
    assert (result.shift.east_m, result.shift.north_m) == pytest.approx((-2, 2), abs=0.15)
    assert any("were not valid and have been repaired" in warning for warning in result.warnings)
    _, _, wkb, _ = pyogrio.raw.read(target)
    back = reprojected(shapely.from_wkb(wkb, on_invalid="ignore"), "EPSG:4326", data.CRS)
    away = shapely.get_coordinates(back) - shapely.get_coordinates(placed)
    assert np.allclose(away, (-2, 2), atol=0.15)


def test_labels_that_the_run_has_not_seen_are_counted(
    ask: Callable[..., InspectResult], town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "prepare", data.predictor)
    corner = shapely.Polygon([(0, 0), (120, 0), (120, 100), (80, 100), (80, 220), (0, 220)])  # its box holds more
    place = shapely.transform(corner, lambda xy: xy * [data.GSD, -data.GSD] + data.TRANSFORM @ (0, 0))
    image, model = Image(str(town / "land.tif")), str(town / data.MODEL)
    predict.run(
        PredictRequest(image, model, str(tmp_path / "part"), Region(place.wkt, data.CRS), device="cpu"), Progress()
    )
    result = ask([*HOUSES[:3], (90, 150, 110, 170)], run_dir=str(tmp_path / "part"))
    assert "1 label lies where the run found no image, or did not look." in result.warnings
    assert kinds(result).get("contradicted") is None


def test_labels_at_random_show_no_shift(ask: Callable[..., InspectResult]) -> None:
    rng = np.random.default_rng(2)
    result = ask([moved((30, 30, 50, 46), *rng.uniform(0, (400, 130))) for _ in range(30)])
    assert result.shift is None
    assert result.counts["shifted"] == 0


def test_without_the_image_the_rest_is_inspected(ask: Callable[..., InspectResult], town: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("probabilities.tif", "polygons.gpkg"):
        (copy / name).write_bytes((town / "run" / name).read_bytes())
    record = json.loads((town / "run" / "run.json").read_text())
    record["request"]["image"]["path"] = str(tmp_path / "gone.tif")
    (copy / "run.json").write_text(json.dumps(record))
    result = ask([*HOUSES, YARD], run_dir=str(copy))
    assert kinds(result) == {"contradicted": 1}
    assert result.warnings == ("Whether the labels are shifted was not checked: “gone.tif” does not exist.",)


def test_bad_input_is_a_sentence_and_leaves_no_file(
    ask: Callable[..., InspectResult], town: Path, tmp_path: Path
) -> None:
    def refused(code: ErrorCode, boxes: list[Box], *areas: list[Box], **options: Any) -> str:
        for name in ("labels.gpkg", "areas.gpkg"):
            (tmp_path / name).unlink(missing_ok=True)
        with pytest.raises(OrthomaskError) as caught:
            ask(boxes, *areas, **options)
        assert caught.value.code is code
        assert not (tmp_path / "findings.gpkg").exists()
        return caught.value.sentence

    assert refused(ErrorCode.LABELS_EMPTY, HOUSES[:3], [(300, 0, 480, 220)]) == "No label lies in the areas."
    assert refused(ErrorCode.LABELS_EMPTY, []) == "There are no labels on the image."
    assert "outside the image" in refused(ErrorCode.LABELS_OUTSIDE, [moved(house, 9000, 0) for house in HOUSES])
    other = Image(str(data.write_image(tmp_path / "other.tif", data.paint((50, 50)))))
    assert "another image: “land.tif”" in refused(ErrorCode.IMAGE_CHANGED, HOUSES, image=other)
    assert "not the folder of a finished run" in refused(ErrorCode.BAD_REQUEST, HOUSES, run_dir=str(tmp_path))
    image = Image(str(town / "land.tif"))
    model = {"run_dir": "", "image": image, "model": str(town / data.MODEL), "device": "cpu"}
    assert refused(ErrorCode.LABELS_EMPTY, HOUSES[:3], [(300, 0, 480, 220)], **model) == "No label lies in the areas."
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # before the model ran
    raster = (Labels(str(town / "land.tif")),)
    assert "only polygons" in refused(ErrorCode.LABELS_UNREADABLE, HOUSES, labels=raster)


def test_classes_are_matched_by_name(ask: Callable[..., InspectResult], tmp_path: Path) -> None:
    path = data.write_boxes(
        tmp_path / "named.gpkg",
        "trees",
        [*HOUSES, YARD],
        what=["Square"] * len(HOUSES) + ["tree"],  # type: ignore[arg-type]
    )
    result = ask([], labels=(Labels(str(path), class_field="what"),))
    assert kinds(result) == {}
    assert any("no class for “tree”" in warning for warning in result.warnings)
    strange = data.write_boxes(tmp_path / "strange.gpkg", "trees", HOUSES[:2], what=["oak", "elm"])  # type: ignore[arg-type]
    with pytest.raises(OrthomaskError) as caught:
        ask([], labels=(Labels(str(strange), class_field="what"),), output_path=str(tmp_path / "other.gpkg"))
    assert caught.value.code is ErrorCode.LABELS_CLASSES


def test_the_command_runs_the_model_in_the_areas_alone(town: Path, tmp_path: Path) -> None:
    labels = data.write_boxes(tmp_path / "p.gpkg", "labels", [*HOUSES[1:], YARD], note=[""] * len(HOUSES))  # type: ignore[arg-type]
    data.write_boxes(tmp_path / "p.gpkg", "areas", [(0, 0, 420, 220)], split=["train"])
    out = tmp_path / "findings.gpkg"
    command = [
        "inspect", str(town / "land.tif"), "--model", str(town / data.MODEL), "--labels", str(labels),
        "--areas", str(labels), "--device", "cpu", "--out", str(out),
    ]  # fmt: skip
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 0, result.output
    assert "     1 objects without a label\n     0 labels that the model contradicts\n" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["findings.gpkg", "p.gpkg"]
    refused = CliRunner().invoke(commands, command)
    assert (refused.exit_code, len(refused.output.splitlines())) == (3, 2)
    told = json.loads(CliRunner().invoke(commands, [*command, "--overwrite", "--json"]).output)
    assert told["counts"] == {"shifted": 0, "unlabelled": 1, "contradicted": 0, "double": 0}


boxes = st.lists(
    st.builds(lambda x, y, w, h: shapely.box(x, y, x + w, y + h), *[st.integers(0, 90)] * 2, *[st.integers(2, 20)] * 2),
    min_size=1, max_size=25,
)  # fmt: skip


@given(boxes, st.data())
def test_a_planted_duplicate_is_always_found(drawn: list[shapely.Polygon], picked: st.DataObject) -> None:
    number = picked.draw(st.integers(0, len(drawn) - 1))
    polygons = np.array([*drawn, drawn[number]], object)
    found = {one.label: one for one in doubles(polygons, np.zeros((len(polygons), 2), int))}
    last = found[len(drawn)]
    assert last.is_same
    assert polygons[last.other].equals(drawn[number])
    for one in found.values():
        shared = polygons[one.label].intersection(polygons[one.other]).area
        assert one.share == pytest.approx(shared / polygons[one.label].area)
        assert 0.5 <= one.share <= 1


@given(boxes)
def test_another_class_in_another_layer_is_no_double_cover(drawn: list[shapely.Polygon]) -> None:
    polygons = np.array([drawn[0], drawn[0]], object)
    assert doubles(polygons, np.array([[0, 1], [1, 2]])) == []
    assert len(doubles(polygons, np.array([[0, 1], [0, 2]]))) == len(doubles(polygons, np.array([[0, 1], [1, 1]]))) == 1


@given(st.floats(-8, 8), st.floats(-8, 8), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_a_displacement_is_found_between_pixels(x: float, y: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.normal(0, 0.2, (400, 400))
    houses = [(left, top, left + 18, top + 14) for left, top in itertools.product(range(60, 330, 60), repeat=2)]
    for left, top, right, bottom in houses:
        picture[top:bottom, left:right] += 1

    def read(window: Any) -> tuple[np.ndarray, np.ndarray]:
        part = picture[window.y : window.y + window.height, window.x : window.x + window.width]
        return part, np.ones(part.shape, bool)

    maps = [fits(shapely.box(*moved(house, -x, -y)), read) for house in houses]
    found = estimate([one for one in maps if one is not None])
    assert found.is_sure
    assert (found.x, found.y) == pytest.approx((x, y), abs=0.35)
    assert found.exceeds(0.5, (x + 8, y))
    assert not found.exceeds(0.5, (x, y))


def test_a_neighbourhood_with_a_shift_of_its_own_is_told_from_the_rest() -> None:
    grid = Grid(data.CRS, data.TRANSFORM, 900, 420)
    picture = np.random.default_rng(3).normal(0, 0.1, (grid.height_px, grid.width_px))
    places = itertools.product((*range(40, 380, 55), *range(440, 850, 55)), range(40, 360, 55))
    houses = [(x, y, x + 18, y + 14) for x, y in places]
    for left, top, right, bottom in houses:
        picture[top:bottom, left:right] += 1

    def read(window: Any) -> tuple[np.ndarray, np.ndarray]:
        part = picture[max(0, window.y) : window.y + window.height, max(0, window.x) : window.x + window.width]
        return part, np.full(part.shape, part.shape == (window.height, window.width))

    labels = np.array([shapely.box(*moved(house, -4 * (house[0] > 400), 0)) for house in houses], object)
    _, local = shifts(labels, grid, data.GSD, read, Progress())
    right = [place for place in local if place.polygon.centroid.x > 400]
    assert [(place.offset.x, place.offset.y) for place in right] == [pytest.approx((4, 0), abs=0.3)]
    labels = np.array([shapely.box(*moved(house, 0, 5)) for house in houses], object)
    whole, local = shifts(labels, grid, data.GSD, read, Progress())
    assert whole is not None
    assert (whole.offset.x, whole.offset.y) == pytest.approx((0, -5), abs=0.3)
    assert local == []


def test_noise_has_no_sure_place() -> None:
    rng = np.random.default_rng(5)
    side = 2 * REACH_PX + 1
    assert not estimate(list(1 + rng.normal(0, 0.1, (40, side, side)))).is_sure
    assert not estimate([np.ones((side, side))] * 5).is_sure


@given(st.integers(3, 30), st.floats(1, 60))
def test_an_outline_has_unit_normals_and_no_more_points_than_pixels(corners: int, radius: float) -> None:
    ring = shapely.Point(100, 100).buffer(radius, quad_segs=corners)
    points, normals = outline(ring)
    assert np.allclose(np.hypot(*normals.T), 1)
    assert np.allclose(shapely.distance(ring.exterior, shapely.points(points)), 0, atol=1e-9)
    assert len(points) <= max(200, len(ring.exterior.coords)) + len(ring.exterior.coords)
