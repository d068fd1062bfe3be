"""How much there is of each kind, and how many objects that may be in truth."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np

from ...protocol import Change, OrthomaskError, Tally
from ..models import bundle
from .dates import Date
from .kinds import NEW, REMOVED
from .output import Done

EVALUATION = "evaluation.json"
"""In the folder of a run: an evaluation of its model at this place, which counts more than the model's card."""
Z_95 = 1.96


class Accuracy(NamedTuple):
    """Which part of what a model found is right, and which part of what is there it found."""

    precision: float
    recall: float


def tallies(step: Done, dates: tuple[Date, Date], objects: tuple[int, int]) -> list[Tally]:
    """Number and area of each kind in a step, in the order of `Change`, without what flickers.

    Args:
        objects: how many were compared at each date.
    """
    areas = np.where(np.isnan(step.areas_m2[1]), step.areas_m2[0], step.areas_m2[1])
    known = [accuracy(date) for date in dates]
    found = []
    for kind in Change:
        those = (step.found.kind == kind.value) & ~step.flickers
        count = int(those.sum())
        low, high = _interval(kind.value, count, known, objects)
        found.append(Tally(step.number, kind, count, round(float(areas[those].sum()), 1), low, high))
    return found


def _interval(
    kind: str, count: int, known: list[Accuracy | None], objects: tuple[int, int]
) -> tuple[float | None, float | None]:
    (without, with_it), sizes = (known, objects) if kind == NEW else (known[::-1], objects[::-1])
    if kind not in (NEW, REMOVED) or without is None or with_it is None:
        return None, None
    return interval(count, without, with_it, sizes)


def interval(count: int, without: Accuracy, with_it: Accuracy, objects: tuple[int, int]) -> tuple[float, float]:
    """A 95% interval of the objects that are truly at one date only, of which `count` were found.

    Errors of both dates count as independent, though one model tends to repeat its errors: the interval is rather too
    wide. False ones are what is false at the date with them, `n (1 - precision)`, and what was missed at the other date
    and found at this one, `n precision (1 - recall) / recall` times the recall here; as a Poisson number s that has a
    standard deviation of the root of s. So the interval goes from `count - s - 1.96 sqrt(s)` to
    `(count + 1.96 sqrt(count)) / recall`. Own derivation; the idea is that of Olofsson et al. 2014, that counts on a
    map are corrected by its accuracy.

    Args:
        without, with_it: accuracy at the date that lacks the objects, and at the one that has them.
        objects: how many were compared at these dates.
    """
    missed = objects[0] * without.precision * (1 - without.recall) / without.recall * with_it.recall
    false = objects[1] * (1 - with_it.precision) + missed
    low = max(0.0, count - false - Z_95 * math.sqrt(false))
    high = (count + Z_95 * math.sqrt(count)) / with_it.recall
    return round(low, 1), round(high, 1)


def accuracy(date: Date) -> Accuracy | None:
    """The accuracy of a run: of objects, from an evaluation in its folder; else of pixels, from its model's card.

    None where neither is there: of a layer, or of a run whose model is gone or was replaced.
    """
    if date.folder is None:
        return None
    try:
        record = json.loads((date.folder / EVALUATION).read_text(encoding="utf-8"))
        return _pooled(record["objects"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        pass
    try:
        model = bundle.load(str(date.record["request"]["model"]))
    except (OrthomaskError, KeyError):
        return None
    if model.sha256 != date.model.get("sha256"):
        return None
    return next((found for scores in model.card.accuracy.values() if (found := _sound(scores))), None)


def _pooled(classes: list[dict[str, Any]]) -> Accuracy | None:
    """Of the objects of all classes together."""
    matched, missed, false = (sum(each[name] for each in classes) for name in ("matched", "missed", "false"))
    return _sound({"precision": matched / (matched + false), "recall": matched / (matched + missed)})


def _sound(scores: Any) -> Accuracy | None:
    """Precision and recall, if both are there and not zero."""
    try:
        found = Accuracy(float(scores["precision"]), float(scores["recall"]))
    except (KeyError, TypeError, ValueError):
        return None
    return found if 0 < found.precision <= 1 and 0 < found.recall <= 1 else None
