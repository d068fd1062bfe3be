"""Match predicted with labelled objects, where their IoU is 0.5 or more.

Both come from rasters, so predicted or labelled objects never overlap each other, and overlaps are pixel counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from ...protocol import ObjectScores
from .scores import ratio

MATCH_IOU = 0.5
RECALLS = np.linspace(0, 1, 101)
"""Recalls at which average precision samples precision, as in COCO (Lin et al. 2014)."""


Overlaps = dict[int, list[tuple[float, int]]]
"""By number of a predicted object: IoU and number of each true object of its class that it overlaps."""


class Found(NamedTuple):
    """A predicted object.

    Attributes:
        number: in the raster of predicted objects.
        confidence: mean probability, 0 to 1.
        partner: number of the true object that it matches; 0 for none.
        iou: its highest IoU with a true object of its class.
    """

    number: int
    value: int
    confidence: float
    partner: int
    iou: float


class Missed(NamedTuple):
    """An unmatched true object: its number in the raster of true objects, and its best IoU."""

    number: int
    value: int
    iou: float


@dataclass(frozen=True)
class Matches:
    """All objects of one piece of ground."""

    found: tuple[Found, ...]
    missed: tuple[Missed, ...]


def match(
    found: np.ndarray,
    found_classes: np.ndarray,
    probability: np.ndarray,
    true: np.ndarray,
    true_classes: np.ndarray,
    least_px: float = 1,
) -> Matches:
    """Match predicted and true objects one to one, the most confident first, where their IoU is 0.5 or more.

    Args:
        found, true: numbers `(H, W)` of predicted and true objects, 0 for none.
        probability: `(H, W)`, 0 to 1.
        least_px: predicted objects with fewer pixels are left out; such true ones never count as missed.
    """
    mine, theirs = _Objects.of(found, found_classes), _Objects.of(true, true_classes)
    overlaps = _overlaps(found, true, mine, theirs)
    rows = _matched(mine, _means(found, probability, mine.pixels), overlaps, least_px)
    taken = {row.partner for row in rows}
    best: dict[int, float] = {}
    for iou, partner in chain.from_iterable(overlaps.values()):
        best[partner] = max(iou, best.get(partner, 0.0))
    missed = tuple(
        Missed(number, int(theirs.values[number]), best.get(number, 0.0))
        for number in theirs.numbers.tolist()
        if number not in taken and theirs.pixels[number] >= least_px
    )
    return Matches(rows, missed)


def _matched(mine: _Objects, confidence: np.ndarray, overlaps: Overlaps, least_px: float) -> tuple[Found, ...]:
    """The predicted objects, the most confident first; each takes the best true one still free."""
    kept = mine.numbers[mine.pixels[mine.numbers] >= least_px]
    taken: set[int] = set()
    rows = []
    for number in kept[np.argsort(-confidence[kept], kind="stable")].tolist():
        candidates = overlaps.get(number, [])
        free = [(iou, partner) for iou, partner in candidates if iou >= MATCH_IOU and partner not in taken]
        best, _ = max(candidates, default=(0.0, 0))
        iou, partner = max(free, default=(best, 0))
        taken.add(partner)
        rows.append(Found(number, int(mine.values[number]), float(confidence[number]), partner, iou))
    return tuple(rows)


def _means(numbers: np.ndarray, probability: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Mean probability by object number; rounded, since sums differ in their last digits."""
    sums = np.bincount(numbers.ravel(), weights=probability.ravel())
    return np.asarray(np.round(sums / np.maximum(pixels, 1), 6))


class _Objects(NamedTuple):
    """Numbers of the objects present, and pixels and class value by number."""

    numbers: np.ndarray
    pixels: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, classes: np.ndarray) -> _Objects:
        pixels = np.bincount(numbers.ravel())
        values = np.zeros(pixels.size, np.uint8)
        values[numbers.ravel()] = classes.ravel()
        return cls(np.flatnonzero(pixels[1:]) + 1, pixels, values)


def _overlaps(found: np.ndarray, true: np.ndarray, mine: _Objects, theirs: _Objects) -> Overlaps:
    """For each predicted object, the true ones of its class that it overlaps, with IoU."""
    both = (found > 0) & (true > 0)
    pairs, shared = np.unique(np.stack([found[both], true[both]]), axis=1, return_counts=True)
    overlaps: Overlaps = {}
    for (number, partner), pixels in zip(pairs.T.tolist(), shared.tolist()):
        if mine.values[number] == theirs.values[partner]:
            iou = pixels / int(mine.pixels[number] + theirs.pixels[partner] - pixels)
            overlaps.setdefault(number, []).append((iou, partner))
    return overlaps


def object_scores(matches: Iterable[Matches], names: Sequence[str]) -> tuple[ObjectScores, ...]:
    """Scores of the objects of each class over all pieces of ground."""
    pieces = list(matches)
    found = [row for piece in pieces for row in piece.found]
    missed = [row for piece in pieces for row in piece.missed]
    return tuple(
        _scored(name, [row for row in found if row.value == value], sum(row.value == value for row in missed))
        for value, name in enumerate(names, start=1)
    )


def _scored(name: str, found: Sequence[Found], missed: int) -> ObjectScores:
    confidence = np.array([row.confidence for row in found])
    hit = np.array([row.partner > 0 for row in found], bool)
    hits = int(hit.sum())
    return ObjectScores(
        name=name,
        precision=ratio(hits, len(found)),
        recall=ratio(hits, hits + missed),
        f1=ratio(2 * hits, len(found) + hits + missed),
        average_precision=average_precision(confidence, hit, hits + missed),
        matched=hits,
        missed=missed,
        false=len(found) - hits,
    )


def average_precision(confidence: np.ndarray, hit: np.ndarray, true: int) -> float:
    """Mean over 101 recalls of the highest precision at that recall or beyond (COCO, Lin et al. 2014).

    Args:
        confidence, hit: `(N,)`, of each predicted object and whether it matches a true one.
        true: number of true objects.
    """
    if not true or not confidence.size:
        return 0.0
    hits = np.cumsum(hit[np.argsort(-confidence, kind="stable")])
    precision = hits / np.arange(1, hits.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(hits / true, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[index].mean())
