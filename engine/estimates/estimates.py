"""Estimate the time and memory of a run: from a short calibration or, better, from finished runs.

A calibration times a few windows, once for each model, device, precision and version; it changes no result.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import repeat

import numpy as np
import torch

from ...protocol import WINDOW_PX, CalibrateRequest, CalibrateResult, Level, Light, Workload
from ...protocol.words import tr
from ..compute import devices
from ..compute.batches import Batches
from ..compute.devices import Device, Predictor
from ..images.grid import Lattice, Selection
from ..images.raster import Source
from ..models.bundle import Bundle, load
from ..progress import Progress
from ..shortage import out_of_memory
from . import memory, speeds
from .speeds import Speed

START_SECONDS, REST = 1.5, 1.3
"""Overhead of a run: seconds to start, and a factor for writing rasters and polygons."""
ROUNDS, ENOUGH_SECONDS = 5, 1.0
"""A calibration ends after this many rounds or seconds."""
FEW = 20
"""A run of fewer windows says little about the speed."""


def run(request: CalibrateRequest, progress: Progress) -> CalibrateResult:
    """Measure the model's speed here, unless known, and estimate what the workload takes.

    Raises:
        OrthomaskError: the model cannot be opened, or `Cancelled`.
    """
    bundle = load(request.model)
    device = devices.suited(bundle, request.device)
    progress.report(0, tr("Measuring this computer's speed"))
    return expected(bundle, device, request.workload, calibrate(bundle, device, progress))


def workload(
    source: Source, lattice: Lattice, selection: Selection, bundle: Bundle, device: Device, windows: int = 0
) -> Workload:
    """The workload of a run over the selection, or of `windows` if the source is only a sample."""
    classes = len(bundle.card.classes)
    if windows:
        return Workload(windows, round(memory.square_strip_mb(windows, classes), 1))
    filled = math.ceil(selection.count / device.batch) * device.batch
    return Workload(filled, round(memory.strip_mb(source, lattice, selection, classes), 1))


def known(bundle: Bundle, device: Device) -> Speed | None:
    """The speed measured before, in the precision of a new run."""
    return speeds.known(bundle, device, devices.precision_of(device.torch))


def expected(bundle: Bundle, device: Device, work: Workload, speed: Speed | None) -> CalibrateResult:
    """Seconds and memory as far as they are known, with a light if memory will not suffice."""
    if speed is None:
        return CalibrateResult()
    seconds = seconds_of(work, speed)
    if speed.activations_mb is None or device.torch.type == "mps":
        return CalibrateResult(_rounded(seconds))
    if device.torch.type == "cuda":
        light = _gpu_light(bundle, device, speed.activations_mb)
        return CalibrateResult(_rounded(seconds), None, light)
    precision = devices.precision_of(device.torch)
    needed = memory.network_mb(bundle, device, precision, speed.activations_mb) + work.strip_mb
    return CalibrateResult(_rounded(seconds), _rounded(needed), _light(needed, memory.free_mb()))


def seconds_of(work: Workload, speed: Speed) -> float:
    """The seconds that a run takes at a speed."""
    return START_SECONDS + work.windows * speed.seconds * (1 if speed.of_runs else REST)


def learn(bundle: Bundle, predictor: Predictor, windows: int, seconds: float) -> None:
    """Store how long a finished run took for its windows, averaged with earlier runs."""
    if windows < FEW or seconds <= START_SECONDS:
        return
    before = speeds.known(bundle, predictor.device, predictor.precision) or Speed(0)
    new = (seconds - START_SECONDS) / windows
    mean = (before.seconds + new) / 2 if before.of_runs else new
    speed = replace(before, seconds=mean, of_runs=True)
    speeds.keep(bundle, predictor.device, predictor.precision, speed)


def calibrate(bundle: Bundle, device: Device, progress: Progress) -> Speed | None:
    """Time a few windows and measure their memory, as far as not known yet, and store both.

    Returns:
        None if not even one window fits into memory.
    """
    speed = known(bundle, device)
    if speed is not None and speed.activations_mb is not None:
        return speed
    predictor, bands = devices.prepare(bundle, device), len(bundle.card.bands)
    try:
        activations_mb = round(memory.activations_mb(predictor, bands), 1)
        side_px, _ = bundle.windows_px(WINDOW_PX, 0)
        speed = speed or Speed(_seconds(predictor, bands, side_px, progress))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
    speed = replace(speed, activations_mb=activations_mb)
    speeds.keep(bundle, device, predictor.precision, speed)
    return speed


def _rounded(number: float) -> float:
    """Two digits: more would promise too much."""
    return float(f"{number:.2g}")


def _seconds(predictor: Predictor, bands: int, side_px: int, progress: Progress) -> float:
    """Seconds for one window, in the fastest of a few rounds: other programs use the CPU now and then."""
    device, rounds = predictor.device, []
    window = np.zeros((bands, side_px, side_px), np.float32), np.ones((side_px, side_px), bool)
    with device.shared() as lanes:
        batches, count = Batches(predictor, device.batch, lanes, device.torch), device.batch * lanes
        for number in range(1 + ROUNDS):  # the first one only warms up
            progress.report(0.1 + 0.8 * number / (1 + ROUNDS))
            start = time.perf_counter()
            _ = [
                probabilities.cpu()
                for probabilities, _ in batches(repeat(window, count), progress)
                if probabilities is not None
            ]
            rounds.append(time.perf_counter() - start)
            if number and sum(rounds[1:]) > ENOUGH_SECONDS:
                break
    return min(rounds[1:]) / count


def _light(needed_mb: float, free_mb: float | None) -> Light | None:
    if free_mb is None or needed_mb <= free_mb:
        return None
    reason = tr(
        "The run needs about {:.1f} GB of memory, but only {:.1f} GB are free: it may become very slow, or fail."
    )
    remedy = tr("Close other programs, or draw a narrower region.")
    return Light("memory", Level.AMBER, f"{reason.format(needed_mb / 1000, free_mb / 1000)} {remedy}")


def _gpu_light(bundle: Bundle, device: Device, activations_mb: float) -> Light | None:
    """A warning if other programs leave too little GPU memory for even the weights and one window."""
    free_mb = (torch.cuda.mem_get_info(device.torch)[0] + torch.cuda.memory_reserved(device.torch)) / 1e6
    needed_mb = bundle.path.stat().st_size / 1e6 + activations_mb
    if needed_mb <= free_mb:
        return None
    reason = tr(
        "Other programs are using the GPU's memory: only {:.1f} GB are free, and at least {:.1f} GB are needed."
    )
    remedy = tr("Close them, or choose the CPU in the settings.")
    return Light("memory", Level.AMBER, f"{reason.format(free_mb / 1000, needed_mb / 1000)} {remedy}")
