"""What this CPU can do at most, and how much of that the embedded model's network uses.

Usage: python benchmarks/ceilings.py [--rounds 5]

Ceilings: a large matrix product and a convolution of many channels in each precision, and a copy through memory. Then
the counted operations of windows, one per core, and their time. All of them take turns; medians are shown.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.pool import ThreadPool

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from orthomask.engine.compute import devices, onednn
from orthomask.engine.models import bundle

WINDOW_PX = 512
SIDE = 2048
CHANNELS, PIXELS = 128, 128
COPIED_BYTES = 256 << 20
EACH = 4
"""Windows that each core predicts."""


def seconds(work: Callable[[], object]) -> float:
    """Time of one call, after a warm-up."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def window_gflop() -> float:
    """Operations of the network for a window, 10⁹: a multiplication and an addition are two."""
    network = bundle.load("buildings").model().eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, WINDOW_PX, WINDOW_PX))
    return counter.get_total_flops() / 1e9


def workloads() -> dict[str, tuple[float, Callable[[], object]]]:
    """By name: 10⁹ operations or bytes, and the function for them."""
    image = torch.rand(1, 3, WINDOW_PX, WINDOW_PX)
    found: dict[str, tuple[float, Callable[[], object]]] = {}
    gflop, lanes = window_gflop(), devices.choose("cpu").lanes
    pool = ThreadPool(lanes, torch.set_num_threads, (1,))
    for precision, dtype in devices.PRECISIONS.items():
        matrix = torch.rand(SIDE, SIDE, dtype=dtype)
        found[f"{precision} matrix product"] = (2 * SIDE**3 / 1e9, lambda m=matrix: m @ m)
        features = torch.rand(1, CHANNELS, PIXELS, PIXELS, dtype=dtype).contiguous(memory_format=torch.channels_last)
        layer = onednn.merged(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)).requires_grad_(False), dtype)
        found[f"{precision} convolution"] = (2 * 9 * CHANNELS**2 * PIXELS**2 / 1e9, lambda f=features, n=layer: n(f))
        predictor = devices.prepare(bundle.load("buildings"), devices.choose("cpu"), precision)
        windows = [image] * EACH * lanes
        found[f"{precision} network"] = (gflop * len(windows), lambda p=predictor, w=windows: pool.map(p, w))
    source, target = (torch.empty(COPIED_BYTES, dtype=torch.uint8).fill_(value) for value in (1, 2))
    found["copy"] = (2 * COPIED_BYTES / 1e9, lambda: target.copy_(source))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    devices.keep_pages()
    work = workloads()
    times: dict[str, list[float]] = {name: [] for name in work}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, (_, function) in work.items():
                times[name].append(seconds(function))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, window {WINDOW_PX} px")
    print(f"{'':>20} {'10⁹':>8} {'ms':>8} {'10⁹/s':>8} {'share':>6}")
    speed = {name: amount / statistics.median(times[name]) for name, (amount, _) in work.items()}
    for name, (amount, _) in work.items():
        precision = name.split()[0]
        ceiling = max((speed[other] for other in work if other.startswith(precision)), default=speed[name])
        milliseconds = 1000 * statistics.median(times[name])
        print(f"{name:>20} {amount:>8.2f} {milliseconds:>8.1f} {speed[name]:>8.0f} {speed[name] / ceiling:>6.2f}")


if __name__ == "__main__":
    main()
