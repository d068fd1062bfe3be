"""What differs between two runs: gained, lost and reshaped objects, right or wrong where areas are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely
from click.testing import CliRunner

from orthomask.cli import commands
from orthomask.engine.images.regions import reprojected
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import (
    AREA_STATE,
    Areas,
    Cancelled,
    CompareRequest,
    CompareResult,
    ErrorCode,
    Existing,
    Image,
    LabelledImage,
    Labels,
    OrthomaskError,
    from_json,
)
from orthomask.training.loop import differences

CRS = "EPSG:32645"
X, Y = 500_000.0, 3_000_000.0
CLASSES = [{"value": 1, "name": "building", "color": "#dc3228", "outline": "squared"}]


def square(x: float, y: float = 0.0, side: float = 10.0) -> shapely.Polygon:
    return shapely.box(X + x, Y + y, X + x + side, Y + y + side)


def write_run(folder: Path, outlines: list[Any], *, crs: str = CRS, region: shapely.Geometry | None = None) -> str:
    """The folder of a run that found these; each may be (outline, class name)."""
    folder.mkdir()
    pairs = [each if isinstance(each, tuple) else (each, "building") for each in outlines]
    wkb = shapely.to_wkb(np.array([outline for outline, _ in pairs], object))
    columns = {"class": np.array([name for _, name in pairs], object)}
    write_layer(folder / "polygons.gpkg", "polygons", columns, wkb, "Polygon", crs)
    place = {"wkt": region.wkt, "crs": CRS} if region is not None else None
    (folder / "run.json").write_text(json.dumps({"model": {"classes": CLASSES}, "request": {"region": place}}))
    return str(folder)


def write_truth(path: Path, labels: list[shapely.Polygon], areas: list[tuple[shapely.Polygon, str]]) -> LabelledImage:
    """Labels of class 1, and areas with their states."""
    wkb = shapely.to_wkb(shapely.multipolygons(np.array(labels, object)[:, None]))
    write_layer(path, "labels", {"class": np.ones(len(labels), np.int32)}, wkb, "MultiPolygon", CRS)
    columns = {
        "name": np.array(["square"] * len(areas), object), "split": np.array(["test"] * len(areas), object),
        AREA_STATE: np.array([state for _, state in areas], object),
    }  # fmt: skip
    wkb = shapely.to_wkb(shapely.multipolygons(np.array([area for area, _ in areas], object)[:, None]))
    write_layer(path, "areas", columns, wkb, "MultiPolygon", CRS)
    return LabelledImage(Image("-"), (Labels(str(path), "labels", "class"),), Areas(str(path), "areas"))


@pytest.fixture
def compare(tmp_path: Path):
    def compare(before: str, after: str, truth: LabelledImage | None = None, **options: Any) -> CompareResult:
        path = str(tmp_path / "differences.gpkg")
        return differences.run(CompareRequest(before, after, path, truth, **options), Progress())

    return compare


def read(result: CompareResult) -> list[dict[str, Any]]:
    meta, _, wkb, data = pyogrio.raw.read(result.path, layer="differences")
    rows = [dict(zip(meta["fields"], row)) for row in zip(*data)]
    return [{**row, "outline": outline} for row, outline in zip(rows, shapely.from_wkb(wkb))]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """Two objects stay, one nearly; one is lost, one is gained, one grows, one shrinks."""
    kept = [square(0), shapely.box(X + 20, Y, X + 30, Y + 10)]
    before = [*kept, square(40), square(80), square(100, side=10)]
    after = [kept[0], shapely.box(X + 20, Y, X + 30, Y + 9.8), square(60), square(80, side=12), square(100, side=8)]
    return write_run(tmp_path / "before", before), write_run(tmp_path / "after", after)


def test_objects_are_gained_lost_or_reshaped(runs, compare) -> None:
    result = compare(*runs)
    assert result.counts == {"gained": 1, "lost": 1, "reshaped": 2}
    assert (result.right, result.wrong, result.warnings) == (0, 0, ())
    rows = {(row["kind"], row["outline"].bounds[0] - X): row for row in read(result)}
    assert set(rows) == {("gained", 60), ("lost", 40), ("reshaped", 80), ("reshaped", 100)}
    grown = rows["reshaped", 80]
    assert grown["iou"] == pytest.approx(100 / 144, abs=0.001)
    assert grown["before_m2"] == pytest.approx(100, rel=0.002)
    assert grown["after_m2"] == pytest.approx(144, rel=0.002)
    assert (rows["lost", 40]["after_m2"], rows["gained", 60]["before_m2"]) == (0, 0)
    assert {row["verdict"] for row in rows.values()} == {""}
    assert rows["lost", 40]["reason"] == "The decision changed; nobody has checked it."


def test_a_difference_is_right_or_wrong_where_a_square_is_checked(tmp_path, runs, compare) -> None:
    labels = [square(60), square(80, side=12), square(0)]
    areas = [(shapely.box(X - 5, Y - 5, X + 95, Y + 20), "checked"), (shapely.box(X + 96, Y, X + 130, Y + 20), "todo")]
    result = compare(*runs, write_truth(tmp_path / "truth.gpkg", labels, areas))
    said = {(row["kind"], row["outline"].bounds[0] - X): (row["verdict"], row["reason"]) for row in read(result)}
    assert said["gained", 60] == ("right", "It matches a label.")
    assert said["lost", 40] == ("right", "No label matched it.")
    assert said["reshaped", 80] == ("right", "IoU with its label: 0.69 before, 1.00 after.")
    assert said["reshaped", 100][0] == "", "its square is not checked"
    assert (result.right, result.wrong) == (3, 0)


def test_what_gets_worse_is_wrong(tmp_path, runs, compare) -> None:
    labels = [square(40), square(80), square(200)]
    truth = write_truth(tmp_path / "truth.gpkg", labels, [(shapely.box(X - 5, Y - 5, X + 130, Y + 20), "checked")])
    result = compare(*runs, truth)
    said = {(row["kind"], row["outline"].bounds[0] - X): row["verdict"] for row in read(result)}
    assert said == {("gained", 60): "wrong", ("lost", 40): "wrong", ("reshaped", 80): "wrong", ("reshaped", 100): ""}
    assert (result.right, result.wrong) == (0, 3)


def test_an_object_across_the_edge_of_its_square_counts_by_what_lies_inside(tmp_path, compare) -> None:
    before, after = write_run(tmp_path / "a", [square(200)]), write_run(tmp_path / "b", [square(200), square(0)])
    half = (shapely.box(X, Y, X + 6, Y + 10), "checked")
    truth = write_truth(tmp_path / "truth.gpkg", [shapely.box(X, Y, X + 6, Y + 10)], [half])
    assert compare(before, after, truth).right == 1
    third = (shapely.box(X, Y, X + 3, Y + 10), "checked")
    truth = write_truth(tmp_path / "less.gpkg", [shapely.box(X, Y, X + 3, Y + 10)], [third])
    assert compare(before, after, truth, existing=Existing.OVERWRITE).right == 0, "most of it lies outside"


def test_another_class_is_another_object(tmp_path, compare) -> None:
    before, after = write_run(tmp_path / "a", [square(0)]), write_run(tmp_path / "b", [(square(0), "shed")])
    assert compare(before, after).counts == {"gained": 1, "lost": 1, "reshaped": 0}


def test_an_object_matches_one_other_only(tmp_path, compare) -> None:
    """A person may have drawn two over each other: the better one is the match."""
    before = write_run(tmp_path / "a", [square(0), square(0.5)])
    after = write_run(tmp_path / "b", [square(0)])
    assert compare(before, after).counts == {"gained": 0, "lost": 1, "reshaped": 0}


def test_blocks_change_nothing(tmp_path, compare, monkeypatch) -> None:
    random = np.random.default_rng(5)
    places = [(20.0 * (n % 7), 20.0 * (n // 7)) for n in range(42)]
    before = [square(x, y, 10) for x, y in places if random.random() > 0.2]
    after = [square(x + random.uniform(0, 4), y, 10) for x, y in places if random.random() > 0.2]
    runs = write_run(tmp_path / "a", before), write_run(tmp_path / "b", after)
    whole = compare(*runs)
    rows = sorted((row["kind"], row["iou"], row["outline"].wkt) for row in read(whole))
    monkeypatch.setattr(differences, "BLOCK_OBJECTS", 7)
    parts = compare(*runs, existing=Existing.OVERWRITE)
    assert parts == whole
    assert sorted((row["kind"], row["iou"], row["outline"].wkt) for row in read(parts)) == rows
    assert min(whole.counts.values()) > 2


def test_only_what_both_runs_cover_is_compared(tmp_path, compare) -> None:
    region = shapely.box(X - 5, Y - 5, X + 50, Y + 50)
    before = write_run(tmp_path / "a", [square(0)], region=region)
    after = write_run(tmp_path / "b", [square(0), square(20), square(100)])
    result = compare(before, after)
    assert result.counts["gained"] == 1
    assert result.warnings == ("The runs cover different regions: only what lies in both is compared.",)


def test_runs_in_different_crs_are_compared_on_the_ground(tmp_path, compare) -> None:
    moved = reprojected(square(0), CRS, "EPSG:3857")
    before = write_run(tmp_path / "a", [square(0), square(30)])
    after = write_run(tmp_path / "b", [moved], crs="EPSG:3857")
    assert compare(before, after).counts == {"gained": 0, "lost": 1, "reshaped": 0}


def test_runs_without_differences_or_objects_give_an_empty_layer(tmp_path, compare) -> None:
    before, empty = write_run(tmp_path / "a", [square(0)]), write_run(tmp_path / "b", [])
    assert read(compare(before, before)) == []
    assert compare(empty, before, existing=Existing.OVERWRITE).counts["gained"] == 1
    assert compare(empty, empty, existing=Existing.OVERWRITE).counts == {"gained": 0, "lost": 0, "reshaped": 0}


def test_labels_elsewhere_leave_everything_unknown_and_say_so(tmp_path, runs, compare) -> None:
    truth = write_truth(tmp_path / "truth.gpkg", [square(5000)], [(square(5000, side=40), "checked")])
    result = compare(*runs, truth)
    assert (result.right, result.wrong) == (0, 0)
    assert any("outside the image" in warning for warning in result.warnings)


def test_bad_input_is_said_and_writes_nothing(tmp_path, runs, compare) -> None:
    def refused(before: str, after: str, path: str = str(tmp_path / "d.gpkg")) -> OrthomaskError:
        with pytest.raises(OrthomaskError) as caught:
            differences.run(CompareRequest(before, after, path), Progress())
        return caught.value

    assert "no finished run" in refused(runs[0], str(tmp_path)).sentence
    far = write_run(tmp_path / "far", [square(90_000)])
    assert "do not overlap" in refused(runs[0], far).sentence
    own = Path(runs[0], "polygons.gpkg")
    before = own.read_bytes()
    request = CompareRequest(*runs, str(own), existing=Existing.OVERWRITE)
    with pytest.raises(OrthomaskError, match="polygons of a run"):
        differences.run(request, Progress())
    assert own.read_bytes() == before
    Path(runs[1], "polygons.gpkg").unlink()
    assert refused(*runs).code is ErrorCode.LABELS_UNREADABLE
    assert not (tmp_path / "d.gpkg").exists()


def test_an_existing_layer_is_kept_unless_it_may_be_overwritten(runs, compare, tmp_path) -> None:
    path = Path(compare(*runs).path)
    before = path.read_bytes()
    with pytest.raises(OrthomaskError) as caught:
        compare(*runs)
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    assert path.read_bytes() == before

    class Stopped(Progress):
        def check_cancelled(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        differences.run(CompareRequest(*runs, str(path), existing=Existing.OVERWRITE), Stopped())
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"before", "after", "differences.gpkg"}


def test_the_command_line_compares(runs, tmp_path) -> None:
    path = tmp_path / "d.gpkg"
    result = CliRunner().invoke(commands, ["compare", *runs, "--out", str(path), "--json"])
    assert from_json(CompareResult, json.loads(result.output)).counts == {"gained": 1, "lost": 1, "reshaped": 2}
    truth = write_truth(tmp_path / "t.gpkg", [square(60)], [(shapely.box(X, Y, X + 75, Y + 20), "checked")])
    given = [
        "--labels",
        f"{truth.labels[0].path}|labels",
        "--class-field",
        "class",
        "--areas",
        f"{tmp_path}/t.gpkg|areas",
    ]
    result = CliRunner().invoke(commands, ["compare", *runs, *given, "--out", str(path), "--overwrite"])
    assert "in checked areas: 2 right, 0 wrong" in result.output
