"""Read any raster on a model's lattice: at its resolution, north-up, with a mask of valid pixels."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pyproj
import rasterio
import rasterio.enums
import rasterio.vrt
import rasterio.warp
import rasterio.windows
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from ...protocol import ErrorCode, Image, OrthomaskError
from ...protocol.words import tr
from .. import files
from ..progress import Progress
from ..shortage import out_of_memory
from ..waiting import patiently
from . import georeference as geo
from .bands import BandName, Choice, by_image, choose, corrected, is_whole, joined, named_bands, require_one_type
from .grid import Lattice, Window
from .stretch import limits_of, stretched
from .unreadable import damaged, not_a_raster
from .warping import stacked, warped

SAME_GSD = 0.05
"""A raster whose gsd is this close to the model's, relatively, is not resampled."""
ALIKE_PX = 0.01
"""Lattice pixels this close to the raster's own are read without resampling."""
SERVERS = {
    "GDAL_HTTP_CONNECTTIMEOUT": "30", "GDAL_HTTP_LOW_SPEED_TIME": "60", "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "3", "GDAL_HTTP_RETRY_DELAY": "1",
}  # fmt: skip
"""How long a server may take to connect, or stay silent, in seconds; GDAL would wait forever."""
STUCK_S = 0.5
"""How long a read may still take once nobody waits for it."""
CACHE_BYTES = (64 << 20, 1 << 30)
"""Limits of GDAL's block cache."""


