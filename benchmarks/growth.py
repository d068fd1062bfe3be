"""Time and peak memory of a whole `orthomask predict` as the raster grows: 1, 4 and 16 times the pixels.

Usage: python benchmarks/growth.py [--model buildings] [--sizes 4096 8192 16384] [--rounds 1] [--json FILE]

The rasters repeat the bundled sample; polygons are included. Each run is a separate process; the sizes take turns, and
medians are shown, with their ratios to the first size. Exits with 1 if the last size takes more than 17/16 of the
first one's time per pixel, or if its peak memory is more than 25% above the first's: what grows is one strip of
windows, as wide as the raster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

ROOT = Path(__file__).resolve().parent.parent
LONGER, LARGER = 17 / 16, 1.25
"""How much more than the first size the last one may take: time per pixel, and memory, for wider strips."""
TILE = 512


def write_raster(path: Path, size: int) -> None:
    """A tiled, compressed RGB GeoTIFF at 0.3 m that repeats the sample, a strip at a time."""
    with rasterio.open(ROOT / "resources/sample/banepa.tif") as sample:
        piece = sample.read(out_shape=(3, 1024, 1024))
    strip = np.tile(piece, (1, 1, -(-size // 1024)))[:, :, :size]
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32645",
        "transform": Affine(0.3, 0, 330_000, 0, -0.3, 3_060_000), "tiled": True, "blockxsize": TILE,
        "blockysize": TILE, "compress": "deflate", "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, size, 1024):
            height = min(1024, size - top)
            dataset.write(strip[:, :height], window=Window(0, top, size, height))


def measured(image: Path, model: str, out: Path) -> dict[str, float]:
    """Seconds, peak resident memory in MB and number of polygons of one `orthomask predict`."""
    command = [sys.executable, "-c", "from orthomask.cli import main; main()", "predict", str(image), "--model", model,
               "--out", str(out), "--json"]  # fmt: skip
    start = time.perf_counter()
    with open(out.with_suffix(".json"), "wb") as log:
        process = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), 1)])
        _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"orthomask predict failed on {image.name}")
    found = json.loads(out.with_suffix(".json").read_text())["polygon_count"]
    return {"seconds": seconds, "peak_mb": usage.ru_maxrss / 1024, "polygons": found}


def compare(sizes: list[int], model: str, rounds: int) -> dict[int, dict[str, float]]:
    """Medians of all sizes, which take turns, and the ratios of time and memory to the first."""
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for size in sizes:
                image = Path(folder) / f"{size}.tif"
                if turn == 0:
                    write_raster(image, size)
                runs[size].append(measured(image, model, Path(folder) / f"out-{size}-{turn}"))
    table = {
        size: {key: statistics.median(run[key] for run in found) for key in found[0]} for size, found in runs.items()
    }
    first = table[sizes[0]]
    for size, row in table.items():
        row["pixels_ratio"] = (size / sizes[0]) ** 2
        row["time_ratio"] = row["seconds"] / first["seconds"]
        row["memory_ratio"] = row["peak_mb"] / first["peak_mb"]
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="buildings")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    table = compare(arguments.sizes, arguments.model, arguments.rounds)
    print(f"{'raster':>15} {'pixels':>7} {'seconds':>9} {'ratio':>6} {'peak MB':>9} {'ratio':>6} {'polygons':>9}")
    for size, row in table.items():
        print(
            f"{size:>7} x {size:<5} {row['pixels_ratio']:>7.1f} {row['seconds']:>9.1f} {row['time_ratio']:>6.2f} "
            f"{row['peak_mb']:>9.0f} {row['memory_ratio']:>6.2f} {row['polygons']:>9.0f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))
    last = table[arguments.sizes[-1]]
    if last["time_ratio"] > LONGER * last["pixels_ratio"]:
        sys.exit(f"a pixel takes more than {LONGER - 1:.0%} longer")
    if last["memory_ratio"] > LARGER:
        sys.exit(f"peak memory grows by more than {LARGER - 1:.0%}")


if __name__ == "__main__":
    main()
