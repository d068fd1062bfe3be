"""Compare two models on the same labelled areas: pixels, objects, and an interval over the areas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...engine.models.bundle import Card
from ...engine.models.unet import UNet
from ...engine.progress import Progress
from ...protocol import SPECK_PX, UNKNOWN, Gain, Marks
from ...protocol.words import tr
from ..accuracy.objects import match
from ..accuracy.scores import ratio
from ..data.scenes import Scene
from ..fit.dataset import Views
from ..fit.numerics import layout
from ..truth.components import components

DRAWS = 1000
"""Bootstrap samples of an interval."""
COLUMNS = 6
"""Of `counts`."""


@torch.inference_mode()
def counts(
    network: UNet, scenes: Sequence[Views], threshold: float, device: torch.device, progress: Progress
) -> np.ndarray:
    """What a network finds in each scene, `(scenes, 6)`.

    The columns are pixels right, found and true, and objects matched, found and true. A pixel or object of the wrong
    class is found and true, but not right.
    """
    kind = layout(network.arguments)
    network = network.eval().to(device, memory_format=kind)  # type: ignore[call-overload]
    rows = np.zeros((len(scenes), COLUMNS), int)
    for number, views in enumerate(scenes):
        progress.report(number / len(scenes), tr("Comparing the models"))
        for view in range(len(views)):
            image, mask, _ = views[view]
            logits = network(image[None].to(device).contiguous(memory_format=kind))
            probabilities = logits[0].float().softmax(dim=0)[1:].cpu().numpy()
            rows[number] += _counts(probabilities, mask.numpy(), threshold)
    return rows


def _counts(probabilities: np.ndarray, mask: np.ndarray, threshold: float) -> list[int]:
    known = mask != UNKNOWN
    highest = probabilities.max(axis=0)
    found = np.where(known & (highest >= threshold), probabilities.argmax(axis=0) + 1, 0)
    true = np.where(known, mask, 0)
    matches = match(components(found), found, highest, components(true), true, SPECK_PX)
    matched = sum(each.partner > 0 for each in matches.found)
    return [
        int(np.count_nonzero((found == true) & (true > 0))), int(np.count_nonzero(found)), int(np.count_nonzero(true)),
        matched, len(matches.found), matched + len(matches.missed),
    ]  # fmt: skip


def marks(rows: np.ndarray) -> Marks:
    """The scores of all scenes together, from their counts."""
    right, found, true, matched, objects_found, objects_true = (int(each) for each in rows.sum(axis=0))
    return Marks(
        iou=ratio(right, found + true - right),
        object_precision=ratio(matched, objects_found),
        object_recall=ratio(matched, objects_true),
        object_f1=ratio(2 * matched, objects_found + objects_true),
    )


def gain(before: np.ndarray, after: np.ndarray, seed: int = 1) -> Gain:
    """Two models on the same scenes, with a 95% interval of the gain in IoU.

    The interval is that of the percentiles of a bootstrap over scenes, in which both models see the same ones
    (Efron and Tibshirani 1993, chapter 13).

    Args:
        before, after: counts `(scenes, 6)`.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(before), size=(DRAWS, len(before)))
    gains = [_iou(after[draw]) - _iou(before[draw]) for draw in draws]
    low, high = np.percentile(gains, [2.5, 97.5])
    return Gain(marks(before), marks(after), len(before), float(low), float(high))


def _iou(rows: np.ndarray) -> float:
    right, found, true = (int(each) for each in rows[:, :3].sum(axis=0))
    return ratio(right, found + true - right)


def each(scenes: Sequence[Scene], card: Card) -> list[Views]:
    """The windows of each scene."""
    return [Views([scene], card) for scene in scenes]
