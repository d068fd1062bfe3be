"""How chips are stored: GeoTIFF, PNG with world file, NPZ and HDF5, written and read."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ...engine.outputs import writing
from ...protocol import BACKGROUND, UNKNOWN, ChipFormat, ClassInfo, ErrorCode, OrthomaskError, Split
from ...protocol.words import tr
from ..truth.mask_values import UNKNOWN_RGB, is_chip_palette
from .manifest import Chip, Manifest

JPEGS = {".jpg", ".jpeg"}
RASTERS = {".png", ".tif", ".tiff", *JPEGS}
ARRAYS = {".npy", ".npz", ".h5", ".hdf5"}
IMAGE_KEYS = ("img", "image")
MASK_KEYS = ("mask",)
DAMAGED = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error)
"""Errors that a damaged NPZ or HDF5 file raises."""
PACKERS = os.cpu_count() or 1
"""Threads that compress chips."""


class Style(NamedTuple):
    """What all chips of an export have in common.

    Attributes:
        bands: names of the image's bands.
        colours: how each band is shown.
        nodata: value of pixels without image; None to leave them 0.
    """

    format: ChipFormat
    chip_px: int
    classes: tuple[ClassInfo, ...]
    bands: tuple[str, ...]
    colours: tuple[ColorInterp, ...]
    dtype: str
    nodata: float | None

    def check(self) -> None:
        """Raise unless the format can hold such images."""
        held = 1 <= len(self.bands) <= 4 and self.dtype in {"uint8", "uint16"}
        if self.format is ChipFormat.PNG and not held:
            raise OrthomaskError(
                ErrorCode.BAD_REQUEST,
                tr("PNG supports 1 to 4 bands of 8 or 16 bits, but the image has {} of type {}.").format(
                    len(self.bands), self.dtype
                ),
                tr("Export to GeoTIFF, NPZ or HDF5, or choose fewer bands."),
            )


class Cut(NamedTuple):
    """A chip to be stored.

    Attributes:
        pixels: `(bands, H, W)`.
        mask: `(H, W)` uint8.
        crs: as WKT or `EPSG:n`.
        transform: pixel to CRS coordinates.
    """

    name: str
    split: Split
    pixels: np.ndarray
    mask: np.ndarray
    crs: str
    transform: Affine


class Stored(NamedTuple):
    """Where a chip is: its files, relative to the export's folder, and its place in an HDF5 file."""

    image: str
    mask: str
    number: int = 0


