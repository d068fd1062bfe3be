"""Cloud Optimized GeoTIFFs: written in windows, with palette and class names, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.io import DatasetWriter, MemoryFile
from rasterio.windows import Window

from ...protocol import ClassInfo, OrthomaskError
from ...protocol.words import tr
from ..images.bands import VRT_TYPES
from ..outputs import write_atomically, writing
from ..progress import Progress
from ..waiting import POLL_S

CACHE_BYTES = 64 << 20
"""GDAL's block cache while rasters are written."""
BLOCK_PX = 512


class Frame(NamedTuple):
    """Size and position of a raster; the CRS as WKT."""

    width: int
    height: int
    crs: str
    transform: Affine


class Band(NamedTuple):
    """What GDAL has to know about a band.

    Attributes:
        about: description, colours and so on, as VRT elements.
        resampling: of its overviews.
    """

    dtype: str
    nodata: float | None
    about: str
    resampling: str


@contextmanager
def open_cog(target: Path, frame: Frame, band: Band, record: str, progress: Progress) -> Iterator[DatasetWriter]:
    """A raster of one band to write window by window; it appears as a COG at `target` when complete.

    Pixels never written have no data.

    Args:
        record: stored in the raster as its tag `ORTHOMASK`.
        progress: of the last step, which builds the overviews.

    Raises:
        OrthomaskError: there is no space, or it cannot be written.
    """
    pixels = "pixels.tif"
    with (
        becoming_cog(target, frame, [(band, simple_source(pixels, frame))], record, progress) as work,
        rasterio.open(work / pixels, "w+", **tiles(frame, band), compress="deflate", zlevel=1) as dataset,
    ):
        yield dataset


@contextmanager
def becoming_cog(
    target: Path, frame: Frame, bands: Sequence[tuple[Band, str]], record: str, progress: Progress
) -> Iterator[Path]:
    """A hidden folder for rasters of one band; on exit they become a COG at `target`.

    Args:
        bands: each with its rasters, as VRT elements; all are resampled alike.

    Raises:
        OrthomaskError: there is no space, or it cannot be written.
    """
    work = target.with_name(f".{target.name}.partial")
    mosaic, staged = work / "mosaic.vrt", work / target.name
    try:
        with writing(target):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
                yield work
        write_atomically(mosaic, vrt(frame, bands, record).encode())
        write_cog(mosaic, staged, bands[0][0].resampling, progress)
        with writing(target):
            move(staged, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def tiles(frame: Frame, band: Band) -> dict[str, Any]:
    """Creation options of a tiled raster of one band."""
    return {
        "driver": "GTiff", "count": 1, "dtype": band.dtype, "width": frame.width, "height": frame.height,
        "crs": frame.crs, "transform": frame.transform, "tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX,
        "bigtiff": "if_safer", "nodata": band.nodata,
        "sparse_ok": True,  # what is never written is nodata, and takes no space
    }  # fmt: skip


def simple_source(name: str, frame: Frame) -> str:
    """A raster of the same frame next to a VRT, as its element."""
    size = f"xOff='0' yOff='0' xSize='{frame.width}' ySize='{frame.height}'"
    return (
        f"<SimpleSource><SourceFilename relativeToVRT='1'>{name}</SourceFilename>"
        f"<SourceBand>1</SourceBand><SrcRect {size}/><DstRect {size}/></SimpleSource>"
    )


def vrt(frame: Frame, bands: Sequence[tuple[Band, str]], record: str) -> str:
    """A virtual raster of bands, each with its sources as VRT elements."""
    rasters = "".join(
        f"<VRTRasterBand dataType='{VRT_TYPES[band.dtype]}' band='{number}'>"
        + ("" if band.nodata is None else f"<NoDataValue>{band.nodata}</NoDataValue>")
        + f"{band.about}{sources}</VRTRasterBand>"
        for number, (band, sources) in enumerate(bands, 1)
    )
    return (
        f"<VRTDataset rasterXSize='{frame.width}' rasterYSize='{frame.height}'><SRS>{escape(frame.crs)}</SRS>"
        f"<GeoTransform>{', '.join(map(repr, frame.transform.to_gdal()))}</GeoTransform>"
        f"<Metadata><MDI key='ORTHOMASK'>{escape(record)}</MDI></Metadata>{rasters}</VRTDataset>"
    )


def write_cog(source: Path, target: Path, resampling: str, progress: Progress) -> None:
    """Copy a virtual raster of ours to a COG with overviews, in a separate thread, so that it can be cancelled.

    GDAL cannot be told to stop, but it stops if a read fails: cancelling empties its overviews and its door.
    """
    options = {
        "driver": "COG", "compress": "deflate", "level": 1, "blocksize": BLOCK_PX, "overview_resampling": resampling,
        "num_threads": "all_cpus", "bigtiff": "if_safer",
    }  # fmt: skip
    progress.report(0, tr("Writing {}").format(target.name))
    with writing(target), ThreadPoolExecutor(1) as executor, rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        dispensable = [_give_door(source), *_overviews(source)]
        copied = executor.submit(rasterio.shutil.copy, source, target, **options)
        try:
            while not wait([copied], POLL_S).done:
                progress.report(0, tr("Writing {}").format(target.name))
        except OrthomaskError:
            for path in dispensable:
                os.truncate(path, 0)
            raise
        copied.result()
    _refuse_torn(target)


def _give_door(source: Path) -> Path:
    """Put a raster of a single column beneath the first pixels of each row, so that reading any row needs it."""
    door = source.with_suffix(".door.tif")
    with rasterio.open(source) as dataset:
        height, nodata, dtype = dataset.height, dataset.nodata, dataset.dtypes[0]
    profile = {"driver": "GTiff", "width": 1, "height": height, "count": 1, "dtype": dtype, "blockysize": BLOCK_PX}
    with rasterio.open(door, "w", **profile, transform=Affine.translation(0, 1)) as dataset:
        dataset.write(np.full((height, 1), nodata or 0, dtype), 1)
    element = simple_source(door.name, Frame(1, height, "", Affine.identity()))
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("<SimpleSource>", f"{element}<SimpleSource>", 1), encoding="utf-8")
    return door


