"""Models to and from ONNX files, as the QGIS plugin Deepness reads and writes them, and from PyTorch's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from .errors import require, require_threshold
from .prediction import WINDOW_PX
from .values import Existing
from .words import tr

LARGEST_SIDE_PX = 4096
"""Height and width of an ONNX graph's image."""
BACKGROUND_NAMES = ("background", "_background", "none", "nothing", "other", "others", "unlabeled", "unlabelled", "")
"""Names of a first channel that is no class."""
ARCHITECTURES = ("unet",)
"""Of which the weights alone can be imported."""
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""How the names of files with weights end."""
PIXEL_TYPES = ("uint8", "uint16", "int16", "float32")
"""Of the images that an imported model can be for."""


@dataclass(frozen=True)
class ExportModelRequest:
    """Write a model as an ONNX file that Deepness and ONNX Runtime can run.

    Attributes:
        output_path: of the ONNX file.
        side_px: height and width of its image.
    """

    model: str
    output_path: str
    side_px: int = WINDOW_PX
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(
            self.output_path.endswith(".onnx"),
            tr("“{}” is not the name of an ONNX file.").format(self.output_path),
            tr("Use a file name that ends in .onnx."),
        )
        require(
            64 <= self.side_px <= LARGEST_SIDE_PX,
            tr("Windows of {} px cannot be exported.").format(self.side_px),
            tr("Use 64 to {} px.").format(LARGEST_SIDE_PX),
        )


@dataclass(frozen=True)
class ExportModelResult:
    """An ONNX file.

    Attributes:
        difference: the largest difference of a probability between the file, in ONNX Runtime, and the model.
    """

    path: str
    opset: int
    side_px: int
    difference: float


@dataclass(frozen=True)
class OnnxRequest:
    """What does an ONNX file say about itself?"""

    path: str


@dataclass(frozen=True)
class OnnxHead:
    """An output of an ONNX graph: its channels, and the names that the file gives them."""

    channels: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file says about itself.

    Attributes:
        side_px: height and width of its image.
        heads: its outputs.
        gsd_m: its resolution; None if it does not say.
        band_names: those of its bands, or what they usually are.
        is_normalised: whether it says how the bands are normalised.
    """

    title: str
    bands: int
    side_px: int
    heads: tuple[OnnxHead, ...]
    gsd_m: Optional[float] = None
    band_names: tuple[str, ...] = ()
    is_normalised: bool = False


def is_named(channels: int, names: Sequence[str]) -> bool:
    """Whether these are the names of an output's channels, or of all but the first, which then is the background."""
    return len(names) in ((1, 2) if channels == 1 else (channels - 1, channels))


@dataclass(frozen=True)
class ImportModelRequest:
    """Make a bundle of an ONNX file, or of the weights of a U-Net of segmentation_models_pytorch.

    What is not given here is taken from an ONNX file's metadata; a file with weights has none.

    Attributes:
        path: of the ONNX file, or of the weights: a safetensors file, or one of PyTorch that holds nothing else.
        output_path: of the bundle.
        gsd_m: its resolution.
        classes: names of the channels of its output, or all but the first, which then is the background.
        bands: names of the bands that it reads, in order.
        mean, std: for each band: pixels are divided by 255, lessened by `mean` and divided by `std`.
        head: which output, from 1 on; 0 if there is only one.
        architecture: of weights: one of `ARCHITECTURES`; empty for an ONNX file.
        encoder: of weights, as segmentation_models_pytorch calls it, such as `resnet34`.
    """

    path: str
    output_path: str
    title: str = ""
    gsd_m: Optional[float] = None
    classes: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    head: int = 0
    threshold: Optional[float] = None
    dtype: str = ""
    licence: str = ""
    attribution: str = ""
    existing: Existing = Existing.REFUSE
    architecture: str = ""
    encoder: str = ""

    def __post_init__(self) -> None:
        require(
            self.architecture in ("", *ARCHITECTURES),
            tr("“{}” is not an architecture whose weights can be imported.").format(self.architecture),
            tr("Choose one of {}, or export the model to ONNX.").format(", ".join(ARCHITECTURES)),
        )
        require(
            bool(self.architecture) == bool(self.encoder),
            tr("Architecture and encoder belong together."),
            tr("Give both for a file with weights, and neither for an ONNX file."),
        )
        require(
            bool(self.architecture) or not self.path.endswith(WEIGHTS),
            tr("“{}” holds weights, but not the network that they belong to.").format(self.path),
            tr("Name its architecture and encoder, such as unet and resnet34."),
        )
        require(
            self.output_path.endswith(".safetensors"),
            tr("The model to import is not a bundle."),
            tr("Use a file name that ends in .safetensors."),
        )
        require(
            self.gsd_m is None or (math.isfinite(self.gsd_m) and 1e-3 <= self.gsd_m <= 1e5),
            tr("A resolution of {} m per pixel is not possible.").format(self.gsd_m),
            tr("Give the size of a pixel in metres, such as 0.3."),
        )
        require_threshold(self.threshold)
        require(
            len(self.mean) == len(self.std) and all(map(math.isfinite, self.mean)) and all(std > 0 for std in self.std),
            tr("Mean and standard deviation do not belong together."),
            tr("Give one of each for every band; standard deviations are above 0."),
        )
        require(
            self.dtype in ("", *PIXEL_TYPES),
            tr("“{}” is not a pixel type for models.").format(self.dtype),
            tr("Choose one of {}.").format(", ".join(PIXEL_TYPES)),
        )