class ChipWriter(ExitStack):
    """Writes chips to a folder, one subfolder or file per split; they are complete when it is closed.

    Compression takes most of the time, so threads compress files while the next chips are read. HDF5 admits one thread
    at a time, so its files are written immediately and stay open.

    Raises:
        OrthomaskError: the disk is full or the folder cannot be written; may only be raised at a later chip.
    """

    def __init__(self, folder: Path, style: Style) -> None:
        super().__init__()
        self._folder, self._style = folder, style
        self._stacks: dict[Split, h5py.File] = {}
        self._patient: dict[Split, _PatientFile] = {}
        self._packers = self.enter_context(ThreadPoolExecutor(PACKERS))
        self._packing: deque[Future[None]] = deque()
        self.push(self._finish)

    def write(self, cut: Cut) -> Stored:
        """Store a chip."""
        with writing(self._folder / cut.split.value):
            if self._style.format is ChipFormat.HDF5:
                return self._append(cut)
            if len(self._packing) == 2 * PACKERS:
                self._packing.popleft().result()
            stored = self._files(cut)
            pack = self._write_npz if self._style.format is ChipFormat.NPZ else self._write_rasters
            self._packing.append(self._packers.submit(pack, cut, stored))
            return stored

    def _files(self, cut: Cut) -> Stored:
        if self._style.format is ChipFormat.NPZ:
            name = f"{cut.split.value}/{cut.name}.npz"
            return Stored(name, name)
        kind = "png" if self._style.format is ChipFormat.PNG else "tif"
        image, mask = (f"{cut.split.value}/{part}/{cut.name}.{kind}" for part in ("images", "masks"))
        return Stored(image, mask)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise the error of the last chips, unless another one is already under way."""
        if kind is None:
            with writing(self._folder):
                for packed in self._packing:
                    packed.result()

    def _append(self, cut: Cut) -> Stored:
        name = f"{cut.split.value}.h5"
        if cut.split not in self._stacks:
            patient = self.enter_context(_PatientFile(self._folder / name, "w+"))
            self.callback(patient.complain)
            self._patient[cut.split] = patient
            self._stacks[cut.split] = self.enter_context(h5py.File(patient, "w"))
            _make_stack(self._stacks[cut.split], self._style)
        file = self._stacks[cut.split]
        index = len(file["img"])
        for key, value in (("img", np.moveaxis(cut.pixels, 0, -1)), ("mask", cut.mask), ("name", cut.name)):
            file[key].resize(index + 1, axis=0)
            file[key][index] = value
        self._patient[cut.split].complain()
        return Stored(name, name, index)

    def _write_npz(self, cut: Cut, stored: Stored) -> None:
        path = self._folder / stored.image
        path.parent.mkdir(parents=True, exist_ok=True)
        transform = np.array(cut.transform[:6])
        pixels = np.moveaxis(cut.pixels, 0, -1)
        np.savez_compressed(path, img=pixels, mask=cut.mask, transform=transform, crs=np.array(cut.crs))

    def _write_rasters(self, cut: Cut, stored: Stored) -> None:
        image, mask = self._folder / stored.image, self._folder / stored.mask
        write_raster(image, cut.pixels, cut, self._style)
        write_mask(mask, cut.mask, cut, self._style.classes)
        if self._style.format is ChipFormat.PNG:
            write_world_file(image.with_suffix(".pgw"), cut.transform)
            write_world_file(mask.with_suffix(".pgw"), cut.transform)


class _PatientFile(io.FileIO):
    """A file that stores write errors for later.

    HDF5 cannot close a file that it failed to write, and crashes at exit; so the error is hidden from it.
    """

    _error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes, or store the error."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = self._error or error
        return size

    def complain(self) -> None:
        """Raise the stored error."""
        if self._error:
            raise self._error


def write_raster(path: Path, pixels: np.ndarray, cut: Cut, style: Style) -> None:
    """Write the image `(bands, H, W)` of a chip as GeoTIFF or PNG."""
    with _created(path, pixels, cut, nodata=style.nodata) as dataset:
        dataset.write(pixels)
        if dataset.driver == "GTiff":
            dataset.colorinterp = style.colours
            dataset.descriptions = style.bands


def write_mask(path: Path, mask: np.ndarray, cut: Cut, classes: Sequence[ClassInfo]) -> None:
    """Write a mask `(H, W)` as GeoTIFF or PNG, with the classes' colours."""
    palette = {BACKGROUND: (0, 0, 0), UNKNOWN: UNKNOWN_RGB}
    palette |= {info.value: rgb(info.color) for info in classes}
    with _created(path, mask[None], cut) as dataset:
        dataset.write(mask, 1)
        dataset.write_colormap(1, {value: (*colour, 255) for value, colour in palette.items()})


def write_world_file(path: Path, transform: Affine) -> None:
    """Write the six lines of a world file, whose origin is the centre of the upper left pixel."""
    x, y = transform @ (0.5, 0.5)
    numbers = (transform.a, transform.d, transform.b, transform.e, x, y)
    path.write_text("".join(f"{number!r}\n" for number in map(float, numbers)))


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def _created(path: Path, pixels: np.ndarray, cut: Cut, nodata: float | None = None) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    tiff = path.suffix == ".tif"
    bands, height, width = pixels.shape
    # for photographs, PNG's default level saves no space and takes more than twice the time
    options: dict[str, Any] = {"compress": "deflate"} if tiff else {"zlevel": 1}
    if tiff and bands != 3:
        options["photometric"] = "minisblack"
    return rasterio.open(
        path, "w", driver="GTiff" if tiff else "PNG", width=width, height=height, count=bands, dtype=pixels.dtype,
        crs=cut.crs, transform=cut.transform, nodata=nodata if tiff else None, **options,
    )  # fmt: skip


