"""The Lightning module: a network with its loss, optimizer and score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ...engine.models.unet import UNet
from ...protocol import UNKNOWN, Decay, Objective, Optimizer, Schedule
from ..accuracy.scores import THRESHOLDS, Scoreboard
from . import losses
from .muon import Muon
from .numerics import layout

PLATEAU_EPOCHS = 3
"""Epochs without improvement before the learning rate falls."""
PLATEAU_FACTOR = 1 / 3


class Diverged(Exception):  # noqa: N818 (it says what happened)
    """The loss is no longer a number."""


class Learner(LightningModule):
    """Trains a network on chips, and scores it on views.

    Attributes:
        board: right and wrong pixels of the last validation.
        examples: probabilities `(K, H, W)` by view number; None before a validation.
        losses: of the steps of this epoch.
        scores: intersection over union after each epoch.
    """

    def __init__(self, network: UNet, objective: Objective, schedule: Schedule) -> None:
        super().__init__()
        self.layout = layout(network.arguments)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.objective, self.schedule = objective, schedule
        self.board = Scoreboard(THRESHOLDS)
        self.examples: dict[int, Tensor | None] = {}
        self.losses: list[float] = []
        self.scores: list[float] = []

    def on_train_epoch_start(self) -> None:
        """Freeze the encoders with their batch statistics, or let them learn."""
        self.losses = []
        free = self.current_epoch >= self.schedule.frozen_epochs
        for part in filter(None, (self.network.stem, self.network.encoder, self.network.second)):
            part.requires_grad_(free)
            part.train(free)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The loss of images `(B, bands, H, W)` with masks and weights `(B, H, W)`."""
        image, mask, weights = batch
        logits = self.network(image.contiguous(memory_format=self.layout))
        return self.stepped(losses.loss(self.objective, logits.float(), mask, weights))

    def stepped(self, value: Tensor) -> Tensor:
        """Record the loss of a step.

        Raises:
            Diverged: it is no number.
        """
        self.losses.append(value.item())
        if not math.isfinite(self.losses[-1]):
            raise Diverged
        self.log("loss", value)
        return value

    def on_validation_epoch_start(self) -> None:
        """Reset the scoreboard."""
        self.board = Scoreboard(THRESHOLDS)

    def validation_step(self, batch: tuple[Tensor, Tensor, Sequence[str]], index: int) -> None:
        """Count the right and wrong pixels of one view."""
        image, mask, places = batch
        logits = self.network(image.contiguous(memory_format=self.layout))
        probabilities = logits[0].float().softmax(dim=0)[1:]
        if index in self.examples:
            self.examples[index] = probabilities.cpu()
        self.board.add(places[0], *decisions(probabilities, mask[0]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, with the learning rate set at each step."""
        schedule = self.schedule
        if schedule.optimizer is Optimizer.MUON:
            optimizer: torch.optim.Optimizer = Muon(
                self.network, self.network.head, schedule.learning_rate, schedule.weight_decay
            )
        else:
            optimizer = AdamW(self.network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.rate), "interval": "step"},
        }

    def rate(self, step: int) -> float:
        """Learning rate at a step, relative to its peak."""
        schedule = self.schedule
        if step < schedule.warmup_steps:
            return (step + 1) / schedule.warmup_steps
        if schedule.decay is Decay.PLATEAU:
            return eased(self.scores)
        if schedule.decay is Decay.CONSTANT:
            return 1.0
        done = (step - schedule.warmup_steps) / max(schedule.epochs * schedule.steps - schedule.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what the learning rate depends on."""
        checkpoint["scores"] = list(self.scores)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        self.scores = checkpoint["scores"]


def eased(scores: Sequence[float]) -> float:
    """The learning rate's remaining fraction after validations with these scores.

    Works like `torch.optim.lr_scheduler.ReduceLROnPlateau`, but without its own state.
    """
    best, stale, left = -math.inf, 0, 1.0
    for score in scores:
        stale = 0 if score > best else stale + 1
        best = max(best, score)
        if stale > PLATEAU_EPOCHS:
            stale, left = 0, left * PLATEAU_FACTOR
    return left


def decisions(probabilities: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Scoreboard input for probabilities `(K, H, W)` and a mask `(H, W)`; a wrong class is no hit.

    A pixel predicted as the wrong class counts twice: as a false positive if its probability reaches the threshold,
    and always as a miss.

    Returns:
        The probability of the likeliest class, and the mask; both `(2, H, W)`.
    """
    best, likeliest = probabilities.max(dim=0)
    confused = (mask != UNKNOWN) & (mask > 0) & (mask != likeliest + 1)
    alarms = torch.where(confused, 0, mask)
    misses = torch.where(confused, mask, UNKNOWN)
    return torch.stack([best, torch.zeros_like(best)]), torch.stack([alarms, misses])


class Average(WeightAveraging):
    """Exponential moving average of weights and batch statistics, fast at first to forget the initial weights."""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_average, decay))


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
    warm = min(decay, (1 + int(count)) / (10 + int(count)))
    for average, current in zip(averages, currents):
        if average.is_floating_point():
            average.lerp_(current, 1 - warm)
        else:
            average.copy_(current)
