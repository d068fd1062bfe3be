"""A family of U-Nets (Ronneberger et al. 2015) for any bands and classes.

The encoder is residual (He et al. 2016), EfficientNet-Lite0, for which there are ImageNet weights, or one that another
library describes (`operations`), which may describe the decoder, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...protocol import Encoder, Finish
from . import efficientnet
from .operations import Foreign, Operations


@dataclass(frozen=True)
class UNetArguments:
    """What a U-Net is built from; stored in the bundle.

    Attributes:
        bands: channels of the image.
        classes: channels of the logits, background included.
        widths: channels at each level, the finest first; the coarsest is at 1/2**len(widths) of the image.
            Other encoders than the residual one have their own inside, and a fixed number of levels.
        blocks: residual blocks at each level of the encoder.
        detail: channels kept at the image's own resolution, for crisp edges.
        attention: gate the skip connections (Oktay et al. 2018).
        encoder: one of `Encoder`, or the name of what `foreign` describes.
        merges: convolutions at each level of the decoder.
        separable: these filter each channel on its own, then mix the channels (Chollet 2017).
        finish: the decoder's last step, to the image's own resolution.
        foreign: the stages that another library describes; None if there are none.
    """

    bands: int
    classes: int
    widths: tuple[int, ...] = (32, 48, 96, 160, 224)
    blocks: int = 2
    detail: int = 16
    attention: bool = False
    encoder: str = Encoder.RESIDUAL
    merges: int = 2
    separable: bool = False
    finish: Finish = Finish.FULL
    foreign: Optional[Foreign] = None

    @property
    def divisor(self) -> int:
        """Height and width of the input must be multiples of this, in pixels."""
        return self.foreign.divisor if self.foreign else int(2 ** len(self.widths))

    @property
    def reduction(self) -> int:
        """How much coarser than the image the first level is."""
        return self.foreign.reduction if self.foreign else 2


class UNet(nn.Module):
    """Images `(B, bands, H, W)`, normalised, to logits `(B, classes, H, W)`; H and W multiples of `divisor`."""

    def __init__(self, arguments: UNetArguments) -> None:
        super().__init__()
        self.arguments, foreign = arguments, arguments.foreign
        widths = (arguments.detail, *arguments.widths)
        self.stem: nn.Module = _convolution(arguments.bands, widths[0])
        if foreign and foreign.decoder:
            self.stem, self.encoder = nn.Identity(), nn.ModuleList(map(Operations, foreign.encoder))
            self.decoder = nn.ModuleList(Operations(parts, given=2) for parts in foreign.decoder)
            self.head: nn.Module = Operations(foreign.head)
            return
        self.encoder, inner = _encoder(arguments)
        if arguments.finish is Finish.HALF and arguments.encoder != Encoder.RESIDUAL:
            self.stem = nn.Identity()  # nothing reads it
        self.decoder = _decoder(widths, (arguments.detail, *inner[:-1]), arguments)
        self.head = nn.Conv2d(widths[arguments.finish is Finish.HALF], arguments.classes, kernel_size=1)

    @property
    def divisor(self) -> int:
        """Height and width of the input must be multiples of this, in pixels."""
        return self.arguments.divisor

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        logits: Tensor = self.head(self._decoded(image))  # before enlarging: the same, but cheaper
        return self._enlarged(logits)

    def details(self, image: Tensor) -> Tensor:
        """What the decoder makes of every pixel, before the decision: `(B, channels, H, W)`."""
        return self._enlarged(self._decoded(image))

    def _enlarged(self, x: Tensor) -> Tensor:
        if self.arguments.finish is not Finish.HALF:
            return x
        return functional.interpolate(x, scale_factor=float(self.arguments.reduction), mode="bilinear")

    def _decoded(self, image: Tensor) -> Tensor:
        levels = self._levels(image)
        x = levels.pop()
        for up in self.decoder:
            x = up(x, levels.pop())
        return x

    def features(self, image: Tensor) -> Tensor:
        """What the encoder makes of an image: `(B, channels, H, W)` at the coarsest level."""
        return self._levels(image)[-1]

    def _levels(self, image: Tensor) -> list[Tensor]:
        """The image's features at each level, the finest first."""
        levels = [self.stem(image)]
        x = levels[0] if self.arguments.encoder == Encoder.RESIDUAL else image
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        return levels