@dataclass(frozen=True)
class Source:
    """An opened raster.

    Attributes:
        dataset: with its bands and its mask interpreted as the request asks.
        named_bands: what is known of each band.
        address: what GDAL opens as this dataset, perhaps XML.
        files: the raster's own and its sidecars.
        crs: the CRS of the raster, or the one the request gives for it.
        transform: pixel to CRS coordinates, from control points if the raster has no transform of its own.
        gsd_m: size of the centre pixel on the ground along its rows and its columns, metres.
        notes: what the user should know about its position.
    """

    dataset: DatasetReader
    image: Image
    named_bands: tuple[BandName, ...]
    address: str
    files: tuple[str, ...]
    crs: pyproj.CRS
    transform: Affine
    gsd_m: tuple[float, float]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return os.path.basename(self.image.path) or self.image.path

    @property
    def tells_nodata(self) -> bool:
        """Whether it has a mask, or a value for no data."""
        return not is_whole(self.dataset.mask_flag_enums)

    def pixel_type(self, number: int) -> str:
        """NumPy's name for the type in which a band is read."""
        return "uint8" if self.image.stretch else str(self.dataset.dtypes[number - 1])

    def stamp(self) -> str:
        """Identifies the current state of all files that the pixels come from, by size and time."""
        return files.stamp(self.files)

    def bands(self, wanted: Sequence[str]) -> tuple[int, ...]:
        """One-based numbers of the raster's bands for the `wanted` band names of a model.

        Raises:
            OrthomaskError: the raster has too few bands, or none of that name.
        """
        return self.choose(wanted).numbers

    def choose(self, wanted: Sequence[str]) -> Choice:
        """The raster's bands for the `wanted` band names of a model, and what had to be assumed (see `bands.choose`).

        Raises:
            OrthomaskError: the raster has too few bands, or none of that name.
        """
        second = os.path.basename(self.image.second.path) if self.image.second else ""
        return choose(self.named_bands, self.image.bands, wanted, self.name, second)

    def band_names(self) -> list[str]:
        """What each band is called: its description, else its colour, else its number."""
        return [band.name for band in self.named_bands]

    def pictured(self) -> list[str]:
        """Names of all bands except masks."""
        return [band.name for band in self.named_bands if not band.is_mask]

    def asked_bands(self) -> tuple[str, ...]:
        """Names of the bands that the request asks for, or else, of each image, of all except masks.

        Raises:
            OrthomaskError: the raster has none of that name.
        """
        names, choices = self.band_names(), zip(by_image(self.image.bands), by_image(self.pictured()))
        wanted = [name for asked, every in choices for name in asked or every]
        return tuple(names[number - 1] for number in self.bands(wanted))

    @property
    def center(self) -> tuple[float, float]:
        """The middle of the raster, in its CRS."""
        x, y = self.transform @ (self.dataset.width / 2, self.dataset.height / 2)
        return x, y

    def lattice(self, gsd_m: float, window_px: int, overlap_px: int) -> Lattice:
        """The lattice of this raster at `gsd_m` metres: its own pixels if they fit, else a grid from its corner."""
        crs, transform, width, height = self._own() if self.fits(gsd_m) else self._resampled(gsd_m)
        return Lattice(crs.to_wkt(), transform, width, height, window_px, overlap_px)

    def fits(self, gsd_m: float) -> bool:
        """Whether its own pixels, at most mirrored or rotated by quarter turns, have this size on the ground."""
        dataset = self.dataset
        sizes = geo.stretch(geo.ground(self.crs, self.transform, dataset.width / 2, dataset.height / 2))
        aligned = geo.is_aligned(self.transform, dataset.width, dataset.height)
        return aligned and all(abs(size / gsd_m - 1) <= SAME_GSD for size in sizes)

    def resampling(self, lattice: Lattice) -> str:
        """How the raster is resampled to a lattice, as text; empty if it is not."""
        same = lattice.transform == self.transform
        return "" if same else f"{self.crs.to_wkt()} {self.transform[:6]} -> {lattice.crs} {lattice.transform[:6]}"

    def _own(self) -> tuple[pyproj.CRS, Affine, int, int]:
        """Its own pixels, north-up."""
        a, b, _, d, e, _ = self.transform[:6]
        width, height = self.dataset.width, self.dataset.height
        if abs(b) > abs(a):
            a, e, width, height = b, d, height, width
        transform = geo.north_up(self.crs, _bounds(self), abs(a), abs(e))
        same = transform.a == self.transform.a and transform.e == self.transform.e
        return self.crs, self.transform if same else transform, width, height

    def _resampled(self, gsd_m: float) -> tuple[pyproj.CRS, Affine, int, int]:
        crs, x_size, y_size = self.crs, gsd_m, gsd_m
        if geo.is_stretched(crs, self.center):
            crs = geo.utm(crs, self.center)
        else:
            x_unit, y_unit = np.hypot(*geo.ground(crs, Affine.identity(), *self.center))
            x_size, y_size = float(gsd_m / x_unit), float(gsd_m / y_unit)
        bounds = rasterio.warp.transform_bounds(self.crs.to_wkt(), crs.to_wkt(), *_bounds(self), densify_pts=21)
        if not all(map(math.isfinite, bounds)):
            raise geo.misplaced(self.image, str(self.transform))
        left, bottom, right, top = bounds
        width, height = round((right - left) / x_size), round((top - bottom) / y_size)
        return crs, geo.north_up(crs, bounds, x_size, y_size), max(1, width), max(1, height)


