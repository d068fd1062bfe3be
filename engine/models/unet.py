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
        second_bands: the last bands, which a residual encoder of their own reads; the decoder joins the features of
            both at each level. 0 for one encoder of all bands.
        second_scale: a power of 2; the second encoder reads means of so many pixels along each side.
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
    second_bands: int = 0
    second_scale: int = 1
    foreign: Optional[Foreign] = None

    @property
    def divisor(self) -> int:
        """Height and width of the input must be multiples of this, in pixels."""
        return self.foreign.divisor if self.foreign else int(2 ** len(self.widths))

    @property
    def reduction(self) -> int:
        """How much coarser than the image the first level is."""
        return self.foreign.reduction if self.foreign else 2

    @property
    def first_bands(self) -> int:
        """Channels that the first encoder reads."""
        return self.bands - self.second_bands

    @property
    def second_widths(self) -> tuple[int, ...]:
        """Channels of the second encoder at each level, the finest first; 0 where it has none."""
        finest = self.second_scale.bit_length() - 1 if self.second_bands else len(self.widths) + 1
        return tuple(width if level >= finest else 0 for level, width in enumerate((self.detail, *self.widths)))


class UNet(nn.Module):
    """Images `(B, bands, H, W)`, normalised, to logits `(B, classes, H, W)`; H and W multiples of `divisor`."""

    def __init__(self, arguments: UNetArguments) -> None:
        super().__init__()
        self.arguments, foreign = arguments, arguments.foreign
        widths = (arguments.detail, *arguments.widths)
        self.stem: nn.Module = _convolution(arguments.first_bands, widths[0])
        self.second: Optional[nn.ModuleList] = None
        if foreign and foreign.decoder:
            self.stem, self.encoder = nn.Identity(), nn.ModuleList(map(Operations, foreign.encoder))
            self.decoder = nn.ModuleList(Operations(parts, given=2) for parts in foreign.decoder)
            self.head: nn.Module = Operations(foreign.head)
            return
        self.encoder, inner = _encoder(arguments)
        if arguments.finish is Finish.HALF and arguments.encoder != Encoder.RESIDUAL:
            self.stem = nn.Identity()  # nothing reads it
        if arguments.second_bands:
            self.second = _second_stages(arguments)
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
            x = [up(*x, *levels.pop())]
        return x[0]

    def features(self, image: Tensor) -> Tensor:
        """What the encoders make of an image: `(B, channels, H, W)` at the coarsest level."""
        return _together(self._levels(image)[-1])

    def _levels(self, image: Tensor) -> list[list[Tensor]]:
        """The image's features at each level, the finest first: of the encoder, and of the second one."""
        first = image if self.second is None else image[:, : self.arguments.first_bands]
        levels = [[self.stem(first)]]
        x = levels[0][0] if self.arguments.encoder == Encoder.RESIDUAL else first
        for stage in self.encoder:
            x = stage(x)
            levels.append([x])
        if self.second is not None:
            x = image[:, self.arguments.first_bands :]
            for level, stage in zip(levels[-len(self.second) :], self.second):
                x = stage(x)
                level.append(x)
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


def _second_stages(arguments: UNetArguments) -> nn.ModuleList:
    """The second encoder: its own stem, and the residual stages of the coarser levels."""
    widths = [width for width in arguments.second_widths if width]
    stem = nn.Sequential(nn.AvgPool2d(arguments.second_scale), _convolution(arguments.second_bands, widths[0]))
    return nn.ModuleList([stem, *_residual_stages(widths, arguments.blocks)])


def _encoder(arguments: UNetArguments) -> tuple[nn.ModuleList, tuple[int, ...]]:
    """The stages of an encoder, and the channels that each gives; the coarsest are narrowed to the decoder's."""
    coarsest, foreign = arguments.widths[-1], arguments.foreign
    if foreign:
        stages = [Operations(parts) for parts in foreign.encoder]
        narrowing = _convolution(foreign.widths[-1], coarsest, kernel=1)
        return nn.ModuleList([*stages[:-1], nn.Sequential(stages[-1], narrowing)]), foreign.widths
    if arguments.encoder == Encoder.EFFICIENTNET_LITE0:
        narrowing = _convolution(efficientnet.WIDTHS[-1], coarsest, kernel=1)
        return efficientnet.stages(arguments.first_bands, narrowing), efficientnet.WIDTHS
    return _residual_stages((arguments.detail, *arguments.widths), arguments.blocks), arguments.widths


