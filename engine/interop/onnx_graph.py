"""Our networks as ONNX graphs, written operator by operator from PyTorch's own trace of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from ..models import graphs, operations
from ..models.unet import Ensemble, UNet
from . import onnx_operations

OPSET, IR = 13, 8
"""What Deepness's ONNX Runtime 1.12 reads: at most 15 and 8."""
IMAGE, HEAD = "image", "probabilities"
"""Names of the graph's input and output."""
MOST_CHANNELS = (1 << 31) - 1
"""ONNX's way to say up to the last one."""


def written(network: UNet | Ensemble, bands: int, classes: int, side_px: int) -> Any:
    """An ONNX model with a network's probabilities: of its one class `(N, 1, S, S)`, else of all with the background.

    Args:
        network: with its batch normalisations folded.
        classes: how many foreground classes.
        side_px: S, height and width of its image; N, the number of images, is open.
    """
    onnx, _ = graphs.libraries()
    writer = _Writer()
    if isinstance(network, Ensemble):
        images = [writer.changed(IMAGE, change) for change in network.changes] or [IMAGE] * len(network.members)
        members = [writer.softmax(writer.network(unet, image)) for unet, image in zip(network.members, images)]
        found = writer.add("Mean", members)
    else:
        found = writer.softmax(writer.network(network, IMAGE))
    if classes == 1:
        index = writer.constant(np.array([1], np.int64))
        writer.add("Gather", [found, index], HEAD, axis=1)
    else:
        writer.add("Identity", [found], HEAD)
    channels = classes + 1 if classes > 1 else 1
    image, head = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", count, side_px, side_px])
        for name, count in ((IMAGE, bands), (HEAD, channels))
    )
    graph = onnx.helper.make_graph(writer.nodes, "orthomask", [image], [head], writer.constants)
    imports = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, producer_name="Orthomask", opset_imports=imports, ir_version=IR)
    onnx.checker.check_model(model)
    return model


class _Tracer(fx.Tracer):
    """Takes each operation of another library for one."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether what a module does is not looked into."""
        return (m.__module__ == operations.__name__ and not isinstance(m, operations.Operations)) or (
            super().is_leaf_module(m, module_qualified_name)
        )


class _Writer:
    """Collects the nodes and constants of a graph; each method appends and returns the name of the result."""

    def __init__(self) -> None:
        self._onnx, _ = graphs.libraries()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """An operator."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        """Numbers."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def softmax(self, logits: str) -> str:
        """Probabilities."""
        return self.add("Softmax", [logits], axis=1)

    def changed(self, image: str, change: Any) -> str:
        """An image normalised as a member of an ensemble is used to it; without data it stays 0 in all bands."""
        scale, shift = (self.constant(values.numpy()[None]) for values in (change.scale, change.shift))
        largest = self.add("ReduceMax", [self.add("Abs", [image])], axes=[1], keepdims=1)
        there = self.add("Cast", [self.add("Greater", [largest, self.constant(np.zeros(1, np.float32))])], to=1)
        moved = self.add("Add", [self.add("Mul", [image, scale]), shift])
        return self.add("Mul", [moved, there])

    def network(self, unet: nn.Module, image: str) -> str:
        """The logits of a network."""
        traced = fx.GraphModule(unet, _Tracer().trace(unet))
        made: dict[fx.Node, str] = {}

        def name(given: Any) -> str:
            return made[given]

        for node in traced.graph.nodes:
            if node.op == "placeholder":
                made[node] = image
            elif node.op == "call_module":
                made[node] = self._module(traced.get_submodule(str(node.target)), name(node.args[0]))
            elif node.op == "call_function":
                made[node] = self._function(node, name)
            elif node.op == "output":
                return name(node.args[0])
        raise NotImplementedError("a trace without output")

    def _module(self, module: nn.Module, x: str) -> str:
        if isinstance(module, nn.Identity):
            return x
        if isinstance(module, nn.Conv2d):
            return self._convolution(module, x)
        if isinstance(module, nn.ReLU):
            return self.add("Relu", [x])
        if isinstance(module, nn.ReLU6):
            return self.add("Clip", [x, *(self.constant(np.array(bound, np.float32)) for bound in (0, 6))])
        if isinstance(module, nn.Sigmoid):
            return self.add("Sigmoid", [x])
        return onnx_operations.written(self, module, x)

    def _convolution(self, layer: nn.Conv2d, x: str) -> str:
        tensors = [tensor for tensor in (layer.weight, layer.bias) if tensor is not None]
        numbers = [self.constant(tensor.detach().float().numpy()) for tensor in tensors]
        pads = [int(pad) for pad in layer.padding] * 2
        return self.add(
            "Conv", [x, *numbers], kernel_shape=list(layer.kernel_size), strides=list(layer.stride), pads=pads,
            dilations=list(layer.dilation), group=layer.groups,
        )  # fmt: skip

    def _function(self, node: fx.Node, name: Callable[[Any], str]) -> str:
        if node.target is functional.relu:
            return self.add("Relu", [name(node.args[0])])
        if node.target in (operator.add, operator.mul):
            kind = "Add" if node.target is operator.add else "Mul"
            return self.add(kind, [name(argument) for argument in node.args])
        if node.target is torch.cat:
            parts: Any = node.args[0]
            return self.add("Concat", [name(part) for part in parts], axis=node.kwargs["dim"])
        if node.target is functional.interpolate:
            return self.enlarged(name(node.args[0]), float(node.kwargs["scale_factor"]), str(node.kwargs["mode"]))  # type: ignore[arg-type]
        if node.target is operator.getitem:
            channels: Any = node.args[1]
            return self._channels(name(node.args[0]), channels[1])
        raise NotImplementedError(f"no ONNX operator for {node.target}")

    def _channels(self, x: str, part: slice) -> str:
        """Some of the channels."""
        ends = (part.start or 0, MOST_CHANNELS if part.stop is None else part.stop)
        start, stop, axis = (self.constant(np.array([number], np.int64)) for number in (*ends, 1))
        return self.add("Slice", [x, start, stop, axis])

    def enlarged(self, x: str, factor: float, mode: str) -> str:
        """Height and width times a factor, as `functional.interpolate` makes it."""
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        if mode == "nearest":
            return self.add(
                "Resize", [x, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )  # fmt: skip
        return self.add("Resize", [x, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")
