"""How long a training takes on this computer, from a few timed steps of its network on random numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from ...engine.compute import gpu
from ...engine.compute.devices import Device
from ...engine.models.unet import UNet, UNetArguments
from ...engine.progress import Progress
from ...engine.shortage import out_of_memory
from ...protocol import Objective, TrainRequest
from ...protocol.words import tr
from . import losses
from .numerics import layout, precision

START_SECONDS, REST = 10.0, 1.15
"""Overhead of a training: seconds to start, and a factor for optimizer, averaging, checkpoints and pictures."""
ROUNDS, ENOUGH_SECONDS = 5, 1.0
"""The timing ends after this many rounds or seconds."""


class Pace(NamedTuple):
    """Seconds for one optimizer step, and for one pixel of a validation."""

    step: float
    pixel: float


class _Case(NamedTuple):
    """What the pace depends on."""

    arguments: UNetArguments
    objective: Objective
    batch: int
    chip_px: int
    precision: str
    device: str


_known: dict[_Case, Pace] = {}
"""Measured by this process."""


def seconds(
    training: TrainRequest, arguments: UNetArguments, validation_px: float, device: Device, progress: Progress
) -> float | None:
    """The seconds that a training takes; None if not even one step fits into memory.

    Args:
        validation_px: labelled pixels that each validation reads, at the model's resolution.
    """
    schedule = training.schedule
    kind = precision(schedule, device.torch)
    case = _Case(arguments, training.objective, schedule.batch, schedule.chip_px, kind, str(device.torch))
    try:
        pace = _known.get(case) or _known.setdefault(case, _measured(case, device.torch, progress))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
    finally:
        gpu.give_back()  # the training itself needs it
    epoch = schedule.steps * pace.step + validation_px * pace.pixel
    return float(f"{START_SECONDS + REST * schedule.epochs * epoch:.2g}")


def _measured(case: _Case, device: torch.device, progress: Progress) -> Pace:
    network = UNet(case.arguments).to(device, memory_format=layout(case.arguments))  # type: ignore[call-overload]
    shape = (case.batch, case.arguments.bands, case.chip_px, case.chip_px)
    image = torch.rand(shape, device=device).contiguous(memory_format=layout(case.arguments))
    mask = torch.zeros(shape[:1] + shape[2:], dtype=torch.int64, device=device)

    def step() -> None:
        logits = network.train()(image)
        torch.autograd.backward(losses.loss(case.objective, logits.float(), mask))
        next(network.parameters()).grad.sum().item()  # waits for the device

    def look() -> None:
        with torch.inference_mode():
            network.eval()(image).sum().item()

    with torch.autocast(device.type, torch.bfloat16, enabled=case.precision.endswith("mixed")):
        return Pace(_timed(step, progress), _timed(look, progress) / mask.numel())


def _timed(work: Callable[[], None], progress: Progress) -> float:
    """Seconds in the fastest of a few rounds: other programs use the device now and then."""
    rounds: list[float] = []
    while len(rounds) <= ROUNDS and sum(rounds[1:]) < ENOUGH_SECONDS:  # the first one only warms up
        progress.report(0.5, tr("Measuring this computer's speed"))
        start = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - start)
    return min(rounds[1:])
