"""The stages of a network, by the names that its drawing and its explanations share."""

from __future__ import annotations

from torch import nn

from .unet import Ensemble, UNet


def stages(network: UNet | Ensemble) -> dict[str, nn.Module]:
    """The stages of a network by name, in the order of computing; of an ensemble, those of its members in turn.

    Names are those of PyTorch's modules: `stem`, `encoder.0` (the finest) to `encoder.n` (the coarsest), `decoder.0`
    (the coarsest) to `decoder.n`, and `head`; in an ensemble they begin with `members.0.`, `members.1.`, …
    """
    if isinstance(network, Ensemble):
        parts = network.members.named_children()
        return {
            f"members.{number}.{name}": stage for number, member in parts for name, stage in _stages_of(member).items()
        }
    return _stages_of(network)


def _stages_of(unet: nn.Module) -> dict[str, nn.Module]:
    parts = dict(unet.named_children())
    levels = {
        f"{part}.{name}": stage for part in ("encoder", "decoder") for name, stage in parts[part].named_children()
    }
    return {"stem": parts["stem"], **levels, "head": parts["head"]}