@dataclass(frozen=True)
class Reader:
    """Reads the bands of a model on a lattice. One thread at a time may use it.

    Attributes:
        turn: from pixels of the lattice to those of the dataset: shifts, mirrors and quarter turns.
        limits: lowest and highest value of the stretch to 8 bits, of all bands or of each `(bands, 2)`; None for none.
        busy: held while it reads.
    """

    source: Source
    dataset: DatasetReader | rasterio.vrt.WarpedVRT
    lattice: Lattice
    numbers: tuple[int, ...]
    turn: Affine = Affine.identity()
    limits: np.ndarray | None = field(default=None, compare=False)
    busy: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels `(bands, height, width)`, stretched or in the raster's own type, and their validity `(height, width)`.

        Beyond the raster's edge, and where it has no data, pixels are 0 and not valid.

        Raises:
            OrthomaskError: the file is damaged there.
        """
        inside = _clip(window, self.lattice)
        kind = self.source.pixel_type(self.numbers[0])
        pixels = np.zeros((len(self.numbers), window.height, window.width), kind)
        valid = np.zeros((window.height, window.width), bool)
        rows = slice(inside.y - window.y, inside.y - window.y + inside.height)
        columns = slice(inside.x - window.x, inside.x - window.x + inside.width)
        block = _turned(inside, self.turn)
        try:
            with self.busy:
                part = _back(self.dataset.read(self.numbers, window=block), self.turn)
                mask = _back(self._mask(block), self.turn)
        except rasterio.errors.RasterioError as error:
            if out_of_memory(error):
                raise
            raise damaged(self.source.name, inside.y, error) from error
        if part.dtype.kind == "f":
            mask &= np.isfinite(part).all(axis=0)
        if self.limits is not None:
            part = stretched(part, self.limits)
        if not mask.all():
            part[:, ~mask] = 0
        pixels[:, rows, columns] = part
        valid[rows, columns] = mask
        return pixels, valid

    def _mask(self, block: rasterio.windows.Window) -> np.ndarray:
        """Where the raster has a value `(H, W)`."""
        colours = self.dataset.colorinterp
        if not self._is_whole:
            return np.asarray(self.dataset.dataset_mask(window=block) > 0)
        if ColorInterp.alpha in colours:  # GDAL heeds it in bytes and uint16 only
            return np.asarray(self.dataset.read(colours.index(ColorInterp.alpha) + 1, window=block) > 0)
        return np.ones((block.height, block.width), bool)

    @functools.cached_property
    def _is_whole(self) -> bool:
        """Whether GDAL says that the raster has a value everywhere."""
        return is_whole(self.dataset.mask_flag_enums)


@contextmanager
def open_image(image: Image, progress: Progress | None = None) -> Iterator[Source]:
    """Open a raster, with the bands of its second one, and find its CRS and ground sampling distance.

    Args:
        progress: cancels the opening, too, which can hang.

    Raises:
        OrthomaskError: it is missing, empty, not a raster, complex, or without CRS, or does not overlap its second one.
    """
    with _alone(image, progress or Progress()) as first:
        if image.second is None:
            yield first
            return
        access = {**image.second.access, **image.access}
        with _alone(replace(image.second, access=access), progress or Progress()) as second:
            yield from _both(replace(first, image=replace(image, access=access)), second)


def _both(first: Source, second: Source) -> Iterator[Source]:
    """The bands of two rasters as those of the first."""
    address = stacked(first, second)
    notes = first.notes + second.notes + geo.doubt(second.crs, first.crs, _bounds(first))
    with _opened(replace(first.image, path=address)) as dataset:
        yield replace(
            first, dataset=dataset, named_bands=joined(first.named_bands, second.named_bands), address=address,
            files=first.files + second.files, notes=notes,
        )  # fmt: skip


@contextmanager
def _alone(image: Image, progress: Progress) -> Iterator[Source]:
    try:
        dataset = patiently(lambda: _opened(image), progress)
    except (rasterio.errors.RasterioError, OSError) as error:
        raise not_a_raster(image, error) from error
    with dataset:
        if dataset.count == 0 or dataset.dtypes[0].startswith(("complex", "c")):
            raise OrthomaskError(
                ErrorCode.IMAGE_TYPE,
                tr("“{}” does not contain plain pixel values.").format(os.path.basename(image.path)),
                tr("Choose an image with 8-bit, 16-bit or floating-point bands."),
                ", ".join(dataset.dtypes),
            )
        crs, transform, notes = geo.georeference(dataset, image)
        across, down = np.hypot(*geo.ground(crs, transform, dataset.width / 2, dataset.height / 2)).tolist()
        if not all(0 < size < math.inf for size in (across, down)):  # False for NaN
            raise geo.misplaced(image, str(transform))
        try:
            found = named_bands(dataset)
            address = corrected(dataset, found, image.nodata)
        except CPLE_BaseError as error:  # GDAL's own, of a damaged file
            raise not_a_raster(image, error) from error
        with _opened(replace(image, path=address)) if address else nullcontext(dataset) as understood:
            source = Source(
                understood, image, found, address or image.path, tuple(dataset.files), crs, transform,
                (across, down), notes,
            )  # fmt: skip
            if not geo.is_stretched(crs, source.center):
                source = replace(source, notes=notes + geo.spread(crs, transform, dataset.width, dataset.height))
            yield source


def _opened(image: Image) -> DatasetReader:
    with rasterio.Env(**{**SERVERS, **image.access}):  # an open file keeps these options
        return rasterio.open(image.path)


@contextmanager
def open_reader(source: Source, lattice: Lattice, numbers: tuple[int, ...]) -> Iterator[Reader]:
    """Open a raster again, to read it on a lattice, with GDAL's cache sized for one strip of windows."""
    options = {**SERVERS, **source.image.access, "GDAL_CACHEMAX": cache_bytes(source, lattice)}
    with rasterio.Env(**options), ExitStack() as opening:
        require_one_type(source.dataset, numbers, source.name)
        dataset = opening.enter_context(rasterio.open(source.address))
        turn = _turn(source, lattice)
        if turn is None:
            dataset = opening.enter_context(warped(source, dataset, lattice))
        reader = Reader(
            source, dataset, lattice, numbers, turn or Affine.identity(), limits_of(source.image, len(numbers))
        )
        try:
            yield reader
        finally:
            opened = opening.pop_all()
            if reader.busy.acquire(timeout=STUCK_S):  # closing a file during a stuck read would crash
                opened.close()
                reader.busy.release()


