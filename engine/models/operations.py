"""Stages of a network that another library describes, as lists of operations: data, which no code needs to be run for.

A bundle with such stages needs that library no more. Every operation is one of `KINDS` or `JOINS`, with a few numbers:
a module of PyTorch's own, so that all that works on modules (folding, training, explaining, export) works on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_STEPS, MOST_PARAMETERS = 4096, 1 << 28
"""Of all stages together; the largest encoders have about 1000 steps."""
MOST_NUMBERS = 1 << 26
"""In a result for an image of 2 x 3 of the smallest ones: 10,000 channels at its own resolution."""


@dataclass(frozen=True)
class Step:
    """An operation on one tensor: one of `KINDS`, and its arguments in that order."""

    kind: str
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Part:
    """Tensors, joined if there are several, and what is done with the result.

    Attributes:
        inputs: numbers of the tensors: first come those that the stage is given, then the results of the parts.
        join: one of `JOINS`; empty for one tensor.
    """

    inputs: tuple[int, ...]
    join: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Foreign:
    """The stages of a U-Net that another library describes; stored in the bundle.

    Attributes:
        library: its name and version.
        widths: channels that each stage of the encoder gives, the finest first.
        reduction: of the first stage: 2 or 4; each of the others halves height and width.
        encoder: the parts of each stage: `(B, c, h, w)` to the next coarser ones.
        decoder: the parts of each stage, the coarsest first: what has come so far, and the encoder's features (at last
            the image) of twice the resolution. Empty if the decoder is our own.
        head: the parts that make logits; empty with our own decoder.
    """

    library: str
    widths: tuple[int, ...]
    reduction: int
    encoder: tuple[tuple[Part, ...], ...]
    decoder: tuple[tuple[Part, ...], ...] = ()
    head: tuple[Part, ...] = ()

    @property
    def divisor(self) -> int:
        """Height and width of the image must be multiples of this, in pixels."""
        return int(self.reduction * 2 ** (len(self.widths) - 1))

    @property
    def narrowest_strided(self) -> float:
        """The fewest channels of a 1 x 1 convolution that leaves out pixels; infinite if there is none."""
        stages = (*self.encoder, *self.decoder, self.head)
        steps = (step for parts in stages for part in parts for step in part.steps if step.kind == "convolution")
        narrow = (min(step.numbers[:2]) for step in steps if step.numbers[2:4] == (1, 1) and max(step.numbers[4:6]) > 1)
        return min(narrow, default=math.inf)

    def adapted(self, bands: int, classes: int) -> Foreign:
        """The same for other bands, and, if the head is not ours, for other classes."""
        encoder = (_with_number(self.encoder[0], 0, 0, bands), *self.encoder[1:])
        return replace(self, encoder=encoder, head=_with_number(self.head, -1, 1, classes))


def _with_number(parts: Sequence[Part], which: int, place: int, number: int) -> tuple[Part, ...]:
    """Parts of which a convolution, the first (0) or the last one (-1), has another number."""
    found = [(n, m) for n, part in enumerate(parts) for m, step in enumerate(part.steps) if step.kind == "convolution"]
    if not found:
        return tuple(parts)
    changed, (index, position) = list(parts), found[which]
    steps = list(parts[index].steps)
    numbers = list(steps[position].numbers)
    numbers[place] = float(number)
    steps[position] = replace(steps[position], numbers=tuple(numbers))
    changed[index] = replace(parts[index], steps=tuple(steps))
    return tuple(changed)


class Scale(nn.Module):
    """Multiply with learnt factors."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Products."""
        return x * self.weight


class Shift(nn.Module):
    """Add learnt numbers."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Sums."""
        return x + self.bias


class Mean(nn.Module):
    """The mean over some dimensions, which stay, with the size 1."""

    def __init__(self, *dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x: Tensor) -> Tensor:
        """Means."""
        return x.mean(self.dimensions, keepdim=True)


class Permute(nn.Module):
    """Dimensions in another order."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers."""
        return x.permute(self.order)


class Channels(nn.Module):
    """Some of the channels: from the first one to the one before `end`."""

    def __init__(self, first: int, end: int) -> None:
        super().__init__()
        self.first, self.end = first, end

    def forward(self, x: Tensor) -> Tensor:
        """`(B, end - first, H, W)`."""
        return x[:, self.first : self.end]


