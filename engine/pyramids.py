"""Cloud Optimized GeoTIFFs written from the top down: overviews are made of the rows in memory, not read again.

GDAL's own overviews by the most frequent value take longer than everything else about a mask; here four pixels of one
value, which nearly all are, cost three comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from .cogs import BLOCK_PX, Band, Frame, becoming_cog, simple_source, tiles
from .progress import Progress

CACHED_ROWS = 32
"""Rows that are halved at a time, so that they stay in the processor's cache."""
FAST = {"compress": "zstd", "zstd_level": 1, "num_threads": "all_cpus"}
"""How rasters are packed that are read but once."""


class Pyramid:
    """A raster and, through `coarser`, its overviews, each half as large. Made by `open_pyramid`."""

    def __init__(self, dataset: DatasetWriter, band: Band, coarser: Pyramid | None) -> None:
        self._dataset, self._band, self._coarser = dataset, band, coarser
        self._tiles = np.empty((BLOCK_PX, dataset.width), band.dtype)  # a row of tiles: none is ever packed twice
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
        """Store what waits for more rows."""
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
            for top in range(0, len(rows), CACHED_ROWS):
                self._coarser.write(halved(rows[top : top + CACHED_ROWS], self._band))


@contextmanager
def open_pyramid(target: Path, frame: Frame, band: Band, record: str, progress: Progress) -> Iterator[Pyramid]:
    """A raster of one band to write from the top down; it appears as a COG at `target` when all is written.

    Args:
        band: with the resampling `mode` (uint8) or `average`.
        record: goes into the raster as its tag `ORTHOMASK`.
        progress: of the last step, which joins raster and overviews.

    Raises:
        OrthomaskError: there is no space, or it may not be written.
    """
    frames = _frames(frame)
    names = [f"<SourceFilename relativeToVRT='1'>{_name(level)}</SourceFilename>" for level in range(1, len(frames))]
    overviews = "".join(f"<Overview>{name}<SourceBand>1</SourceBand></Overview>" for name in names)
    sources = overviews + simple_source(_name(0), frame)
    with becoming_cog(target, frame, band, sources, record, progress) as work, ExitStack() as stack:
        pyramid = _opened(work, 0, frames, band, stack)
        yield pyramid
        pyramid.finish()


def halved(rows: np.ndarray, band: Band) -> np.ndarray:
    """Every 2 x 2 pixels `(H, W)` as one; what is missing to an even number is repeated."""
    height, width = rows.shape
    even = np.pad(rows, ((0, height % 2), (0, width % 2)), "edge") if height % 2 or width % 2 else rows
    return _mode(even, band.nodata) if band.resampling == "mode" else _average(even)


def _mode(rows: np.ndarray, nodata: float | None) -> np.ndarray:
    """The most frequent value that is not `nodata`; of several, the one that is first so often, row by row, as in GDAL.

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


def _average(rows: np.ndarray) -> np.ndarray:
    height, width = rows.shape
    return np.asarray(rows.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)), rows.dtype)


def _opened(folder: Path, level: int, frames: list[Frame], band: Band, stack: ExitStack) -> Pyramid:
    dataset = stack.enter_context(rasterio.open(folder / _name(level), "w", **tiles(frames[level], band), **FAST))
    return Pyramid(dataset, band, _opened(folder, level + 1, frames, band, stack) if frames[level + 1 :] else None)


def _frames(frame: Frame) -> list[Frame]:
    """A raster's frame, and those of its overviews down to one tile."""
    frames = [frame]
    while max(frames[-1].width, frames[-1].height) > BLOCK_PX:
        width, height = (-(-size // 2) for size in frames[-1][:2])
        frames.append(frames[-1]._replace(width=width, height=height, transform=frames[-1].transform @ Affine.scale(2)))
    return frames


def _name(level: int) -> str:
    return f"level_{level}.tif"
