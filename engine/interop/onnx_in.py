"""Make a bundle of an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...protocol import (
    BACKGROUND_NAMES,
    ClassInfo,
    ErrorCode,
    ImportModelRequest,
    ModelSummary,
    OrthomaskError,
    is_named,
)
from ...protocol.words import tr
from ..models import bundle
from ..models.bundle import BandStatistics, Card
from ..models.copies import refuse_existing
from ..models.graphs import TENSOR, Graph, not_onnx
from ..models.unet import UNetArguments
from ..outputs import writing
from ..progress import Progress
from .deepness import WHITE
from .onnx_file import Head, OnnxFile, opened, usual_bands

COLOURS = ("#d62728", "#2ca02c", "#1f77b4", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#7f7f7f")
HIGHEST = {"uint8": 255.0, "uint16": 65535.0, "int16": 32767.0, "float32": 1.0}
"""Pixel values that are shown white."""


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
    classes, has_background = _classes(file, head, request.classes or file.names(number))
    if own and not request.classes and len(own.classes) == len(classes):
        classes = own.classes
    said = own or _plain(file, classes)
    gsd_m = request.gsd_m or file.metadata.gsd_m
    if gsd_m is None:
        sentence = tr("“{}” does not say its resolution.").format(file.path.name)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Give it, in metres per pixel."))
    dtype = request.dtype or said.dtype
    bands = _bands(file, request, said.bands, dtype)
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
        training={**said.training, "imported": {"format": "ONNX", "file": file.path.name}},
        graph=graph,
    )


def _plain(file: OnnxFile, classes: tuple[ClassInfo, ...]) -> Card:
    """A card that says only what can be assumed."""
    return Card(
        name="",
        title=file.path.stem.replace("_", " "),
        architecture=UNetArguments(file.bands, len(classes) + 1),
        bands=(),
        dtype="uint8",
        gsd_m=1.0,
        classes=classes,
        threshold=0.5,
        licence="",
        attribution="",
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


def _classes(file: OnnxFile, head: Head, names: Sequence[str]) -> tuple[tuple[ClassInfo, ...], bool]:
    """The foreground classes, and whether the output's first channel is the background.

    A single channel is one class. Of several, the first is the background if it is called so, or has no name.
    """
    count = head.channels
    if not is_named(count, names):
        sentence = tr("“{}” has {} channels in its output, and {} names of classes.")
        several = tr("Give a name for each channel, or for all but the first if that is the background.")
        remedy = several if count > 1 else tr("Give the name of its class.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence.format(file.path.name, count, len(names)), remedy)
    has_background = count > 1 and (len(names) < count or names[0].casefold() in BACKGROUND_NAMES)
    found = names[-1:] if count == 1 else names[count == len(names) and has_background :]
    infos = (
        ClassInfo(value, name or tr("class {}").format(value), COLOURS[(value - 1) % len(COLOURS)])
        for value, name in enumerate(found, start=1)
    )
    return tuple(infos), has_background


def _bands(
    file: OnnxFile, request: ImportModelRequest, said: tuple[BandStatistics, ...], dtype: str
) -> tuple[BandStatistics, ...]:
    """The bands with their names and how they are normalised."""
    count = file.bands
    names = request.bands or (tuple(band.name for band in said) or usual_bands(count))
    mean, std = request.mean or file.metadata.mean or (0.0,), request.std or file.metadata.std or (1.0,)
    if len(mean) == 1:
        mean, std = mean * count, std * count
    if len(names) != count or len(mean) != count:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” reads {} bands, but {} names and {} means are given.").format(
                file.path.name, count, len(names), len(mean)
            ),
            tr("Give a name, a mean and a standard deviation for each band."),
        )
    if said and not request.mean and len(said) == count:  # as measured: through the file they would be rounded
        return tuple(replace(band, name=name) for band, name in zip(said, names))
    return tuple(
        BandStatistics(name, one * WHITE, spread * WHITE, 0.0, HIGHEST[dtype])
        for name, one, spread in zip(names, mean, std)
    )
