"""Compare two models on the same labelled areas: pixels, objects, and an interval over the areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ...protocol import SPECK_PX, UNKNOWN
from ..accuracy.objects import match
from ..accuracy.scores import ratio
from ..fit.dataset import Views
from ..fit.learner import layout
from ..truth.components import components

DRAWS = 1000
"""Bootstrap samples of an interval."""


class Counts(NamedTuple):
    """Of one view: pixels right, found and true, and objects matched, found and true."""

    right: int
    found: int
    true: int
    matched: int
    objects_found: int
    objects_true: int


class Marks(NamedTuple):
    """How well a model does on some areas."""

    iou: float
    object_f1: float


@torch.inference_mode()
def counts(network: nn.Module, views: Views, thresholds: Sequence[float]) -> np.ndarray:
    """`Counts` of each view at each threshold, `(views, thresholds, 6)`."""
    return np.array([
        [_counts(network, views, number, threshold) for threshold in thresholds] for number in range(len(views))
    ])