def _turn(source: Source, lattice: Lattice) -> Affine | None:
    """From lattice pixels to raster pixels, if these are the same except for mirrors and quarter turns."""
    if lattice.crs != source.crs.to_wkt():
        return None
    exact = ~source.transform @ lattice.transform
    turn = Affine(*(float(round(part)) for part in exact[:6]))
    corners = ((0, 0), (lattice.width_px, 0), (0, lattice.height_px), (lattice.width_px, lattice.height_px))
    placed, expected = (np.array([move @ corner for corner in corners]) for move in (exact, turn))
    size = (source.dataset.width, source.dataset.height)
    within = (expected >= 0).all() and (expected <= size).all()
    is_turn = abs(turn.determinant) == 1 and abs(turn.a) + abs(turn.b) == 1
    return turn if is_turn and within and np.abs(placed - expected).max() <= ALIKE_PX else None


def _turned(window: Window, turn: Affine) -> rasterio.windows.Window:
    """The pixels of a raster under a window of a lattice."""
    ends = (turn @ (window.x, window.y), turn @ (window.x + window.width, window.y + window.height))
    (left, right), (top, bottom) = (sorted(map(int, pair)) for pair in zip(*ends))
    return rasterio.windows.Window(left, top, right - left, bottom - top)


def _back(pixels: np.ndarray, turn: Affine) -> np.ndarray:
    """Turn a raster's pixels `(…, H, W)` back to the lattice."""
    swapped = turn.a == 0
    down, across = (turn.b, turn.d) if swapped else (turn.e, turn.a)
    upright = pixels.swapaxes(-1, -2) if swapped else pixels
    return upright[..., :: int(down), :: int(across)]


def cache_bytes(source: Source, lattice: Lattice) -> int:
    """Bytes of the raster's blocks under one strip of windows, so that none is decoded twice."""
    dataset = source.dataset
    finer = max(1.0, lattice.width_px and dataset.width / lattice.width_px)
    block_height = dataset.block_shapes[0][0]
    is_upright = lattice.transform.b == 0 and source.transform.b == 0
    rows = lattice.window_px * finer + block_height if is_upright else dataset.height
    needed = int(dataset.width * rows * sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes))
    return min(max(needed, CACHE_BYTES[0]), CACHE_BYTES[1])


def _clip(window: Window, lattice: Lattice) -> Window:
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.width, lattice.width_px), min(window.y + window.height, lattice.height_px)
    return Window(left, top, right - left, bottom - top)


def _bounds(source: Source) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a raster, even a rotated one."""
    width, height = source.dataset.width, source.dataset.height
    x, y = zip(*(source.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))))
    return min(x), min(y), max(x), max(y)
