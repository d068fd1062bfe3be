"""Make a bundle of an ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...protocol import (
    ErrorCode,
    ImportModelRequest,
    ModelSummary,
    OrthomaskError,
)
from ...protocol.words import tr
from ..models import bundle
from ..models.bundle import IMPORTED, Card
from ..models.copies import refuse_existing
from ..models.graphs import TENSOR, Graph, not_onnx
from ..models.unet import UNetArguments
from ..outputs import writing
from ..progress import Progress
from .imported_card import bands_of, classes_of, gsd_of, plain
from .onnx_file import Head, OnnxFile, opened


def run(request: ImportModelRequest, progress: Progress) -> ModelSummary:
    """Make a bundle of an ONNX file: the graph as it is, with a card from its metadata and the request.

    Raises:
        OrthomaskError: it cannot be imported, something must be given that it does not say, or the output exists or
            cannot be written.
    """
    progress.report(0, tr("Reading the ONNX file"))
    target = Path(request.output_path)
    file = opened(Path(request.path))
    card = _card(file, request)
    refuse_existing(target, request.existing)
    try:
        bundle.refuse_unsound(card)
    except ValueError as error:
        raise not_onnx(file.path.name, str(error)) from error
    progress.report(0.8, tr("Writing the model"))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    bundle.write(target, {TENSOR: torch.from_numpy(np.frombuffer(file.content, np.uint8).copy())}, card)
    return bundle.load(str(target)).summary()


def _card(file: OnnxFile, request: ImportModelRequest) -> Card:
    """The request comes first, then what Orthomask's own files say, then Deepness's metadata."""
    number, head = _head(file, request.head)
    own = file.own_card()
    title = file.path.stem.replace("_", " ")
    classes, has_background = classes_of(file.path.name, head.channels, request.classes or file.names(number))
    if own and not request.classes and len(own.classes) == len(classes):
        classes = own.classes
    said = own or plain(title, file.bands, classes)
    gsd_m = gsd_of(file.path.name, request.gsd_m or file.metadata.gsd_m)
    dtype = request.dtype or said.dtype
    mean, std = file.metadata.mean, file.metadata.std
    bands = bands_of(file.path.name, file.bands, request, mean, std, said.bands, dtype)
    graph = Graph(
        image=file.image,
        head=head.name,
        side_px=file.side_px,
        core_px=head.core_px,
        batch=file.batch,
        channels=head.channels,
        has_background=has_background,
        parameters=file.parameters,
        is_measured=own is not None and bands == own.bands,
    )
    return replace(
        said,
        name=Path(request.output_path).stem,
        title=request.title or said.title,
        architecture=UNetArguments(file.bands, len(classes) + 1),
        members=(),
        statistics=(),
        bands=bands,
        dtype=dtype,
        gsd_m=gsd_m,
        classes=classes,
        threshold=request.threshold or file.metadata.threshold or said.threshold,
        licence=request.licence or said.licence,
        attribution=request.attribution or said.attribution,
        training={**said.training, IMPORTED: {"format": "ONNX", "file": file.path.name}},
        graph=graph,
    )


def _head(file: OnnxFile, wanted: int) -> tuple[int, Head]:
    """The chosen output, and its place from 0 on."""
    count = len(file.heads)
    if not wanted and count == 1:
        return 0, file.heads[0]
    if 1 <= wanted <= count:
        return wanted - 1, file.heads[wanted - 1]
    named = [", ".join(file.names(place)) or head.name for place, head in enumerate(file.heads)]
    listed = "; ".join(f"{number} ({name})" for number, name in enumerate(named, start=1))
    raise OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("“{}” has the outputs {}; a model has one.").format(file.path.name, listed),
        tr("Choose the output by its number; import the file again for another one."),
    )
