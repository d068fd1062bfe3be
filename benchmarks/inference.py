"""What makes inference on a CPU fast: precision, sharing the cores, the allocator, and how threads wait.

Usage: python benchmarks/inference.py [--rounds 3]

Every row is a separate process, the rows take turns, and medians are shown: read the ratios.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_PX = 512
MEASURE = f"""
import sys, time, torch
from contextlib import nullcontext
from multiprocessing.pool import ThreadPool
from orthomask.engine.compute import devices
from orthomask.engine.models import bundle
precision, together, keep = sys.argv[1], sys.argv[2] == "together", sys.argv[3] == "kept"
if keep:
    devices.keep_pages()
predictor = devices.prepare(bundle.load("buildings"), devices.choose("cpu"), precision)
windows = [torch.rand(1, 3, {WINDOW_PX}, {WINDOW_PX})] * 8
with nullcontext(1) if together else predictor.device.shared() as lanes, ThreadPool(lanes) as pool:
    pool.map(predictor, windows)
    start = time.perf_counter()
    pool.map(predictor, windows * 3)
    print(24 * {WINDOW_PX} ** 2 / 1e6 / (time.perf_counter() - start))
"""
TOGETHER, APART = "together", "apart"
"""All cores on one window, or one window per core."""

BUSY = """
import torch
layer, image = torch.nn.Conv2d(32, 32, 3), torch.randn(4, 32, 256, 256)
print("started", flush=True)
while True:
    layer(image).sum().backward()
"""


def megapixels_per_second(precision: str, cores: str, pages: str, **environment: str) -> float:
    """Megapixels a second through the embedded model, in a fresh process."""
    command = [sys.executable, "-c", MEASURE, precision, cores, pages]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def busy() -> Iterator[None]:
    """Keep all cores busy with another program that trains a network."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.read(1)
    yield
    process.kill()
    process.wait()


def network(rounds: int) -> None:
    """Table 1: precision, cores and allocator."""
    rows = list(itertools.product(("fp32", "bf16"), (TOGETHER, APART), ("default", "kept")))
    speeds: dict[tuple[str, str, str], list[float]] = {row: [] for row in rows}
    for _, row in itertools.product(range(rounds), rows):
        speeds[row].append(megapixels_per_second(*row))
    first = statistics.median(speeds[rows[0]])
    print(f"{'precision':>10} {'cores':>9} {'pages':>8} {'MP/s':>6} {'ratio':>6}")
    for row in rows:
        speed = statistics.median(speeds[row])
        print(f"{row[0]:>10} {row[1]:>9} {row[2]:>8} {speed:>6.2f} {speed / first:>6.2f}")


def waiting(rounds: int) -> None:
    """Table 2: threads that spin while they wait, and threads that sleep, on an idle and on a busy computer."""
    rows = [(TOGETHER, "ACTIVE"), (TOGETHER, "PASSIVE"), (APART, "PASSIVE")]
    speeds: dict[tuple[str, str, str], list[float]] = {}
    for _, (cores, policy) in itertools.product(range(rounds), rows):
        speed = megapixels_per_second("bf16", cores, "kept", OMP_WAIT_POLICY=policy)
        speeds.setdefault((cores, policy, "idle"), []).append(speed)
        with busy():
            speed = megapixels_per_second("bf16", cores, "kept", OMP_WAIT_POLICY=policy)
            speeds.setdefault((cores, policy, "busy"), []).append(speed)
    print(f"{'cores':>9} {'waiting':>9} {'idle':>6} {'busy':>6}")
    for cores, policy in rows:
        idle, loaded = (statistics.median(speeds[cores, policy, computer]) for computer in ("idle", "busy"))
        print(f"{cores:>9} {policy.lower():>9} {idle:>6.2f} {loaded:>6.2f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    network(rounds)
    waiting(rounds)


if __name__ == "__main__":
    main()
