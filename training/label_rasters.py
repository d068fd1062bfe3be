"""Rasters as labels: class values, or colours of a label map, brought onto a grid with nearest neighbour."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyproj
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as Block

from ..engine.grid import Window
from ..protocol import BACKGROUND, ErrorCode, Labels, OrthomaskError
from ..protocol.words import tr
from .vectors import Grid, plain, unreadable

BLOCK_PX = 2048


@dataclass(frozen=True)
class RasterLabels:
    """A raster of labels on a grid.

    Attributes:
        values: the raster's values, sorted; colours as 0xrrggbb.
        classes: the class of each of them.
    """

    dataset: DatasetReader | WarpedVRT
    bands: tuple[int, ...]
    values: np.ndarray
    classes: np.ndarray

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Class values `(H, W)` uint8 of a window inside the grid, and where the raster says anything at all.

        Raises:
            OrthomaskError: the file is damaged there.
        """
        block = Block(*window)
        try:
            found = _packed(self.dataset.read(self.bands, window=block))
            valid = self.dataset.dataset_mask(window=block) > 0
        except RasterioError as error:
            raise unreadable(self.dataset.name, error) from error
        index = np.searchsorted(self.values, found).clip(0, len(self.values) - 1)
        classes = np.where(valid & (self.values[index] == found), self.classes[index], BACKGROUND)
        return classes.astype(np.uint8), valid


def sources(path: str, colors: bool) -> dict[float, str]:
    """The numbers that occur in a raster of labels, and what each stands for: itself as text, or a colour `#rrggbb`.

    Args:
        colors: tell a raster with a colour table by its colours.

    Raises:
        OrthomaskError: it is no raster that could hold labels, or nothing is in it.
    """
    with _opened(path) as dataset:
        bands = _bands(dataset)
        found = _distinct(dataset, bands).tolist()
        if not found:
            raise OrthomaskError(
                ErrorCode.LABELS_EMPTY,
                tr("There is nothing in “{}”.").format(os.path.basename(path)),
                tr("Choose other labels."),
            )
        if len(bands) == 3:
            return {value: f"#{value:06x}" for value in found}
        if colors and dataset.colorinterp[0] is ColorInterp.palette:
            palette = dataset.colormap(1)
            return {value: "#{:02x}{:02x}{:02x}".format(*palette[value]) for value in found}
        return {value: plain(value) for value in found}


@contextmanager
def open_labels(labels: Labels, grid: Grid, classes: dict[float, int]) -> Iterator[RasterLabels]:
    """Open a raster of labels on a grid.

    Args:
        classes: the class of each number that occurs in it.

    Raises:
        OrthomaskError: it has no georeference and not the size of the grid, or no CRS.
    """
    values = np.array(sorted(classes))
    numbers = np.array([classes[value] for value in values.tolist()], np.uint8)
    with _opened(labels.path) as dataset:
        bands = _bands(dataset)
        if _is_plain(dataset):
            _require_size(dataset, grid)
            yield RasterLabels(dataset, bands, values, numbers)
            return
        # where 0 is nodata, it is the background: that nothing is known there cannot be said with the same number
        nodata = {"src_nodata": None} if dataset.nodata == BACKGROUND else {}
        with WarpedVRT(
            dataset,
            src_crs=_crs(dataset, labels).to_wkt(),
            crs=grid.crs,
            transform=grid.transform,
            width=grid.width_px,
            height=grid.height_px,
            resampling=rasterio.enums.Resampling.nearest,
            add_alpha=ColorInterp.alpha not in dataset.colorinterp,
            **nodata,
        ) as warped:
            yield RasterLabels(warped, bands, values, numbers)


def _packed(bands: np.ndarray) -> np.ndarray:
    """One number for each pixel: the value, or the colour as 0xrrggbb."""
    if len(bands) == 1:
        return np.asarray(bands[0])
    red, green, blue = bands.astype(np.uint32)
    return np.asarray(red << 16 | green << 8 | blue)


def _distinct(dataset: DatasetReader, bands: tuple[int, ...]) -> np.ndarray:
    """All values that occur where the raster has data, a block at a time."""
    found = np.empty(0, np.uint32 if len(bands) == 3 else dataset.dtypes[0])
    try:
        for y in range(0, dataset.height, BLOCK_PX):
            for x in range(0, dataset.width, BLOCK_PX):
                block = Block(x, y, min(BLOCK_PX, dataset.width - x), min(BLOCK_PX, dataset.height - y))
                valid = dataset.dataset_mask(window=block) > 0
                found = np.union1d(found, _packed(dataset.read(bands, window=block))[valid])
    except RasterioError as error:
        raise unreadable(dataset.name, error) from error
    return found


def _bands(dataset: DatasetReader) -> tuple[int, ...]:
    colours = {band: number for number, band in enumerate(dataset.colorinterp, 1)}
    primary = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(band in colours for band in primary) and dataset.dtypes[0] == "uint8":
        return tuple(colours[band] for band in primary)
    if dataset.count - (ColorInterp.alpha in colours) == 1:
        return (1,)
    raise OrthomaskError(
        ErrorCode.LABELS_UNREADABLE,
        tr("“{}” is no raster of labels: it has {} bands.").format(os.path.basename(dataset.name), dataset.count),
        tr("Choose a raster with one band of class values, or an RGB label map."),
    )


def _is_plain(dataset: DatasetReader) -> bool:
    """Whether it is a picture without georeference."""
    return bool(dataset.transform.is_identity) and not dataset.crs


def _require_size(dataset: DatasetReader, grid: Grid) -> None:
    if (dataset.width, dataset.height) != (grid.width_px, grid.height_px):
        raise OrthomaskError(
            ErrorCode.LABELS_SIZE,
            tr("“{}” is {} x {} px, but the image is {} x {} px, and nothing says where it lies.").format(
                os.path.basename(dataset.name), dataset.width, dataset.height, grid.width_px, grid.height_px
            ),
            tr("Export the labels on the image's own grid, or with a georeference."),
        )


def _crs(dataset: DatasetReader, labels: Labels) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(dataset.crs.to_wkt() if dataset.crs else labels.crs)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.LABELS_CRS,
            tr("“{}” has no coordinate reference system that is known here.").format(os.path.basename(dataset.name)),
            tr("Set the CRS of the labels, or name it."),
            str(error),
        ) from error


@contextmanager
def _opened(path: str) -> Iterator[DatasetReader]:
    try:
        dataset = rasterio.open(path)
    except RasterioError as error:
        raise unreadable(path, error) from error
    with dataset:
        yield dataset
