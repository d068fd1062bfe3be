"""Cloud Optimized GeoTIFFs written from the top down: overviews come from the rows in memory, not read again.

GDAL's own overviews by the most frequent value take longer than everything else about a mask; here four equal pixels,
by far the most common case, cost three comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from ..outputs import writing
from ..progress import Progress
from .cogs import BLOCK_PX, CACHE_BYTES, Band, Frame, becoming_cog, simple_source, tiles

CACHED_ROWS = 32
"""Rows halved at a time, so that they stay in the CPU's cache."""
FAST = {"compress": "zstd", "zstd_level": 1, "num_threads": "all_cpus"}
"""Compression of rasters that are read only once."""


class Pyramid:
    """A raster and, through `coarser`, its overviews, each half as large. Made by `open_pyramids`."""

    def __init__(self, dataset: DatasetWriter, band: Band, coarser: Pyramid | None) -> None:
        self._dataset, self._band, self._coarser = dataset, band, coarser
        self._tiles = np.empty((BLOCK_PX, dataset.width), band.dtype)  # a row of tiles: none is ever compressed twice
        self._filled = self._top = 0

    def write(self, rows: np.ndarray) -> None:
        """Add the next rows `(n, width)`."""
        while len(rows):
            count = min(BLOCK_PX - self._filled, len(rows))
            self._tiles[self._filled : self._filled + count] = rows[:count]
            self._filled += count
            rows = rows[count:]
            if self._filled == BLOCK_PX:
                self._store()

    def finish(self) -> None:
        """Store the rows still buffered."""
        if self._filled:
            self._store()
        if self._coarser:
            self._coarser.finish()

    def _store(self) -> None:
        rows = self._tiles[: self._filled]
        self._dataset.write(rows, 1, window=Window(0, self._top, self._dataset.width, self._filled))
        self._top += self._filled
        self._filled = 0
        if self._coarser:
            self._coarser.write_halved(rows)

    def write_halved(self, rows: np.ndarray) -> None:
        """Add the next rows, at half size. Only the last ones of a raster may be an odd number."""
        for top in range(0, len(rows), CACHED_ROWS):
            self.write(halved(rows[top : top + CACHED_ROWS], self._band))


@contextmanager
def open_pyramid(target: Path, frame: Frame, band: Band, record: str, progress: Progress) -> Iterator[Pyramid]:
    """A raster of one band: see `open_pyramids`."""
    with open_pyramids(target, frame, [band], record, progress) as (pyramid,):
        yield pyramid


@contextmanager
def open_pyramids(
    target: Path, frame: Frame, bands: Sequence[Band], record: str, progress: Progress
) -> Iterator[list[Pyramid]]:
    """A raster whose bands are written from the top down; it appears as a COG at `target` when complete.

    Args:
        bands: all with the resampling `mode` (uint8), or all with `average`.
        record: stored in the raster as its tag `ORTHOMASK`.
        progress: of the last step, which joins raster and overviews.

    Raises:
        OrthomaskError: there is no space, or it cannot be written.
    """
    frames = _frames(frame)
    paths = [[Path(f"band_{band}_{level}.tif") for level in range(len(frames))] for band in range(len(bands))]
    sources = [_overviews(levels[1:]) + simple_source(levels[0].name, frame) for levels in paths]
    with becoming_cog(target, frame, list(zip(bands, sources)), record, progress) as work, ExitStack() as stack:
        pyramids = [
            _opened([work / path for path in levels], frames, band, stack) for levels, band in zip(paths, bands)
        ]
        yield pyramids
        for pyramid in pyramids:
            pyramid.finish()


