"""EfficientNet-Lite0 without its classifier, as the encoder of a U-Net (Tan and Le 2019; Liu 2020).

"Lite" leaves out what is slow on a CPU: swish and squeeze-and-excitation.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

WIDTHS = (16, 24, 40, 112, 320)
"""Output channels of each stage of the encoder, at 1/2, 1/4, … 1/32 of the image."""
STEM = 32
EPSILON = 1e-3
"""Of the batch normalisations, as in the published weights' training."""


class _Group(NamedTuple):
    """Blocks of one shape: how many, their output channels, kernel, stride of the first, and how far they expand."""

    blocks: int
    channels: int
    kernel: int
    stride: int
    expansion: int


_STAGES = (
    (_Group(1, 16, 3, 1, 1),),
    (_Group(2, 24, 3, 2, 6),),
    (_Group(2, 40, 5, 2, 6),),
    (_Group(3, 80, 3, 2, 6), _Group(3, 112, 5, 1, 6)),
    (_Group(4, 192, 5, 2, 6), _Group(1, 320, 3, 1, 6)),
)


def stages(bands: int, last: nn.Module) -> nn.ModuleList:
    """The encoder for images with `bands` bands: modules to apply in turn, each halving height and width.

    Args:
        last: appended to the last one.
    """
    modules = nn.ModuleList()
    channels = STEM
    for groups in _STAGES:
        layers: list[nn.Module] = [] if modules else [_convolution(bands, STEM, 3, stride=2)]
        for group in groups:
            for number in range(group.blocks):
                stride = group.stride if number == 0 else 1
                layers.append(InvertedResidual(channels, group.channels, group.kernel, stride, group.expansion))
                channels = group.channels
        modules.append(nn.Sequential(*layers, *([last] if groups is _STAGES[-1] else [])))
    return modules


class InvertedResidual(nn.Module):
    """Widen, filter each channel on its own, narrow (Sandler et al. 2018); added to the input where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        widen = [_convolution(channels_in, wide, 1)] if expansion > 1 else []
        self.body = nn.Sequential(
            *widen,
            _convolution(wide, wide, kernel, stride, groups=wide),
            _convolution(wide, channels_out, 1)[:2],
        )
        self.added = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Features, smaller by the stride."""
        filtered: Tensor = self.body(x)
        return x + filtered if self.added else filtered


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out, eps=EPSILON),
        nn.ReLU6(inplace=True),
    )