class Ensemble(nn.Module):
    """U-Nets of the same bands and classes: logits `(B, classes, H, W)` whose softmax is the mean of theirs.

    Args:
        scales: `(members, bands)`: what a normalised image is multiplied with to be normalised as the member's is.
        shifts: `(members, bands)`: what is added then. Without both, all members' images are normalised alike.
    """

    def __init__(
        self, members: Sequence[UNetArguments], scales: Tensor | None = None, shifts: Tensor | None = None
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(map(UNet, members))
        both = [] if scales is None or shifts is None else zip(scales, shifts)
        self.changes = nn.ModuleList(_Change(scale, shift) for scale, shift in both)

    @property
    def divisor(self) -> int:
        """Height and width of the input must be multiples of this, in pixels: of the deepest member."""
        return max(member.divisor for member in self.members if isinstance(member, UNet))

    def forward(self, image: Tensor) -> Tensor:
        """Logarithms of the mean probabilities, fp32."""
        images = self._images(image)
        logarithms = [member(each).float().log_softmax(dim=1) for member, each in zip(self.members, images)]
        return torch.logsumexp(torch.stack(logarithms), dim=0) - math.log(len(logarithms))

    def details(self, image: Tensor) -> Tensor:
        """Those of the first member: see `UNet.details`."""
        first: UNet = self.members[0]  # type: ignore[assignment]
        return first.details(self._images(image)[0])

    def _images(self, image: Tensor) -> list[Tensor]:
        """An image as each member is used to it."""
        return [change(image) for change in self.changes] or [image] * len(self.members)


class _Change(nn.Module):
    """Images `(B, bands, H, W)` normalised by other statistics. Pixels without data are 0 in all bands, and stay so."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        changed: Tensor = (image * self.scale + self.shift) * (image != 0).any(dim=1, keepdim=True)
        return changed


def _encoder(arguments: UNetArguments) -> tuple[nn.ModuleList, tuple[int, ...]]:
    """The stages of an encoder, and the channels that each gives; the coarsest are narrowed to the decoder's."""
    coarsest, foreign = arguments.widths[-1], arguments.foreign
    if foreign:
        stages = [Operations(parts) for parts in foreign.encoder]
        narrowing = _convolution(foreign.widths[-1], coarsest, kernel=1)
        return nn.ModuleList([*stages[:-1], nn.Sequential(stages[-1], narrowing)]), foreign.widths
    if arguments.encoder == Encoder.EFFICIENTNET_LITE0:
        narrowing = _convolution(efficientnet.WIDTHS[-1], coarsest, kernel=1)
        return efficientnet.stages(arguments.bands, narrowing), efficientnet.WIDTHS
    return _residual_stages((arguments.detail, *arguments.widths), arguments.blocks), arguments.widths


def _residual_stages(widths: Sequence[int], blocks: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(_Residual(fine, coarse, stride=2), *(_Residual(coarse, coarse) for _ in range(blocks - 1)))
        for fine, coarse in pairwise(widths)
    )


def _decoder(widths: Sequence[int], skips: Sequence[int], arguments: UNetArguments) -> nn.ModuleList:
    """The modules that double the resolution, the coarsest first; the last one makes it the image's."""
    factors = (arguments.reduction, *[2] * len(arguments.widths))
    levels = [(coarse, skip, fine, factor) for (fine, coarse), skip, factor in zip(pairwise(widths), skips, factors)]
    ups: list[nn.Module] = []
    if arguments.finish is not Finish.FULL:
        coarse, _, fine, factor = levels.pop(0)
        ups += [_Finish(coarse, fine, factor)] if arguments.finish is Finish.LIGHT else []
    ups += [_Up(coarse, skip, fine, factor, arguments) for coarse, skip, fine, factor in levels]
    return nn.ModuleList(reversed(ups))


class _Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _convolution(channels_in, channels_out, stride)
        self.second = nn.Sequential(
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class _Up(nn.Module):
    """Raises the resolution by a factor and merges the encoder's features of that level."""

    def __init__(self, coarse: int, skip: int, fine: int, factor: int, arguments: UNetArguments) -> None:
        super().__init__()
        self._factor = float(factor)
        self.reduce = _convolution(coarse, fine, kernel=1)
        self.gate = nn.Sequential(nn.Conv2d(fine + skip, skip, 1), nn.Sigmoid()) if arguments.attention else None
        convolution = _separable if arguments.separable else _convolution
        widths = (fine + skip, *[fine] * arguments.merges)
        self.merge = nn.Sequential(*(convolution(before, after) for before, after in pairwise(widths)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = functional.interpolate(self.reduce(x), scale_factor=self._factor, mode="nearest")
        if self.gate is not None:
            skip = skip * self.gate(torch.cat([x, skip], dim=1))
        merged: Tensor = self.merge(torch.cat([x, skip], dim=1))
        return merged


class _Finish(nn.Module):
    """Raises the resolution by a factor and adds the image's details: coarse features let them through or hold back."""

    def __init__(self, coarse: int, fine: int, factor: int) -> None:
        super().__init__()
        self._factor = float(factor)
        self.reduce = _convolution(coarse, fine, kernel=1)[:2]

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return functional.relu(functional.interpolate(self.reduce(x), scale_factor=self._factor, mode="nearest") + skip)


def _convolution(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def _separable(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def fused(model: nn.Module) -> nn.Module:
    """The model for inference: every batch normalisation folded into the convolution before it, in place.

    Works on any module whose `nn.Sequential`s hold a `Conv2d` right before its `BatchNorm2d`.
    """
    model.eval()
    for parent in list(model.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for index in range(len(parent) - 1):
            convolution, norm = parent[index], parent[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parent[index] = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
                parent[index + 1] = nn.Identity()
    return model


def mixed(network: nn.Module, dtype: torch.dtype, place: Callable[[nn.Module, torch.dtype], nn.Module]) -> nn.Module:
    """A network for fp32 images that computes in another precision, except for each encoder's first stage.

    That stage is a small part of the work, and rounding there changes more classes than anywhere else
    (docs/performance.md). So would rounding how an ensemble's member normalises the image.

    Args:
        place: converts a module to a precision, in place.
    """
    unets = [module for module in network.modules() if isinstance(module, UNet)]
    firsts = [unet.encoder[0] for unet in unets]
    for unet in unets:
        unet.encoder[0] = nn.Identity()
    ensembles = [module for module in network.modules() if isinstance(module, Ensemble)]
    changes = [ensemble.changes for ensemble in ensembles]
    for ensemble in ensembles:
        ensemble.changes = nn.ModuleList()
    placed = place(network, dtype)
    for ensemble, kept in zip(ensembles, changes):
        ensemble.changes = nn.ModuleList(place(change, torch.float32) for change in kept)
    for unet, first in zip(unets, firsts):
        unet.stem = _Between(unet.stem, dtype, dtype)
        unet.encoder[0] = _Between(place(first, torch.float32), torch.float32, dtype)
    return placed


class _Between(nn.Module):
    """Casts a module's input to one precision and its result to another."""

    def __init__(self, module: nn.Module, taken: torch.dtype, given: torch.dtype) -> None:
        super().__init__()
        self.module, self._taken, self._given = module, taken, given

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.module(x.to(self._taken))
        return result.to(self._given)
