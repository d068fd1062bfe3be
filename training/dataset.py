"""What the network sees: random augmented chips to train on, and whole tiles to be scored on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..engine.bundle import BandStatistics, normalise
from .augment import augment
from .recipe import Recipe
from .scenes import UNKNOWN, Scene, Tile


class Chips(Dataset[tuple[Tensor, Tensor]]):
    """Random chips: normalised images `(bands, H, W)` float32 and masks `(H, W)` int64, as the recipe augments them.

    Chip number i depends on the recipe's seed and i alone, whichever process makes it.
    """

    def __init__(self, recipe: Recipe, scenes: Sequence[Sequence[Scene]], bands: Sequence[BandStatistics]) -> None:
        self._recipe, self._bands = recipe, bands
        self._scenes = [scene for source in scenes for scene in source]
        shares = [
            source.weight * np.array([scene.known_px for scene in found]) / sum(scene.known_px for scene in found)
            for source, found in zip(recipe.sources, scenes)
        ]
        self._chances = np.concatenate(shares) / sum(source.weight for source in recipe.sources)

    def __len__(self) -> int:
        return self._recipe.schedule.steps * self._recipe.schedule.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        recipe = self._recipe
        random = np.random.default_rng((recipe.schedule.seed, index))
        scene = self._scenes[random.choice(len(self._scenes), p=self._chances)]
        pixels, mask = augment(scene, recipe.gsd_m, recipe.schedule.chip_px, recipe.augmentation, random)
        image = normalise(pixels[:-1], pixels[-1:] > UNKNOWN - 1, self._bands)
        return torch.from_numpy(image), torch.from_numpy(mask.astype(np.int64))


class Tiles(Dataset[tuple[Tensor, Tensor, str]]):
    """Whole tiles: normalised images `(bands, H, W)`, masks `(H, W)`, both padded to the divisor, and their place."""

    def __init__(self, tiles: Sequence[Tile], bands: Sequence[BandStatistics], divisor: int) -> None:
        self._tiles, self._bands, self._divisor = tiles, bands, divisor

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        tile = self._tiles[index]
        image = normalise(tile.pixels, np.ones_like(tile.mask, bool), self._bands)
        padding = [(0, -size % self._divisor) for size in tile.mask.shape]
        mask = np.pad(tile.mask, padding, constant_values=UNKNOWN).astype(np.int64)
        return torch.from_numpy(np.pad(image, [(0, 0), *padding])), torch.from_numpy(mask), tile.place
