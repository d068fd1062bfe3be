"""What the stages of a network make of an image: where they respond most, and where that speaks for a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..models.stages import stages
from ..models.unet import Ensemble, UNet


class Channel(NamedTuple):
    """A channel of a stage, and its activations over a window `(H, W)`."""

    stage: str
    number: int
    activations: np.ndarray


def usual_stages(network: UNet | Ensemble) -> tuple[str, ...]:
    """The coarsest stage of the decoder; of an ensemble, that of each member.

    It is the deepest one that sees both what surrounds an object and the object itself: in the embedded models, the
    encoder's coarsest alone says little for single objects.
    """
    return tuple(name for name in stages(network) if name.endswith("decoder.0"))


def known_stage(network: UNet | Ensemble, name: str) -> str:
    """The name of a stage.

    Raises:
        OrthomaskError: the network has none of that name.
    """
    names = stages(network)
    if name not in names:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The network has no stage “{}”.").format(name),
            tr("Use one of {}.").format(", ".join(names)),
        )
    return name


def grad_cam(
    network: UNet | Ensemble, pixels: np.ndarray, inside: np.ndarray, value: int, names: Sequence[str]
) -> tuple[np.ndarray, int]:
    """Where features lie that raise the class in an object `(H, W)`, from 0, and the pixels along a cell's side.

    Seg-Grad-CAM (Vinogradova, Dibrov, Myers 2020, arXiv:2002.11434) with two differences. A feature weighs what the
    class gains in the object's pixels if it responds more at its own place (Draelos, Carin 2020, arXiv:2011.08891; for
    segmentation Hasany et al. 2023), not on average over the stage: with that mean, each roof's map shows all roofs.
    And the class gains log odds, not its logit: with softmax only differences of logits count. What speaks against it
    is left out; several stages are added up.

    Args:
        pixels: `(bands, H, W)`, normalised.
        inside: the object `(H, W)`.
        value: of the class.
    """
    device = next(network.parameters()).device
    image = torch.from_numpy(pixels)[None].to(device).requires_grad_()
    with _watched(network, names) as watched:
        logits: Tensor = network(image)[0].float()
        others = torch.cat([logits[:value], logits[value + 1 :]])
        odds = logits[value] - others.logsumexp(dim=0)
        answers = list(watched.values())
        gradients = torch.autograd.grad(odds[torch.from_numpy(inside).to(device)].sum(), answers)
    maps = [
        _upsampled((gradient * answer.detach()).sum(dim=1).relu(), pixels.shape[1:])[0]
        for gradient, answer in zip(gradients, answers)
    ]
    cell = max(pixels.shape[1] // answer.shape[2] for answer in answers)
    return np.asarray(torch.stack(maps).sum(dim=0).cpu().numpy()), cell


def strongest(
    network: UNet | Ensemble, pixels: np.ndarray, inside: np.ndarray, names: Sequence[str], count: int
) -> tuple[list[Channel], int]:
    """The channels that respond most to an object, compared with the whole window, and the pixels along a cell's side.

    They are ranked by their mean in the object, in standard deviations from their mean in the window: a channel that
    responds everywhere says nothing of the object, and members of an ensemble are comparable.

    Args:
        pixels: `(bands, H, W)`, normalised.
        inside: the object `(H, W)`.
    """
    device = next(network.parameters()).device
    object_ = torch.from_numpy(inside).to(device)
    with torch.inference_mode(), _watched(network, names) as watched:
        network(torch.from_numpy(pixels)[None].to(device))
        found: list[tuple[float, Channel]] = []
        for name, answer in watched.items():
            fine = _upsampled(answer[0].float(), pixels.shape[1:])
            rise = (fine[:, object_].mean(dim=1) - fine.mean(dim=(1, 2))) / (fine.std(dim=(1, 2)) + 1e-6)
            ranks, numbers = rise.topk(min(count, len(rise)))
            chosen = zip(ranks.tolist(), numbers.tolist())
            found += [(rank, Channel(name, number, fine[number].cpu().numpy())) for rank, number in chosen]
    found.sort(key=lambda pair: -pair[0])
    cell = max(pixels.shape[1] // answer.shape[2] for answer in watched.values())
    return [channel for _, channel in found[:count]], cell


def _upsampled(answer: Tensor, shape: Sequence[int]) -> Tensor:
    """Channels `(C, h, w)` at the resolution of the image."""
    fine: Tensor = functional.interpolate(answer[None], size=tuple(shape), mode="bilinear", align_corners=False)[0]
    return fine


@contextmanager
def _watched(network: UNet | Ensemble, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What stages answer `(1, C, h, w)` from now on, by name."""
    found: dict[str, Tensor] = {}
    known = stages(network)

    def keep(name: str, answer: Tensor) -> None:
        found[name] = answer

    hooks = [
        known[name].register_forward_hook(lambda _module, _input, answer, name=name: keep(name, answer))
        for name in names
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
