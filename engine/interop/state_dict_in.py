"""Make a bundle of the weights of a U-Net of the Python package segmentation_models_pytorch (torchgeo uses them, too).

The file holds weights only, so that the architecture must be named; what can be seen from the weights' sizes (bands,
classes, the decoder's widths) is taken from there. That package is needed to import, not to run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...protocol import ErrorCode, ImportModelRequest, ModelSummary, OrthomaskError
from ...protocol.words import tr
from ..models import bundle, operations
from ..models.bundle import IMPORTED, Card
from ..models.copies import refuse_existing
from ..models.operations import Foreign
from ..models.unet import UNet, UNetArguments
from ..optional import package
from ..outputs import writing
from ..progress import Progress
from . import state_dicts, traced
from .imported_card import bands_of, classes_of, gsd_of, plain
from .traced_steps import Untraceable

HEAD = "segmentation_head.0"
WIDTH = re.compile(r"decoder\.blocks\.(\d+)\.conv1\.0\.weight")
NEVER = -1e4
"""Logit of a background that a model does not know."""
USUAL_BANDS = 3


class _Opened(NamedTuple):
    """A network with its weights.

    Attributes:
        channels: of its output.
        network: what it is, in words.
    """

    module: nn.Module
    bands: int
    channels: int
    network: str


def run(request: ImportModelRequest, progress: Progress) -> ModelSummary:
    """Make a bundle of a state dict, with a card from the request.

    Raises:
        OrthomaskError: the package is not installed, the file could run code, or holds the weights of another network,
            something must be given that it does not say, or the output exists or cannot be written.
    """
    progress.report(0, tr("Reading the weights"))
    path, target = Path(request.path), Path(request.output_path)
    opened = _opened(path, request.encoder)
    card, has_background = _card(path, opened, request)
    refuse_existing(target, request.existing)
    progress.report(0.4, tr("Tracing the network"))
    foreign, tensors = _traced(opened, has_background)
    shape = UNetArguments(opened.bands, len(card.classes) + 1, foreign.widths, encoder=request.encoder, foreign=foreign)
    network = UNet(shape)
    network.load_state_dict(tensors)
    card = replace(card, architecture=shape)
    bundle.refuse_unsound(card)
    progress.report(0.8, tr("Writing the model"))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    bundle.write(target, network.state_dict(), card)
    return bundle.load(str(target)).summary()


def _library() -> Any:
    return package(
        "segmentation_models_pytorch",
        tr("segmentation_models_pytorch is not installed, which this model is imported with."),
        tr("Install the Python package, with: pip install segmentation-models-pytorch."),
    )


def _opened(path: Path, encoder: str) -> _Opened:
    """The package's own U-Net with the file's weights, in evaluation mode."""
    library, given = _library(), state_dicts.read(path)
    network = f"Unet {encoder}"
    head = given.get(f"{HEAD}.weight")
    if head is None or head.ndim != 4:
        raise state_dicts.not_of(path.name, network, tr("it has no tensor “{}”").format(f"{HEAD}.weight"))
    widths = {int(found[1]): len(tensor) for name, tensor in given.items() if (found := WIDTH.fullmatch(name))}
    shape: dict[str, Any] = {
        "encoder_name": encoder,
        "encoder_weights": None,
        "encoder_depth": max(len(widths), 1),
        "decoder_channels": [widths[place] for place in sorted(widths)] or [16],
        "decoder_use_norm": "batchnorm" if "decoder.blocks.0.conv1.1.weight" in given else False,
        "decoder_attention_type": "scse" if any(".attention1.attention." in name for name in given) else None,
        "classes": len(head),
    }
    module = _unet(library, shape)
    bands = _bands(given, module.state_dict())
    if bands != USUAL_BANDS:
        module = _unet(library, {**shape, "in_channels": bands})
    state_dicts.refuse_different(given, module.state_dict(), path.name, network)
    module.load_state_dict(given)
    return _Opened(module.eval(), bands, len(head), network)


def _unet(library: Any, shape: dict[str, Any]) -> nn.Module:
    try:
        unet: nn.Module = library.Unet(**shape)
    except (KeyError, ValueError, RuntimeError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("segmentation_models_pytorch {} has no such U-Net with the encoder “{}”.").format(
                library.__version__, shape["encoder_name"]
            ),
            tr("Name the encoder as its author did, such as resnet34 or efficientnet-b3."),
            str(error),
        ) from error
    return unet


def _bands(given: dict[str, Tensor], usual: dict[str, Tensor]) -> int:
    """How many bands the first filters read whose number of inputs is that of the bands."""
    for name, tensor in usual.items():
        other = given.get(name, tensor).shape
        if tensor.ndim == 4 and tensor.shape[1] == USUAL_BANDS and len(other) == 4:
            return int(other[1])
    return USUAL_BANDS


def _card(path: Path, opened: _Opened, request: ImportModelRequest) -> tuple[Card, bool]:
    classes, has_background = classes_of(path.name, opened.channels, request.classes)
    card = plain(request.title or path.stem.replace("_", " "), opened.bands, classes)
    dtype = request.dtype or card.dtype
    card = replace(
        card,
        name=Path(request.output_path).stem,
        bands=bands_of(path.name, opened.bands, request, (), (), (), dtype),
        dtype=dtype,
        gsd_m=gsd_of(path.name, request.gsd_m),
        threshold=request.threshold or card.threshold,
        licence=request.licence,
        attribution=request.attribution,
        training={IMPORTED: {"format": "PyTorch", "file": path.name, "network": opened.network}},
    )
    return card, has_background


class _Stages(nn.Module):
    """Makes of an image what each stage of a U-Net gives: of its encoder, of its decoder, and the logits."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Results, in the order of computing."""
        found: list[Tensor] = []
        keep = [
            block.register_forward_hook(lambda _module, _given, result: found.append(result))
            for block in self.unet.decoder.blocks
        ]
        features = self.unet.encoder(image)[1:]
        logits = self.unet.segmentation_head(self.unet.decoder([image, *features]))
        for hook in keep:
            hook.remove()
        return (*features, *found, logits)


