"""Encoders of the Python package timm, as operations: what is made with them runs without timm.

What timm's encoders do beside their operations while they are trained, such as leaving out whole blocks at random, is
off by default there, and left out here.
"""

from __future__ import annotations

import functools
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...protocol import TIMM_CACHE, Encoder, ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..models import operations
from ..models.operations import Foreign
from ..optional import package
from . import state_dicts, traced
from .traced_steps import Untraceable

CHANNELS = 3
"""Bands of the published weights."""


@functools.lru_cache(maxsize=8)
def described(encoder: str, bands: int) -> Foreign:
    """An encoder of timm as operations.

    Args:
        encoder: `timm/` and a name that timm knows.

    Raises:
        OrthomaskError: timm is not installed or does not know the name, or the encoder cannot be used.
    """
    with torch.random.fork_rng(devices=[]):
        return _traced(_module(encoder, bands), encoder, bands)[0]


def weights(encoder: str, bands: int, source: str) -> dict[str, Tensor]:
    """The tensors of an encoder that `described` describes, by their names in the encoder of a U-Net.

    Published filters for three bands are adapted to others as timm does it.

    Args:
        source: file with the weights; `cache`: the one that timm has stored; empty for timm's random ones.

    Raises:
        OrthomaskError: there is no such file, or it does not hold the encoder's weights.
    """
    tensors = _read(encoder, bands, source) if source else None
    return _traced(_module(encoder, bands, tensors), encoder, bands)[1]


def _timm() -> Any:
    return package("timm", tr("timm is not installed."), tr("Install the Python package timm, with: pip install timm."))


def _module(encoder: str, bands: int, tensors: dict[str, Tensor] | None = None) -> nn.Module:
    """Timm's own module, which makes a list of features."""
    timm, name = _timm(), encoder.removeprefix(Encoder.TIMM)
    if not timm.is_model(name):
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("timm {} does not know the encoder “{}”.").format(timm.__version__, name),
            tr("Use one of those that timm.list_models() names."),
        )
    logging.getLogger("timm").setLevel(logging.ERROR)  # it warns of the classifier, which is left out
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": tensors}}
    loaded: dict[str, Any] = overlay if tensors else {}
    try:
        module: nn.Module = timm.create_model(name, features_only=True, in_chans=bands, **loaded)
    except (RuntimeError, AttributeError, AssertionError, ValueError, TypeError) as error:
        raise _unfit(encoder, tr("timm cannot make it with features at several resolutions"), str(error)) from error
    return module.eval()


def _read(encoder: str, bands: int, source: str) -> dict[str, Tensor]:
    """The weights in a file, which must be those of the encoder for these bands or three; a classifier is left out."""
    name = encoder.removeprefix(Encoder.TIMM)
    path = _cached(name) if source == TIMM_CACHE else Path(source)
    tensors = state_dicts.read(path)
    for channels in (bands, CHANNELS):
        wanted = _timm().create_model(name, num_classes=0, in_chans=channels).state_dict()
        found = {key: tensors[key] for key in wanted if key in tensors}
        if {key: tensor.shape for key, tensor in found.items()} == {key: t.shape for key, t in wanted.items()}:
            return found
    state_dicts.refuse_different(found, wanted, path.name, encoder)
    return found


def _cached(name: str) -> Path:
    """The file that timm has downloaded for an encoder."""
    from huggingface_hub import try_to_load_from_cache

    cfg = _timm().get_pretrained_cfg(name)
    for file in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(cfg.hf_hub_id, file) if cfg and cfg.hf_hub_id else None
        if isinstance(found, str):
            return Path(found)
    raise OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("timm has not stored the weights of “{}” on this computer.").format(name),
        tr("Download them once in Python with timm.create_model(…, pretrained=True), or give a file with them."),
    )


def _traced(module: nn.Module, encoder: str, bands: int) -> tuple[Foreign, dict[str, Tensor]]:
    info: Any = module.feature_info
    reductions = [int(reduction) for reduction in info.reduction()]
    if reductions[0] not in (2, 4) or any(coarse != 2 * fine for fine, coarse in pairwise(reductions)):
        raise _unfit(encoder, tr("its levels are at {} of the image").format(", ".join(f"1/{r}" for r in reductions)))
    image = torch.rand(1, bands, 2 * reductions[-1], 3 * reductions[-1], generator=torch.Generator().manual_seed(0))
    try:
        found = traced.stages(module, image, lambda count: [[place] for place in range(count)])
        foreign = Foreign(
            f"timm {_timm().__version__}", tuple(info.channels()), reductions[0], tuple(stage.parts for stage in found)
        )
        operations.refuse_unsound(foreign, bands, 1)
    except (Untraceable, ValueError) as error:
        raise _unfit(encoder, tr("Orthomask does not know all of its operations"), str(error)) from error
    last = len(found) - 1  # in a U-Net, a convolution follows its operations
    tensors = {
        f"{level}.0.{name}" if level == last else f"{level}.{name}": tensor
        for level, stage in enumerate(found)
        for name, tensor in stage.tensors.items()
    }
    return foreign, tensors


def _unfit(encoder: str, why: str, details: str = "") -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("The encoder “{}” cannot be used: {}.").format(encoder, why),
        tr("Choose a convolutional one, such as timm/resnet18, timm/convnext_atto or timm/efficientnet_b0."),
        details,
    )
