"""Rasters as labels: class values, or colours of a label map, resampled to a grid with nearest neighbour."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as Block

from ...engine.images.grid import Window
from ...engine.shapes.vector_files import plain, raster_path, unreadable
from ...protocol import BACKGROUND, UNKNOWN, ClassInfo, ClassValue, ErrorCode, Labels, OrthomaskError, from_json
from ...protocol.words import tr
from .mask_values import (
    CLEAR_SHARE,
    are_greys,
    blurred_note,
    has_colors,
    is_chip_palette,
    packed,
    refuse_blurred,
    restored,
    true_values,
)
from .placing import Grid

BLOCK_PX = 2048
JPEG_MARK = b"\xff\xd8"


@dataclass(frozen=True)
class RasterLabels:
    """A raster of labels on a grid.

    Attributes:
        values: the raster's values, sorted; colours as 0xrrggbb.
        classes: the class of each value.
        true: the values `(N, bands)` before JPEG blurred them; None for other files.
    """

    dataset: DatasetReader | WarpedVRT
    bands: tuple[int, ...]
    values: np.ndarray
    classes: np.ndarray
    true: np.ndarray | None

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Class values `(H, W)` uint8 of a window inside the grid, and where the raster has data `(H, W)`.

        Raises:
            OrthomaskError: the file is damaged there.
        """
        block = Block(*window)
        try:
            pixels = self.dataset.read(self.bands, window=block)
            valid = self.dataset.dataset_mask(window=block) > 0
        except RasterioError as error:
            raise unreadable(self.dataset.name, error) from error
        found = packed(pixels if self.true is None else restored(pixels, self.true)[0])
        index = np.searchsorted(self.values, found).clip(0, len(self.values) - 1)
        classes = np.where(valid & (self.values[index] == found), self.classes[index], BACKGROUND)
        return classes.astype(np.uint8), valid


class RasterValues(NamedTuple):
    """The values in a raster of labels.

    Attributes:
        texts: meaning of each number, with colours as 0xrrggbb: itself as text, or a colour `#rrggbb`; `true` and
            `false` if there are only 255 and 0.
        true: as in `RasterLabels`.
        classes: those of a mask of Orthomask, whose numbers are class values; else empty.
        note: a warning about it; may be empty.
    """

    texts: dict[float, str]
    true: np.ndarray | None
    classes: tuple[ClassInfo, ...]
    note: str


def scan(path: str, mapping: Sequence[ClassValue]) -> RasterValues:
    """The values that occur in a raster of labels.

    Args:
        mapping: what they mean; if it names colours, a palette's numbers become colours.

    Raises:
        OrthomaskError: it cannot be a label raster, is empty, or JPEG has mixed up its values.
    """
    with _opened(path) as dataset:
        bands, name = _bands(dataset), os.path.basename(path)
        blurred = _is_jpeg(dataset)
        true = true_values(mapping, len(bands)) if blurred else None
        found = _distinct(dataset, bands, true)
        if not found.size:
            raise OrthomaskError(
                ErrorCode.LABELS_EMPTY,
                tr("“{}” contains no labels.").format(os.path.basename(path)),
                tr("Choose other labels."),
            )
        texts, classes = _texts(dataset, found, len(bands), mapping), _own_classes(dataset)
        note = blurred_note(name) if blurred else ""
        said = {*texts.values(), *(["0"] if dataset.nodata == BACKGROUND else [])}
        if not mapping and not classes and not is_chip_palette(dataset) and said == {str(BACKGROUND), str(UNKNOWN)}:
            return RasterValues({value: str(text != "0").lower() for value, text in texts.items()}, true, (), note)
        return RasterValues(texts, true, classes, note)


@contextmanager
def open_labels(
    labels: Labels, grid: Grid, classes: dict[float, int], true: np.ndarray | None
) -> Iterator[RasterLabels]:
    """Open a raster of labels on a grid.

    Args:
        classes: the class of each number that occurs in it.
        true: as in `RasterLabels`.

    Raises:
        OrthomaskError: it has no georeference and differs in size from the grid, or has no CRS.
    """
    values = np.array(sorted(classes))
    numbers = np.array([classes[value] for value in values.tolist()], np.uint8)
    with _opened(raster_path(labels.path, labels.layer)) as dataset:
        bands = _bands(dataset)
        if _is_plain(dataset):
            _require_size(dataset, grid)
            yield RasterLabels(dataset, bands, values, numbers, true)
            return
        # nodata of 0 is background: the same number cannot also mean unknown
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
            yield RasterLabels(warped, bands, values, numbers, true)


