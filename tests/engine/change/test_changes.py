"""What changed between dates: found with the right kind in synthetic towns, and nothing where nothing changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
import towns
from hypothesis import given, settings
from hypothesis import strategies as st
from towns import table

from orthomask.engine.change import changes
from orthomask.engine.progress import Progress
from orthomask.protocol import LEDGER_LAYER, ChangesRequest, ChangesResult, Existing, Survey

LASTING = ("new", "removed", "grown", "shrunk", "split", "merged", "moved", "replaced")


def compared(folder: Path, town: towns.Town, **asked: object) -> ChangesResult:
    """Compare a town with itself later; both layers are complete around it."""
    outlines = [outline for _, outline in town.before + town.after]
    region = shapely.union_all(outlines).envelope.buffer(30).wkt
    before = Survey(towns.write(folder / "before.gpkg", town.before), date="2012", region=region)
    after = Survey(towns.write(folder / "after.gpkg", town.after), date="2020", region=region)
    request = ChangesRequest((before, after), str(folder / "out"), existing=Existing.OVERWRITE, **asked)
    return changes.run(request, Progress())


def called(result: ChangesResult, town: towns.Town) -> dict[int, set[str]]:
    """What each plot was called: its objects are numbered in the order of their features."""
    plots = [np.array([plot for plot, _ in side]) for side in (town.before, town.after)]
    found: dict[int, set[str]] = {}
    rows = table(result)
    for kind, *texts in zip(rows["kind"], rows["before_ids"], rows["after_ids"]):
        for numbers, text in zip(plots, texts):
            for number in filter(None, text.split(",")):
                found.setdefault(int(numbers[int(number) - 1]), set()).add(kind)
    return found


class Score:
    """How many lasting changes were found with the right kind, and how many unchanged ones were called changed."""

    def __init__(self) -> None:
        self.right = self.lasting = self.false = self.unchanged = 0

    def add(self, found: dict[int, set[str]], truth: dict[int, str]) -> None:
        for plot, kinds in found.items():
            if truth[plot] == "unchanged":
                self.unchanged += 1
                self.false += bool(kinds - {"unchanged", "unsure"})
            else:
                self.lasting += 1
                self.right += kinds == {truth[plot]}

    def __str__(self) -> str:
        right, false = self.right / max(self.lasting, 1), self.false / max(self.unchanged, 1)
        return f"{right:.1%} of {self.lasting} changes right, {false:.1%} of {self.unchanged} unchanged called changed"


def test_lasting_changes_are_found_and_little_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shifted by up to 3 m and turned by up to a degree, with 0.25 m of noise in each corner."""
    with_it, without = Score(), Score()
    shift = st.floats(-3, 3).map(lambda each: round(each, 2))

    @settings(max_examples=4, deadline=None)
    @given(seed=st.integers(0, 10_000), east=shift, north=shift, turn=st.floats(-1, 1))
    def look(seed: int, east: float, north: float, turn: float) -> None:
        town = towns.town(10, 10, seed, LASTING).shifted(east, north, turn, 0.25, seed)
        with_it.add(called(compared(tmp_path, town, limit_m=20.0), town), town.truth)
        without.add(called(compared(tmp_path, town, register=False), town), town.truth)

    look()
    with capsys.disabled():
        print(f"\nwith registration: {with_it}\nwithout: {without}")
    assert with_it.right >= 0.95 * with_it.lasting
    assert with_it.false <= 0.02 * with_it.unchanged
    assert without.false > with_it.false


def test_fields_are_split_merged_and_reshaped(tmp_path: Path) -> None:
    """Fields that share their borders need no gap to be split; a farmyard takes a part of some."""
    town = towns.fields(8, 6, 2)
    found = called(compared(tmp_path, town, register=False), town)
    assert found == {plot: {kind} for plot, kind in town.truth.items()}


def test_a_layer_against_its_copy_is_unchanged(tmp_path: Path) -> None:
    town = towns.town(6, 6, 1)
    result = compared(tmp_path, town)
    assert {tally.kind.value for tally in result.tallies if tally.count} == {"unchanged"}
    assert set(table(result, LEDGER_LAYER)["times_seen"]) == {2}
