"""Agreement of predicted and true pixels: counts at several thresholds, and scores of confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...protocol import UNKNOWN, PixelScores

THRESHOLDS = tuple(step / 20 for step in range(2, 19))
"""Thresholds that a training chooses from."""
TOTAL = "all"


@dataclass(frozen=True)
class Scores:
    """Agreement of predicted and true foreground, counted over the known pixels of all images together."""

    iou: float
    precision: float
    recall: float
    f1: float
    threshold: float
    images: int


class Scoreboard:
    """Counts right and wrong pixels at several thresholds, in ascending order, for each place and for all together.

    Not torchmetrics' `BinaryPrecisionRecallCurve`: in the deterministic mode of a training it counts without
    `torch.bincount`, and a validation takes four times as long.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = torch.tensor(thresholds, dtype=torch.float64)
        self._counts: dict[str, Tensor] = {}
        self._images: dict[str, int] = {}

    def add(self, place: str, probability: Tensor, mask: Tensor) -> None:
        """Count an image: foreground probability `(..., H, W)` in 0 to 1, class values of the same shape."""
        known = mask.cpu() != UNKNOWN
        reached = torch.bucketize(probability.cpu().double()[known].nan_to_num(0), self._thresholds, right=True)
        truth = (mask.cpu()[known] > 0).long()
        counts = torch.bincount(2 * reached + truth, minlength=2 * len(self._thresholds) + 2).reshape(-1, 2)
        for name in (place, TOTAL):  # of several processes that train together each one counts everything
            self._counts[name] = self._counts.get(name, torch.zeros_like(counts)) + counts
            self._images[name] = self._images.get(name, 0) + 1

    def scores(self, index: int, name: str = TOTAL) -> Scores:
        """The scores of a place at the threshold of that number."""
        counts = self._counts[name]
        missed = int(counts[: index + 1, 1].sum())
        wrong, hits = counts[index + 1 :].sum(dim=0).tolist()
        return Scores(
            iou=ratio(hits, hits + wrong + missed),
            precision=ratio(hits, hits + wrong),
            recall=ratio(hits, hits + missed),
            f1=ratio(2 * hits, 2 * hits + wrong + missed),
            threshold=float(self._thresholds[index]),
            images=self._images[name],
        )

    def best(self, threshold: float = 0.0) -> Scores:
        """The scores of all places at the nearest threshold, or for 0 at the one with the highest IoU."""
        if threshold:
            return self.scores(int((self._thresholds - threshold).abs().argmin()))
        return max((self.scores(index) for index in range(len(self._thresholds))), key=lambda scores: scores.iou)

    def table(self, index: int = 0) -> dict[str, Scores]:
        """The scores at the threshold of that number, all together first, then by place."""
        return {name: self.scores(index, name) for name in (TOTAL, *sorted(set(self._counts) - {TOTAL}))}


def pixel_scores(confusion: np.ndarray, names: Sequence[str]) -> tuple[PixelScores, ...]:
    """Scores of all foreground classes together (`all`), then of each.

    Args:
        confusion: pixel counts `(classes, classes)`, row = truth, column = prediction, background first.
        names: of the foreground classes.
    """
    hits = np.diag(confusion)
    whole = np.array([[confusion[0, 0], confusion[0, 1:].sum()], [confusion[1:, 0].sum(), confusion[1:, 1:].sum()]])
    return (
        foreground_scores(TOTAL, whole),
        *(
            _scored(name, hits[value], confusion[:, value].sum(), confusion[value].sum(), int(confusion[value].sum()))
            for value, name in enumerate(names, start=1)
        ),
    )


def foreground_scores(name: str, confusion: np.ndarray, pixels: int | None = None) -> PixelScores:
    """Scores from pixel counts `(2, 2)`, row = truth, column = prediction, background first."""
    truth = int(confusion[1].sum())
    return _scored(name, confusion[1, 1], confusion[:, 1].sum(), truth, truth if pixels is None else pixels)


def _scored(name: str, hits: float, found: float, true: float, pixels: int) -> PixelScores:
    return PixelScores(
        name=name,
        iou=ratio(hits, found + true - hits),
        f1=ratio(2 * hits, found + true),
        precision=ratio(hits, found),
        recall=ratio(hits, true),
        pixels=pixels,
    )


def accuracy(confusion: np.ndarray) -> float:
    """Share of pixels with the right class."""
    return ratio(np.trace(confusion), confusion.sum())


def kappa(confusion: np.ndarray) -> float:
    """Agreement beyond chance (Cohen 1960): 1 is perfect, 0 is what class frequencies alone give."""
    shares = confusion / max(confusion.sum(), 1)
    chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return ratio(float(np.trace(shares)) - chance, 1 - chance)


def ratio(part: float, whole: float) -> float:
    """A quotient, or 0 for a denominator of 0."""
    return float(part / whole) if whole else 0.0
