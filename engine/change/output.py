"""The GeoPackage of changes: what became of each object at each step, the ledger, the shifts, and where it is from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from ...protocol import CHANGES_LAYER, LEDGER_LAYER, OFFSETS_LAYER, PROVENANCE_TABLE, Review
from ..shapes.layers import write_layer
from .dates import Date
from .kinds import Verdicts
from .objects import Objects
from .reviews import Said, fill


class Done(NamedTuple):
    """A step from one date to the next.

    Attributes:
        number: from 1.
        found: what became of the objects, by their numbers at both dates.
        rows: number in the ledger of each row of `found`.
        flickers: whether each row's object comes and goes.
        moved: earlier outlines on the later date.
        points: where the shift was measured.
        areas_m2: `(2, R)` before and after; NaN for none.
    """

    number: int
    found: Verdicts
    rows: np.ndarray
    flickers: np.ndarray
    moved: np.ndarray
    points: np.ndarray
    areas_m2: np.ndarray


def write_changes(
    target: Path, step: Done, dates: tuple[Date, Date], objects: tuple[Objects, Objects], crs: str, answers: Said
) -> None:
    """Append a step to the layer `changes`.

    Args:
        objects: of both dates, in their own places.
        answers: what a person said of the same changes.
    """
    found, (before, after) = step.found, objects
    ids = [_ids(found, before.ids, 0), _ids(found, after.ids, 1)]
    confidence = [_of(side.confidence, numbers) for side, numbers in ((before, found.before), (after, found.after))]
    count = len(found.kind)
    columns = {
        "object_id": step.rows.astype(np.int64),
        "kind": found.kind,
        "step": np.full(count, step.number, np.int32),
        "class": _classes(found, before, after),
        "date_before": np.full(count, dates[0].label, object),
        "date_after": np.full(count, dates[1].label, object),
        "area_before_m2": np.round(step.areas_m2[0], 2),
        "area_after_m2": np.round(step.areas_m2[1], 2),
        "iou": np.round(found.iou, 3),
        "offset_m": np.round(found.offset_m, 2),
        "confidence_before": np.round(confidence[0], 3),
        "confidence_after": np.round(confidence[1], 3),
        "before_ids": ids[0],
        "after_ids": ids[1],
        "reason": found.reason,
        "review": np.full(count, Review.NONE.value, object),
        "reviewed_at": np.full(count, "", object),
    }
    fill(columns, answers)
    outlines = np.where(found.after >= 0, _of(after.outlines, found.after), _of(step.moved, found.before))
    write_layer(target, CHANGES_LAYER, columns, _wkb(outlines), "MultiPolygon", crs)


def write_ledger(target: Path, columns: dict[str, np.ndarray], outlines: np.ndarray, crs: str) -> None:
    """Write the layer `ledger`."""
    write_layer(target, LEDGER_LAYER, columns, _wkb(outlines), "MultiPolygon", crs)


def write_offsets(target: Path, steps: Sequence[Done], crs: str) -> None:
    """Write the layer `offsets`."""
    points = [step.points for step in steps]
    numbers = np.repeat([step.number for step in steps], [len(each) for each in points]).astype(np.int32)
    together = np.concatenate(points)
    columns = {"step": numbers} | {name: np.round(together[name], 3) for name in ("east_m", "north_m", "error_m")}
    columns["used"] = together["used"].astype(bool)
    wkb = shapely.to_wkb(shapely.points(together["x"], together["y"]))
    write_layer(target, OFFSETS_LAYER, columns, np.atleast_1d(wkb), "Point", crs)


def provenance(dates: Sequence[Date]) -> dict[str, np.ndarray]:
    """The columns of the table of dates."""
    rows = [
        (
            date.label, str(date.path.parent) if date.record else date.survey.name or date.survey.path,
            str(date.model.get("name", "")),
            str(date.model.get("sha256", "")), str(date.record.get("run_id", "")),
            json.dumps(date.record, ensure_ascii=False) if date.record else "",
        )
        for date in dates
    ]  # fmt: skip
    names = ("date", "path", "model", "model_sha256", "run_id", "run")
    return {name: np.array(values, object) for name, values in zip(names, zip(*rows))}


def write_provenance(target: Path, columns: dict[str, np.ndarray]) -> None:
    """Write the table of dates."""
    write_layer(target, PROVENANCE_TABLE, columns)


def _of(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Values by number; NaN or None for -1."""
    found = np.full(
        len(numbers), None if values.dtype == object else np.nan, values.dtype if values.dtype == object else float
    )
    there = numbers >= 0
    found[there] = values[numbers[there]]
    return found


def _classes(found: Verdicts, before: Objects, after: Objects) -> np.ndarray:
    one, other = _of(after.classes, found.after), _of(before.classes, found.before)
    return np.array([new or old or "" for new, old in zip(one, other)], object)


def _ids(found: Verdicts, ids: np.ndarray, side: int) -> np.ndarray:
    """The ids of the objects of each row at one date; all of a group's at the earlier one."""
    texts = _of(ids, found.after if side else found.before)
    texts[[text is None for text in texts]] = ""
    if side == 0:
        for row in np.flatnonzero(found.group >= 0).tolist():
            texts[row] = ",".join(ids[found.groups[found.group[row]].before])
    return texts


def _wkb(outlines: np.ndarray) -> np.ndarray:
    """Polygons as multipolygons in WKB."""
    parts, owners = shapely.get_parts(outlines, return_index=True)
    return np.asarray(shapely.to_wkb(shapely.multipolygons(parts, indices=owners))) if len(outlines) else outlines
