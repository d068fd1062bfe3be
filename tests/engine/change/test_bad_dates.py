"""Bad input: one sentence, a remedy, and nothing written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
import towns

from orthomask.engine.change import changes
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import (
    CHANGES_FILE,
    REPORT_FILE,
    Cancelled,
    ChangesRequest,
    ChangesResult,
    ErrorCode,
    Existing,
    OrthomaskError,
    Survey,
)

HOUSES = [(number, towns.square(20 + 30 * (number % 3), 20 + 30 * (number // 3))) for number in range(9)]


def compared(tmp_path: Path, *surveys: Survey | str, **asked: object) -> ChangesResult:
    asked = {"register": False, **asked}
    dates = tuple(each if isinstance(each, Survey) else Survey(each) for each in surveys)
    return changes.run(ChangesRequest(dates, str(tmp_path / "out"), **asked), Progress())


def refused(tmp_path: Path, *surveys: Survey | str, **asked: object) -> OrthomaskError:
    with pytest.raises(OrthomaskError) as caught:
        compared(tmp_path, *surveys, **asked)
    assert caught.value.sentence
    assert caught.value.remedy
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    return caught.value


@pytest.fixture
def before(tmp_path: Path) -> str:
    return towns.write_run(tmp_path / "before", HOUSES)


def test_another_place(tmp_path: Path, before: str) -> None:
    far = [(0, shapely.affinity.translate(outline, 5_000, 0)) for _, outline in HOUSES]
    error = refused(tmp_path, before, towns.write(tmp_path / "far.gpkg", far))
    assert error.sentence == "The dates do not overlap: no ground has data at both."


def test_a_layer_without_crs(tmp_path: Path, before: str) -> None:
    path = tmp_path / "plain.geojson"
    collection = {
        "type": "FeatureCollection", "crs": None,
        "features": [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(HOUSES[0][1])}],
    }  # fmt: skip
    path.write_text(json.dumps(collection), encoding="utf-8")
    error = refused(tmp_path, before, str(path))
    assert error.code is ErrorCode.LABELS_CRS
    assert "--crs" in error.remedy
    assert compared(tmp_path, before, Survey(str(path), crs=towns.CRS)).objects == len(HOUSES)


def test_the_same_run_under_another_path(tmp_path: Path, before: str) -> None:
    copied = shutil.copytree(before, tmp_path / "copy")
    assert "are the same run" in refused(tmp_path, before, str(copied)).sentence
    polygons = Survey(f"{before}/polygons.gpkg")
    assert "are the same run" in refused(tmp_path, before, polygons).sentence


def test_dates_in_the_wrong_order(tmp_path: Path, before: str) -> None:
    after = towns.write_run(tmp_path / "after", HOUSES, date="2012-05")
    error = refused(tmp_path, Survey(before, date="2020"), after)
    assert error.sentence == "2020 comes before 2012-05, but is later."


def test_other_classes(tmp_path: Path, before: str) -> None:
    fields = towns.write_run(tmp_path / "fields", HOUSES, name="field")
    assert refused(tmp_path, before, fields).sentence == "The dates have no class in common: building, field."
    result = compared(tmp_path, Survey(f"{fields}/polygons.gpkg"), two_classes(tmp_path / "two.gpkg"))
    assert result.warnings[0] == "Not every date knows the class “building”: its objects are not compared."
    counts = {tally.kind.value: tally.count for tally in result.tallies if tally.count}
    assert counts["unchanged"] == len(HOUSES) - 1


def two_classes(path: Path) -> Survey:
    outlines = np.array([outline for _, outline in HOUSES], object)
    names = np.array(["building"] + ["field"] * (len(HOUSES) - 1), object)
    write_layer(path, "all", {"use": names}, shapely.to_wkb(outlines), "Polygon", towns.CRS)
    return Survey(str(path), class_field="use")


def test_a_field_that_became_a_building(tmp_path: Path) -> None:
    before = two_classes(tmp_path / "before.gpkg")
    outlines = np.array([outline for _, outline in HOUSES], object)
    names = np.array(["building"] * 2 + ["field"] * (len(HOUSES) - 2), object)
    write_layer(tmp_path / "after.gpkg", "all", {"use": names}, shapely.to_wkb(outlines), "Polygon", towns.CRS)
    rows = towns.table(compared(tmp_path, before, Survey(str(tmp_path / "after.gpkg"), class_field="use")))
    assert sorted(set(zip(rows["kind"], rows["class"]))) == [
        ("new", "building"), ("replaced", "field"), ("unchanged", "building"), ("unchanged", "field"),
    ]  # fmt: skip


def test_a_shift_that_is_too_large_or_not_known(tmp_path: Path) -> None:
    town = towns.town(8, 8, 1)
    sides = [Survey(towns.write(tmp_path / "one.gpkg", town.before))]
    sides.append(Survey(towns.write(tmp_path / "two.gpkg", town.shifted(3, 2, 0, 0.1, 1).after)))
    error = refused(tmp_path, *sides, register=True, limit_m=2.0)
    assert error.sentence.startswith("The dates lie 3.6 m apart, up to 3.")
    assert "--anyway" in error.remedy
    result = compared(tmp_path, *sides, register=True, limit_m=2.0, anyway=True)
    assert result.registrations[0].size_m == pytest.approx(13**0.5, abs=0.2)
    assert "the shift is larger than the limit" in result.warnings[0]


def test_a_shift_that_cannot_be_found(tmp_path: Path) -> None:
    one, other = (towns.write(tmp_path / f"{seed}.gpkg", towns.town(8, 8, seed).before[seed::9]) for seed in (1, 2))
    error = refused(tmp_path, one, other, register=True)
    assert error.sentence.startswith("The shift between the dates cannot be measured: 0 of ")
    result = compared(tmp_path, one, other, register=True, anyway=True)
    assert "the shift is not known" in result.warnings[0]


def test_runs_of_other_extent_resolution_and_model(tmp_path: Path) -> None:
    before = towns.write_run(tmp_path / "before", HOUSES)
    after = towns.write_run(tmp_path / "after", HOUSES[:6], size_m=80, gsd_m=1.0)
    path = Path(after) / "run.json"
    path.write_text(path.read_text().replace('"sha256": "abc"', '"sha256": "def"'), encoding="utf-8")
    result = compared(tmp_path, before, after)
    assert result.compared_km2[0] == pytest.approx(80 * 80 / 1e6, rel=0.05)
    assert result.compared_share[0] == pytest.approx(80**2 / 120**2, rel=0.05)
    told = " ".join(result.warnings)
    assert "the models differ" in told
    assert "different resolutions" in told
    assert "only 44% of the ground has data at both dates" in told
    assert "7 of 15 objects lie outside the ground that both cover" in told
    assert {tally.kind.value for tally in result.tallies if tally.count} <= {"unchanged", "unsure"}


def test_damaged_and_missing_files(tmp_path: Path, before: str) -> None:
    assert "does not exist" in refused(tmp_path, before, str(tmp_path / "nothing.gpkg")).sentence
    (tmp_path / "empty").mkdir()
    assert "holds no finished run" in refused(tmp_path, before, str(tmp_path / "empty")).sentence
    for name in ("polygons.gpkg", "classes.tif", "run.json"):
        broken = Path(shutil.copytree(before, tmp_path / f"broken-{name}"))
        (broken / name).write_bytes((broken / name).read_bytes()[:100])
        refused(tmp_path, before, str(broken))


def test_broken_outlines_are_repaired_and_told(tmp_path: Path, before: str) -> None:
    x, y = towns.ORIGIN
    bow = shapely.Polygon([(x + 90, y + 90), (x + 110, y + 110), (x + 110, y + 90), (x + 90, y + 110)])
    path = towns.write(tmp_path / "bow.gpkg", [*HOUSES, (9, bow)])
    result = compared(tmp_path, before, Survey(path, date="2020"))
    assert result.warnings[0] == "1 of 10 features in “2020” were not valid and have been repaired."


def test_results_that_are_there_stay_unless_they_may_go(tmp_path: Path, before: str) -> None:
    after = towns.write(tmp_path / "after.gpkg", HOUSES)
    compared(tmp_path, before, after)
    written = (tmp_path / "out" / CHANGES_FILE).read_bytes()
    with pytest.raises(OrthomaskError, match="already contains"):
        compared(tmp_path, before, after)
    assert (tmp_path / "out" / CHANGES_FILE).read_bytes() == written
    compared(tmp_path, before, after, existing=Existing.OVERWRITE)
    assert "What changed from" in (tmp_path / "out" / REPORT_FILE).read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CHANGES_FILE, REPORT_FILE]


def test_answers_are_kept_when_the_same_dates_are_compared_again(tmp_path: Path, before: str) -> None:
    after = towns.write(tmp_path / "after.gpkg", [house for house in HOUSES if house[0] != 4])
    result = compared(tmp_path, before, after)
    with closing(sqlite3.connect(result.changes_path)) as file, file:
        for trigger in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f'DROP TRIGGER "{trigger[0]}"')
        file.execute("UPDATE changes SET review = 'wrong', reviewed_at = '2026-11-30' WHERE before_ids = '5'")
    rows = towns.table(compared(tmp_path, before, after, existing=Existing.OVERWRITE))
    assert {row for row in zip(rows["before_ids"], rows["kind"], rows["review"]) if row[2]} == {
        ("5", "removed", "wrong")
    }
    other = towns.write(tmp_path / "other.gpkg", HOUSES[:-1])
    rows = towns.table(compared(tmp_path, before, other, existing=Existing.OVERWRITE))
    assert set(rows["review"]) == {""}


def test_a_run_that_found_nothing(tmp_path: Path, before: str) -> None:
    result = compared(tmp_path, before, towns.write_run(tmp_path / "after", []))
    assert {tally.kind.value: tally.count for tally in result.tallies if tally.count} == {"removed": len(HOUSES)}


def test_cancelling_leaves_nothing(tmp_path: Path, before: str) -> None:
    class Impatient(Progress):
        def show(self, fraction: float, message: str) -> None:
            if fraction > 0.5:
                raise Cancelled

    request = ChangesRequest((Survey(before), Survey(towns.write(tmp_path / "a.gpkg", HOUSES))), str(tmp_path / "out"))
    with pytest.raises(Cancelled):
        changes.run(request, Impatient())
    assert not (tmp_path / "out").exists()
