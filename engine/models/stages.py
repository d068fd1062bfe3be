"""The stages of a network, by the names that its drawing and its explanations share, and that drawing."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...protocol import DRAWN_IMAGE, Drawing, Stage
from .unet import Ensemble, UNet, UNetArguments

WINDOW_PX = 512
"""Height and width of the window that is drawn; of very deep networks, the next multiple of their divisor."""
LARGEST = 1 << 26
"""Parameters of a network that is run to draw it: of a larger one, only the shapes are computed, which is slower."""


def stages(network: UNet | Ensemble) -> dict[str, nn.Module]:
    """The stages of a network by name, in the order of computing; of an ensemble, those of its members in turn.

    Names are those of PyTorch's modules: `stem`, `encoder.0` (the finest) to `encoder.n` (the coarsest), `decoder.0`
    (the coarsest) to `decoder.n`, and `head`; `second.0` and so on of a second encoder are between. In an ensemble they
    begin with `members.0.`, `members.1.`, …
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
        f"{part}.{name}": stage
        for part in ("encoder", "second", "decoder")
        if part in parts
        for name, stage in parts[part].named_children()
    }
    return {"stem": parts["stem"], **levels, "head": parts["head"]}


def drawings(networks: Sequence[UNetArguments]) -> tuple[Drawing, ...]:
    """A network drawn, or the members of an ensemble, one by one."""
    prefixes = [f"members.{number}." for number in range(len(networks))] if len(networks) > 1 else [""]
    return tuple(_drawing(arguments, prefix) for arguments, prefix in zip(networks, prefixes))


@functools.lru_cache(maxsize=64)
def _drawing(arguments: UNetArguments, prefix: str) -> Drawing:
    """Run a network on the smallest window, and note what goes through each stage."""
    with torch.device("meta"):
        network = UNet(arguments).eval()
    large = sum(weight.numel() for weight in network.parameters()) > LARGEST
    with torch.device("meta" if large else "cpu"):
        image = torch.zeros(1, arguments.bands, arguments.divisor, arguments.divisor)
        nothing = {name: torch.zeros(weight.shape) for name, weight in network.state_dict().items()}
    network.load_state_dict(nothing, assign=True)
    scale = math.ceil(WINDOW_PX / arguments.divisor)
    made: dict[int, str] = {}
    kept: list[Tensor] = []  # as long as they live, no other tensor has their id
    drawn: list[Stage] = []
    costs: list[float] = []

    def count(layer: nn.Conv2d, _given: Any, result: Tensor) -> None:
        costs.append(layer.weight[0].numel() * result.numel() / arguments.divisor**2)

    def note(name: str, stage: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        parameters = sum(weight.numel() for weight in stage.parameters())
        sources = tuple(made.get(id(tensor), DRAWN_IMAGE) for tensor in given)  # or of a part of it
        channels, size = result.shape[1:3]
        drawn.append(Stage(name, sources, channels, size * scale, len(costs), parameters, sum(costs)))
        made[id(result)] = name
        kept.append(result)
        costs.clear()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    for name, stage in stages(network).items():
        stage.register_forward_hook(functools.partial(note, prefix + name))
    with torch.inference_mode():
        network(image)
    return Drawing(arguments.bands, scale * arguments.divisor, prefix, tuple(drawn))
