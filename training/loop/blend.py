"""Blend a base model with what it became, so that it gains here and forgets little.

The weights are interpolated linearly (WiSE-FT, Wortsman et al. 2022, https://arxiv.org/abs/2109.01903). Share 0 is the
base, share 1 the tuned model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .compare import Marks

SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FORGOTTEN = 0.01
"""How much IoU at home a blend may cost."""


def blended(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights between those of two networks of one shape; counters are the tuned network's."""
    return {
        name: torch.lerp(weight, tuned[name], share) if weight.is_floating_point() else tuned[name]
        for name, weight in base.items()
    }


def choose(here: Sequence[Marks], home: Sequence[Marks]) -> int:
    """The number of the best share: the highest IoU here of those that forget no more than `FORGOTTEN` at home.

    Args:
        here, home: of each share, the base's first; `home` is empty without a replay set.
    """
    kept = [n for n in range(len(here)) if not home or home[n].iou >= home[0].iou - FORGOTTEN]
    return max(kept, key=lambda n: here[n].iou)
