"""Masks of a county, and chips with masks, compared to GDAL's and rasterio's rasterisers and geoai's chip export.

Usage: python benchmarks/masks.py [--size 60000] [--polygons 200000] [--chips 10000] [--rounds 3] [--gdal PYTHON]
       [--json FILE]

The labels are randomly rotated rectangles. GDAL burns them into a tiled, compressed GeoTIFF, in a Python that has its
bindings, and then copies it to a Cloud Optimized GeoTIFF with our options: our mask is one, and its visible objects
are counted. Chips of 256 px come from an image that repeats the bundled sample; the plain loop reads a window, burns
what an index of the labels finds there, and writes two GeoTIFFs. geoai is measured if it can be imported. Each
measurement is a separate process; the rows take turns, and medians are shown.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import rasterio.features
import shapely
from affine import Affine
from growth import write_raster
from polygons import peak_mb
from rasterio.windows import Window, transform

from orthomask.engine.compute import devices
from orthomask.engine.progress import Progress
from orthomask.protocol import ChipFormat, ChipsRequest, Image, LabelledImage, Labels, MaskRequest
from orthomask.training.chips import chips
from orthomask.training.truth import masks

CRS = "EPSG:32645"
GRID = Affine(0.3, 0, 330_000, 0, -0.3, 3_060_000)
CHIP_PX = 256
DENSITY = 200_000 / 60_000**2
"""Labels per pixel of the image that chips are cut from, as in the county."""
BURN = """
import json, sys, time
from osgeo import gdal
gdal.UseExceptions()
labels, plain, cog, size = *sys.argv[1:4], int(sys.argv[4])
left, top, pixel = json.loads(sys.argv[5])
start = time.perf_counter()
gdal.Rasterize(
    plain, labels, format="GTiff", outputType=gdal.GDT_Byte, width=size, height=size, burnValues=[1],
    outputBounds=[left, top - pixel * size, left + pixel * size, top],
    creationOptions=["TILED=YES", "COMPRESS=DEFLATE"],
)
if cog:
    options = ["COMPRESS=DEFLATE", "LEVEL=1", "NUM_THREADS=ALL_CPUS", "OVERVIEW_RESAMPLING=MODE"]
    gdal.Translate(cog, plain, format="COG", creationOptions=options)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak}))
"""


def write_labels(path: Path, size_px: int, count: int) -> None:
    """Randomly rotated rectangles of 20 to 60 px on the first `size_px` pixels of the grid."""
    random = np.random.default_rng(1)
    middles, angles = random.uniform(0, size_px, (count, 2)), random.uniform(0, np.pi, count)
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * random.uniform(20, 60, (count, 1, 2))
    turn = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    pixels = np.einsum("ijn,nkj->nki", turn, corners) + middles[:, None]
    outlines = shapely.to_wkb(shapely.polygons(pixels * (GRID.a, GRID.e) + (GRID.c, GRID.f)))
    values = np.ones(count, np.int32)
    pyogrio.raw.write(
        path, outlines, [values], ["class"], layer="labels", driver="GPKG", geometry_type="Polygon", crs=CRS
    )


def write_county(folder: Path, size_px: int, polygons: int) -> None:
    """`image.tif` without stored pixels, and `labels.gpkg`."""
    profile = {"driver": "GTiff", "width": size_px, "height": size_px, "count": 1, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(folder / "image.tif", "w", **profile, crs=CRS, transform=GRID, tiled=True):
        pass
    write_labels(folder / "labels.gpkg", size_px, polygons)


def write_picture(folder: Path, count: int) -> None:
    """`image.tif` to cut `count` chips from, and `labels.gpkg`."""
    size_px = math.isqrt(count) * CHIP_PX
    write_raster(folder / "image.tif", size_px)
    write_labels(folder / "labels.gpkg", size_px, round(DENSITY * size_px**2))


def our_mask(folder: Path, out: Path) -> None:
    """`orthomask mask`."""
    labels = (Labels(str(folder / "labels.gpkg")),)
    masks.run(MaskRequest(Image(str(folder / "image.tif")), labels, str(out / "mask.tif")), Progress())


def rasterio_mask(folder: Path, out: Path) -> None:
    """Burn the whole grid in memory; write a tiled GeoTIFF without overviews."""
    with rasterio.open(folder / "image.tif") as image:
        profile, shape = image.profile, image.shape
    geometries = shapely.from_wkb(pyogrio.raw.read(folder / "labels.gpkg")[2])
    mask = rasterio.features.rasterize(geometries, shape, transform=profile["transform"], dtype="uint8")
    profile.update(tiled=True, blockxsize=512, blockysize=512, compress="deflate")
    with rasterio.open(out / "mask.tif", "w", **profile) as dataset:
        dataset.write(mask, 1)


def our_chips(folder: Path, out: Path, kind: ChipFormat) -> None:
    """`orthomask chips`, the whole image for one split, so that none is left out."""
    data = LabelledImage(Image(str(folder / "image.tif")), (Labels(str(folder / "labels.gpkg")),))
    chips.run(ChipsRequest((data,), str(out / "chips"), format=kind, shares=(1, 0, 0)), Progress())


def loop_chips(folder: Path, out: Path) -> None:
    """Read a window, burn its labels, write both: what a simple exporter does."""
    outlines = shapely.from_wkb(pyogrio.raw.read(folder / "labels.gpkg")[2])
    tree = shapely.STRtree(outlines)
    with rasterio.open(folder / "image.tif") as image:
        profile = {
            "driver": "GTiff", "width": CHIP_PX, "height": CHIP_PX, "crs": image.crs, "dtype": "uint8",
            "compress": "deflate",
        }  # fmt: skip
        for top, left in np.ndindex(image.height // CHIP_PX, image.width // CHIP_PX):
            window = Window(left * CHIP_PX, top * CHIP_PX, CHIP_PX, CHIP_PX)
            place = transform(window, image.transform)
            inside = outlines[tree.query(shapely.box(*image.window_bounds(window)), predicate="intersects")]
            mask = np.zeros((CHIP_PX, CHIP_PX), np.uint8)
            if len(inside):
                rasterio.features.rasterize(inside, out=mask, transform=place)
            for name, pixels in (("image", image.read(window=window)), ("mask", mask[None])):
                with rasterio.open(
                    out / f"{top}_{left}_{name}.tif", "w", **profile, count=len(pixels), transform=place
                ) as chip:
                    chip.write(pixels)


def geoai_chips(folder: Path, out: Path) -> None:
    """geoai-py's exporter, without its default overlap."""
    import geoai

    geoai.export_geotiff_tiles(
        str(folder / "image.tif"), str(out), str(folder / "labels.gpkg"), tile_size=CHIP_PX, stride=CHIP_PX,
        class_value_field="class", quiet=True,
    )  # fmt: skip


