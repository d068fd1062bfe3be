"""Operators of PyTorch's traces as steps: `engine/models/operations.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.operations import Step

PLAIN = {
    "relu": "relu", "relu6": "relu6", "silu": "silu", "sigmoid": "sigmoid", "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
}  # fmt: skip
"""Operators without arguments, and the kinds of step that they are."""


class Untraceable(Exception):  # noqa: N818 (it says what it is)
    """A module that cannot be written as operations, and why."""


def refused(name: str) -> Any:
    """Raise the error for an operator with other arguments than usual."""
    raise Untraceable(f"it uses the operation {name} in an unusual way")


def _pair(value: Any) -> tuple[float, float]:
    """A number for height and width."""
    both = [value] if isinstance(value, int) else list(value)
    return float(both[0]), float(both[-1])


Made = tuple[Step, dict[str, Tensor]]


def _convolution(bound: dict[str, Any], tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    weight, groups = tensors["weight"], bound["groups"]
    if isinstance(bound["padding"], str):
        refused("conv2d")
    numbers = (
        float(weight.shape[1] * groups), float(weight.shape[0]), *map(float, weight.shape[2:]), *_pair(bound["stride"]),
        *_pair(bound["padding"]), *_pair(bound["dilation"]), float(groups), float("bias" in tensors),
    )  # fmt: skip
    return Step("convolution", numbers), _kept(tensors, "weight", "bias")


def _linear(_bound: dict[str, Any], tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    out, into = tensors["weight"].shape
    return Step("linear", (float(into), float(out), float("bias" in tensors))), _kept(tensors, "weight", "bias")


def _batch_norm(bound: dict[str, Any], tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    kept = _kept(tensors, "weight", "bias", "running_mean", "running_var")
    if bound["training"] or len(kept) < 4:
        refused("batch_norm")
    counter = {"num_batches_tracked": torch.zeros((), dtype=torch.long)}
    return Step("batch_norm", (float(len(kept["weight"])), bound["eps"])), {**kept, **counter}


def _layer_norm(bound: dict[str, Any], tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    kept = _kept(tensors, "weight", "bias")
    if len(bound["normalized_shape"]) != 1 or len(kept) < 2:
        refused("layer_norm")
    return Step("layer_norm", (float(bound["normalized_shape"][0]), bound["eps"])), kept


def _group_norm(bound: dict[str, Any], tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    kept = _kept(tensors, "weight", "bias")
    if len(kept) < 2:
        refused("group_norm")
    return Step("group_norm", (float(bound["num_groups"]), float(len(kept["weight"])), bound["eps"])), kept


def _kept(tensors: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensors[name] for name in names if name in tensors}


def _clipped(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    return Step("relu6" if (bound["min_val"], bound["max_val"]) == (0, 6) else refused("hardtanh")), {}


def _gelu(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    return Step("gelu" if bound["approximate"] == "none" else refused("gelu")), {}


def _leaky(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    return Step("leaky_relu", (float(bound["negative_slope"]),)), {}


def _pool(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    numbers = (
        *_pair(bound["kernel_size"]), *_pair(bound["stride"] or bound["kernel_size"]), *_pair(bound["padding"]),
        float(bound["ceil_mode"]),
    )  # fmt: skip
    if "dilation" in bound:
        return Step("max_pool" if _pair(bound["dilation"]) == (1, 1) else refused("max_pool2d"), numbers), {}
    kind = "average_pool" if bound["divisor_override"] is None else refused("avg_pool2d")
    return Step(kind, (*numbers, float(bound["count_include_pad"]))), {}


def _mean(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    dimensions = sorted(place % 4 for place in bound.get("dim") or [0])
    if 0 in dimensions or not bound["keepdim"]:  # each image is on its own
        refused("mean")
    return Step("mean", tuple(map(float, dimensions))), {}


def _pooled(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    return Step("mean", (2.0, 3.0) if list(bound["output_size"]) == [1, 1] else refused("adaptive_avg_pool2d")), {}


def _permute(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    order = [place % len(bound["dims"]) for place in bound["dims"]]
    return Step("permute", tuple(map(float, order)) if order[0] == 0 else refused("permute")), {}


def _pad(bound: dict[str, Any], _tensors: dict[str, Tensor], _shape: Sequence[int]) -> Made:
    is_plain = bound.get("mode", "constant") == "constant" and not bound["value"] and min(bound["pad"]) >= 0
    pads = [*bound["pad"], 0, 0][:4] if is_plain and len(bound["pad"]) in (2, 4) else refused("pad")
    return Step("pad", tuple(map(float, pads))), {}


def _slice(bound: dict[str, Any], _tensors: dict[str, Tensor], shape: Sequence[int]) -> Made:
    first = bound["start"] or 0
    is_plain = bound["dim"] == 1 and bound["step"] == 1 and first >= 0
    return Step("channels", (float(first), float(first + shape[1])) if is_plain else refused("slice")), {}


def _enlarge(smooth: bool) -> Callable[[dict[str, Any], dict[str, Tensor], Sequence[int]], Made]:
    def make(bound: dict[str, Any], _tensors: dict[str, Tensor], shape: Sequence[int]) -> Made:
        given = (bound.get("self") or bound["input"]).meta["val"].shape
        factor = shape[2] // given[2]
        is_plain = (given[2] * factor, given[3] * factor) == tuple(shape[2:]) and not bound.get("align_corners")
        return Step("enlarge", (float(factor), float(smooth)) if is_plain else refused("upsample")), {}

    return make


MAKERS: dict[str, Callable[[dict[str, Any], dict[str, Tensor], Sequence[int]], Made]] = {
    "conv2d": _convolution,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "hardtanh": _clipped,
    "gelu": _gelu,
    "leaky_relu": _leaky,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "mean": _mean,
    "adaptive_avg_pool2d": _pooled,
    "permute": _permute,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "slice": _slice,
    "upsample_nearest2d": _enlarge(smooth=False),
    "upsample_bilinear2d": _enlarge(smooth=True),
}
"""What makes the step and its tensors of the arguments of an operator, its weights, and the shape of its result."""