def _residual_stages(widths: Sequence[int], blocks: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(_Residual(fine, coarse, stride=2), *(_Residual(coarse, coarse) for _ in range(blocks - 1)))
        for fine, coarse in pairwise(widths)
    )


def _decoder(widths: Sequence[int], skips: Sequence[int], arguments: UNetArguments) -> nn.ModuleList:
    """The modules that double the resolution, the coarsest first; the last one makes it the image's."""
    *others, lowest = arguments.second_widths
    factors = (arguments.reduction, *[2] * len(arguments.widths))
    levels = [
        (coarse, skip + other, fine, factor, 1)
        for (fine, coarse), skip, other, factor in zip(pairwise(widths), skips, others, factors)
    ]
    if lowest:
        levels[-1] = (widths[-1] + lowest, *levels[-1][1:4], 2)
    ups: list[nn.Module] = []
    if arguments.finish is not Finish.FULL:
        coarse, _, fine, factor, _ = levels.pop(0)
        ups += [_Finish(coarse, fine, factor)] if arguments.finish is Finish.LIGHT else []
    ups += [_Up(*level, arguments) for level in levels]
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
    """Raises the resolution by a factor and merges the encoders' features of that level.

    Args:
        parts: how many features of the coarser resolution there are, with `coarse` channels together: two where two
            encoders end.
    """

    def __init__(self, coarse: int, skip: int, fine: int, factor: int, parts: int, arguments: UNetArguments) -> None:
        super().__init__()
        self._factor, self._parts = float(factor), parts
        self.reduce = _convolution(coarse, fine, kernel=1)
        self.gate = nn.Sequential(nn.Conv2d(fine + skip, skip, 1), nn.Sigmoid()) if arguments.attention else None
        convolution = _separable if arguments.separable else _convolution
        widths = (fine + skip, *[fine] * arguments.merges)
        self.merge = nn.Sequential(*(convolution(before, after) for before, after in pairwise(widths)))

    def forward(self, *features: Tensor) -> Tensor:
        x, skip = _together(features[: self._parts]), _together(features[self._parts :])
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

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        x = functional.interpolate(self.reduce(x), scale_factor=self._factor, mode="nearest")
        return functional.relu(sum(skips, x))


def _together(features: Sequence[Tensor]) -> Tensor:
    """The channels of one encoder, or of two."""
    return features[0] if len(features) == 1 else torch.cat(list(features), dim=1)


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
    encoders = [encoder for unet in unets for encoder in (unet.encoder, unet.second) if encoder]
    firsts = [encoder[0] for encoder in encoders]
    for encoder in encoders:
        encoder[0] = nn.Identity()
    ensembles = [module for module in network.modules() if isinstance(module, Ensemble)]
    changes = [ensemble.changes for ensemble in ensembles]
    for ensemble in ensembles:
        ensemble.changes = nn.ModuleList()
    placed = place(network, dtype)
    for ensemble, kept in zip(ensembles, changes):
        ensemble.changes = nn.ModuleList(place(change, torch.float32) for change in kept)
    for unet in unets:
        unet.stem = _Between(unet.stem, dtype, dtype)
    for encoder, first in zip(encoders, firsts):
        encoder[0] = _Between(place(first, torch.float32), torch.float32, dtype)
    return placed


class _Between(nn.Module):
    """Casts a module's input to one precision and its result to another."""

    def __init__(self, module: nn.Module, taken: torch.dtype, given: torch.dtype) -> None:
        super().__init__()
        self.module, self._taken, self._given = module, taken, given

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.module(x.to(self._taken))
        return result.to(self._given)
