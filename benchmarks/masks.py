"""Time and memory of a mask of 200,000 polygons on 60,000 x 60,000 pixels, beside GDAL's own rasteriser.

    .venv/engine/bin/python benchmarks/masks.py [--size 60000] [--polygons 200000]

Each runs in a process of its own; memory is the most that was resident.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine

CRS = "EPSG:32645"
GRID = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)
OURS = """
import sys
from orthomask.engine.progress import Progress
from orthomask.protocol import Image, Labels, MaskRequest
from orthomask.training.masks import run
run(MaskRequest(Image(sys.argv[1]), (Labels(sys.argv[2]),), sys.argv[3]), Progress())
"""
RASTERIO = """
import sys
import pyogrio.raw, rasterio, shapely
from rasterio.features import rasterize
with rasterio.open(sys.argv[1]) as image:
    profile, shape = image.profile, image.shape
geometries = shapely.from_wkb(pyogrio.raw.read(sys.argv[2])[2])
mask = rasterize(geometries, shape, transform=profile["transform"], dtype="uint8")
profile.update(tiled=True, blockxsize=512, blockysize=512, compress="deflate")
with rasterio.open(sys.argv[3], "w", **profile) as dataset:
    dataset.write(mask, 1)
"""


def write_inputs(folder: Path, size_px: int, polygons: int) -> tuple[Path, Path]:
    """An image without any pixel written, and rectangles turned at random."""
    image, labels = folder / "image.tif", folder / "labels.gpkg"
    profile = {"driver": "GTiff", "width": size_px, "height": size_px, "count": 1, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(image, "w", **profile, crs=CRS, transform=GRID, tiled=True):
        pass
    random = np.random.default_rng(1)
    middles, angles = random.uniform(0, size_px, (polygons, 2)), random.uniform(0, np.pi, polygons)
    sides = random.uniform(20, 60, (polygons, 2))
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    local = corners * sides[:, None]
    turn = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    pixels = np.einsum("ijn,nkj->nki", turn, local) + middles[:, None]
    ground = pixels * (GRID.a, GRID.e) + (GRID.c, GRID.f)
    wkb = shapely.to_wkb(shapely.polygons(ground))
    options = {"layer": "labels", "driver": "GPKG", "geometry_type": "Polygon", "crs": CRS}
    pyogrio.raw.write(labels, wkb, [], [], **options)
    return image, labels


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds, and the most memory in GiB, of a program."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.monotonic() - started, usage.ru_maxrss / 2**20


def main() -> None:
    """Print a line for each way to burn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=60_000)
    parser.add_argument("--polygons", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, labels = write_inputs(folder, options.size, options.polygons)
        files = [str(image), str(labels)]
        ways = {
            "orthomask mask": [sys.executable, "-c", OURS, *files, str(folder / "ours.tif")],
            "rasterio.features.rasterize": [sys.executable, "-c", RASTERIO, *files, str(folder / "rasterio.tif")],
        }
        if shutil.which("gdal_rasterize"):
            size = [
                "-ts",
                str(options.size),
                str(options.size),
                "-ot",
                "Byte",
                "-co",
                "TILED=YES",
                "-co",
                "COMPRESS=DEFLATE",
            ]
            extent = [500_000, 3_000_000 - 0.3 * options.size, 500_000 + 0.3 * options.size, 3_000_000]
            place = ["-te", *map(str, extent), "-burn", "1", "-q"]
            ways["gdal_rasterize"] = ["gdal_rasterize", *size, *place, str(labels), str(folder / "gdal.tif")]
        first: tuple[float, float] | None = None
        print(f"{options.polygons:,} polygons on {options.size:,} x {options.size:,} px")
        for way, command in ways.items():
            seconds, memory = measure(command)
            first = first or (seconds, memory)
            ratios = f"{seconds / first[0]:.2f} x the time, {memory / first[1]:.2f} x the memory"
            print(f"{way:28} {seconds:7.1f} s {memory:6.2f} GiB   {ratios}", flush=True)


if __name__ == "__main__":
    main()