class Enlarge(nn.Module):
    """Height and width times a factor."""

    def __init__(self, factor: int, smooth: int) -> None:
        super().__init__()
        self.factor, self.mode = factor, "bilinear" if smooth else "nearest"

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, factor x H, factor x W)`."""
        return functional.interpolate(x, scale_factor=float(self.factor), mode=self.mode)


def _convolution(
    channels_in: int, channels_out: int, kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int,
    pad_w: int, dilation_h: int, dilation_w: int, groups: int, bias: int,
) -> nn.Module:  # fmt: skip
    stride, padding, dilation = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    return nn.Conv2d(
        channels_in, channels_out, (kernel_h, kernel_w), stride, padding, dilation, groups, bias=bool(bias)
    )


def _max_pool(kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int, up: int) -> nn.Module:
    return nn.MaxPool2d((kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w), ceil_mode=bool(up))


def _average_pool(
    kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int, up: int, with_pad: int
) -> nn.Module:
    kernel, stride, padding = (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w)
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode=bool(up), count_include_pad=bool(with_pad))


KINDS: dict[str, Callable[..., nn.Module]] = {
    "convolution": _convolution,
    "linear": lambda channels_in, channels_out, bias: nn.Linear(channels_in, channels_out, bool(bias)),
    "batch_norm": nn.BatchNorm2d,
    "layer_norm": nn.LayerNorm,
    "group_norm": nn.GroupNorm,
    "scale": Scale,
    "shift": Shift,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
    "hard_swish": nn.Hardswish,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "mean": Mean,
    "permute": Permute,
    "channels": Channels,
    "pad": lambda left, right, top, bottom: nn.ZeroPad2d((left, right, top, bottom)),
    "enlarge": Enlarge,
}
"""How the module of each kind of step is made of its numbers."""


def _concatenated(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors, dim=1)


def _sum(first: Tensor, second: Tensor) -> Tensor:
    return first + second


def _product(first: Tensor, second: Tensor) -> Tensor:
    return first * second


JOINS: dict[str, Callable[..., Tensor]] = {"add": _sum, "multiply": _product, "concatenate": _concatenated}
"""How several tensors become one."""


class Operations(nn.ModuleList):
    """A stage made of its parts: a `nn.Sequential` for each, whose input is what the part joins.

    Args:
        parts: the last one's result is the stage's.
        given: how many tensors the stage is given.

    Raises:
        ValueError, TypeError, RuntimeError: the parts do not describe a stage.
    """

    def __init__(self, parts: Sequence[Part], given: int = 1) -> None:
        if not parts:
            raise ValueError("a stage without parts")
        super().__init__(nn.Sequential(*map(_module, part.steps)) for part in parts)
        self.joins = [(part.inputs, JOINS[part.join] if part.join else None) for part in parts]
        self.last = {number: place for place, part in enumerate(parts) for number in part.inputs}
        for place, (inputs, join) in enumerate(self.joins):
            if not all(0 <= number < given + place for number in inputs) or (join is None) != (len(inputs) == 1):
                raise ValueError(f"part {place} joins {inputs}")

    def forward(self, *given: Tensor) -> Tensor:
        """The last part's result; what is needed no more is let go."""
        results = dict(enumerate(given))
        for place, (part, (inputs, join)) in enumerate(zip(self, self.joins)):
            tensors = [results[number] for number in inputs]
            for number in inputs:
                if self.last[number] == place:
                    results.pop(number, None)
            result: Tensor = part(join(*tensors) if join else tensors[0])
            results[len(given) + place] = result
        return result


def _module(step: Step) -> nn.Module:
    if not all(map(math.isfinite, step.numbers)) or min(step.numbers, default=0) < 0:
        raise ValueError(f"{step.kind} with {step.numbers}")
    whole = [int(number) if float(number).is_integer() else number for number in step.numbers]
    return KINDS[step.kind](*whole)


def refuse_unsound(foreign: Foreign, bands: int, classes: int) -> None:
    """Raise a `ValueError` unless the stages fit together, and make logits of an image without end of memory.

    Everything is computed on PyTorch's device for shapes: nothing is allocated.

    Args:
        classes: channels of the logits.
    """
    stages = (*foreign.encoder, *foreign.decoder, foreign.head)
    steps = sum(1 + len(part.steps) for stage in stages for part in stage)
    if not 0 < steps <= MOST_STEPS or foreign.reduction not in (2, 4):
        raise ValueError("number of operations")
    if not len(foreign.encoder) == len(foreign.widths) or bool(foreign.decoder) != bool(foreign.head):
        raise ValueError("number of stages")
    try:
        with torch.device("meta"), torch.inference_mode():
            _refuse_unfit(foreign, bands, classes)
    except (TypeError, KeyError, RuntimeError, OverflowError, IndexError, ZeroDivisionError) as error:
        raise ValueError(str(error)) from error


def _refuse_unfit(foreign: Foreign, bands: int, classes: int) -> None:
    height, width = 2 * foreign.divisor, 3 * foreign.divisor  # no square: neither is swapped, nor the mean of all

    def shape(channels: int, reduction: int) -> tuple[int, ...]:
        return (1, channels, height // reduction, width // reduction)

    left = MOST_PARAMETERS
    levels = [torch.zeros(shape(bands, 1))]
    for number, (parts, channels) in enumerate(zip(foreign.encoder, foreign.widths)):
        stage = Operations(parts).eval()
        left -= _parameters(stage, left)
        levels.append(_checked(stage, levels[-1]))
        _require(levels[-1], shape(channels, foreign.reduction * 2**number))
    if not foreign.decoder:
        return
    if len(foreign.decoder) != len(foreign.encoder):
        raise ValueError("number of stages")
    x = levels.pop()
    for parts in foreign.decoder:
        stage, skip = Operations(parts, given=2).eval(), levels.pop()
        left -= _parameters(stage, left)
        x = _checked(stage, x, skip)
        _require(x, (*x.shape[:2], *skip.shape[2:]))
    head = Operations(foreign.head).eval()
    _parameters(head, left)
    _require(_checked(head, x), shape(classes, 1))


def _parameters(stage: nn.Module, most: int) -> int:
    count = sum(parameter.numel() for parameter in stage.parameters())
    if count > most:
        raise ValueError("number of parameters")
    return count


def _checked(stage: Operations, *given: Tensor) -> Tensor:
    """What a stage makes of tensors, if none of its results is too large."""

    def look(_module: nn.Module, _given: object, result: Tensor) -> None:
        if not all(result.shape) or math.prod(result.shape) > MOST_NUMBERS:
            raise ValueError(f"a result of the shape {tuple(result.shape)}")

    for module in stage.modules():
        if module is not stage:
            module.register_forward_hook(look)
    result: Tensor = stage(*given)
    return result


def _require(result: Tensor, shape: Sequence[int]) -> None:
    if tuple(result.shape) != tuple(shape):
        raise ValueError(f"a stage gives {tuple(result.shape)} instead of {tuple(shape)}")
