"""Agreement of foreground probabilities with masks: counts at several thresholds, by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve

from ..protocol import UNKNOWN

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
    """Counts right and wrong pixels at several thresholds, for each place and for all together."""

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = torch.tensor(thresholds, dtype=torch.float64)
        self._curves: dict[str, BinaryPrecisionRecallCurve] = {}
        self._images: dict[str, int] = {}

    def add(self, place: str, probability: Tensor, mask: Tensor) -> None:
        """Count an image: foreground probability `(..., H, W)` in 0 to 1, class values of the same shape."""
        target = torch.where(mask == UNKNOWN, UNKNOWN, (mask > 0).long())
        for name in (place, TOTAL):
            if name not in self._curves:
                self._curves[name] = BinaryPrecisionRecallCurve(self._thresholds, ignore_index=UNKNOWN)
            self._curves[name].update(probability.cpu().double(), target.cpu())
            self._images[name] = self._images.get(name, 0) + 1

    def scores(self, index: int, name: str = TOTAL) -> Scores:
        """The scores of a place at the threshold of that number."""
        precisions, recalls, _ = self._curves[name].compute()
        precision, recall = (float(values[index].nan_to_num(0)) for values in (precisions, recalls))
        both = precision * recall
        return Scores(
            iou=both / (precision + recall - both) if both else 0.0,
            precision=precision,
            recall=recall,
            f1=2 * both / (precision + recall) if both else 0.0,
            threshold=float(self._thresholds[index]),
            images=self._images[name],
        )

    def best(self) -> Scores:
        """The scores of all places at the threshold with the highest intersection over union."""
        return max((self.scores(index) for index in range(len(self._thresholds))), key=lambda scores: scores.iou)

    def table(self) -> dict[str, Scores]:
        """The scores at the first threshold, all together first, then by place."""
        return {name: self.scores(0, name) for name in (TOTAL, *sorted(set(self._curves) - {TOTAL}))}


def foreground(logits: Tensor) -> Tensor:
    """Probability `(B, H, W)` of any class but background from logits `(B, classes, H, W)`."""
    return 1 - torch.softmax(logits.float(), dim=1)[:, 0]
