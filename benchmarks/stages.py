"""Where the time of a prediction goes besides the network: CPU time of each stage.

Usage: python benchmarks/stages.py [--size 4096] [--rounds 3]

A first run of the embedded model keeps its network's answers; the timed runs replay them, at once. A stage counts
with the CPU time of the threads that work on it. Medians are shown.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from growth import write_raster

from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.images import raster
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.engine.shapes import polygons
from orthomask.protocol import Image, PredictRequest

MODEL, THRESHOLD = "buildings", 0.5
STAGES: dict[str, tuple[list[tuple[Any, str]], Callable[[], float]]] = {
    "read": ([(raster.Reader, "read")], time.thread_time),
    "normalise": ([(bundle.Bundle, "normalise")], time.thread_time),
    "blend": ([(predict._Canvas, "add"), (predict._Canvas, "finish")], time.thread_time),
    "pack strips": ([(runs.RunFolder, "write")], time.thread_time),
    "join rasters": ([(runs.RunFolder, "write_rasters")], time.process_time),
    "polygons": ([(polygons, "write")], time.process_time),
    "all": ([(predict, "run")], time.process_time),
}
"""What a stage consists of, and the clock for it: nothing else runs during the last ones."""


def watch(spent: dict[str, float]) -> None:
    """Make each stage add its CPU time to `spent`."""

    def watched(work: Callable[..., Any], name: str, clock: Callable[[], float]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = clock()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] += clock() - start

        return run

    for name, (parts, clock) in STAGES.items():
        for owner, attribute in parts:
            setattr(owner, attribute, watched(getattr(owner, attribute), name, clock))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    devices.keep_pages()
    answers: list[torch.Tensor] = []
    ask = devices.Predictor.__call__

    def keeping(predictor: devices.Predictor, windows: torch.Tensor) -> torch.Tensor:
        answers.append(ask(predictor, windows))
        return answers[-1]

    spent: dict[str, float] = defaultdict(float)
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.tif"
        write_raster(image, arguments.size)
        devices.Predictor.__call__ = keeping  # type: ignore[method-assign]
        for number in range(1 + arguments.rounds):
            request = PredictRequest(Image(str(image)), MODEL, str(Path(folder) / str(number)), threshold=THRESHOLD)
            spent.clear()
            predict.run(request, Progress())
            rounds.append(dict(spent))
            if number == 0:
                watch(spent)
                kept = itertools.cycle(answers)
                devices.Predictor.__call__ = lambda *_, kept=kept: next(kept)  # type: ignore[method-assign,misc]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.size} x {arguments.size}")
    for name in STAGES:
        print(f"{name:>14} {statistics.median(found[name] for found in rounds[1:]):>7.2f} s")


if __name__ == "__main__":
    main()
