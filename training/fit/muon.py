"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum whose step is an orthogonal matrix.

For training from random weights: in equal CPU time it reaches a lower loss than AdamW and a higher IoU on the town it
learns from; in distant cities both are equal (`benchmarks/optimizers.py`, docs/performance.md). Training from a model
does better with AdamW (docs/models/buildings.md).

`torch.optim.Muon` takes matrices only; here a convolution is a matrix from the pixels under its kernel to its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, chosen by its author for a steep start over convergence."""
ITERATIONS = 5
MOMENTUM = 0.95
BETAS = (0.9, 0.99)
"""Decay of the mean and of the mean square in Adam."""


class Muon(Optimizer):
    """Muon for the convolutions of a network; Adam, at a tenth of the rate, for its last layer, norms and biases."""

    def __init__(self, network: nn.Module, last: nn.Module, lr: float, weight_decay: float = 0.0) -> None:
        others = {id(weight) for weight in last.parameters()}
        inner = [weight for weight in network.parameters() if weight.ndim > 1 and id(weight) not in others]
        outer = [weight for weight in network.parameters() if weight.ndim <= 1 or id(weight) in others]
        groups: list[dict[str, Any]] = [
            {"params": inner, "rule": "muon"},
            {"params": outer, "rule": "adam", "lr": lr / 10, "weight_decay": 0.0},
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step down the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(RULES[group["rule"]](weight.grad, self.state[weight]), alpha=-group["lr"])
        return loss


def _muon(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    velocity = state.setdefault("velocity", torch.zeros_like(gradient)).mul_(MOMENTUM).add_(gradient)
    matrix = gradient.add(velocity, alpha=MOMENTUM).flatten(1)
    scale = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
    return scale * orthogonalised(matrix).reshape(gradient.shape)


def _adam(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    count = state.setdefault("count", torch.zeros(())).add_(1)
    mean = state.setdefault("mean", torch.zeros_like(gradient)).lerp_(gradient, 1 - BETAS[0])
    square = state.setdefault("square", torch.zeros_like(gradient)).lerp_(gradient.square(), 1 - BETAS[1])
    deviation = (square / (1 - BETAS[1] ** count)).sqrt()
    return torch.div(mean / (1 - BETAS[0] ** count), deviation + 1e-8)


RULES = {"muon": _muon, "adam": _adam}


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with all singular values brought near 1 (0.7 to 1.2)."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = x.T if tall else x
    return result
