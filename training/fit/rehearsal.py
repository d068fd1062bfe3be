"""Learn from a new place without forgetting the others: the network rehearses what its base says of replayed chips.

A part of every batch are chips of a replay set, strongly changed in colour, on which the loss is the distance from what
the base says of them (Li and Hoiem 2016, https://arxiv.org/abs/1606.09282; on replayed pictures, Rebuffi et al. 2017,
https://arxiv.org/abs/1611.07725). Labels of a replay set are not learnt from: the base's own answers forget less
(docs/performance.md). Batch statistics stay those of the base.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...engine.models.bundle import Card
from ...engine.models.unet import UNet
from ...protocol import Augmentation, Objective, Schedule
from ..data.scenes import Scene
from . import losses
from .augment import Range, augment
from .dataset import image_of
from .learner import Learner

SHARE = 0.5
"""Of a batch that is replayed."""
RELEASED = 0.3
"""Learning rate, relative to the schedule's, once the encoder learns, too: the decoder has adapted by then, so that
little pulls the features away (Kumar et al. 2022, https://arxiv.org/abs/2202.10054)."""
STRENGTH = 4.0
"""Weight of the distance from the base, relative to the loss on labels."""
COLOURS = Augmentation(
    scale=(0.5, 2.0), brightness=0.15, contrast=(0.5, 1.8), gamma=(0.5, 1.9), saturation=(0.0, 1.6), colour=0.15,
    blur=1.0, noise=0.02, shade=0.25,
)  # fmt: skip
"""Other places in other light: what the network may not change its mind about."""


def replayed(schedule: Schedule) -> int:
    """The number of replayed chips in a batch; they come last."""
    return round(SHARE * schedule.batch)


class RehearsedChips(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches of chips of which the last ones are replayed."""

    def __init__(
        self, chips: Dataset[Any], replay: Sequence[Scene], card: Card, usual: Range, schedule: Schedule
    ) -> None:
        self._chips, self._replay, self._card, self._usual, self._schedule = chips, replay, card, usual, schedule

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        if index % self._schedule.batch < self._schedule.batch - replayed(self._schedule):
            own: tuple[Tensor, Tensor, Tensor] = self._chips[index]
            return own
        rng = np.random.default_rng((self._schedule.seed, index))
        scene = self._replay[int(rng.integers(len(self._replay)))]
        chip = augment(scene, self._card.gsd_m, self._schedule.chip_px, COLOURS, self._usual, rng)
        return image_of(chip, self._card), torch.from_numpy(chip.mask.astype(np.int64)), torch.from_numpy(chip.weights)


class Rehearser(Learner):
    """Learns, with the base's batch statistics, and says of replayed chips what the base says.

    Args:
        network: still the base.
        rehearses: whether the last chips of every batch are replayed.
    """

    def __init__(self, network: UNet, objective: Objective, schedule: Schedule, rehearses: bool) -> None:
        super().__init__(network, objective, schedule)
        self._replayed = replayed(schedule) if rehearses else 0
        self._base = [copy.deepcopy(self.network).eval().requires_grad_(False)]  # in a list: not part of the module

    def on_fit_start(self) -> None:
        """Move the base to where the network learns."""
        self._base[0].to(self.device)

    def on_train_epoch_start(self) -> None:
        """Keep the base's batch statistics, too."""
        super().on_train_epoch_start()
        for part in self.network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()

    def rate(self, step: int) -> float:
        """Learning rate at a step, relative to its peak: lower once the encoder learns."""
        released = step >= self.schedule.frozen_epochs * self.schedule.steps
        return super().rate(step) * (RELEASED if released else 1)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The loss of images `(B, bands, H, W)` with masks and weights `(B, H, W)`, the last ones replayed."""
        image, mask, weights = batch
        image = image.contiguous(memory_format=self.layout)
        logits = self.network(image).float()
        own = len(image) - self._replayed
        value = losses.loss(self.objective, logits[:own], mask[:own], weights[:own])
        if self._replayed:
            distance = _distance(self._base[0](image[own:]).float(), logits[own:])
            value = (own * value + self._replayed * STRENGTH * distance) / len(image)
        return self.stepped(value)


def _distance(base: Tensor, logits: Tensor) -> Tensor:
    """The mean Kullback-Leibler divergence of a network from its base, nats; both logits `(B, classes, H, W)`."""
    known = base.log_softmax(dim=1)
    return (known.exp() * (known - logits.log_softmax(dim=1))).sum(dim=1).mean()
