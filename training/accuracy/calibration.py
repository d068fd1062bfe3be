"""Probabilities against the truth: scores at every threshold, and calibration.

All of it comes from counts of pixels by stored probability (0 to `SCALE`), which are lossless and small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...engine.runs.runs import SCALE
from ...protocol import UNKNOWN
from .scores import ratio

BINS = 15
"""Bins of the reliability curve and calibration error, as in Guo et al. (2017)."""


class Operating(NamedTuple):
    """Scores of all foreground classes together at one threshold."""

    threshold: float
    iou: float
    precision: float
    recall: float
    f1: float


class Bin(NamedTuple):
    """Pixels with probabilities in one bin: their mean, how often they were right, and their share of all pixels."""

    probability: float
    frequency: float
    share: float


@dataclass
class Histogram:
    """Counts of known pixels by probability and truth.

    Attributes:
        found: `(SCALE + 1, 2)` by the likeliest foreground class's probability; columns background, foreground.
        classes: `(SCALE + 1, 2)` by every foreground class's own probability; columns another class, this class.
    """

    found: np.ndarray
    classes: np.ndarray

    @classmethod
    def empty(cls) -> Histogram:
        """No pixels."""
        return cls(np.zeros((SCALE + 1, 2), np.int64), np.zeros((SCALE + 1, 2), np.int64))

    def add(self, probabilities: np.ndarray, truth: np.ndarray) -> None:
        """Count pixels: probabilities `(K, N)` of the foreground classes, 0 to `SCALE`, and true classes `(N,)`."""
        known = truth != UNKNOWN
        probabilities, truth = probabilities[:, known], truth[known]
        self.found += _counted(probabilities.max(axis=0), truth > 0)
        for value, probability in enumerate(probabilities, start=1):
            self.classes += _counted(probability, truth == value)

    def sweep(self) -> list[Operating]:
        """Scores at every distinct threshold, each midway between two stored probabilities."""
        found, hits = (np.cumsum(counts[::-1])[::-1] for counts in (self.found.sum(axis=1), self.found[:, 1]))
        true = int(hits[0])
        return [
            Operating(
                threshold=(step - 0.5) / SCALE,
                iou=ratio(hits[step], found[step] + true - hits[step]),
                precision=ratio(hits[step], found[step]),
                recall=ratio(hits[step], true),
                f1=ratio(2 * hits[step], found[step] + true),
            )
            for step in range(1, SCALE + 1)
        ]

    def best(self) -> Operating:
        """The scores at the threshold with the highest intersection over union; of ties, the middle one."""
        rows = self.sweep()
        highest = max(row.iou for row in rows)
        equal = [row for row in rows if row.iou == highest]
        return equal[len(equal) // 2]

    def at(self, threshold: float) -> Operating:
        """The scores at a threshold of `sweep`."""
        return next(row for row in self.sweep() if row.threshold == threshold)

    def reliability(self) -> list[Bin]:
        """Mean probability and observed frequency in `BINS` bins of equal width; empty bins are left out."""
        steps = np.arange(SCALE + 1)
        number = np.minimum(steps * BINS // SCALE, BINS - 1)
        pixels, right = self.classes.sum(axis=1), self.classes[:, 1]
        totals = np.bincount(number, weights=pixels, minlength=BINS)
        rights = np.bincount(number, weights=right, minlength=BINS)
        sums = np.bincount(number, weights=pixels * steps / SCALE, minlength=BINS)
        return [
            Bin(float(sums[i] / totals[i]), float(rights[i] / totals[i]), float(totals[i] / totals.sum()))
            for i in np.flatnonzero(totals)
        ]

    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017): mean gap of probability and frequency, by pixels."""
        return sum(row.share * abs(row.probability - row.frequency) for row in self.reliability())


def _counted(probability: np.ndarray, true: np.ndarray) -> np.ndarray:
    counts = np.bincount(probability.astype(np.int64) * 2 + true, minlength=2 * (SCALE + 1))
    return counts.reshape(SCALE + 1, 2)