def _overviews(source: Path) -> list[Path]:
    names = re.findall("<Overview><SourceFilename relativeToVRT='1'>([^<]*)", source.read_text(encoding="utf-8"))
    return [source.with_name(name) for name in names]


def move(staged: Path, target: Path) -> None:
    """Give a raster its final name, with the sidecar that holds the names of its classes."""
    sidecar = staged.with_name(f"{staged.name}.aux.xml")
    if sidecar.exists():
        os.replace(sidecar, target.with_name(f"{target.name}.aux.xml"))
    with open(staged, "r+b") as file:
        os.fsync(file.fileno())  # or a power failure could leave an empty file under the final name
    os.replace(staged, target)


def class_band(classes: Sequence[ClassInfo]) -> str:
    """Palette and names of a class raster as VRT elements."""
    by_value = {info.value: info for info in classes}
    values = range(1, max(by_value, default=0) + 1)
    listed = [by_value.get(value, ClassInfo(value, "", "#000000")) for value in values]
    names = "".join(f"<Category>{escape(name)}</Category>" for name in ["background", *(c.name for c in listed)])
    colours = [(0, 0, 0, 0), *((*bytes.fromhex(c.color[1:]), 255) for c in listed)]
    entries = "".join(f"<Entry c1='{r}' c2='{g}' c3='{b}' c4='{a}'/>" for r, g, b, a in colours)
    return (
        f"<Description>class</Description><ColorInterp>Palette</ColorInterp>"
        f"<ColorTable>{entries}</ColorTable><CategoryNames>{names}</CategoryNames>"
    )


def _refuse_torn(path: Path) -> None:
    """Read the last pixel, stored at the very end of a COG: GDAL can end a copy on a full disk without an error."""
    with writing(path), rasterio.open(path) as dataset:
        dataset.read(1, window=Window(dataset.width - 1, dataset.height - 1, 1, 1))


def encoded(bands: np.ndarray, tiled: bool = False) -> bytes:
    """Bands `(K, rows, width)` as the bytes of a lightly compressed GeoTIFF; empty for no rows."""
    if bands.shape[1] == 0:
        return b""
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": bands.shape[0], "height": bands.shape[1],
        "width": bands.shape[2], "compress": "zstd", "zstd_level": 1, "interleave": "band",
        "transform": Affine.translation(0, 1),  # the mosaic has its own; without any, rasterio warns
        **({"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX} if tiled else {}),
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(bands)
        return bytes(memory.getbuffer())
