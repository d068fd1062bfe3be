"""Modules of other libraries as operations, from PyTorch's own trace of them: `engine/models/operations.py`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ..models.operations import Operations, Part, Step
from ..shortage import out_of_memory
from .traced_steps import MAKERS, PLAIN, Untraceable, refused

CLOSE = 1e-4
"""How far the operations may be from the module, relative to its largest result: sums are taken in another order."""
SAME = ("dropout", "clone", "contiguous", "detach", "alias", "feature_dropout")
"""Operators that change nothing, when nothing is learnt."""


class Stage(NamedTuple):
    """A stage of a network, as it was traced.

    Attributes:
        tensors: its weights and statistics, by their names in `Operations`.
    """

    parts: tuple[Part, ...]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class _Node:
    """An operation of the trace: its step, or how it joins its inputs, which are numbers of tensors."""

    inputs: tuple[int, ...]
    step: Step | None = None
    join: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)


def stages(module: nn.Module, image: Tensor, given: Callable[[int], Sequence[Sequence[int]]]) -> list[Stage]:
    """The stages of a module that makes a tuple of tensors of an image.

    Args:
        module: in evaluation mode.
        image: `(B, bands, H, W)`, as small as the module can take it, no square.
        given: for a number of results, which tensors the stage that makes each one is given: 0 is the image, 1 the
            first result, and so on.

    Raises:
        Untraceable: it uses other operations, or sizes that depend on the image's, or its stages need more.
    """
    with torch.no_grad():
        nodes, outputs = _Trace(module, image).read()
        wider = image.repeat(2, 1, 2, 2)
        again, _ = _Trace(module, wider).read()
        if [(node.inputs, node.step, node.join) for node in nodes] != [(n.inputs, n.step, n.join) for n in again]:
            raise Untraceable("its operations depend on the size of the image")
        found = list(_split(nodes, outputs, given(len(outputs))))
        _refuse_different(module, wider, found, given(len(outputs)))
    return found


def _refuse_different(module: nn.Module, image: Tensor, found: Sequence[Stage], given: Sequence[Sequence[int]]) -> None:
    made = [torch.rand(image.shape, generator=torch.Generator().manual_seed(0))]
    for stage, numbers in zip(found, given):
        operations = Operations(stage.parts, len(numbers)).eval()
        operations.load_state_dict(stage.tensors)
        made.append(operations(*(made[number] for number in numbers)))
    for wanted, result in zip(module(made[0].clone()), made[1:]):
        if not (wanted - result).abs().max() <= CLOSE * max(1.0, float(wanted.abs().max())):
            raise Untraceable("its operations give other results")


class _Trace:
    """The operations of a module for images of one size."""

    def __init__(self, module: nn.Module, image: Tensor) -> None:
        try:
            exported = torch.export.export(module, (image,), strict=False)
        except Exception as error:  # of any kind: the library's own code runs
            if out_of_memory(error):
                raise
            raise Untraceable(str(error).split("\n", 1)[0]) from error
        self._graph = exported.graph
        held = {**exported.state_dict, **exported.constants}
        self._fixed = {
            spec.arg.name: held[spec.target].detach()
            for spec in exported.graph_signature.input_specs
            if spec.target is not None and hasattr(spec.arg, "name")
        }
        self._outputs = [spec.arg.name for spec in exported.graph_signature.output_specs if hasattr(spec.arg, "name")]
        self._values: dict[str, int | Tensor] = {}
        self._nodes: list[_Node] = []

    def read(self) -> tuple[list[_Node], list[int]]:
        """The operations, whose results have the numbers from 1 on, and the numbers of the module's results."""
        for node in self._graph.nodes:
            if node.op == "placeholder":
                self._values[node.name] = self._fixed.get(node.name, 0)
            elif node.op == "call_function" and node.target is not operator.getitem:
                self._call(node)
            elif node.op == "call_function":
                self._values[node.name] = self._piece(node)
        numbers = [self._values[name] for name in self._outputs]
        return self._nodes, [number for number in numbers if isinstance(number, int)]

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        operator_name = str(target).split(".")[1]
        name = operator_name.removesuffix("_")
        bound = {
            argument.name: node.args[place]
            if place < len(node.args)
            else node.kwargs.get(argument.name, argument.default_value)
            for place, argument in enumerate(target._schema.arguments)
        }
        inputs = [self._values[other.name] for other in node.all_input_nodes]
        if all(isinstance(value, Tensor) for value in inputs):  # of weights alone: it is always the same
            self._values[node.name] = target(*fx.map_arg(node.args, self._of), **fx.map_arg(node.kwargs, self._of))
        elif name in ("split", "split_with_sizes", "chunk"):
            return  # its pieces are asked for one by one
        else:
            self._values[node.name] = self._number(name, node, bound)
            if operator_name != name:  # it writes over its input: who reads the tensor from now on, reads the result
                self._values[node.all_input_nodes[0].name] = self._values[node.name]

    def _of(self, node: fx.Node) -> Any:
        return self._values[node.name]

    def _number(self, name: str, node: fx.Node, bound: dict[str, Any]) -> int:
        """The number of an operation's result."""
        if name in SAME:
            return self._tensor(node.all_input_nodes[0])
        if name in ("add", "mul"):
            return self._joined("add" if name == "add" else "multiply", bound)
        if name == "cat":
            return self._concatenated(bound)
        x = self._tensor(bound.get("self", bound.get("input")))
        if name in PLAIN:
            return self._add(_Node((x,), Step(PLAIN[name])))
        make = MAKERS.get(name)
        if make is None:
            raise Untraceable(f"it uses the operation {name}")
        weights = {key: self._values.get(value.name) for key, value in bound.items() if isinstance(value, fx.Node)}
        shape = node.meta["val"].shape
        step, tensors = make(bound, {key: value for key, value in weights.items() if isinstance(value, Tensor)}, shape)
        return self._add(_Node((x,), step, tensors=tensors))

    def _joined(self, join: str, bound: dict[str, Any]) -> int:
        """Two tensors added or multiplied, of which one may be a weight."""
        if bound.get("alpha", 1) != 1 or not isinstance(bound["other"], fx.Node):
            raise Untraceable(f"it uses a number to {join}")
        both = [self._values[bound[name].name] for name in ("self", "other")]
        weights = [value for value in both if isinstance(value, Tensor)]
        inputs = tuple(value for value in both if isinstance(value, int))
        if not weights:
            return self._add(_Node(inputs, join=join))
        kind, leaf = ("shift", "bias") if join == "add" else ("scale", "weight")
        step = Step(kind, tuple(map(float, weights[0].shape)))
        return self._add(_Node(inputs, step, tensors={leaf: weights[0]}))

    def _concatenated(self, bound: dict[str, Any]) -> int:
        inputs = tuple(map(self._tensor, bound["tensors"]))
        join = "concatenate" if bound["dim"] == 1 else refused("cat")
        return inputs[0] if len(inputs) == 1 else self._add(_Node(inputs, join=join))

    def _piece(self, node: fx.Node) -> int:
        """Some of a tensor's channels, split off."""
        split: Any = node.args[0]
        sizes = [value.shape[1] for value in split.meta["val"]]
        whole = split.args[0].meta["val"].shape
        if sum(sizes) != whole[1]:
            raise Untraceable("it splits images")
        first = [0, *accumulate(sizes)][node.args[1]]  # type: ignore[index]
        step = Step("channels", (float(first), float(first + sizes[node.args[1]])))  # type: ignore[index]
        return self._add(_Node((self._tensor(split.args[0]),), step))

    def _tensor(self, node: Any) -> int:
        value = self._values.get(node.name) if isinstance(node, fx.Node) else None
        if not isinstance(value, int):
            raise Untraceable("it uses its weights as an image")
        return value

    def _add(self, node: _Node) -> int:
        self._nodes.append(node)
        return len(self._nodes)