def _given(count: int) -> Sequence[Sequence[int]]:
    """What each stage of a U-Net is given: the one before, and in the decoder also the encoder's, at last the image."""
    depth = count // 2
    decoder = ([depth + place, depth - 1 - place] for place in range(depth))
    return [*([place] for place in range(depth)), *decoder, [2 * depth]]


def _traced(opened: _Opened, has_background: bool) -> tuple[Foreign, dict[str, Tensor]]:
    """The network as operations, with a background among its classes, and its tensors by their names in a `UNet`."""
    unet: Any = opened.module
    if not has_background:
        unet.segmentation_head[0] = _with_background(unet.segmentation_head[0], alone=opened.channels == 1)
    divisor = 2 ** len(unet.decoder.blocks)
    image = torch.rand(1, opened.bands, 2 * divisor, 3 * divisor, generator=torch.Generator().manual_seed(0))
    try:
        found = traced.stages(_Stages(unet).eval(), image, _given)
        depth = len(found) // 2
        parts = [stage.parts for stage in found]
        widths = tuple(int(width) for width in unet.encoder.out_channels[1:])
        foreign = Foreign(
            f"segmentation_models_pytorch {_library().__version__}",
            widths, 2, tuple(parts[:depth]), tuple(parts[depth:-1]), parts[-1],
        )  # fmt: skip
        operations.refuse_unsound(foreign, opened.bands, opened.channels + (not has_background))
    except (Untraceable, ValueError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” cannot be imported: Orthomask does not know all of its operations.").format(opened.network),
            tr("Export it to ONNX, and import that file."),
            str(error),
        ) from error
    names = [*(f"encoder.{place}" for place in range(depth)), *(f"decoder.{place}" for place in range(depth)), "head"]
    tensors = {f"{stage}.{name}": tensor for stage, made in zip(names, found) for name, tensor in made.tensors.items()}
    return foreign, tensors


def _with_background(layer: nn.Conv2d, alone: bool) -> nn.Conv2d:
    """The output layer with one more class, the background, before the others.

    Its logit is 0 if there is one class, whose probability then is the sigmoid of its logit; else it is never found.
    """
    wider = nn.Conv2d(layer.in_channels, layer.out_channels + 1, layer.kernel_size, padding=layer.padding)  # type: ignore[arg-type]
    weight, bias = (torch.cat([torch.zeros_like(each[:1]), each]) for each in layer.parameters())
    bias[0] = 0.0 if alone else NEVER
    wider.load_state_dict({"weight": weight, "bias": bias})
    return wider
