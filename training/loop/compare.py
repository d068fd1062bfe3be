"""Compare two models on the same labelled areas: pixels, objects, and an interval over the areas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ...engine.models.unet import UNet
from ...protocol import SPECK_PX, UNKNOWN
from ..accuracy.objects import match
from ..accuracy.scores import ratio
from ..fit.dataset import Views
from ..fit.learner import layout
from ..truth.components import components

DRAWS = 1000
"""Bootstrap samples of an interval."""


class Marks(NamedTuple):
    """How well a model does on some areas."""

    iou: float
    object_f1: float


@torch.inference_mode()
def counts(network: UNet, views: Views, threshold: float) -> np.ndarray:
    """What a network finds in each view, `(views, 6)`.

    The columns are pixels right, found and true, and objects matched, found and true. A pixel or object of the wrong
    class is found and true, but not right.
    """
    network = network.eval().to(memory_format=layout(network.arguments))  # type: ignore[call-overload]
    rows = []
    for number in range(len(views)):
        image, mask, _ = views[number]
        logits = network(image[None].contiguous(memory_format=layout(network.arguments)))
        probabilities = logits[0].float().softmax(dim=0)[1:].numpy()
        rows.append(_counts(probabilities, mask.numpy(), threshold))
    return np.array(rows).reshape(-1, 6)


def _counts(probabilities: np.ndarray, mask: np.ndarray, threshold: float) -> list[int]:
    known = mask != UNKNOWN
    highest = probabilities.max(axis=0)
    found = np.where(known & (highest >= threshold), probabilities.argmax(axis=0) + 1, 0)
    true = np.where(known, mask, 0)
    matches = match(components(found), found, highest, components(true), true, SPECK_PX)
    matched = sum(each.partner > 0 for each in matches.found)
    return [
        np.count_nonzero((found == true) & (true > 0)), np.count_nonzero(found), np.count_nonzero(true),
        matched, len(matches.found), matched + len(matches.missed),
    ]  # fmt: skip


def marks(rows: np.ndarray) -> Marks:
    """The scores of all views together, from their counts."""
    right, found, true, matched, objects_found, objects_true = (int(each) for each in rows.sum(axis=0))
    return Marks(ratio(right, found + true - right), ratio(2 * matched, objects_found + objects_true))


def gain(before: np.ndarray, after: np.ndarray, seed: int = 1) -> tuple[float, float]:
    """The 95% interval of the gain in IoU over areas: percentiles of a bootstrap in which both models see the same.

    Args:
        before, after: counts `(areas, 6)`.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(before), size=(DRAWS, len(before)))
    gains = [marks(after[draw]).iou - marks(before[draw]).iou for draw in draws]
    low, high = np.percentile(gains, [2.5, 97.5])
    return float(low), float(high)
