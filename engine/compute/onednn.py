"""Convolutions with bias and activation in one step, using the oneDNN that PyTorch ships for x86 CPUs.

PyTorch's own compiler calls the same operator. It takes an fp32 bias with bf16 weights: rounded biases shift whole
channels, and change more classes than rounded weights do.
"""

from __future__ import annotations

import functools
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}


@functools.cache
def is_available(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the operators as called here, and this CPU runs them in a precision.

    Found by trying a dense and a depthwise convolution, and each activation.
    """
    random = torch.Generator().manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1))
    for weight in plain.requires_grad_(False).parameters():
        nn.init.normal_(weight, std=0.2, generator=random)
    pixels = torch.rand(1, 8, 8, 8, generator=random)
    expected = plain(pixels)
    try:
        result = merged(plain, dtype)(pixels.to(dtype)).float()
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    return torch.allclose(result, expected, rtol=0, atol=max(1e-4, 4 * torch.finfo(dtype).eps))


def merged(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Merge the convolutions of a network, fp32 and without batch normalisation, in `dtype`, in place."""
    for parent in list(network.modules()):
        steps = [(name, step) for name, step in parent.named_children() if not isinstance(step, nn.Identity)]
        if isinstance(parent, nn.Sequential):
            for (name, step), (after, activation) in pairwise(steps):
                if isinstance(step, nn.Conv2d) and type(activation) in ACTIVATIONS:
                    setattr(parent, name, _Convolution(step, dtype, *ACTIVATIONS[type(activation)]))
                    setattr(parent, after, nn.Identity())
        for name, step in parent.named_children():
            if isinstance(step, nn.Conv2d):
                setattr(parent, name, _Convolution(step, dtype, "none", []))
    return network.to(dtype)


class _Convolution(nn.Module):
    """A convolution with its activation; the first call reorders the weights for oneDNN."""

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype, activation: str, limits: list[float]) -> None:
        super().__init__()
        self._weight = _rounded(convolution.weight.detach(), dtype)
        self._bias = None if convolution.bias is None else convolution.bias.detach()
        self._how = convolution.padding, convolution.stride, convolution.dilation, convolution.groups
        self._activation, self._limits = activation, limits
        self._ordered: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, out, H, W)` after the activation."""
        if self._ordered is None:
            weight = self._weight.to_mkldnn()
            self._ordered = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight, *self._how, list(x.shape))
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._ordered, self._bias, *self._how, self._activation, self._limits, ""
        )
        return result


def _rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights `(out, in, kH, kW)` in another precision, preserving the sum over each kernel as well as possible.

    Each weight, largest first, absorbs the rounding error of those before it. Neighbouring pixels are alike, so the
    sum is what counts.
    """
    kernels = weight.flatten(2)
    order = kernels.abs().argsort(dim=2, descending=True)
    lost, rounded = torch.zeros_like(kernels[:, :, :1]), torch.zeros_like(kernels)
    for place in range(order.shape[2]):
        index = order[:, :, place : place + 1]
        wanted = kernels.gather(2, index) + lost
        kept = wanted.to(dtype).float()
        lost = wanted - kept
        rounded.scatter_(2, index, kept)
    return rounded.view_as(weight).to(dtype)
