"""The network's input: random augmented chips for training, and windows of the validation areas for scoring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributed import get_rank, get_world_size, is_initialized
from torch.utils.data import Dataset, Sampler

from ...engine.models.bundle import Card, normalise
from ...protocol import UNKNOWN, Augmentation, Schedule
from ..data.scenes import VALID, Scene, Source
from .augment import Chip, Range, augment, placement, warp

VIEW_PX = 512
"""Largest validation window."""
CONTEXT_PX = 64
"""Margin of a validation window around its scored pixels, where the scene continues."""


class Chips(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Random chips: normalised images `(bands, H, W)`, masks `(H, W)` int64 and weights `(H, W)`, augmented.

    Chip number i depends only on i and the schedule's seed, whichever process makes it.
    """

    def __init__(
        self, sources: Sequence[Source], card: Card, usual: Range, augmentation: Augmentation, schedule: Schedule
    ) -> None:
        self._card, self._usual, self._augmentation, self._schedule = card, usual, augmentation, schedule
        self._scenes = [scene for source in sources for scene in source.scenes]
        shares = [
            source.weight * np.array([scene.known_px for scene in source.scenes]) / source.known_px
            for source in sources
        ]
        self._chances = np.concatenate(shares) / sum(source.weight for source in sources)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self._schedule.seed, index))
        scene = self._scenes[rng.choice(len(self._scenes), p=self._chances)]
        chip = augment(scene, self._card.gsd_m, self._schedule.chip_px, self._augmentation, self._usual, rng)
        return image_of(chip, self._card), torch.from_numpy(chip.mask.astype(np.int64)), torch.from_numpy(chip.weights)


def image_of(chip: Chip, card: Card) -> Tensor:
    """A chip's image as network input, `(bands, H, W)` float32; 0 where there is no image."""
    return torch.from_numpy(normalise(chip.pixels[:-1], chip.pixels[-1] == VALID, card.bands))


class Numbers(Sampler[int]):
    """The chip numbers of an epoch, distinct for each epoch and each device."""

    def __init__(self, count: int, epoch: int = 0) -> None:
        self._count, self._epoch = count, epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before it begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        rank, devices = (get_rank(), get_world_size()) if is_initialized() else (0, 1)
        first = self._epoch * self._count * devices + rank
        return iter(range(first, first + self._count * devices, devices))


class View(NamedTuple):
    """A square window of a scene at the model's resolution: its corner and its scored part."""

    scene: Scene
    left: int
    top: int
    side: int
    core: tuple[slice, slice]


class Views(Dataset[tuple[Tensor, Tensor, str]]):
    """Every labelled pixel of the scenes once: normalised images `(bands, H, W)`, masks `(H, W)` and place."""

    def __init__(self, scenes: Sequence[Scene], card: Card) -> None:
        self._card = card
        divisor = card.architecture.divisor
        every = [view for scene in scenes for view in _views(scene, scene.gsd_m / card.gsd_m, divisor)]
        masks = [self._cut(view).mask for view in every]
        self._views = [view for view, mask in zip(every, masks) if (mask != UNKNOWN).any()]
        self._objects_px = [int(((mask > 0) & (mask < UNKNOWN)).sum()) for mask in masks if (mask != UNKNOWN).any()]

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        view = self._views[index]
        chip = self._cut(view)
        return image_of(chip, self._card), torch.from_numpy(chip.mask.astype(np.int64)), view.scene.place

    def chip(self, index: int) -> Chip:
        """The pixels of a view; the mask is unknown outside the scored part."""
        return self._cut(self._views[index])

    def _cut(self, view: View) -> Chip:
        ratio = self._card.gsd_m / view.scene.gsd_m
        centre = (np.array([view.left, view.top]) + view.side / 2) * ratio
        chip = warp(view.scene, placement(centre, ratio, 0.0, 1.0, view.side), view.side)
        mask = np.full_like(chip.mask, UNKNOWN)
        mask[view.core] = chip.mask[view.core]
        return chip._replace(mask=mask)

    def richest(self, count: int) -> list[int]:
        """Numbers of the views with the most object pixels, most first."""
        return sorted(range(len(self)), key=lambda index: -self._objects_px[index])[:count]


def _views(scene: Scene, scale: float, divisor: int) -> Iterator[View]:
    """Windows over the labelled part of a scene; `scale` is model pixels per scene pixel."""
    labelled = scene.mask != UNKNOWN
    rows = _spans(labelled.any(axis=1), scale, divisor)
    columns = _spans(labelled.any(axis=0), scale, divisor)
    side = max(rows[0].side, columns[0].side)
    for row in rows:
        for column in columns:
            yield View(scene, column.start, row.start, side, (row.core, column.core))


class _Span(NamedTuple):
    start: int
    side: int
    core: slice


def _spans(labelled: np.ndarray, scale: float, divisor: int) -> list[_Span]:
    """Windows along one axis, in model pixels: one, or several overlapping by their context."""
    first, last = np.flatnonzero(labelled)[[0, -1]]
    size = math.ceil(len(labelled) * scale)
    start = max(0, math.floor(first * scale) - CONTEXT_PX)
    stop = min(size, math.ceil((last + 1) * scale) + CONTEXT_PX)
    largest = VIEW_PX // divisor * divisor or divisor
    if stop - start <= largest:
        side = math.ceil((stop - start) / divisor) * divisor
        return [_Span(start, side, slice(None))]
    return [
        _Span(left, largest, slice(CONTEXT_PX if left > start else 0, largest - CONTEXT_PX))
        for left in range(start, stop - CONTEXT_PX, largest - 2 * CONTEXT_PX)
    ]
