"""Memory layout and precision of a training."""

from __future__ import annotations

import torch

from ...engine.compute.devices import precision_of
from ...engine.models.unet import UNetArguments
from ...protocol import Schedule

CHANNEL_BLOCK = 16
"""With fewer channels than this the fast memory layout is unsafe, see `layout`."""


def layout(arguments: UNetArguments) -> torch.memory_format:
    """Channels last, which is twice as fast on a CPU, if safe.

    oneDNN's gradient of a strided 1 x 1 convolution writes past its buffer when it has fewer channels than a vector
    register holds (https://github.com/uxlfoundation/oneDNN/issues/6035), which crashes the process.
    """
    safe = min(arguments.detail, *arguments.widths) >= CHANNEL_BLOCK
    if arguments.foreign:
        safe = safe and arguments.foreign.narrowest_strided >= CHANNEL_BLOCK
    return torch.channels_last if safe else torch.contiguous_format


def precision(schedule: Schedule, device: torch.device) -> str:
    """Lightning's name for the precision: bfloat16 if the device is built for it, else float32."""
    if schedule.precision != "auto":
        return schedule.precision
    return "bf16-mixed" if precision_of(device) == "bf16" else "32-true"
