"""Objects through all dates: each keeps its number, and those that come and go are marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import shapely

from ...protocol.words import tr
from ..progress import Progress
from .kinds import MERGED, REPLACED, UNSURE, Verdicts
from .matching import SAME_IOU, iou, largest, of_one_class, overlapping


class Ledger:
    """Numbers objects from date to date.

    An object that stayed, grew, shrank, moved, or about which it is unsure what became of it, keeps its number; so
    does the largest part of one that was split, and what several were merged to, that of the largest. What replaced it
    has another. An object that is new, and was there at an earlier date with an IoU of `matching.SAME_IOU`, is the same
    again.
    """

    def __init__(self, count: int) -> None:
        """Begin with so many objects of the first date."""
        self.ids = [np.arange(1, count + 1)]
        self.steps: list[dict[int, str]] = []
        self.regrouped: set[int] = set()
        """Objects that were a part of others, or had parts, in some step: these do not flicker."""
        self._next = count + 1
        self._ghosts = _Ghosts(np.empty(0, object), np.empty(0, int), np.empty(0, int))

    def step(
        self, found: Verdicts, following: np.ndarray, before: np.ndarray, after: np.ndarray,
        classes: tuple[np.ndarray, np.ndarray], moved: Callable[[np.ndarray], np.ndarray], progress: Progress,
    ) -> np.ndarray:  # fmt: skip
        """Number the objects of the next date, and return the number of each row of `found`.

        Args:
            following: for each later object the earlier one that it continues; -1 for none.
            before: outlines of the earlier date, moved on the later one.
            classes: a number for the class of each object; -1 matches any.
            moved: moves outlines of the earlier date on the later one.
        """
        known = self.ids[-1]
        replaced = found.after[(found.kind == REPLACED) & (found.after >= 0)]
        follows = following.copy()
        follows[replaced] = -1
        ids = np.where(follows >= 0, known[np.maximum(follows, 0)], 0) if len(known) else np.zeros(len(after), int)
        self._ghosts = self._ghosts.moved(moved)
        fresh = np.flatnonzero(ids == 0)
        self._ghosts, ids[fresh] = self._ghosts.awake(after[fresh], classes[1][fresh], progress)
        unknown = ids == 0
        ids[unknown] = self._next + np.arange(unknown.sum())
        self._next += int(unknown.sum())
        ended = ~np.isin(known, ids)
        self._ghosts = self._ghosts.with_more(before[ended], known[ended], classes[0][ended])
        rows = np.where(found.after >= 0, ids[found.after] if len(ids) else 0, 0)
        gone = found.after < 0
        rows[gone] = known[found.before[gone]]
        self.steps.append(self._history(found, known, rows))
        for group in found.groups:
            self.regrouped.update(known[group.before].tolist(), ids[group.after].tolist())
        self.ids.append(ids)
        return rows

    def _history(self, found: Verdicts, known: np.ndarray, rows: np.ndarray) -> dict[int, str]:
        """The kind of each object in a step, also of those that another one took in."""
        history = dict(zip(rows.tolist(), found.kind.tolist()))
        for group, kind in zip(found.groups, _group_kinds(found)):
            for number in known[group.before].tolist():
                history.setdefault(number, kind)
        replaced = np.flatnonzero((found.kind == REPLACED) & (found.before >= 0) & (found.group < 0))
        for number in known[found.before[replaced]].tolist():
            history.setdefault(number, REPLACED)
        return history


def _group_kinds(found: Verdicts) -> list[str]:
    kinds = [MERGED] * len(found.groups)
    for row in np.flatnonzero(found.group >= 0).tolist():
        kinds[found.group[row]] = found.kind[row]
    return kinds


class _Ghosts(NamedTuple):
    """Objects that ended, where they would lie at the latest date."""

    outlines: np.ndarray
    ids: np.ndarray
    classes: np.ndarray

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> _Ghosts:
        return self._replace(outlines=move(self.outlines)) if len(self.ids) else self

    def awake(self, outlines: np.ndarray, classes: np.ndarray, progress: Progress) -> tuple[_Ghosts, np.ndarray]:
        """The ghosts that go on sleeping, and for each outline the number of the one it is; 0 for none."""
        numbers = np.zeros(len(outlines), int)
        if not len(self.ids) or not len(outlines):
            return self, numbers
        pairs = overlapping(self.outlines, outlines, progress)
        areas = shapely.area(self.outlines), shapely.area(outlines)
        same = of_one_class(pairs, (self.classes, classes)) & (iou(pairs, areas) >= SAME_IOU)
        pairs = largest(pairs.chosen(same))
        numbers[pairs.after] = self.ids[pairs.before]
        rest = np.setdiff1d(np.arange(len(self.ids)), pairs.before)
        return _Ghosts(*(values[rest] for values in self)), numbers

    def with_more(self, outlines: np.ndarray, ids: np.ndarray, classes: np.ndarray) -> _Ghosts:
        return _Ghosts(*(np.concatenate(both) for both in zip(self, (outlines, ids, classes))))


def flickering(presence: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How often each object flickers: was away at one date between two, or was there at one between two without it.

    Args:
        presence: `(N, dates)` whether it was there.
        known: `(N, dates)` whether the date has data there.
    """
    middle = presence[:, 1:-1]
    differs = (presence[:, :-2] != middle) & (presence[:, 2:] != middle)
    return np.asarray((differs & known[:, :-2] & known[:, 1:-1] & known[:, 2:]).sum(axis=1))


def mark_flicker(found: Verdicts, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Call what flickering objects did unsure, and return which rows that are.

    Args:
        rows: number of the object of each row.
        ids: of the objects that flicker.
    """
    flickers = np.isin(rows, ids)
    found.kind[flickers], found.reason[flickers] = UNSURE, tr("It comes and goes from date to date.")
    return flickers
