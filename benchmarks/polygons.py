"""Polygons of a county: time and peak memory, against GDAL's polygonizer and rasterio's.

Usage: python benchmarks/polygons.py [--sizes 8192:50000 24000:400000] [--rounds 3] [--gdal PYTHON] [--json FILE]

The rasters hold ragged rotated rectangles. GDAL polygonizes a class raster with itself as mask, into a GeoPackage, in a
Python that has its bindings; rasterio's shapes become shapely polygons with areas, in memory, with or without their
simplification. Ours come from a probability raster, with class, confidence, area and length, in a GeoPackage: with the
pixels' outlines, squared, and simplified with common borders. Each measurement is a separate process; the rows take
turns, and medians are shown. Base is the memory of that process after its imports, before it begins.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rasterio.windows import Window
from scipy import ndimage

from orthomask.engine.progress import Progress
from orthomask.engine.shapes import polygons
from orthomask.protocol import ClassInfo, Outline, PolygonOptions, to_json

GSD_M = 0.3
TILE_CELLS = 32
"""Buildings along a side of the tile that the raster repeats."""
GDAL = """
import json, sys, time
from osgeo import gdal, ogr, osr
gdal.UseExceptions()
def peak_mb(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
base = peak_mb()
start = time.perf_counter()
source = gdal.Open(sys.argv[1])
band = source.GetRasterBand(1)
target = ogr.GetDriverByName("GPKG").CreateDataSource(sys.argv[2])
layer = target.CreateLayer("polygons", osr.SpatialReference(wkt=source.GetProjection()), ogr.wkbPolygon)
layer.CreateField(ogr.FieldDefn("class", ogr.OFTInteger))
gdal.Polygonize(band, band, layer, 0, [])
count = layer.GetFeatureCount()
del layer, target
print(json.dumps({"seconds": time.perf_counter() - start, "base_mb": base, "peak_mb": peak_mb(), "count": count}))
"""


def buildings(cell: int) -> np.ndarray:
    """A square tile of uint8 probabilities, a building in each cell of `cell` pixels."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:cell, 0:cell] - (cell - 1) / 2
    tile = np.zeros((TILE_CELLS * cell, TILE_CELLS * cell), np.uint8)
    for place in np.ndindex(TILE_CELLS, TILE_CELLS):
        turn, (width, height) = rng.uniform(0, np.pi), rng.uniform(0.22, 0.38, 2) * cell / 2
        along = columns * np.cos(turn) + rows * np.sin(turn)
        across = rows * np.cos(turn) - columns * np.sin(turn)
        inside = np.minimum(width - np.abs(along), height - np.abs(across))
        ragged = inside + ndimage.gaussian_filter(rng.normal(0, 3, (cell, cell)), 1.5)
        top, left = (index * cell for index in place)
        tile[top : top + cell, left : left + cell] = np.round(254 / (1 + np.exp(-ragged)))
    return tile


def write_rasters(folder: Path, size: int, count: int) -> None:
    """`probabilities.tif` as a run leaves it, and `classes.tif` for the others."""
    tile = buildings(int(size / count**0.5))
    row = np.tile(tile, (1, -(-size // len(tile))))[:, :size]
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8", "crs": "EPSG:32645",
        "transform": Affine(GSD_M, 0, 330_000, 0, -GSD_M, 3_060_000), "compress": "deflate", "zlevel": 1,
        "tiled": True, "blockxsize": 512, "blockysize": 512,
    }  # fmt: skip
    with (
        rasterio.open(folder / "probabilities.tif", "w", **profile, nodata=255) as probabilities,
        rasterio.open(folder / "classes.tif", "w", **profile) as classes,
    ):
        for top in range(0, size, len(tile)):
            part = row[None, : size - top]
            window = Window(0, top, size, part.shape[1])
            probabilities.write(part, window=window)
            classes.write((part >= 127).astype(np.uint8), window=window)


def ours(folder: Path, outline: Outline) -> int:
    """Polygons of the probability raster to a GeoPackage; their number."""
    info = ClassInfo(1, "building", "#ff0000", outline)
    with rasterio.open(folder / "probabilities.tif", "r+") as dataset:
        dataset.update_tags(ORTHOMASK=json.dumps({"run_id": "0" * 12, "classes": [to_json(info)]}))
    provenance = {"threshold": 0.5, "source": {"path": ""}}
    options, target = PolygonOptions(min_area_m2=0, min_hole_m2=0), folder / "ours.gpkg"
    return polygons.write(folder / "probabilities.tif", 0.5, options, provenance, target, Progress()).polygons


def rasterio_shapes(folder: Path, tolerance: float = 0) -> int:
    """Count the polygons of the class raster, all in memory.

    Args:
        tolerance: of their simplification, in metres; none if 0.
    """
    with rasterio.open(folder / "classes.tif") as dataset:
        classes = dataset.read(1)
        shapes = rasterio.features.shapes(classes, classes > 0, 4, dataset.transform)
        found = np.array([shapely.geometry.shape(geometry) for geometry, _ in shapes], object)
    shapely.area(shapely.simplify(found, tolerance) if tolerance else found)
    return len(found)


CONTENDERS: dict[str, Callable[[Path], int]] = {
    "orthomask, pixels' outlines": partial(ours, outline=Outline.PIXELS),
    "orthomask, squared": partial(ours, outline=Outline.SQUARED),
    "orthomask, simplified": partial(ours, outline=Outline.SHARED),
    "rasterio and shapely": rasterio_shapes,
    "the same, simplified": partial(rasterio_shapes, tolerance=GSD_M),
}


def peak_mb() -> float:
    """Peak memory of this process; what the kernel reports at its exit includes the parent's earlier one."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def measured(name: str, folder: Path, gdal_python: str) -> dict[str, float]:
    """One measurement in a separate process."""
    command = [sys.executable, __file__, "--contender", name, str(folder)]
    if name == "GDAL":
        target = folder / "gdal.gpkg"
        target.unlink(missing_ok=True)
        command = [gdal_python, "-c", GDAL, str(folder / "classes.tif"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(folder: Path, rounds: int, gdal_python: str) -> dict[str, dict[str, float]]:
    """Medians of all, which take turns."""
    names = ("GDAL", *CONTENDERS)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(measured(name, folder, gdal_python))
    return {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}


def main() -> None:
    """Print a table for each size, or measure one contender for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["8192:50000", "24000:400000"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gdal", default="/usr/bin/python3", help="a Python that has GDAL's bindings")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        base, start = peak_mb(), time.perf_counter()
        count = CONTENDERS[arguments.contender[0]](Path(arguments.contender[1]))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "base_mb": base, "peak_mb": peak_mb(), "count": count}))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    tables = {}
    for size, count in (map(int, text.split(":")) for text in arguments.sizes):
        with tempfile.TemporaryDirectory() as folder:
            write_rasters(Path(folder), size, count)
            table = tables[f"{size}:{count}"] = compare(Path(folder), arguments.rounds, arguments.gdal)
        print(f"\n{size} x {size}\n{'':>28} {'seconds':>8} {'ratio':>6} {'base MB':>8} {'peak MB':>8} {'polygons':>9}")
        for name, row in table.items():
            ratio = table["GDAL"]["seconds"] / row["seconds"]
            memory = f"{row['base_mb']:>8.0f} {row['peak_mb']:>8.0f}"
            print(f"{name:>28} {row['seconds']:>8.1f} {ratio:>6.2f} {memory} {row['count']:>9.0f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
