"""Blend a base model with what it became, so that it gains here and forgets little.

The weights are interpolated linearly (WiSE-FT, Wortsman et al. 2022, https://arxiv.org/abs/2109.01903). Share 0 is the
base, share 1 the tuned model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from .compare import marks

SHARES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FORGOTTEN = 0.015
"""How much IoU a blend may cost on kept-out chips: about as much as it then costs on places that the base never saw
(docs/performance.md)."""


def blended(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights between those of two networks of one shape; counters are the tuned network's."""
    return {
        name: weight.lerp(tuned[name], share) if weight.is_floating_point() else tuned[name]
        for name, weight in base.items()
    }


def choose(here: Sequence[np.ndarray], home: Sequence[np.ndarray]) -> int:
    """The number of the best share: the highest IoU here of those that forget no more than `FORGOTTEN` at home.

    Args:
        here, home: counts of each share, as from `compare.counts`, the base's first; `home` is empty without a replay
            set.
    """
    before = marks(home[0]).iou if len(home) else 0.0
    kept = [n for n in range(len(here)) if not len(home) or marks(home[n]).iou >= before - FORGOTTEN]
    return max(kept, key=lambda n: marks(here[n]).iou)
