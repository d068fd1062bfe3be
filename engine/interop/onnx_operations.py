"""The operations of other libraries (`engine/models/operations.py`) as ONNX operators of opset 13."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
from torch import Tensor, nn

from ..models.operations import Channels, Enlarge, Mean, Permute, Scale, Shift


class Writer(Protocol):
    """What adds operators and constants to a graph; each method returns the name of the result."""

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """An operator."""

    def constant(self, values: np.ndarray) -> str:
        """Numbers."""

    def enlarged(self, x: str, factor: float, mode: str) -> str:
        """Height and width times a factor."""


def written(writer: Writer, module: nn.Module, x: str) -> str:
    """The result of an operation on the tensor that is called `x`."""
    write = WRITERS.get(type(module))
    if write is None:
        raise NotImplementedError(f"no ONNX operator for {module}")
    return write(writer, cast(Any, module), x)


def _numbers(writer: Writer, *tensors: Tensor) -> list[str]:
    return [writer.constant(tensor.detach().float().numpy()) for tensor in tensors]


def _number(writer: Writer, value: float) -> str:
    return writer.constant(np.array(value, np.float32))


def _linear(writer: Writer, module: nn.Linear, x: str) -> str:
    product = writer.add("MatMul", [x, *_numbers(writer, module.weight.T)])
    return product if module.bias is None else writer.add("Add", [product, *_numbers(writer, module.bias)])


def _batch_norm(writer: Writer, module: nn.BatchNorm2d, x: str) -> str:
    mean, variance, _ = module.buffers()
    tensors = _numbers(writer, module.weight, module.bias, mean, variance)
    return writer.add("BatchNormalization", [x, *tensors], epsilon=module.eps)


def _standard(writer: Writer, x: str, epsilon: float) -> str:
    """Less its mean and divided by its standard deviation, along the last dimension."""
    centred = writer.add("Sub", [x, writer.add("ReduceMean", [x], axes=[-1])])
    variance = writer.add("ReduceMean", [writer.add("Mul", [centred, centred])], axes=[-1])
    spread = writer.add("Sqrt", [writer.add("Add", [variance, _number(writer, epsilon)])])
    return writer.add("Div", [centred, spread])


def _layer_norm(writer: Writer, module: nn.LayerNorm, x: str) -> str:
    weight, bias = _numbers(writer, module.weight, module.bias)
    return writer.add("Add", [writer.add("Mul", [_standard(writer, x, module.eps), weight]), bias])


def _group_norm(writer: Writer, module: nn.GroupNorm, x: str) -> str:
    grouped = writer.add("Reshape", [x, writer.constant(np.array([0, module.num_groups, -1], np.int64))])
    standard = writer.add("Reshape", [_standard(writer, grouped, module.eps), writer.add("Shape", [x])])
    weight, bias = _numbers(writer, module.weight[:, None, None], module.bias[:, None, None])
    return writer.add("Add", [writer.add("Mul", [standard, weight]), bias])


def _silu(writer: Writer, _module: nn.SiLU, x: str) -> str:
    return writer.add("Mul", [x, writer.add("Sigmoid", [x])])


def _hard_sigmoid(writer: Writer, _module: nn.Module, x: str) -> str:
    return writer.add("HardSigmoid", [x], alpha=1 / 6, beta=0.5)


def _hard_swish(writer: Writer, module: nn.Module, x: str) -> str:
    return writer.add("Mul", [x, _hard_sigmoid(writer, module, x)])


def _gelu(writer: Writer, _module: nn.GELU, x: str) -> str:
    """X Φ(x), with the error function."""
    error = writer.add("Erf", [writer.add("Mul", [x, _number(writer, 1 / math.sqrt(2))])])
    share = writer.add("Mul", [writer.add("Add", [error, _number(writer, 1)]), _number(writer, 0.5)])
    return writer.add("Mul", [x, share])


def _pool(writer: Writer, module: Any, x: str) -> str:
    kernel, pads, strides = (
        np.broadcast_to(sides, 2).tolist() for sides in (module.kernel_size, module.padding, module.stride)
    )
    shape: dict[str, Any] = {
        "kernel_shape": kernel, "pads": pads * 2, "strides": strides, "ceil_mode": int(module.ceil_mode)
    }  # fmt: skip
    if isinstance(module, nn.MaxPool2d):
        return writer.add("MaxPool", [x], **shape)
    return writer.add("AveragePool", [x], **shape, count_include_pad=int(module.count_include_pad))


def _pad(writer: Writer, module: nn.ZeroPad2d, x: str) -> str:
    left, right, top, bottom = module.padding
    return writer.add("Pad", [x, writer.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))])


def _channels(writer: Writer, module: Channels, x: str) -> str:
    ends = (writer.constant(np.array([number], np.int64)) for number in (module.first, module.end, 1))
    return writer.add("Slice", [x, *ends])


WRITERS: dict[type[nn.Module], Callable[[Writer, Any, str], str]] = {
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    Scale: lambda writer, module, x: writer.add("Mul", [x, *_numbers(writer, module.weight)]),
    Shift: lambda writer, module, x: writer.add("Add", [x, *_numbers(writer, module.bias)]),
    nn.LeakyReLU: lambda writer, module, x: writer.add("LeakyRelu", [x], alpha=module.negative_slope),
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    nn.Hardsigmoid: _hard_sigmoid,
    nn.Hardswish: _hard_swish,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    Mean: lambda writer, module, x: writer.add("ReduceMean", [x], axes=[*module.dimensions]),
    Permute: lambda writer, module, x: writer.add("Transpose", [x], perm=[*module.order]),
    Channels: _channels,
    nn.ZeroPad2d: _pad,
    Enlarge: lambda writer, module, x: writer.enlarged(x, module.factor, module.mode),
}
"""What writes each kind of module that our own networks do not have."""
