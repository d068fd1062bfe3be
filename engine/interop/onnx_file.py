"""An ONNX file opened for import: its graph, with all its weights, and what it says about itself."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...protocol import LARGEST_SIDE_PX, ErrorCode, OnnxFacts, OnnxHead, OrthomaskError, from_json
from ...protocol.words import tr
from ..models import graphs
from ..models.bundle import Card
from . import deepness
from .deepness import Metadata
from .imported_card import usual_bands

MOST_BYTES = (1 << 31) - 1
"""Of an ONNX graph with its weights: the format's own limit."""
MOST_BANDS = 1000


@dataclass(frozen=True)
class Head:
    """An output of a graph, as it was when the graph ran once."""

    name: str
    channels: int
    core_px: int


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that has run once."""

    path: Path
    content: bytes
    image: str
    bands: int
    side_px: int
    batch: int
    heads: tuple[Head, ...]
    parameters: int
    metadata: Metadata

    def names(self, number: int) -> tuple[str, ...]:
        """What the file calls the channels of an output; none if it does not say."""
        every = self.metadata.heads
        return every[number] if len(every) == len(self.heads) else ()

    def own_card(self) -> Card | None:
        """The card of the model that Orthomask exported to this file."""
        try:
            return from_json(Card, self.metadata.card) if self.metadata.card else None
        except OrthomaskError:  # from another version, or changed
            return None

    def facts(self) -> OnnxFacts:
        """What a user needs to know to import it."""
        own = self.own_card()
        return OnnxFacts(
            title=own.title if own else self.path.stem.replace("_", " "),
            bands=self.bands,
            side_px=self.side_px,
            heads=tuple(OnnxHead(head.channels, self.names(number)) for number, head in enumerate(self.heads)),
            gsd_m=self.metadata.gsd_m,
            band_names=tuple(band.name for band in own.bands) if own else usual_bands(self.bands),
            is_normalised=bool(self.metadata.mean),
        )


def opened(path: Path) -> OnnxFile:
    """Read an ONNX file and run its graph once.

    Raises:
        OrthomaskError: it is missing, too large or no ONNX model, it is unsafe, not for segmentation, or of a shape
            that no sliding window can use.
    """
    try:
        return _looked_at(path, _read(path))
    except UnicodeDecodeError as error:  # in one of its names
        raise graphs.not_onnx(path.name, str(error)) from error


def _looked_at(path: Path, model: Any) -> OnnxFile:
    metadata = deepness.read({entry.key: entry.value for entry in model.metadata_props})
    if metadata.kind.lower() not in deepness.SEGMENTATION:
        sentence = tr("“{}” is a model of the type “{}”; Orthomask runs models for segmentation.")
        raise _unfit(sentence.format(path.name, metadata.kind))
    content = model.SerializeToString()
    session = graphs.session(content, path.name)
    image, batch, bands, side = _image(path, session)
    heads = tuple(_tried(path, session, image, (batch, bands, side, side)))
    parameters = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    return OnnxFile(path, content, image, bands, side, batch, heads, parameters, metadata)


def _read(path: Path) -> Any:
    """The model, with the weights that lie in other files of its folder."""
    onnx, _ = graphs.libraries()
    if not path.is_file():
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("There is no file “{}”.").format(path),
            tr("Choose an .onnx file."),
        )
    _require_small(path, path.stat().st_size)
    try:
        model = graphs.parsed(path.read_bytes(), path.name)
        elsewhere = [tensor for tensor in graphs.tensors(model.graph) if graphs.is_elsewhere(tensor)]
        beside = [_beside(path, name) for name in sorted(set(map(_location, elsewhere)))]
        _require_small(path, sum(part.stat().st_size for part in (path, *beside)))
        for tensor in elsewhere:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise graphs.not_onnx(path.name, str(error)) from error
    graphs.refuse_unsafe(model, path.name)
    return model


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _beside(path: Path, name: str) -> Path:
    """A file with weights, which must lie in the model's folder.

    Raises:
        OrthomaskError: it lies elsewhere, or is missing.
    """
    folder = path.parent.resolve()
    other = Path(os.path.normpath(folder / name))
    if not name or other.is_symlink() or not other.resolve().is_relative_to(folder):
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNSAFE,
            tr("“{}” refers to a file outside its folder, “{}”.").format(path.name, name),
            tr("Ask its author for one file that holds all weights."),
        )
    if not other.is_file():
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("The file “{}” with the weights of “{}” is missing.").format(name, path.name),
            tr("Put it into the same folder."),
        )
    return other


def _require_small(path: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("“{}” is larger than 2 GB.").format(path.name),
            tr("Ask its author for a smaller one, such as one with half precision weights."),
        )


def _unfit(sentence: str, remedy: str = "") -> OrthomaskError:
    remedy = remedy or tr("Choose a model whose output is one probability for each pixel and class.")
    return OrthomaskError(ErrorCode.BUNDLE_UNREADABLE, sentence, remedy)


def _format() -> str:
    return tr(
        "Ask its author to export it with one float32 image of a fixed size as its input, and with sigmoid or softmax "
        "as its last step."
    )


def _image(path: Path, session: Any) -> tuple[str, int, int, int]:
    """Name, batch (1 if it is open), bands and side of the only input."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        sentence = tr("“{}” has {} inputs; Orthomask gives a model one image.").format(path.name, len(inputs))
        raise _unfit(sentence, _format())
    image = inputs[0]
    shape = list(image.shape)
    if image.type != "tensor(float)":
        sentence = tr("“{}” takes {} pixels; Orthomask gives a model 32-bit floats.").format(path.name, image.type)
        raise _unfit(sentence, _format())
    if len(shape) == 4 and not all(isinstance(size, int) and size > 0 for size in shape[1:]):
        sentence = tr("“{}” does not fix the size of its image.").format(path.name)
        raise _unfit(sentence, _format())
    if len(shape) != 4 or shape[2] != shape[3] or shape[1] > MOST_BANDS or shape[2] > LARGEST_SIDE_PX:
        words = " × ".join(map(str, shape))
        sentence = tr("“{}” takes images of the shape {}; it must be batch × bands × side × side.")
        raise _unfit(sentence.format(path.name, words), _format())
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 1
    return image.name, batch, shape[1], shape[2]


def _tried(path: Path, session: Any, image: str, shape: tuple[int, ...]) -> list[Head]:
    """The outputs for an image of noise, which show the real shapes: files often leave them open."""
    noise = np.random.default_rng(0).random(shape, np.float32)
    heads = []
    for output in session.get_outputs():
        found = graphs.computed(session, output.name, image, noise)
        plane = found[:, None] if found.ndim == 3 else found
        if plane.ndim != 4 or len(plane) != shape[0] or not plane.size or plane.shape[2] != plane.shape[3]:
            words = " × ".join(map(str, found.shape))
            raise _unfit(tr("“{}” gives an output of the shape {}, which is no map.").format(path.name, words))
        core = plane.shape[2]
        if not shape[2] // 2 < core <= shape[2]:
            sentence = tr("“{}” makes {} px of an image of {} px: its output has another resolution.")
            raise _unfit(sentence.format(path.name, core, shape[2]))
        if not np.isfinite(plane).all() or plane.min() < -graphs.SLACK or plane.max() > 1 + graphs.SLACK:
            raise _unfit(
                tr("“{}” gives values that are not probabilities.").format(path.name),
                _format(),
            )
        heads.append(Head(output.name, plane.shape[1], core))
    return heads
