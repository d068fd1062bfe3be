"""What changed between dates: found with the right kind in synthetic towns, and nothing where nothing changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import towns

from orthomask.engine.change import changes
from orthomask.engine.progress import Progress
from orthomask.protocol import CHANGES_LAYER, ChangesRequest, ChangesResult, Existing, Survey
from orthomask.protocol.change import LEDGER_LAYER

LASTING = ("new", "removed", "grown", "shrunk", "split", "merged", "moved", "replaced")


def table(result: ChangesResult, layer: str = CHANGES_LAYER) -> dict[str, np.ndarray]:
    meta, _, _, data = pyogrio.raw.read(result.changes_path, layer=layer, read_geometry=False)
    return dict(zip(meta["fields"], data))


def compared(tmp_path: Path, town: towns.Town, **asked: object) -> ChangesResult:
    before = Survey(towns.write(tmp_path / "before.gpkg", town.before), date="2012")
    after = Survey(towns.write(tmp_path / "after.gpkg", town.after), date="2020")
    request = ChangesRequest((before, after), str(tmp_path / "out"), existing=Existing.OVERWRITE, **asked)
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


def test_each_kind_is_found(tmp_path: Path) -> None:
    town = towns.town(8, 8, 3, LASTING, share=0.6)
    found = called(compared(tmp_path, town, register=False), town)
    assert {town.truth[plot] for plot in found} == {*LASTING, "unchanged"}
    assert sum(found[plot] == {town.truth[plot]} for plot in found) >= 0.95 * len(found)


def test_a_layer_against_its_copy_is_unchanged(tmp_path: Path) -> None:
    town = towns.town(6, 6, 1)
    result = compared(tmp_path, town)
    assert {tally.kind.value for tally in result.tallies if tally.count} == {"unchanged"}
    assert set(table(result, LEDGER_LAYER)["times_seen"]) == {2}
