"""How unsure a model is: the entropy of its probabilities, and how much they change when the image is mirrored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FLIPS = ((-1,), (-2,), (-1, -2))
"""Axes along which an image is mirrored."""
LEAST = 1e-6
"""Of a probability in a logarithm; its entropy is nothing."""


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of the foreground classes' probabilities `(K, …)` and the background's (Shannon 1948).

    Returns:
        `(…)`, float32: 0 where one class is certain, 1 where all are equally likely.
    """
    background = np.clip(1 - probabilities.sum(axis=0, keepdims=True), 0, 1)
    every = np.concatenate([probabilities, background]).astype(np.float32)
    found: np.ndarray = -np.sum(every * np.log(np.maximum(every, LEAST)), axis=0) / math.log(len(every))
    return found


def views(images: Tensor) -> list[Tensor]:
    """Images `(B, bands, H, W)`, and the same mirrored along `FLIPS`."""
    return [images, *(images.flip(axes) for axes in FLIPS)]


def disagreement(found: Sequence[Tensor]) -> Tensor:
    """How much the foreground probabilities `(B, K, H, W)` of the `views` differ from those of the image itself.

    Returns:
        `(B, H, W)`: mean over the mirrored views of the total variation distance, 0 to 1: the probability that moves
        from one class to another, the background included.
    """
    straight, *mirrored = found
    changes = torch.stack([each.flip(axes) - straight for each, axes in zip(mirrored, FLIPS)])
    return (changes.abs().sum(dim=2) + changes.sum(dim=2).abs()).mean(dim=0) / 2
