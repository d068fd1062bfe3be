"""What makes inference on a processor fast: precision, batch, allocator, and how threads wait on a busy computer.

Usage: python benchmarks/inference.py [--rounds 3]

Every row is a process of its own, the rows take turns, and medians are shown: read the ratios.
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
from orthomask.engine import bundle, devices
precision, batch, keep = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "kept"
if keep:
    devices.keep_pages()
predictor = devices.prepare(bundle.load("buildings"), devices.choose("cpu"), precision)
windows = torch.rand(batch, 3, {WINDOW_PX}, {WINDOW_PX})
predictor(windows)
start = time.perf_counter()
for _ in range(8 // batch):
    predictor(windows)
print(8 * {WINDOW_PX} ** 2 / 1e6 / (time.perf_counter() - start))
"""

BUSY = """
import torch
layer, image = torch.nn.Conv2d(32, 32, 3), torch.randn(4, 32, 256, 256)
print("started", flush=True)
while True:
    layer(image).sum().backward()
"""


def megapixels_per_second(precision: str, batch: int, pages: str, **environment: str) -> float:
    """Megapixels a second through the embedded model, in a fresh process."""
    command = [sys.executable, "-c", MEASURE, precision, str(batch), pages]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def busy() -> Iterator[None]:
    """Keep all cores occupied, by another program that trains a network."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.read(1)
    yield
    process.kill()
    process.wait()


def network(rounds: int) -> None:
    """Table 1: precision, batch and allocator."""
    rows = list(itertools.product(("fp32", "bf16"), (1, 4), ("default", "kept")))
    speeds: dict[tuple[str, int, str], list[float]] = {row: [] for row in rows}
    for _, row in itertools.product(range(rounds), rows):
        speeds[row].append(megapixels_per_second(*row))
    first = statistics.median(speeds[rows[0]])
    print(f"{'precision':>10} {'batch':>6} {'pages':>8} {'MP/s':>6} {'ratio':>6}")
    for row in rows:
        speed = statistics.median(speeds[row])
        print(f"{row[0]:>10} {row[1]:>6} {row[2]:>8} {speed:>6.2f} {speed / first:>6.2f}")


def waiting(rounds: int) -> None:
    """Table 2: threads that spin while they wait, and threads that sleep, on an idle and on a busy computer."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for _, policy in itertools.product(range(rounds), ("ACTIVE", "PASSIVE")):
        speed = megapixels_per_second("bf16", 1, "kept", OMP_WAIT_POLICY=policy)
        speeds.setdefault(("idle", policy), []).append(speed)
        with busy():
            speed = megapixels_per_second("bf16", 1, "kept", OMP_WAIT_POLICY=policy)
            speeds.setdefault(("busy", policy), []).append(speed)
    print(f"{'computer':>10} {'spinning':>9} {'sleeping':>9} {'ratio':>6}")
    for computer in ("idle", "busy"):
        spinning, sleeping = (statistics.median(speeds[computer, policy]) for policy in ("ACTIVE", "PASSIVE"))
        print(f"{computer:>10} {spinning:>9.2f} {sleeping:>9.2f} {sleeping / spinning:>6.2f}")


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
