"""Changes of a county: time and peak memory with synthetic houses, a fifth of which changed.

Usage: python benchmarks/changes.py [--count 400000] [--no-register]

Two layers of rotated rectangles with noisy corners, the later one shifted by 1.4 m, are compared as `orthomask changes`
does, in this process. Base is its memory before it begins.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely

from orthomask.engine.change import changes
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import ChangesRequest, Survey

PLOT_M, NOISE_M = 30.0, 0.2
SHARES = {"new": 0.05, "removed": 0.05, "grown": 0.05, "split": 0.05}
ORIGIN, SHIFT = np.array([400_000.0, 3_060_000.0]), np.array([1.2, -0.8])


def houses(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outlines before and after."""
    random = np.random.default_rng(seed)
    across = int(np.ceil(count**0.5))
    numbers = np.arange(count)
    centres = ORIGIN + (np.stack([numbers % across, numbers // across], axis=1) + 0.5) * PLOT_M
    sizes, angles = random.uniform(7, 14, (count, 2)), random.uniform(0, np.pi, count)
    edges = np.cumsum([0, *SHARES.values()])
    kind = np.searchsorted(edges, random.random(count), side="right") - 1
    before = rectangles(centres, sizes, angles, random)
    later = np.where((kind == 2)[:, None], sizes + np.array([5.0, 0.0]), sizes)
    after = rectangles(centres + SHIFT, later, angles, random)
    split = kind == 3
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)[split] * (sizes[split, :1] / 4 + 1.5)
    halves = [
        rectangles(centres[split] + SHIFT + side * along, sizes[split] * [0.5, 1], angles[split], random)
        for side in (-1, 1)
    ]
    return before[kind != 0], np.concatenate([after[(kind != 1) & ~split], *halves])


def rectangles(centres: np.ndarray, sizes: np.ndarray, angles: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rotated rectangles whose corners are a little off."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * sizes[:, None]
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x = corners[..., 0] * cosine - corners[..., 1] * sine
    y = corners[..., 0] * sine + corners[..., 1] * cosine
    places = np.stack([x, y], axis=-1) + centres[:, None]
    return np.asarray(shapely.polygons(places + random.normal(0, NOISE_M, places.shape)))


def peak_mb() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Stages(Progress):
    """Prints when each stage begins."""

    def __init__(self) -> None:
        self._began, self._last = time.perf_counter(), ""

    def show(self, fraction: float, message: str) -> None:  # noqa: ARG002
        if message and message != self._last:
            print(f"{time.perf_counter() - self._began:7.1f} s {peak_mb():8.0f} MB  {message}", flush=True)
            self._last = message


def main() -> None:
    """Print time, memory and what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=400_000)
    parser.add_argument("--no-register", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        surveys = []
        for date, outlines in zip(("2015", "2024"), houses(asked.count, 1)):
            path = folder / f"{date}.gpkg"
            columns = {"n": np.arange(len(outlines))}
            write_layer(path, "houses", columns, shapely.to_wkb(outlines), "Polygon", "EPSG:32645")
            surveys.append(Survey(str(path), date=date))
        base, began, used = peak_mb(), time.perf_counter(), time.process_time()
        request = ChangesRequest(tuple(surveys), str(folder / "out"), not asked.no_register)
        result = changes.run(request, Stages())
        cpu_s, seconds = time.process_time() - used, time.perf_counter() - began
        print(f"{seconds:.1f} s ({cpu_s:.1f} s of CPU), peak {peak_mb():.0f} MB (base {base:.0f} MB)")
        print(result.registrations)
        for tally in result.tallies:
            print(f"{tally.count:>9,} {tally.kind.value}")


if __name__ == "__main__":
    main()
