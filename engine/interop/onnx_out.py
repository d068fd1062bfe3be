"""Write a model as an ONNX file, and check that it gives what the model gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...protocol import ErrorCode, Existing, ExportModelRequest, ExportModelResult, OrthomaskError
from ...protocol.words import tr
from ..models import bundle, graphs
from ..models.unet import Ensemble, UNet, fused
from ..outputs import write_atomically, writing
from ..progress import Progress
from . import deepness, onnx_graph

TOLERANCE = 1e-3
"""How far a probability may be off: convolutions are summed in another order."""


def run(request: ExportModelRequest, progress: Progress) -> ExportModelResult:
    """Write a model, with its activation and Deepness's metadata, as an ONNX file for one size of image.

    Raises:
        OrthomaskError: there is no such model, it was imported itself, the size does not suit its network, or the file
            exists or cannot be written.
    """
    progress.report(0, tr("Exporting the model"))
    onnx, _ = graphs.libraries()
    target, opened = Path(request.output_path), bundle.load(request.model)
    network: UNet | Ensemble = fused(opened.model())  # type: ignore[assignment]
    if request.side_px % network.divisor:
        sentence = tr("Windows of {} px do not fit the network.").format(request.side_px)
        remedy = tr("Use a multiple of {} px.").format(network.divisor)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
    if target.exists() and request.existing is not Existing.OVERWRITE:
        sentence = tr("The file “{}” already exists.").format(target)
        raise OrthomaskError(ErrorCode.OUTPUT_EXISTS, sentence, tr("Choose another name, or overwrite it."))
    model = onnx_graph.written(network, len(opened.card.bands), len(opened.card.classes), request.side_px)
    onnx.helper.set_model_props(model, deepness.written(opened.card, request.side_px))
    content = model.SerializeToString()
    progress.report(0.4, tr("Comparing the ONNX file with the model"))
    difference = _difference(content, network, request.side_px, len(opened.card.bands))
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the ONNX graph differs from the model by {difference}")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)
    return ExportModelResult(str(target), onnx_graph.OPSET, request.side_px, difference)


def _difference(content: bytes, network: nn.Module, side_px: int, bands: int) -> float:
    """The largest difference of a probability, for an image of coarse and fine noise, some of it without data."""
    random = np.random.default_rng(0)
    coarse = random.normal(size=(1, bands, side_px // 16 + 1, side_px // 16 + 1))
    image = np.kron(coarse, np.ones((16, 16)))[..., :side_px, :side_px]
    image += random.normal(size=image.shape)
    image[..., : side_px // 8] = 0
    pixels = image.astype(np.float32)
    with torch.inference_mode():
        wanted: Any = network(torch.from_numpy(pixels)).float().softmax(dim=1).numpy()
    found = graphs.computed(graphs.session(content, "ONNX"), onnx_graph.HEAD, onnx_graph.IMAGE, pixels)
    return float(np.abs(found - (wanted[:, 1:] if found.shape[1] == 1 else wanted)).max())