def _split(nodes: Sequence[_Node], outputs: Sequence[int], given: Sequence[Sequence[int]]) -> Iterator[Stage]:
    """The stages that make each output of the tensors that they are given.

    Args:
        given: 0 for the image, 1 for the first output, and so on.
    """
    known = [0, *outputs]
    for output, places in zip(outputs, given):
        inputs = [known[place] for place in places]
        wanted, needed = [output], set[int]()
        while wanted:
            number = wanted.pop()
            if number in inputs or number in needed:
                continue
            if number in known and number != output:
                raise Untraceable("its stages do not follow one another")
            needed.add(number)
            wanted += nodes[number - 1].inputs
        if not needed:
            raise Untraceable("a stage changes nothing")
        yield _grouped({number: nodes[number - 1] for number in sorted(needed)}, inputs)


def _grouped(nodes: dict[int, _Node], inputs: Sequence[int]) -> Stage:
    """Operations as parts: each one that alone uses the result before it is a step of the same part."""
    uses = [number for node in nodes.values() for number in node.inputs]
    parts: list[list[int]] = []  # of each part, the numbers of its operations
    for number, node in nodes.items():
        before = next((part for part in parts if part[-1] == node.inputs[0]), None)
        if before and not node.join and uses.count(node.inputs[0]) == 1:
            before.append(number)
        else:
            parts.append([number])
    places = {number: place for place, number in enumerate([*inputs, *(part[-1] for part in parts)])}
    tensors: dict[str, Tensor] = {}
    found: list[Part] = []
    for place, part in enumerate(parts):
        steps = [nodes[number] for number in part if nodes[number].step]
        first = nodes[part[0]]
        found.append(Part(tuple(places[n] for n in first.inputs), first.join, tuple(n.step for n in steps if n.step)))
        tensors |= {f"{place}.{i}.{leaf}": t for i, node in enumerate(steps) for leaf, t in node.tensors.items()}
    return Stage(tuple(found), tensors)
