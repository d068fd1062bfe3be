"""Images as a model would see them if they were different: brighter, blurred, with a band missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engine.compute.devices import Predictor
from ...engine.models.bundle import BandStatistics
from ...protocol import Dependence
from ...protocol.words import tr

Alter = Callable[[Tensor], Tensor]
"""Changes normalised images `(B, bands, H, W)`."""
SCALES = (0.5, 0.7, 0.85, 1.2, 1.5, 2.0)
SHARES = (-0.3, -0.15, 0.15, 0.3)
"""Of the usual range of a band, from its 2nd to its 98th percentile."""
FACTORS = (0.5, 0.7, 1.4, 2.0)
SIGMAS_PX = (0.5, 1.0, 2.0, 4.0)
MOST_BANDS = 8
"""Bands replaced; of more, the first ones."""
MOST_SWAPS = 6
"""Exchanges of two bands."""


class Change(NamedTuple):
    """One way in which an image is changed.

    Attributes:
        scale: pixels are so many times as large as the model's.
        alter: the values; None for as they are.
    """

    dependence: Dependence
    label: str
    value: float
    scale: float = 1.0
    alter: Alter | None = None


class Altered(nn.Module):
    """A network that sees its images changed. Pixels without data, 0 in all bands, stay so."""

    def __init__(self, network: nn.Module, alter: Alter) -> None:
        super().__init__()
        self.network, self._alter = network, alter

    def forward(self, image: Tensor) -> Tensor:
        """Logits `(B, classes, H, W)`."""
        known = (image != 0).any(dim=1, keepdim=True)
        changed = torch.where(known, self._alter(image), torch.zeros_like(image))
        logits: Tensor = self.network(changed.contiguous(memory_format=torch.channels_last))
        return logits


def altered(predictor: Predictor, alter: Alter | None) -> Predictor:
    """A predictor whose images are changed first."""
    return predictor if alter is None else replace(predictor, network=Altered(predictor.network, alter))


def changes(bands: Sequence[BandStatistics]) -> Iterator[Change]:
    """All changes that a diagnosis tries, for a model of these bands."""
    for scale in SCALES:
        yield Change(Dependence.RESOLUTION, f"{scale:g} ×", scale, scale=scale)
    ranges = torch.tensor([(band.percentile_98 - band.percentile_2) / band.std for band in bands])
    for share in SHARES:
        shift = (share * ranges)[:, None, None]
        yield Change(Dependence.BRIGHTNESS, f"{share:+.0%}", share, alter=partial(_brighter, shift=shift))
    for factor in FACTORS:
        yield Change(Dependence.CONTRAST, f"{factor:g} ×", factor, alter=partial(torch.mul, other=factor))
    for sigma in SIGMAS_PX:
        yield Change(Dependence.BLUR, f"{sigma:g} px", sigma, alter=partial(blurred, sigma_px=sigma))
    for number, band in enumerate(bands[:MOST_BANDS]):
        without = tr("without {}").format(band.name)
        yield Change(Dependence.BANDS, without, number, alter=partial(_without, band=number))
    for number, (one, other) in enumerate(list(combinations(range(len(bands)), 2))[:MOST_SWAPS]):
        names = f"{bands[one].name} ↔ {bands[other].name}"
        yield Change(Dependence.ORDER, names, number, alter=partial(_swapped, pair=(one, other), bands=bands))


def _brighter(image: Tensor, shift: Tensor) -> Tensor:
    return image + shift.to(image.device, image.dtype)


def blurred(image: Tensor, sigma_px: float) -> Tensor:
    """The mean of each pixel's surroundings with Gaussian weights, without pixels that have no data."""
    known = (image != 0).any(dim=1, keepdim=True).to(image.dtype)
    reach = math.ceil(3 * sigma_px)
    offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    total = _filtered(torch.cat([image, known], dim=1), weights)
    return total[:, :-1] / total[:, -1:].clamp(min=1e-12)


def _filtered(image: Tensor, weights: Tensor) -> Tensor:
    """Each band along rows and columns with the same weights."""
    count, reach = image.shape[1], len(weights) // 2
    across = weights.expand(count, 1, 1, -1).contiguous()
    rows = functional.conv2d(image, across, padding=(0, reach), groups=count)
    return functional.conv2d(rows, across.transpose(2, 3).contiguous(), padding=(reach, 0), groups=count)


def _without(image: Tensor, band: int) -> Tensor:
    """A band is everywhere the mean of those that the model was trained on, which is 0."""
    changed = image.clone()
    changed[:, band] = 0
    return changed


def _swapped(image: Tensor, pair: tuple[int, int], bands: Sequence[BandStatistics]) -> Tensor:
    """Two bands hold each other's values, before they are normalised."""
    changed = image.clone()
    for to, come in (pair, pair[::-1]):
        mine, theirs = bands[to], bands[come]
        changed[:, to] = (image[:, come] * theirs.std + theirs.mean - mine.mean) / mine.std
    return changed
