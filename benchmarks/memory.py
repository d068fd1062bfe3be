"""Peak memory of `orthomask predict` as the raster grows: 8,000 and 24,000 pixels square, each in its own process.

Usage: python benchmarks/memory.py [--model buildings] [--sizes 8000 24000]

The rasters repeat the bundled sample. Prints a table; exits with 1 where the largest raster's peak is more than 15%
above the smallest's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = 1.15
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


def run(image: Path, model: str, out: Path) -> tuple[float, float, dict[str, object]]:
    """Seconds, peak resident memory in MB and the result of one `orthomask predict`."""
    command = [sys.executable, "-c", "from orthomask.cli import main; main()", "predict", str(image), "--model", model,
               "--out", str(out), "--json"]  # fmt: skip
    start = time.perf_counter()
    with open(out.with_suffix(".json"), "wb") as log:
        process = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), 1)])
        _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"orthomask predict failed on {image.name}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, json.loads(out.with_suffix(".json").read_text())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="buildings")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8000, 24000])
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"{'raster':>15} {'seconds':>9} {'peak MB':>9} {'ratio':>6} {'polygons':>9}")
    peaks = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / f"{size}.tif"
            write_raster(image, size)
            seconds, peak, result = run(image, arguments.model, Path(folder) / "out")
        peaks.append(peak)
        print(
            f"{size:>7} x {size:<5} {seconds:>9.1f} {peak:>9.0f} {peak / peaks[0]:>6.2f} {result['polygon_count']:>9}"
        )
    if peaks[-1] > ALLOWED * peaks[0]:
        sys.exit(f"peak memory grows by more than {ALLOWED - 1:.0%}")


if __name__ == "__main__":
    main()
