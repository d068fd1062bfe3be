"""Training losses: entropies and overlaps over the known pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ...protocol import UNKNOWN, Loss, LossTerm, Objective

SMOOTH = 0.5
"""Pixels added to numerator and denominator of an overlap, so that an absent class not found costs nothing."""


def loss(objective: Objective, logits: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted sum of an objective's terms.

    Unknown pixels change neither the value nor the gradient. The entropies and the focal loss are means over the known
    pixels, weighted by class and pixel; the overlaps are taken over all known pixels of the batch.

    Args:
        logits: `(B, classes, H, W)`.
        mask: `(B, H, W)` class values, 255 where unknown.
        weights: `(B, H, W)` of the pixels, for the entropies and the focal loss; None for 1 everywhere.
    """
    known = mask != UNKNOWN
    target = mask * known
    importance = known.float() if weights is None else known * weights
    if objective.class_weights:
        importance = importance * logits.new_tensor(objective.class_weights)[target]
    total = logits.new_zeros(())
    for term in objective.terms:
        if term.loss in PIXELWISE:
            values = PIXELWISE[term.loss](logits, target, term, objective.label_smoothing)
            value = (values * importance).sum() / importance.sum().clamp(min=1e-6)
        else:
            value = overlap(logits, target, known, *_penalties(term))
        total = total + term.weight * value
    return total


def cross_entropy(logits: Tensor, target: Tensor, _term: LossTerm, smoothing: float) -> Tensor:
    """Cross-entropy `(B, H, W)` of the classes' softmax."""
    return functional.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)


def binary_cross_entropy(logits: Tensor, target: Tensor, _term: LossTerm, smoothing: float) -> Tensor:
    """Mean `(B, H, W)` over the foreground classes of the binary cross-entropy of each against all the rest."""
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(logits.dtype)
    truth = truth * (1 - smoothing) + smoothing / 2
    whole = logits.logsumexp(dim=1, keepdim=True)
    rest = [
        logits[:, [other for other in range(logits.shape[1]) if other != number]].logsumexp(dim=1)
        for number in range(1, logits.shape[1])
    ]
    found, missed = logits[:, 1:] - whole, torch.stack(rest, dim=1) - whole
    return -(truth * found + (1 - truth) * missed).mean(dim=1)


def focal(logits: Tensor, target: Tensor, term: LossTerm, _smoothing: float) -> Tensor:
    """Cross-entropy `(B, H, W)` that gives confident pixels little weight (Lin et al. 2017)."""
    entropy = functional.cross_entropy(logits, target, reduction="none")
    return (-torch.expm1(-entropy)) ** term.gamma * entropy


PIXELWISE: dict[Loss, Callable[[Tensor, Tensor, LossTerm, float], Tensor]] = {
    Loss.CROSS_ENTROPY: cross_entropy,
    Loss.BINARY_CROSS_ENTROPY: binary_cross_entropy,
    Loss.FOCAL: focal,
}


def overlap(logits: Tensor, target: Tensor, known: Tensor, false_positives: float, false_negatives: float) -> Tensor:
    """1 minus the Tversky index of probabilities and truth, mean over the foreground classes (Salehi et al. 2017).

    Weights of 0.5 and 0.5 give Dice (Milletari et al. 2016), 1 and 1 Jaccard.
    """
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:] * known[:, None]
    found = logits.softmax(dim=1)[:, 1:] * known[:, None]
    hits = (found * truth).sum((0, 2, 3)) + SMOOTH
    alarms, misses = (found * (1 - truth)).sum((0, 2, 3)), ((1 - found) * truth).sum((0, 2, 3))
    return (1 - hits / (hits + false_positives * alarms + false_negatives * misses)).mean()


def _penalties(term: LossTerm) -> tuple[float, float]:
    """Weights of false positives and false negatives in an overlap."""
    if term.loss is Loss.TVERSKY:
        return term.false_positives, 1 - term.false_positives
    return (0.5, 0.5) if term.loss is Loss.DICE else (1.0, 1.0)
