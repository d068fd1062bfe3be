"""Edits outlive another threshold: what a person added, corrected or removed stays so, and the rest follows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

from conftest import UTM
from orthomask.engine.progress import Progress
from orthomask.engine.shapes import polygons
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import ErrorCode, Existing, OrthomaskError, PolygonizeRequest, PolygonOptions, Region

TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)
OPTIONS = PolygonOptions(min_area_m2=1, min_hole_m2=0, simplify=False)
SURE, LIKELY, UNSURE = 230, 160, 90


def write_probabilities(path: Path, band: np.ndarray, transform: Affine = TRANSFORM) -> Path:
    """A `probabilities.tif` as a run leaves it."""
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=band.shape[0], width=band.shape[1], dtype="uint8", crs=UTM,
        transform=transform, nodata=255,
    ) as dataset:  # fmt: skip
        dataset.write(band, 1)
        classes = [{"value": 1, "name": "class 1", "color": "#ff0000", "outline": "pixels"}]
        dataset.update_tags(ORTHOMASK=json.dumps({"run_id": "abc", "classes": classes}))
    return path


def place(left: int, top: int, right: int, bottom: int) -> shapely.Polygon:
    """A rectangle of pixels, in the CRS."""
    (x0, y0), (x1, y1) = TRANSFORM @ (left, top), TRANSFORM @ (right, bottom)
    return shapely.box(x0, y1, x1, y0)


@pytest.fixture
def request_(tmp_path: Path) -> PolygonizeRequest:
    """Five objects, one of them sure and the middle of an unsure one; their polygons at 0.5 are written."""
    band = np.zeros((100, 200), np.uint8)
    band[10:20, 10:20] = SURE
    band[10:20, 40:50] = SURE
    band[8:22, 68:82] = UNSURE
    band[10:20, 70:80] = SURE
    band[60:70, 10:20] = LIKELY
    band[60:70, 40:50] = UNSURE
    path = write_probabilities(tmp_path / "probabilities.tif", band)
    request = PolygonizeRequest(str(path), str(tmp_path / "polygons.gpkg"), 0.5, Existing.OVERWRITE, OPTIONS)
    polygons.run(request, Progress())
    return request


def read(path: str, layer: str = "polygons") -> tuple[dict[str, np.ndarray], np.ndarray]:
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    return dict(zip(meta["fields"], data)), shapely.from_wkb(wkb)


def edit(path: str, change: dict[int, tuple[str, shapely.Polygon] | None]) -> None:
    """Change polygons by their id, as an analyst does: None removes one, a new id adds one."""
    fields, drawn = read(path)
    runs = pyogrio.raw.read(path, layer="orthomask_runs", read_geometry=False)
    rows = {int(fields["id"][i]): [drawn[i], *(fields[name][i] for name in polygons.FIELDS)] for i in range(len(drawn))}
    for number, changed in change.items():
        if changed is None:
            del rows[number]
        else:
            row = rows.setdefault(number, [None, number, "class 1", 1, np.nan, 1.0, 1.0, "", "abc"])
            row[0], row[polygons.FIELDS.index("outline") + 1] = changed[1], changed[0]
    Path(path).unlink()
    columns = {name: np.array([row[i + 1] for row in rows.values()]) for i, name in enumerate(polygons.FIELDS)}
    write_layer(Path(path), "polygons", columns, shapely.to_wkb([row[0] for row in rows.values()]), "Polygon", UTM)
    write_layer(Path(path), "orthomask_runs", dict(zip(runs[0]["fields"], runs[3])))


def at(request: PolygonizeRequest, threshold: float, name: str, edited: str = "", **more: object) -> str:
    path = str(Path(request.output_path).with_name(name))
    edited = edited or request.output_path
    changed = replace(request, threshold=threshold, output_path=path, edited_path=edited, **more)  # type: ignore[arg-type]
    polygons.run(changed, Progress())
    return path


def shapes(path: str) -> set[str]:
    return {shapely.normalize(polygon).wkt for polygon in read(path)[1]}


def same(*drawn: shapely.Polygon) -> set[str]:
    return {shapely.normalize(polygon).wkt for polygon in drawn}


ALL = (place(10, 10, 20, 20), place(40, 10, 50, 20), place(70, 10, 80, 20), place(10, 60, 20, 70))
GROWN = place(68, 8, 82, 22)


def test_without_edits_they_are_those_of_the_threshold(request_: PolygonizeRequest) -> None:
    assert shapes(request_.output_path) == same(*ALL)
    lower = at(request_, 0.3, "lower.gpkg")
    assert shapes(lower) == same(ALL[0], ALL[1], GROWN, ALL[3], place(40, 60, 50, 70))
    assert shapes(at(request_, 0.8, "higher.gpkg", lower)) == same(*ALL[:3])
    assert pyogrio.list_layers(lower)[:, 0].tolist() == ["polygons", "orthomask_runs"]


def test_what_was_added_corrected_or_removed_stays_so_up_down_and_back(request_: PolygonizeRequest) -> None:
    corrected, added = place(11, 10, 24, 20), place(150, 50, 160, 60)
    edit(request_.output_path, {1: ("corrected", corrected), 3: None, 9: ("added", added)})
    path = request_.output_path
    for name, threshold, others in (
        ("1.gpkg", 0.8, ALL[1:2]),
        ("2.gpkg", 0.95, ()),
        ("3.gpkg", 0.3, (ALL[1], ALL[3], place(40, 60, 50, 70))),
        ("4.gpkg", 0.5, (ALL[1], ALL[3])),
    ):
        path = at(request_, threshold, name, path)
        assert shapes(path) == same(corrected, added, *others), name
        fields, _ = read(path)
        assert sorted(fields["id"]) == list(range(1, 3 + len(others)))
        assert sorted(fields["outline"])[:2] == ["added", "corrected"]
        assert np.isnan(fields["confidence"][fields["outline"] == "added"]).all()
        runs, _ = read(path, "orthomask_runs")
        assert runs["threshold"] == str(threshold)
        assert json.loads(runs["request"][0])["polygons"]["min_area_m2"] == 1


def test_what_a_tool_added_without_saying_so_is_kept(request_: PolygonizeRequest) -> None:
    added = place(150, 50, 160, 60)
    edit(request_.output_path, {9: ("", added)})
    assert shapes(at(request_, 0.8, "new.gpkg")) == same(*ALL[:3], added)


def test_a_moved_or_trimmed_object_does_not_come_back_beside_itself(request_: PolygonizeRequest) -> None:
    moved, trimmed = place(100, 10, 110, 20), place(40, 10, 43, 20)
    edit(request_.output_path, {1: ("corrected", moved), 2: ("corrected", trimmed)})
    assert shapes(at(request_, 0.45, "new.gpkg")) == same(moved, trimmed, *ALL[2:])


def test_a_larger_object_ends_at_what_was_drawn_and_is_measured_anew(request_: PolygonizeRequest) -> None:
    drawn = place(68, 8, 73, 22)
    edit(request_.output_path, {9: ("added", drawn)})
    path = at(request_, 0.3, "new.gpkg")
    rest = place(73, 8, 82, 22)
    assert shapes(path) == same(drawn, *ALL[:2], rest, ALL[3], place(40, 60, 50, 70))
    fields, found = read(path)
    areas = {polygon.normalize().wkt: area for polygon, area in zip(found, fields["area_m2"])}
    assert areas[rest.normalize().wkt] == pytest.approx(9 * 14 * 0.25, rel=0.01)


def test_a_geopackage_of_older_versions_says_less_and_keeps_its_edits(request_: PolygonizeRequest) -> None:
    edit(request_.output_path, {1: None})
    fields, drawn = read(request_.output_path)
    Path(request_.output_path).unlink()
    write_layer(Path(request_.output_path), "polygons", fields, shapely.to_wkb(drawn), "Polygon", UTM)
    assert shapes(at(request_, 0.8, "new.gpkg")) == same(*ALL[1:3])


def test_only_objects_that_touch_a_region_are_made_whole(request_: PolygonizeRequest) -> None:
    corrected = place(41, 10, 60, 20)
    edit(request_.output_path, {2: ("corrected", corrected), 9: ("added", place(150, 50, 160, 60))})
    region = Region(place(19, 19, 41, 65).wkt, UTM)
    assert shapes(at(request_, 0.3, "new.gpkg", region=region)) == same(
        ALL[0], ALL[3], corrected, place(40, 60, 50, 70)
    )


def test_a_window_of_a_large_raster_gives_the_objects_of_the_whole(tmp_path: Path) -> None:
    band = np.kron(np.random.default_rng(5).integers(0, 255, (150, 300)), np.ones((8, 8))).astype(np.uint8)
    transform = Affine(0.5, 0.1, 500_000, 0.1, -0.5, 3_000_000)  # turned
    path = write_probabilities(tmp_path / "probabilities.tif", band % 255, transform=transform)
    request = PolygonizeRequest(str(path), str(tmp_path / "polygons.gpkg"), 0.8, Existing.OVERWRITE, OPTIONS)
    polygons.run(request, Progress())
    view = shapely.box(500_800.3, 2_999_900.3, 500_880.3, 3_000_020.3)
    fields, found = read(request.output_path)
    near = shapely.intersects(found, view)
    part, some = read(at(request, 0.8, "view.gpkg", region=Region(view.wkt, UTM)))
    assert 10 < len(some) < len(found) / 4
    expected, got = (
        {(shapely.to_wkt(polygon.normalize(), rounding_precision=5), value) for polygon, value in zip(drawn, values)}
        for drawn, values in ((found[near], fields["confidence"][near]), (some, part["confidence"]))
    )
    assert got == expected


def test_what_holds_no_polygons_of_a_run_is_refused(request_: PolygonizeRequest, tmp_path: Path) -> None:
    write_layer(tmp_path / "other.gpkg", "roads", {"a": np.array([1])})
    for name in ("other.gpkg", "missing.gpkg"):
        with pytest.raises(OrthomaskError) as caught:
            at(request_, 0.3, "new.gpkg", str(tmp_path / name))
        assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
        assert not (tmp_path / "new.gpkg").exists()
