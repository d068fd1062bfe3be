"""Networks to look inside, rather than to predict fast with."""

from __future__ import annotations

import functools

import torch

from ..models.bundle import Bundle
from ..models.unet import Ensemble, UNet, fused


@functools.lru_cache(maxsize=1)
def opened(bundle: Bundle, device: torch.device) -> UNet | Ensemble:
    """A network, fp32, with its batch normalisations folded, on a device. Cached."""
    network: UNet | Ensemble = fused(bundle.model()).to(device)  # type: ignore[assignment]
    return network
