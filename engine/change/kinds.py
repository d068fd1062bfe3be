"""What became of each object, by rules with numbers.

All rules measure in `error` metres: the root of the sum of squares of what remains of the shift after registration and
of the errors of both outlines (of a run 1 pixel of its model or image, of any other layer 0.5 m:
`dates.OUTLINE_PX`, `LAYER_M`). `near` is 2 errors, `far` is 3 (`NEAR`, `FAR`).

- **unchanged**: one to one, and neither outline lies anywhere more than `near` beyond the other.
- **grown**, **shrunk**: one to one, and the later outline lies more than `far` beyond the earlier one (grown) or the
  earlier one beyond the later (shrunk), with an area of at least `far` squared that was gained or lost. Where both are
  so, the one that is three times as large as the other (`CLEARLY`).
- **replaced**: one to one, both gained and lost, and less than half of the joint area shared (`OTHER_IOU`), or less
  than three quarters and neither clearly more (`RESHAPED_IOU`; from there on it is grown or shrunk); or several became
  several others; or half of what was lost is now of another class (`COVERED`).
- **moved**: one to one, the outlines are alike (`matching.ALIKE`) when laid on each other, and that is more than `far`.
- **split**: one became several. Outlines that share no borders (buildings) must lie `near` apart.
- **merged**: several became one, likewise.
- **new**, **removed**: no object of the class at the other date overlaps it by half of the smaller one, nor covers 30%
  of it (`matching.TOUCHED`), and it is wider than `far`.
- **unsure**: all that fulfils none of these: the difference is larger than `near`, but not than `far`; the object is
  narrower than the errors, or cut by the edge of the data of either date; and what `evidence.py` doubts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import shapely

from ...protocol import Change
from ...protocol.words import mark, tr
from ..progress import Progress
from .matching import ALIKE, TOUCHED, Group, Matches, Pairs, chunks, iou, likeness, of_one_class, steps

UNCHANGED, NEW, REMOVED, GROWN, SHRUNK, SPLIT, MERGED, MOVED, REPLACED, UNSURE = (each.value for each in Change)
WORDS = {
    UNCHANGED: mark("unchanged"), NEW: mark("new"), REMOVED: mark("removed"), GROWN: mark("grown"),
    SHRUNK: mark("shrunk"), SPLIT: mark("split"), MERGED: mark("merged"), MOVED: mark("moved"),
    REPLACED: mark("replaced"), UNSURE: mark("unsure"),
}  # fmt: skip
NEAR, FAR = 2.0, 3.0
CLEARLY, OTHER_IOU, RESHAPED_IOU, COVERED = 3.0, 0.5, 0.75, 0.5
MITRE = {"join_style": "mitre", "quad_segs": 2}
EARLIER, NEITHER, LATER = -1, 0, 1
"""At which date a change says that something is missing."""


class Side(NamedTuple):
    """The objects of a date: outlines, classes, and whether each lies whole on ground that both dates cover, `(N,)`."""

    outlines: np.ndarray
    classes: np.ndarray
    whole: np.ndarray


@dataclass
class Verdicts:
    """What became of the objects, a row for each that is there afterwards, or is gone: `(R,)` each.

    Attributes:
        before, after: numbers of the objects; -1 for none.
        kind: value of a `Change`; of one that is unsure what it may be is in `maybe`.
        iou, offset_m: NaN where there is only one of them.
        reason: in words.
        evidence: where the difference is; None if there is none.
        missing: at which date the evidence is not an object.
        group: number in `groups`; -1 for none.
    """

    before: np.ndarray
    after: np.ndarray
    kind: np.ndarray
    maybe: np.ndarray
    iou: np.ndarray
    offset_m: np.ndarray
    reason: np.ndarray
    evidence: np.ndarray
    missing: np.ndarray
    group: np.ndarray
    groups: list[Group] = field(default_factory=list)

    def doubt(self, rows: np.ndarray, reasons: np.ndarray | str) -> None:
        """Call changes unsure, for these reasons."""
        fresh = self.kind[rows] != UNSURE
        self.maybe[rows[fresh]] = self.kind[rows[fresh]]
        self.kind[rows] = UNSURE
        perhaps = {kind: tr("Perhaps {}.").format(tr(word)) for kind, word in WORDS.items()}
        texts = np.broadcast_to(np.asarray(reasons, object), rows.shape)
        self.reason[rows] = [f"{perhaps[kind]} {text}" for kind, text in zip(self.maybe[rows], texts)]


def _rows(
    before: np.ndarray, after: np.ndarray, kind: str | np.ndarray, reason: str | np.ndarray,
    evidence: np.ndarray | None = None, missing: int | np.ndarray = NEITHER,
) -> Verdicts:  # fmt: skip
    count = len(after)
    kinds = np.full(count, kind, object) if isinstance(kind, str) else kind
    return Verdicts(
        before, after, kinds, kinds.copy(), np.full(count, np.nan), np.full(count, np.nan),
        np.full(count, reason, object) if isinstance(reason, str) else reason,
        np.full(count, None, object) if evidence is None else evidence,
        np.full(count, missing) if isinstance(missing, int) else missing, np.full(count, -1),
    )  # fmt: skip


def _joined(parts: list[Verdicts], groups: list[Group]) -> Verdicts:
    names = [name for name in Verdicts.__dataclass_fields__ if name != "groups"]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Verdicts(**columns, groups=groups)


def judge(matches: Matches, before: Side, after: Side, error_m: float, shared: bool, progress: Progress) -> Verdicts:
    """What became of each object, from the outlines alone; see the rules at the top of this file.

    Args:
        shared: whether outlines share their borders at both dates.
    """
    sides = before.outlines, after.outlines
    areas = shapely.area(sides[0]), shapely.area(sides[1])
    found = _joined(
        [
            *(
                _paired(matches.pairs.chosen(part), sides, areas, error_m)
                for part in chunks(len(matches.pairs.shared), progress)
            ),
            _moved(matches.moved, sides, error_m),
            _regrouped(matches.groups, sides, error_m, shared, progress),
            _alone(matches, before, after, error_m, EARLIER),
            _alone(matches, before, after, error_m, LATER),
        ],
        matches.groups,
    )
    both = np.flatnonzero((found.before >= 0) & (found.after >= 0))
    overlaps = _overlap(sides[0][found.before[both]], sides[1][found.after[both]])
    found.iou[both] = overlaps
    found.offset_m[both] = np.hypot(*steps(sides[0][found.before[both]], sides[1][found.after[both]]).T)
    _doubt_cut(found, before, after)
    return found


def _overlap(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """IoU of pairs of outlines."""
    shared = shapely.area(shapely.intersection(before, after))
    return np.asarray(shared / (shapely.area(before) + shapely.area(after) - shared))


def _doubt_cut(found: Verdicts, before: Side, after: Side) -> None:
    """Call changes unsure of which one date shows only a part."""
    cut = np.zeros(len(found.kind), bool)
    for numbers, side in ((found.before, before), (found.after, after)):
        cut |= (numbers >= 0) & ~side.whole[np.maximum(numbers, 0)] if len(side.whole) else False
    for number, group in enumerate(found.groups):
        if not (before.whole[group.before].all() and after.whole[group.after].all()):
            cut |= found.group == number
    found.doubt(np.flatnonzero(cut & (found.kind != UNCHANGED)), tr("Cut by the edge of the data."))


def _paired(
    pairs: Pairs, sides: tuple[np.ndarray, np.ndarray], areas: tuple[np.ndarray, np.ndarray], error_m: float
) -> Verdicts:
    """What became of objects that are one to one."""
    old, new = sides[0][pairs.before], sides[1][pairs.after]
    near, far = NEAR * error_m, FAR * error_m
    found = _rows(pairs.before, pairs.after, UNCHANGED, tr("The same within {:.1f} m.").format(near))
    kept = _within(new, old, near) & _within(old, new, near)
    rest = np.flatnonzero(~kept)
    old, new = old[rest], new[rest]
    gained, lost = shapely.difference(new, old), shapely.difference(old, new)
    gain, loss = (_beyond(part, base, far) for part, base in ((gained, old), (lost, new)))
    share = iou(pairs.chosen(rest), areas)
    step = np.hypot(*steps(old, new).T)
    alike = (gain > 0) & (loss > 0) & (step > far)
    alike[alike] = likeness(old[alike], new[alike]) >= ALIKE
    clearly = np.where(share >= RESHAPED_IOU, 1.0, CLEARLY)
    more, less = (gain > 0) & (gain >= clearly * loss), (loss > 0) & (loss >= clearly * gain)
    other = (gain > 0) & (loss > 0) & (share < OTHER_IOU)
    kind = np.select(
        [alike, other, more, less, (gain > 0) | (loss > 0)],
        [MOVED, REPLACED, GROWN, SHRUNK, REPLACED],
        UNSURE,
    ).astype(object)
    maybe = np.where(shapely.area(gained) >= shapely.area(lost), GROWN, SHRUNK)
    found.kind[rest], found.maybe[rest] = kind, np.where(kind == UNSURE, maybe, kind)
    found.evidence[rest] = np.where(loss > gain, lost, gained)
    found.missing[rest] = np.where(loss > gain, LATER, EARLIER)
    found.reason[rest] = [
        _pair_in_words(str(each), gained_m2, lost_m2, away, part, far)
        for each, gained_m2, lost_m2, away, part in zip(kind, shapely.area(gained), shapely.area(lost), step, share)
    ]
    return found


def _pair_in_words(kind: str, gained: float, lost: float, step: float, share: float, far: float) -> str:
    if kind == MOVED:
        return tr("The same outline, {:.1f} m away.").format(step)
    if kind == UNSURE:
        return tr("{:.0f} m² gained and {:.0f} m² lost, all within {:.1f} m of the outline.").format(gained, lost, far)
    if kind == REPLACED:
        return tr("Another outline: {:.0f} m² gained, {:.0f} m² lost, IoU {:.2f}.").format(gained, lost, share)
    return tr("{:.0f} m² gained, {:.0f} m² lost.").format(gained, lost)


def _within(one: np.ndarray, other: np.ndarray, distance_m: float) -> np.ndarray:
    """Whether each outline lies nowhere more than a distance beyond another."""
    return np.asarray(shapely.covered_by(one, shapely.buffer(other, distance_m, **MITRE)))


def _beyond(parts: np.ndarray, base: np.ndarray, far: float) -> np.ndarray:
    """The area of what was gained or lost, if some of it lies further than `far` from the other outline; else 0."""
    reaches = ~shapely.covered_by(parts, shapely.buffer(base, far, **MITRE))
    areas = shapely.area(parts)
    return np.where(reaches & (areas >= far**2), areas, 0.0)


def _moved(moved: Pairs, sides: tuple[np.ndarray, np.ndarray], error_m: float) -> Verdicts:
    old, new = sides[0][moved.before], sides[1][moved.after]
    step = np.hypot(*steps(old, new).T)
    kind = np.where(step > FAR * error_m, MOVED, UNSURE).astype(object)
    words = tr("The same outline, {:.1f} m away.")
    reason = np.array([words.format(each) for each in step], object)
    found = _rows(moved.before, moved.after, kind, reason, shapely.difference(new, old), EARLIER)
    found.maybe[:] = MOVED
    return found


def _regrouped(
    groups: list[Group], sides: tuple[np.ndarray, np.ndarray], error_m: float, shared: bool, progress: Progress
) -> Verdicts:
    """What became of objects that belong together, but not one to one: a row for each later one."""
    parts = []
    for number, group in enumerate(groups):
        progress.check_cancelled()
        parts.append(_of_group(group, sides, error_m, shared))
        parts[-1].group[:] = number
    return _joined(parts, []) if parts else _rows(np.empty(0, int), np.empty(0, int), SPLIT, "")


def _of_group(group: Group, sides: tuple[np.ndarray, np.ndarray], error_m: float, shared: bool) -> Verdicts:
    old, new = sides[0][group.before], sides[1][group.after]
    largest = [int(numbers[shapely.area(side).argmax()]) for numbers, side in zip(group, (old, new))]
    numbers = np.full(len(new), largest[0])
    if len(old) > 1 and len(new) > 1:
        words = tr("{} objects became {} others.").format(len(old), len(new))
        return _rows(numbers, group.after, REPLACED, words)
    is_split = len(new) > 1
    pieces, whole = (new, old[0]) if is_split else (old, new[0])
    kind = SPLIT if is_split else MERGED
    words = tr("One object became {}.") if is_split else tr("{} objects became one.")
    gap = _gap(pieces)
    seam = _seam(pieces, whole, max(error_m, gap / 2 + error_m))
    found = _rows(
        numbers, group.after, kind, words.format(len(pieces)), np.full(len(new), seam, object),
        LATER if is_split else EARLIER,
    )  # fmt: skip
    everything = np.arange(len(new))
    if shapely.area(pieces).sum() > (2 - ALIKE) * shapely.union_all(pieces).area:
        found.doubt(everything, tr("Objects of one date overlap each other."))
    elif not shared and gap < NEAR * error_m:
        found.doubt(everything, tr("The parts lie only {:.1f} m apart.").format(gap))
    return found


def _gap(pieces: np.ndarray) -> float:
    """How far the piece that lies most apart is from the others, m."""
    others = [shapely.union_all(np.delete(pieces, number)) for number in range(len(pieces))]
    return float(shapely.distance(pieces, np.array(others, object)).max())


def _seam(pieces: np.ndarray, whole: shapely.Geometry, reach_m: float) -> shapely.Geometry:
    """Where an object is divided into pieces: all of it that is within reach of two of them."""
    wide = shapely.buffer(pieces, reach_m, **MITRE)
    twice = [shapely.intersection(each, shapely.union_all(wide[number + 1 :])) for number, each in enumerate(wide[:-1])]
    return shapely.intersection(shapely.union_all(twice), whole)


def _alone(matches: Matches, before: Side, after: Side, error_m: float, missing: int) -> Verdicts:
    """What became of objects that belong to none of the other date: missing at the earlier date, new; else removed."""
    is_new = missing == EARLIER
    side, numbers = (after, matches.new) if is_new else (before, matches.gone)
    kind = NEW if is_new else REMOVED
    words = tr("Nothing was there before.") if is_new else tr("Nothing is there afterwards.")
    outlines = side.outlines[numbers]
    none = np.full(len(numbers), -1)
    found = _rows(none if is_new else numbers, numbers if is_new else none, kind, words, outlines.copy(), missing)
    own, other = _touched(matches, before, after, is_new)
    found.doubt(
        np.flatnonzero(own[numbers] >= TOUCHED), tr("Objects of the other date cover a part of it, but are no match.")
    )
    narrow = shapely.is_empty(shapely.buffer(outlines, -FAR / 2 * error_m, **MITRE))
    found.doubt(np.flatnonzero(narrow), tr("Narrower than {:.1f} m, the errors of both dates.").format(FAR * error_m))
    turned = np.flatnonzero((other[numbers] >= COVERED) & (found.kind == kind) & (not is_new))
    found.kind[turned] = found.maybe[turned] = REPLACED
    found.reason[turned] = tr("Now of another class.")
    return found


def _touched(matches: Matches, before: Side, after: Side, is_new: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which part of each object those of the other date cover: of its own class, and of others."""
    pairs = matches.overlaps
    same = of_one_class(pairs, (before.classes, after.classes))
    outlines, numbers = (after.outlines, pairs.after) if is_new else (before.outlines, pairs.before)
    areas = np.maximum(shapely.area(outlines), np.finfo(float).tiny)
    own, other = (np.bincount(numbers[which], pairs.shared[which], len(outlines)) / areas for which in (same, ~same))
    return own, other
