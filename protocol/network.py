"""The shape of a network to train."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from .errors import require
from .words import tr


class Encoder:
    """Names of our own encoders: the half of a U-Net that goes from fine to coarse. `TIMM` begins those of timm's."""

    RESIDUAL = "residual"
    EFFICIENTNET_LITE0 = "efficientnet-lite0"
    TIMM = "timm/"


TIMM_CACHE = "cache"
"""Instead of a file with an encoder's weights: the file that timm has stored on this computer."""


class Finish(str, enum.Enum):
    """How a U-Net comes from half the image's resolution to its own.

    FULL: a level of the decoder like the others. LIGHT: no more than the prediction is computed there, from the
    features of half the resolution and the image's details. HALF: what is predicted at half the resolution is
    interpolated.
    """

    FULL = "full"
    LIGHT = "light"
    HALF = "half"


@dataclass(frozen=True)
class Network:
    """The shape of a U-Net; bands and classes come from the data.

    Attributes:
        widths: channels at each level, the finest first; the coarsest is at 1/2**len(widths) of the image.
            Other encoders than the residual one have their own inside, and a fixed number of levels: EfficientNet-Lite0
            has five, a few of timm's have four, and begin at 1/4.
        blocks: residual blocks at each level of the encoder.
        detail: channels kept at the image's own resolution, for crisp edges.
        attention: gate the skip connections (Oktay et al. 2018).
        encoder: `residual`, `efficientnet-lite0`, or `timm/` and the name of a convolutional encoder of timm.
        merges: convolutions at each level of the decoder.
        separable: these filter each channel on its own, then mix the channels (Chollet 2017).
        finish: the decoder's last step, to the image's own resolution.
        width_factor: `widths` and `detail` are multiplied by this: one number to search over.
        second_bands: the last bands, which a residual encoder of their own reads; the decoder joins the features of
            both at each level. 0 for one encoder of all bands.
        second_scale: of these bands, by how much they are coarser than the image: a power of 2. Their encoder reads
            means of so many pixels along each side.
        weights: file with weights of timm's encoder, in timm's own names; `cache` for the file that timm has downloaded
            on this computer; empty for random ones.
    """

    widths: tuple[int, ...] = (32, 48, 96, 160, 224)
    blocks: int = 2
    detail: int = 16
    attention: bool = False
    encoder: str = Encoder.RESIDUAL
    merges: int = 2
    separable: bool = False
    finish: Finish = Finish.FULL
    width_factor: float = 1.0
    second_bands: int = 0
    second_scale: int = 1
    weights: str = ""

    def __post_init__(self) -> None:
        positive = 2 <= len(self.widths) <= 7 and min(*self.widths, self.blocks, self.detail, self.merges) > 0
        require(
            positive,
            tr("The shape of the network is not valid."),
            tr("Use 2 to 7 widths, and blocks, detail and merges above 0."),
        )
        is_timm = self.encoder.startswith(Encoder.TIMM)
        require(
            is_timm or self.encoder in (Encoder.RESIDUAL, Encoder.EFFICIENTNET_LITE0),
            tr("There is no encoder “{}”.").format(self.encoder),
            tr("Use residual, efficientnet-lite0, or an encoder of timm such as timm/resnet18."),
        )
        five = self.encoder != Encoder.EFFICIENTNET_LITE0 or len(self.widths) == 5
        require(five, tr("EfficientNet-Lite0 has five levels."), tr("Use five widths."))
        require(
            is_timm or not self.weights,
            tr("Only encoders of timm take weights."),
            tr("Choose one, such as timm/resnet18, or start from a model."),
        )
        scales = [2**level for level in range(len(self.widths))]
        require(
            self.second_bands >= 0 and self.second_scale in scales,
            tr("The second encoder cannot read {} bands at a scale of {}.").format(
                self.second_bands, self.second_scale
            ),
            tr("Use 0 or more bands, and a scale of {}.").format(", ".join(map(str, scales))),
        )
        require(
            0 < self.width_factor <= 32,
            tr("The width factor {:g} is out of range.").format(self.width_factor),
            tr("Use 0.25 to 32; 1 keeps the widths."),
        )

    def scaled(self) -> Network:
        """The same network with its widths multiplied, and 1 as factor."""
        detail, *widths = (max(1, round(width * self.width_factor)) for width in (self.detail, *self.widths))
        return replace(self, detail=detail, widths=tuple(widths), width_factor=1.0)
