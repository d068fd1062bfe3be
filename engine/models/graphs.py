"""Imported ONNX graphs: what one may hold, and how it runs, as a network among others.

Nothing but the graph's own standard operators is executed, by ONNX Runtime, on the CPU, in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...protocol import LARGEST_SIDE_PX, ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..optional import package
from ..shortage import out_of_memory

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
"""Domains of the operators that ONNX itself defines."""
TENSOR = "graph"
"""In a bundle: the bytes of the graph."""
SLACK = 1e-3
"""How far beyond 0 and 1 rounding may take a probability."""
TINY = 1e-12
"""The smallest probability, whose logarithm is finite."""


@dataclass(frozen=True)
class Graph:
    """How an imported ONNX graph is fed and read; stored in the bundle.

    Attributes:
        image: name of its input, `(B, bands, side_px, side_px)`.
        head: name of the output that is read: probabilities `(B, channels, core_px, core_px)`, or without channels.
        side_px: height and width of the image.
        core_px: height and width of the output, which lies in the middle of the image.
        batch: how many images it takes at a time.
        channels: of the output.
        has_background: whether the first channel is the background; else it is what the others leave.
        parameters: how many numbers were learnt.
        is_measured: whether the bands' statistics are those of the training images; else they only normalise.
    """

    image: str
    head: str
    side_px: int
    core_px: int
    batch: int
    channels: int
    has_background: bool
    parameters: int
    is_measured: bool = False

    def is_sound(self, classes: int) -> bool:
        """Whether it can run and give so many foreground classes."""
        sizes = 1 <= self.core_px <= self.side_px <= LARGEST_SIDE_PX and 1 <= self.batch <= 4096
        return sizes and self.channels == classes + self.has_background


def libraries() -> tuple[Any, Any]:
    """The modules `onnx` and `onnxruntime`, an optional part of the engine.

    Raises:
        OrthomaskError: they are not installed.
    """
    onnx, onnxruntime = (
        package(
            name,
            tr("ONNX support is not installed."),
            tr("Install it in the panel Models in QGIS, or install the Python packages onnx and onnxruntime."),
        )
        for name in ("onnx", "onnxruntime")
    )
    return onnx, onnxruntime


def parsed(content: bytes, name: str) -> Any:
    """The ONNX model in a file's bytes.

    Args:
        name: of the file, for messages.

    Raises:
        OrthomaskError: it is no ONNX model.
    """
    onnx, _ = libraries()
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise not_onnx(name, str(error)) from error
    if not model.graph.node or not model.graph.output:
        raise not_onnx(name, "it has no graph")
    return model


def refuse_unsafe(model: Any, name: str) -> None:
    """Raise if an ONNX model needs more than itself and ONNX's operators to run."""
    foreign = {f"{node.domain}::{node.op_type}" for node in nodes(model.graph) if node.domain not in STANDARD}
    if foreign or model.functions:
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNSAFE,
            tr("“{}” uses operators that are not part of ONNX.").format(name),
            tr("Ask its author to export it with standard operators only."),
            ", ".join(sorted(foreign)),
        )
    if any(is_elsewhere(tensor) for tensor in tensors(model.graph)):
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNSAFE,
            tr("“{}” keeps its weights in another file.").format(name),
            tr("Ask its author for one file that holds all weights."),
        )


def is_elsewhere(tensor: Any) -> bool:
    """Whether a constant lies in another file."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def not_onnx(name: str, details: str) -> OrthomaskError:
    """The error for a file that holds no ONNX model."""
    return OrthomaskError(
        ErrorCode.BUNDLE_UNREADABLE,
        tr("“{}” is not an ONNX model, or is incomplete.").format(name),
        tr("Download or export it again, or choose another file."),
        details,
    )


def nodes(graph: Any) -> Iterator[Any]:
    """All operators of an ONNX graph, with those of the graphs inside them."""
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from nodes(inner)


def tensors(graph: Any) -> Iterator[Any]:
    """All constants of an ONNX graph, with those of the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
        for inner in _inner(node):
            yield from tensors(inner)


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def session(content: bytes, name: str, threads: int = 1) -> Any:
    """ONNX Runtime with a graph that is not unsafe.

    On one thread a window has the same result on every computer; the engine runs several windows at a time.

    Raises:
        OrthomaskError: the graph is damaged, or has operators that this version does not know.
    """
    _, runtime = libraries()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(content, options, ["CPUExecutionProvider"], enable_fallback=False)
    except _failures() as error:
        if out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("ONNX Runtime cannot run “{}”.").format(name),
            tr("Ask its author to export it again, with opset 15."),
            str(error),
        ) from error


def computed(opened: Any, head: str, image: str, windows: np.ndarray) -> np.ndarray:
    """An output of a graph.

    Raises:
        MemoryError: there is not enough.
        OrthomaskError: the graph fails on these windows.
    """
    try:
        (found,) = opened.run([head], {image: windows})
    except _failures() as error:
        if out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("The ONNX model failed while it ran."),
            tr("Ask its author for another export, or choose another model."),
            str(error),
        ) from error
    return np.asarray(found)


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its errors have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, ValueError)


class GraphNetwork(nn.Module):
    """Images `(B, bands, H, W)`, normalised, to logarithms of probabilities `(B, classes, H, W)`, of any size.

    Best are images of the graph's `core_px`: others are cut into squares of that size.

    Args:
        content: of the ONNX file.
        name: of the model, for messages.
    """

    def __init__(self, content: bytes, graph: Graph, name: str) -> None:
        super().__init__()
        refuse_unsafe(parsed(content, name), name)
        self._graph, self._session = graph, session(content, name)

    def forward(self, image: Tensor) -> Tensor:
        """Logarithms of the probabilities, background first."""
        height, width = image.shape[2:]
        side, core = self._graph.side_px, self._graph.core_px
        rows, columns, before = math.ceil(height / core), math.ceil(width / core), (side - core) // 2
        right, lower = (
            count * core - size + side - core - before for count, size in ((columns, width), (rows, height))
        )
        padded = functional.pad(image, (before, right, before, lower), mode="replicate")
        tops, lefts = (range(0, count * core, core) for count in (rows, columns))
        squares = [[self._square(padded[..., y : y + side, x : x + side]) for x in lefts] for y in tops]
        found = torch.cat([torch.cat(strip, dim=3) for strip in squares], dim=2)
        return self._logarithms(found[..., :height, :width])

    def _square(self, windows: Tensor) -> Tensor:
        """Probabilities `(B, channels, core_px, core_px)` of windows of the graph's own size."""
        graph, count, size = self._graph, len(windows), self._graph.batch
        pixels = np.ascontiguousarray(windows.numpy())
        if count % size:
            pixels = np.concatenate([pixels, np.zeros_like(pixels[:1]).repeat(size - count % size, axis=0)])
        parts = [
            computed(self._session, graph.head, graph.image, pixels[first : first + size])
            for first in range(0, len(pixels), size)
        ]
        return torch.from_numpy(np.concatenate(parts)[:count]).view(count, graph.channels, graph.core_px, graph.core_px)

    def _logarithms(self, found: Tensor) -> Tensor:
        """NaN where a number is no probability, which ends a run."""
        found = found.masked_fill((found < -SLACK) | (found > 1 + SLACK), math.nan)
        if not self._graph.has_background:
            found = torch.cat([1 - found.sum(dim=1, keepdim=True), found], dim=1)
        return found.clamp(min=TINY).log()