def _make_stack(file: h5py.File, style: Style) -> None:
    """Prepare an HDF5 file for chips: one chunk for each, compressed."""
    side, bands = style.chip_px, len(style.bands)
    image = (side, side, bands)
    file.create_dataset(
        "img", (0, *image), style.dtype, maxshape=(None, *image), chunks=(1, *image), compression="gzip", shuffle=True
    )
    file.create_dataset(
        "mask", (0, side, side), "uint8", maxshape=(None, side, side), chunks=(1, side, side), compression="gzip"
    )
    file.create_dataset("name", (0,), h5py.string_dtype(), maxshape=(None,))
    file.attrs["bands"] = list(style.bands)
    file.attrs["classes"] = [f"{info.value} {info.name}" for info in style.classes]
    if style.nodata is not None:
        file.attrs["nodata"] = style.nodata


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
        if path.suffix in {".tif", ".png"}:
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
    """The pixels `(bands, H, W)` of a raster; with `colours`, a palette becomes red, green and blue.

    Raises:
        OrthomaskError: with `code`; it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                pixels: np.ndarray = dataset.read()
                if not (colours and dataset.colorinterp[0] == ColorInterp.palette):
                    return pixels
                palette = dataset.colormap(1)
    except (RasterioError, OSError) as error:
        raise unreadable(path, code, str(error)) from error
    table = np.array([palette.get(value, (0, 0, 0, 0))[:3] for value in range(256)], np.uint8)
    return np.moveaxis(table[pixels[0]], -1, 0)


def is_chip_mask(path: Path) -> bool:
    """Whether a raster is the mask of a chip: its palette marks 255 as unknown by its grey."""
    if path.suffix.lower() not in RASTERS - JPEGS:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                return is_chip_palette(dataset)
    except (RasterioError, OSError) as error:
        raise unreadable(path, ErrorCode.LABELS_UNREADABLE, str(error)) from error


def read_arrays(path: Path, keys: Sequence[str], dimensions: int, code: ErrorCode) -> Iterator[np.ndarray]:
    """The array with `dimensions` axes under one of the `keys`, or each of a stack; masks may have a last axis of 1.

    Raises:
        OrthomaskError: with `code`; there is none, or the file is damaged.
    """
    try:
        with open_arrays(path) as file:
            stored = next((file[key] for key in keys if key in file), None)
            if dimensions == 2 and stored is not None and stored.ndim > 2 and stored.shape[-1] == 1:
                stored = stored[..., 0]
            if stored is None or stored.ndim not in {dimensions, dimensions + 1}:
                axes = "N x H x W x C"[: 4 * dimensions + 1]
                raise unreadable(path, code, f"no array {' or '.join(keys)} of {axes[4:]} or {axes}")
            for item in [stored] if stored.ndim == dimensions else stored:
                yield np.asarray(item)
    except DAMAGED as error:
        raise unreadable(path, code, str(error)) from error


def open_arrays(path: Path) -> Any:
    """An open NPZ or HDF5 file, its arrays by name; that of an NPY has every one. Raises `DAMAGED` if unreadable."""
    if path.suffix.lower() == ".npy":
        return nullcontext(dict.fromkeys((*IMAGE_KEYS, *MASK_KEYS), np.load(path, mmap_mode="r")))
    return np.load(path) if path.suffix.lower() == ".npz" else h5py.File(path)


def unreadable(path: Path, code: ErrorCode, details: str) -> OrthomaskError:
    """The error for a file of pictures or masks that is missing or damaged."""
    sentence = tr("“{}” cannot be read.").format(path)
    return OrthomaskError(code, sentence, tr("Copy it again, or remove it from the data folder."), details)
