"""How chips are stored: GeoTIFF, PNG with world file, NPZ and HDF5, written and read."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
import rasterio.enums
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..protocol import UNKNOWN, ErrorCode, OrthomaskError
from .manifest import Chip, Manifest

RASTERS = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
ARRAYS = {".npz", ".h5", ".hdf5"}
IMAGE_KEYS = ("img", "image")
MASK_KEYS = ("mask",)
DAMAGED = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged NPZ or HDF5 file raises."""


class ChipReader(ExitStack):
    """Reads the chips of an export, with its HDF5 files kept open."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__()
        self._folder, self._nodata = folder, manifest.nodata_value
        self._stacks: dict[Path, h5py.File] = {}

    def read(self, chip: Chip) -> tuple[np.ndarray, np.ndarray]:
        """Pixels `(bands, H, W)`, 0 where there is no image, and mask `(H, W)`.

        Raises:
            OrthomaskError: a file is missing or damaged.
        """
        pixels, mask = self._stored(chip)
        if self._nodata is not None:
            missing = (mask == UNKNOWN) & ((pixels == self._nodata) | np.isnan(pixels)).all(axis=0)
            pixels = np.where(missing, 0, pixels).astype(pixels.dtype)
        return pixels, mask

    def _stored(self, chip: Chip) -> tuple[np.ndarray, np.ndarray]:
        path = self._folder / chip.image
        if path.suffix == ".tif" or path.suffix == ".png":
            pixels = read_raster(path, ErrorCode.IMAGE_UNREADABLE)
            return pixels, read_raster(self._folder / chip.mask, ErrorCode.LABELS_UNREADABLE)[0]
        try:
            pixels, mask = self._arrays(path, chip.index)
        except DAMAGED as error:
            raise unreadable(path, ErrorCode.IMAGE_UNREADABLE, str(error)) from error
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), mask

    def _arrays(self, path: Path, index: int) -> tuple[np.ndarray, np.ndarray]:
        if path.suffix == ".npz":
            with open_arrays(path) as file:
                return file["img"], file["mask"]
        if path not in self._stacks:
            self._stacks[path] = self.enter_context(open_arrays(path))
        return self._stacks[path]["img"][index], self._stacks[path]["mask"][index]


def read_raster(path: Path, code: ErrorCode, colours: bool = False) -> np.ndarray:
    """The pixels `(bands, H, W)` of a raster; one with a palette as red, green and blue if `colours` are wanted.

    Raises:
        OrthomaskError: with `code`; it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                pixels: np.ndarray = dataset.read()
                if not (colours and dataset.colorinterp[0] == rasterio.enums.ColorInterp.palette):
                    return pixels
                palette = dataset.colormap(1)
    except (RasterioError, OSError) as error:
        raise unreadable(path, code, str(error)) from error
    table = np.array([palette.get(value, (0, 0, 0, 0))[:3] for value in range(256)], np.uint8)
    return np.moveaxis(table[pixels[0]], -1, 0)


def read_arrays(path: Path, keys: Sequence[str], dimensions: int, code: ErrorCode) -> Iterator[np.ndarray]:
    """The array of so many dimensions under one of the `keys`, or each one of a stack of them.

    Raises:
        OrthomaskError: with `code`; there is none, or the file is damaged.
    """
    try:
        with open_arrays(path) as file:
            stored = next((file[key] for key in keys if key in file), None)
            if stored is None or stored.ndim not in {dimensions, dimensions + 1}:
                axes = "N x H x W x C"[: 4 * dimensions + 1]
                raise unreadable(path, code, f"no array {' or '.join(keys)} of {axes[4:]} or {axes}")
            for item in [stored] if stored.ndim == dimensions else stored:
                yield np.asarray(item)
    except DAMAGED as error:
        raise unreadable(path, code, str(error)) from error


def open_arrays(path: Path) -> Any:
    """An open NPZ or HDF5 file, its arrays by name. Raises one of `DAMAGED` where it is none."""
    return np.load(path) if path.suffix.lower() == ".npz" else h5py.File(path)


def unreadable(path: Path, code: ErrorCode, details: str) -> OrthomaskError:
    """The error for a file of pictures or masks that is missing or damaged."""
    sentence = f"“{path}” cannot be read."
    return OrthomaskError(code, sentence, "Copy it again, or take it out of the data folder.", details)
