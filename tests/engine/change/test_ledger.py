"""Objects keep their number through any number of dates; those that come and go are marked, not counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import towns
from towns import table

from orthomask.engine.change import changes
from orthomask.engine.progress import Progress
from orthomask.protocol import LEDGER_LAYER, Change, ChangesRequest, ChangesResult, Survey

FRAME = [(number, towns.square(x, y)) for number, (x, y) in enumerate(((0, 0), (300, 0), (300, 300), (0, 300)))]
HOUSE, OTHER, THIRD = towns.square(100, 100), towns.square(150, 100), towns.square(200, 100)


def through(tmp_path: Path, *dates: list[towns.shapely.Polygon]) -> ChangesResult:
    surveys = [
        Survey(towns.write(tmp_path / f"t{number}.gpkg", [*FRAME, *enumerate(houses, 10)]), date=str(2000 + number))
        for number, houses in enumerate(dates)
    ]
    return changes.run(ChangesRequest(tuple(surveys), str(tmp_path / "out"), register=False), Progress())


def ledger(result: ChangesResult) -> dict[int, tuple[str, str, int, int, str]]:
    rows = table(result, LEDGER_LAYER)
    names = ("first_seen", "last_seen", "times_seen", "flickers", "history")
    return {number: tuple(rows[name][row] for name in names) for row, number in enumerate(rows["object_id"].tolist())}


def test_an_object_keeps_its_number(tmp_path: Path) -> None:
    grown = towns.square(100, 100, 20)
    result = through(tmp_path, [HOUSE, OTHER], [HOUSE], [grown, THIRD])
    assert ledger(result) == {
        **dict.fromkeys((1, 2, 3, 4), ("2000", "2002", 3, 0, "unchanged, unchanged")),
        5: ("2000", "2002", 3, 0, "unchanged, grown"),
        6: ("2000", "2000", 1, 0, "removed"),
        7: ("2002", "2002", 1, 0, "new"),
    }
    assert (result.objects, result.flickering) == (7, 0)


@pytest.mark.parametrize("dates", [([HOUSE], [], [HOUSE]), ([], [HOUSE], []), ([HOUSE], [], [HOUSE], [])])
def test_what_comes_and_goes_is_marked_and_not_counted(
    tmp_path: Path, dates: tuple[list[towns.shapely.Polygon], ...]
) -> None:
    result = through(tmp_path, *dates)
    assert result.flickering == 1
    assert {tally.kind for tally in result.tallies if tally.count} == {Change.UNCHANGED}
    rows = table(result)
    assert set(rows["kind"][rows["object_id"] == 5]) == {"unsure"}
    assert set(rows["reason"][rows["object_id"] == 5]) == {"It comes and goes from date to date."}
    assert ledger(result)[5][3] > 0


def test_what_stays_away_or_comes_late_does_not_flicker(tmp_path: Path) -> None:
    result = through(tmp_path, [HOUSE], [HOUSE], [OTHER], [OTHER])
    assert result.flickering == 0
    assert {ledger(result)[number][4] for number in (5, 6)} == {"unchanged, removed", "new, unchanged"}


def test_the_largest_part_keeps_the_number_and_a_merged_object_that_of_the_largest(tmp_path: Path) -> None:
    whole = towns.shapely.box(*towns.square(100, 100, 40).bounds)
    left, bottom, right, top = whole.bounds
    parts = [towns.shapely.box(left, bottom, left + 12, top), towns.shapely.box(left + 16, bottom, right, top)]
    result = through(tmp_path, [whole], parts, [whole])
    found = ledger(result)
    assert found[5] == ("2000", "2002", 3, 0, "split, merged")
    assert found[6] == ("2001", "2001", 1, 0, "split, merged")
    rows = table(result)
    assert rows["before_ids"][rows["kind"] == "merged"].tolist() == ["5,6"]
    assert rows["area_before_m2"][rows["kind"] == "merged"].tolist() == pytest.approx([36 * 40], rel=1e-3)


def test_what_replaced_an_object_has_another_number(tmp_path: Path) -> None:
    result = through(tmp_path, [towns.shapely.box(*HOUSE.bounds)], [towns.shapely.affinity.translate(HOUSE, 6, 6)])
    assert ledger(result)[5][4] == "moved"
    corner = HOUSE.bounds
    across = towns.shapely.box(corner[0] - 10, corner[1], corner[2] + 10, corner[1] + 5)
    (tmp_path / "b").mkdir()
    result = through(tmp_path / "b", [HOUSE], [across])
    assert {number: row[4] for number, row in ledger(result).items() if number > 4} == {5: "replaced", 6: "replaced"}
