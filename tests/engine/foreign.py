"""Other libraries, whose networks can be taken over: they lie in a folder of their own (`make .venv/foreign/.ready`).

Their torchvision is made for another build of PyTorch, and loads only where its operators are known by name.
"""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[2] / ".venv" / "foreign"))
NAMED = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    NAMED.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import segmentation_models_pytorch as smp  # noqa: E402
import timm  # noqa: E402

__all__ = ["smp", "timm", "unsettled"]


def unsettled(network: torch.nn.Module) -> torch.nn.Module:
    """A network, to evaluate, in which no number is the usual 0 or 1, so that one in the wrong place would show."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in network.state_dict().items():
        if tensor.ndim < 2 and tensor.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("var", "weight", "gamma")) else (-0.3, 0.3)
            tensor.uniform_(low, high, generator=generator)
    return network.eval()