def write_overviews(source: Path, frame: Frame, bands: Sequence[Band], progress: Progress) -> list[str]:
    """Write overviews next to a raster.

    Returns:
        For each band, the VRT elements that name its overviews.

    Raises:
        OrthomaskError: there is no space, or `Cancelled`.
    """
    frames = _frames(frame)[1:]
    if not frames:
        return [""] * len(bands)
    paths = [[source.with_suffix(f".{band}.{level}.tif") for level in range(len(frames))] for band in range(len(bands))]
    with writing(source.with_suffix(".tif")), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), ExitStack() as stack:
        dataset = stack.enter_context(rasterio.open(source))
        pyramids = [_opened(names, frames, band, stack) for names, band in zip(paths, bands)]
        for top in range(0, frame.height, BLOCK_PX):
            progress.report(top / frame.height)
            height = min(BLOCK_PX, frame.height - top)
            for pyramid, rows in zip(pyramids, dataset.read(window=Window(0, top, frame.width, height))):
                pyramid.write_halved(rows)
        for pyramid in pyramids:
            pyramid.finish()
    return list(map(_overviews, paths))


def halved(rows: np.ndarray, band: Band) -> np.ndarray:
    """Every 2 x 2 pixels `(H, W)` as one; an odd last row or column is repeated."""
    height, width = rows.shape
    even = np.pad(rows, ((0, height % 2), (0, width % 2)), "edge") if height % 2 or width % 2 else rows
    return _mode(even, band.nodata) if band.resampling == "mode" else _average(even, band.nodata)


def _mode(rows: np.ndarray, nodata: float | None) -> np.ndarray:
    """The most frequent value that is not `nodata`; of several, the first to reach that count, row by row, as in GDAL.

    Args:
        rows: uint8.
    """
    upper, lower = rows[::2].view(np.uint16), rows[1::2].view(np.uint16)
    result = np.ascontiguousarray(rows[::2, ::2])
    places = np.flatnonzero((upper != lower) | (upper != result * np.uint16(0x0101)))
    mixed = np.divmod(places, result.shape[1])
    corners = np.stack([rows[top::2, left::2][mixed] for top in (0, 1) for left in (0, 1)])
    so_far = np.stack([(corners[: number + 1] == corners[number]).sum(axis=0) for number in range(4)])
    so_far[corners == nodata] = 0
    result[mixed] = np.take_along_axis(corners, so_far.argmax(axis=0)[None], axis=0)[0]
    return result


def _average(rows: np.ndarray, nodata: float | None) -> np.ndarray:
    """The mean; for uint8 without `nodata`, and rounded half up."""
    if rows.dtype != np.uint8:
        height, width = rows.shape
        return np.asarray(rows.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)), rows.dtype)
    upper, lower = rows[::2].view(np.uint16), rows[1::2].view(np.uint16)
    total = (upper & 255) + (upper >> 8) + (lower & 255) + (lower >> 8)
    result: np.ndarray = ((total + 2) >> 2).astype(np.uint8)
    missing = rows == nodata
    places = np.flatnonzero(missing[::2].view(np.uint16) | missing[1::2].view(np.uint16))
    mixed = np.divmod(places, result.shape[1])
    corners = np.stack([rows[top::2, left::2][mixed] for top in (0, 1) for left in (0, 1)]).astype(np.uint16)
    known = corners != nodata
    count = known.sum(axis=0)
    result[mixed] = np.where(count, ((corners * known).sum(axis=0) + count // 2) // np.maximum(count, 1), nodata)
    return result


def _opened(paths: Sequence[Path], frames: Sequence[Frame], band: Band, stack: ExitStack) -> Pyramid:
    dataset = stack.enter_context(rasterio.open(paths[0], "w", **tiles(frames[0], band), **FAST))
    return Pyramid(dataset, band, _opened(paths[1:], frames[1:], band, stack) if paths[1:] else None)


def _frames(frame: Frame) -> list[Frame]:
    """A raster's frame, and those of its overviews down to one tile."""
    frames = [frame]
    while max(frames[-1].width, frames[-1].height) > BLOCK_PX:
        width, height = (-(-size // 2) for size in frames[-1][:2])
        frames.append(frames[-1]._replace(width=width, height=height, transform=frames[-1].transform @ Affine.scale(2)))
    return frames


def _overviews(paths: Sequence[Path]) -> str:
    """Overviews of a VRT as its elements."""
    names = [f"<SourceFilename relativeToVRT='1'>{path.name}</SourceFilename>" for path in paths]
    return "".join(f"<Overview>{name}<SourceBand>1</SourceBand></Overview>" for name in names)