Contender = Callable[[Path, Path], None]
GDAL, GDAL_COG = "GDAL rasterize", "GDAL rasterize, then COG"
MASKS: dict[str, Contender] = {
    "orthomask mask (COG)": our_mask,
    "rasterio, in memory": rasterio_mask,
}
CHIPS: dict[str, Contender] = {
    "plain loop, GeoTIFF": loop_chips,
    "orthomask chips, GeoTIFF": lambda folder, out: our_chips(folder, out, ChipFormat.GEOTIFF),
    "orthomask chips, PNG": lambda folder, out: our_chips(folder, out, ChipFormat.PNG),
    "orthomask chips, NPZ": lambda folder, out: our_chips(folder, out, ChipFormat.NPZ),
    "orthomask chips, HDF5": lambda folder, out: our_chips(folder, out, ChipFormat.HDF5),
    "geoai": geoai_chips,
}


def measured(name: str, folder: Path, size_px: int, gdal_python: str) -> dict[str, float]:
    """One measurement in a separate process, into a new folder: seconds, and peak memory in MB."""
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, __file__, "--contender", name, str(folder), str(out)]
    if name in (GDAL, GDAL_COG):
        cog = out / "mask.tif" if name == GDAL_COG else ""
        given = folder / "labels.gpkg", out / "plain.tif", cog, size_px, json.dumps([GRID.c, GRID.f, GRID.a])
        command = [gdal_python, "-c", BURN, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    if name in CHIPS:
        shutil.rmtree(out)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(names: list[str], folder: Path, rounds: int, size_px: int, gdal_python: str) -> dict[str, dict[str, float]]:
    """Medians of all, which take turns, and ratios to the first."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(measured(name, folder, size_px, gdal_python))
    table = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()
    }
    for row in table.values():
        row["ratio"] = table[names[0]]["seconds"] / row["seconds"]
    return table


def differing(one: Path, other: Path) -> int:
    """Pixels that differ between two rasters, a few rows at a time."""
    with rasterio.open(one) as first, rasterio.open(other) as second:
        parts = (Window(0, top, first.width, 512) for top in range(0, first.height, 512))
        return sum(int(np.count_nonzero(first.read(1, window=part) != second.read(1, window=part))) for part in parts)


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    print(f"\n{title}\n{'':>28} {'seconds':>8} {'ratio':>6} {'peak MB':>8}")
    for name, row in table.items():
        print(f"{name:>28} {row['seconds']:>8.1f} {row['ratio']:>6.2f} {row['peak_mb']:>8.0f}", flush=True)


def chip_contenders() -> list[str]:
    """All, without geoai if it cannot be imported, which is then printed."""
    try:
        importlib.import_module("geoai")
    except (ImportError, RuntimeError) as error:
        print(f"geoai: not measured, it cannot be imported here ({str(error).splitlines()[0]})")
        return [name for name in CHIPS if name != "geoai"]
    return list(CHIPS)


def main() -> None:
    """Print a table of masks and one of chips, or measure one contender for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=60_000, help="side of the county's grid, px; 0 for no masks")
    parser.add_argument("--polygons", type=int, default=200_000)
    parser.add_argument("--chips", type=int, default=10_000, help="0 for no chips")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gdal", default="/usr/bin/python3", help="a Python that has GDAL's bindings")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        name, folder, out = arguments.contender
        devices.keep_pages()
        start = time.perf_counter()
        (MASKS | CHIPS)[name](Path(folder), Path(out))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    tables = {}
    with tempfile.TemporaryDirectory() as name:
        if arguments.size:
            folder = Path(name, "masks")
            folder.mkdir()
            write_county(folder, arguments.size, arguments.polygons)
            tables["masks"] = compare(
                [GDAL, GDAL_COG, *MASKS], folder, arguments.rounds, arguments.size, arguments.gdal
            )
            show(f"{arguments.polygons:,} polygons on {arguments.size:,} x {arguments.size:,} px", tables["masks"])
            differ = differing(folder / "orthomask mask (COG)" / "mask.tif", folder / GDAL / "plain.tif")
            print(f"{differ:,} pixels of ours differ from GDAL's")
        if arguments.chips:
            folder = Path(name, "chips")
            folder.mkdir()
            write_picture(folder, arguments.chips)
            tables["chips"] = compare(chip_contenders(), folder, arguments.rounds, 0, arguments.gdal)
            show(f"{math.isqrt(arguments.chips) ** 2:,} chips of {CHIP_PX} x {CHIP_PX} px", tables["chips"])
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
