"""Modules of other libraries as operations: each operator is the module that it is taken for, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign import unsettled
from torch import Tensor, nn
from torch.nn import functional

from orthomask.engine.interop import onnx_operations, traced
from orthomask.engine.interop.onnx_graph import _Writer
from orthomask.engine.interop.traced_steps import Untraceable
from orthomask.engine.models import graphs
from orthomask.engine.models.operations import KINDS, Operations


class Every(nn.Module):
    """Two stages that use every kind of operation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.LayerNorm(8)])
        self.linear = nn.Linear(8, 8)
        self.gamma, self.beta = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.last = nn.Conv2d(8, 6, 3, padding=2, dilation=2, groups=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = functional.silu(self.norms[0](self.first(functional.pad(image, (0, 1, 0, 1)))), inplace=True)
        x = functional.gelu(self.norms[1](x)) * self.gamma.reshape(1, -1, 1, 1) + self.beta
        x = self.linear(self.norms[2](x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        kept = functional.leaky_relu(x, 0.2)
        left, right = functional.hardswish(kept).split([3, 5], dim=1)
        x = torch.cat([functional.relu6(right), left.sigmoid()], dim=1)
        gate = functional.hardsigmoid(x.mean((2, 3), keepdim=True)) + functional.adaptive_avg_pool2d(x, 1)
        pooled = functional.max_pool2d(x * gate, 3, 2, 1) + functional.avg_pool2d(kept, 2)
        wide = functional.interpolate(pooled, size=image.shape[2:], mode="bilinear")
        near = functional.interpolate(pooled, scale_factor=4, mode="nearest")
        narrow = functional.dropout(wide + near, training=self.training)[:, :, :, :]
        return [kept, functional.avg_pool2d(self.last(functional.relu_(narrow)), 4)[:, 1:5]]


def found(module: nn.Module) -> list[traced.Stage]:
    return traced.stages(unsettled(module), torch.rand(1, 3, 8, 12), lambda count: [[n] for n in range(count)])


def test_every_operation_is_what_it_was() -> None:
    """In PyTorch and in ONNX."""
    torch.manual_seed(1)
    module = Every()
    stages = found(module)
    used = {step.kind for stage in stages for part in stage.parts for step in part.steps}
    assert used == set(KINDS)
    x = image = torch.randn(2, 3, 24, 16)
    for stage, wanted in zip(stages, module(image)):
        operations = Operations(stage.parts).eval()
        operations.load_state_dict(stage.tensors)
        x = operations(x)
        torch.testing.assert_close(x, wanted, atol=1e-5, rtol=1e-5)
        for layer in operations.modules():
            if type(layer) in onnx_operations.WRITERS:
                torch.testing.assert_close(*both(layer), atol=1e-5, rtol=1e-5)


def both(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """What PyTorch and ONNX Runtime make of the same numbers in a layer."""
    import onnx

    last = isinstance(layer, (nn.LayerNorm, nn.Linear))
    image = torch.randn(2, 4, 6, 8) if last else torch.randn(2, 8, 4, 6)
    writer = _Writer()
    writer.add("Identity", [onnx_operations.written(writer, layer, "image")], "found")
    info = [onnx.helper.make_tensor_value_info(n, 1, image.shape if n == "image" else None) for n in ("image", "found")]
    graph = onnx.helper.make_graph(writer.nodes, "layer", info[:1], info[1:], writer.constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    opened = graphs.session(model.SerializeToString(), "layer")
    result = graphs.computed(opened, "found", "image", np.ascontiguousarray(image.numpy()))
    return torch.from_numpy(result), layer(image).detach()


class Of(nn.Module):
    """A stage that is one function."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.function(image)]  # type: ignore[operator]


REFUSED = {
    "sizes of the image": lambda x: x.reshape(x.shape[0], 3, -1, 2),
    "a size that depends on the image's": lambda x: functional.interpolate(x, size=(16, 24)),
    "other padding": lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "an unknown operator": torch.erf,
    "a number": lambda x: x + 1,
    "an approximation": lambda x: functional.gelu(x, approximate="tanh"),
    "the mean over all images": lambda x: x * x.mean((0, 2, 3), keepdim=True),
    "other corners": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    "nothing": lambda x: functional.dropout(x, training=False),
    "a decision": lambda x: x.relu() if x.sum() > 0 else x,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_known_is_refused(kind: str) -> None:
    with pytest.raises(Untraceable):
        found(Of(REFUSED[kind]))