def _is_jpeg(dataset: DatasetReader) -> bool:
    """Whether a raster is JPEG-compressed; GDAL writes such tiles to GeoPackages by default."""
    if dataset.driver != "GPKG":
        compression = dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "")
        return bool(dataset.driver == "JPEG") or compression.endswith("JPEG")
    path, _, table = dataset.name.removeprefix("GPKG:").partition(".gpkg:")
    file = path if path.endswith(".gpkg") else f"{path}.gpkg"
    with closing(sqlite3.connect(f"{Path(file).absolute().as_uri()}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles'").fetchall()
        meant = str(table or tables[0][0]).replace('"', '""')  # quoted below
        tile = f'SELECT 1 FROM "{meant}" WHERE substr(tile_data, 1, 2) = ?'  # noqa: S608  # nosec B608
        return database.execute(tile, [JPEG_MARK]).fetchone() is not None


def _texts(dataset: DatasetReader, found: np.ndarray, bands: int, mapping: Sequence[ClassValue]) -> dict[float, str]:
    """The meaning of each number."""
    values = found.tolist()
    if bands == 3:
        if are_greys(found) and not has_colors(mapping):
            return {value: str(value & 255) for value in values}
        return {value: f"#{value:06x}" for value in values}
    if has_colors(mapping) and dataset.colorinterp[0] is ColorInterp.palette:
        palette = dataset.colormap(1)
        return {value: "#{:02x}{:02x}{:02x}".format(*palette[value]) for value in values}
    return {value: plain(value) for value in values}


def _own_classes(dataset: DatasetReader) -> tuple[ClassInfo, ...]:
    """The classes recorded in a mask or class raster of Orthomask; empty for others."""
    try:
        listed = json.loads(dataset.tags().get("ORTHOMASK", ""))["classes"]
        return tuple(from_json(ClassInfo, entry) for entry in listed)
    except (ValueError, KeyError, TypeError, OrthomaskError):
        return ()


def _distinct(dataset: DatasetReader, bands: tuple[int, ...], true: np.ndarray | None) -> np.ndarray:
    """All values where the raster has data, read block by block.

    Raises:
        OrthomaskError: it is damaged, or its values are not near the `true` ones.
    """
    found = np.empty(0, np.uint32 if len(bands) == 3 else dataset.dtypes[0])
    clear = 0
    try:
        for y in range(0, dataset.height, BLOCK_PX):
            for x in range(0, dataset.width, BLOCK_PX):
                block = Block(x, y, min(BLOCK_PX, dataset.width - x), min(BLOCK_PX, dataset.height - y))
                valid = dataset.dataset_mask(window=block) > 0
                pixels = dataset.read(bands, window=block)
                if true is not None:
                    pixels, count = restored(pixels, true)
                    clear += count
                found = np.union1d(found, packed(pixels)[valid])
    except RasterioError as error:
        raise unreadable(dataset.name, error) from error
    if true is not None and clear < CLEAR_SHARE * dataset.width * dataset.height:
        raise refuse_blurred(os.path.basename(dataset.name))
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
        tr("“{}” is not a label raster: it has {} bands.").format(os.path.basename(dataset.name), dataset.count),
        tr("Choose a raster with one band of class values, or an RGB label map."),
    )


def _is_plain(dataset: DatasetReader) -> bool:
    """Whether it has no georeference."""
    return bool(dataset.transform.is_identity) and not dataset.crs


def _require_size(dataset: DatasetReader, grid: Grid) -> None:
    if (dataset.width, dataset.height) != (grid.width_px, grid.height_px):
        raise OrthomaskError(
            ErrorCode.LABELS_SIZE,
            tr("“{}” is not georeferenced and has {} x {} px, but the image has {} x {} px.").format(
                os.path.basename(dataset.name), dataset.width, dataset.height, grid.width_px, grid.height_px
            ),
            tr("Export the labels on the image's own grid, or with georeferencing."),
        )


def _crs(dataset: DatasetReader, labels: Labels) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(dataset.crs.to_wkt() if dataset.crs else labels.crs)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.LABELS_CRS,
            tr("“{}” has no known coordinate reference system.").format(os.path.basename(dataset.name)),
            tr("Set the CRS of the labels, or specify it."),
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
