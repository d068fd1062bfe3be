"""Reading any raster on the lattice of a model: right resolution, north-up, with a mask of what is valid."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pyproj
import rasterio
import rasterio.enums
import rasterio.vrt
import rasterio.warp
import rasterio.windows
from affine import Affine
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from rasterio._err import CPLE_BaseError
from rasterio.io import DatasetReader

from ..protocol import ErrorCode, Image, OrthomaskError
from ..protocol.words import tr
from . import files
from .bands import BandName, Choice, choose, corrected, is_whole, named_bands, require_one_type
from .grid import Lattice, Window
from .progress import Progress
from .shortage import out_of_memory
from .waiting import patiently

SAME_GSD = 0.05
"""A raster whose gsd is this close to the model's, relatively, is read as it is."""
STRETCH = 0.05
"""Pixels of a CRS whose east and north ground sizes differ by more than this lie on a UTM lattice instead."""
SERVERS = {
    "GDAL_HTTP_CONNECTTIMEOUT": "30", "GDAL_HTTP_LOW_SPEED_TIME": "60", "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "3", "GDAL_HTTP_RETRY_DELAY": "1",
}  # fmt: skip
"""How long a server may take to connect, and to say nothing, in seconds; GDAL would wait for ever."""
STUCK_S = 0.5
"""How long a read may still take once nobody waits for it."""
CACHE_BYTES = (64 << 20, 1 << 30)
"""Least and most of GDAL's block cache."""


@dataclass(frozen=True)
class Source:
    """An opened raster.

    Attributes:
        dataset: with its bands and its mask as the request wants them to be understood.
        named_bands: what is known of each band.
        address: what GDAL opens as this dataset, perhaps XML.
        files: the raster's own, and those beside it.
        crs: the CRS of the raster, or the one the request gave for it.
        gsd_m: east and north size of the centre pixel on the ground, metres.
    """

    dataset: DatasetReader
    image: Image
    named_bands: tuple[BandName, ...]
    address: str
    files: tuple[str, ...]
    crs: pyproj.CRS
    gsd_m: tuple[float, float]

    @property
    def name(self) -> str:
        """The file's name, for people."""
        return os.path.basename(self.image.path) or self.image.path

    @property
    def tells_nodata(self) -> bool:
        """Whether it has a mask, or a value for no data."""
        return not is_whole(self.dataset.mask_flag_enums)

    def stamp(self) -> str:
        """Says of all that the pixels come from, as it is now, how long the files are and when they were written."""
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
        return choose(self.named_bands, self.image.bands, wanted, self.name)

    def band_names(self) -> list[str]:
        """What each band is called: its description, else its colour, else its number."""
        return [band.name for band in self.named_bands]

    def pictured(self) -> list[str]:
        """Names of all bands but those that say where there are data."""
        return [band.name for band in self.named_bands if not band.is_mask]

    def lattice(self, gsd_m: float, window_px: int, overlap_px: int) -> Lattice:
        """The lattice of this raster at `gsd_m` metres: its own pixels where they fit, else a grid from its corner."""
        if self._fits(gsd_m):
            crs, transform = self.crs, self.dataset.transform
            width, height = self.dataset.width, self.dataset.height
        else:
            crs, transform, width, height = self._resampled(gsd_m)
        return Lattice(crs.to_wkt(), transform, width, height, window_px, overlap_px)

    def _fits(self, gsd_m: float) -> bool:
        transform = self.dataset.transform
        north_up = transform.b == transform.d == 0 and transform.a > 0 > transform.e
        return north_up and all(abs(size / gsd_m - 1) <= SAME_GSD for size in self.gsd_m)

    def _resampled(self, gsd_m: float) -> tuple[pyproj.CRS, Affine, int, int]:
        crs = self.crs
        units = _ground_units(crs, _center(self.dataset)) if crs.is_projected else (1.0, 2.0)
        if abs(units[0] / units[1] - 1) > STRETCH:
            crs = _utm(self.crs, _center(self.dataset))
            units = (1.0, 1.0)
        left, bottom, right, top = rasterio.warp.transform_bounds(
            self.crs.to_wkt(), crs.to_wkt(), *_bounds(self.dataset), densify_pts=21
        )
        if not all(map(math.isfinite, (left, bottom, right, top))):
            raise _misplaced(self.image, str(self.dataset.transform))
        x_size, y_size = gsd_m / units[0], gsd_m / units[1]
        width, height = round((right - left) / x_size), round((top - bottom) / y_size)
        return crs, Affine(x_size, 0, left, 0, -y_size, top), max(1, width), max(1, height)


@dataclass(frozen=True)
class Reader:
    """Reads the bands of a model on a lattice. One thread at a time may use it.

    Attributes:
        busy: held while it reads.
    """

    source: Source
    dataset: DatasetReader | rasterio.vrt.WarpedVRT
    lattice: Lattice
    numbers: tuple[int, ...]
    busy: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels `(bands, height, width)` in the raster's own type, and what of them is valid `(height, width)`.

        Beyond the raster's edge, and where it has no data, pixels are 0 and not valid.

        Raises:
            OrthomaskError: the file is damaged there.
        """
        inside = _clip(window, self.lattice)
        pixels = np.zeros((len(self.numbers), window.height, window.width), self.dataset.dtypes[self.numbers[0] - 1])
        valid = np.zeros((window.height, window.width), bool)
        rows = slice(inside.y - window.y, inside.y - window.y + inside.height)
        columns = slice(inside.x - window.x, inside.x - window.x + inside.width)
        block = rasterio.windows.Window(inside.x, inside.y, inside.width, inside.height)
        try:
            with self.busy:
                part = self.dataset.read(self.numbers, window=block)
                mask = None if self._is_whole else self.dataset.dataset_mask(window=block) > 0
        except rasterio.errors.RasterioError as error:
            if out_of_memory(error):
                raise
            raise damaged(self.source, inside.y, error) from error
        if mask is None:
            mask = np.ones(part.shape[1:], bool)
        if part.dtype.kind == "f":
            mask &= np.isfinite(part).all(axis=0)
        if not mask.all():
            part[:, ~mask] = 0
        pixels[:, rows, columns] = part
        valid[rows, columns] = mask
        return pixels, valid

    @functools.cached_property
    def _is_whole(self) -> bool:
        """Whether the raster has a value everywhere."""
        return is_whole(self.dataset.mask_flag_enums)


def damaged(source: Source, row: int, error: Exception) -> OrthomaskError:
    """The error of a raster whose pixels cannot be read around a row."""
    return OrthomaskError(
        ErrorCode.IMAGE_UNREADABLE,
        tr("“{}” is damaged or incomplete: it cannot be read around row {}.").format(source.name, row),
        tr("Copy or download the file again."),
        str(error.__cause__ or error),
    )


@contextmanager
def open_image(image: Image, progress: Progress | None = None) -> Iterator[Source]:
    """Open a raster, know its CRS and its ground sampling distance.

    Args:
        progress: cancels the opening too, which can get stuck.

    Raises:
        OrthomaskError: it is missing, empty, no raster, of complex numbers, or without CRS.
    """
    try:
        dataset = patiently(lambda: _opened(image), progress or Progress())
    except (rasterio.errors.RasterioError, OSError) as error:
        raise _not_a_raster(image, error) from error
    with dataset:
        if dataset.count == 0 or dataset.dtypes[0].startswith(("complex", "c")):
            raise OrthomaskError(
                ErrorCode.IMAGE_TYPE,
                tr("“{}” holds no plain pixel values.").format(os.path.basename(image.path)),
                tr("Choose an image with 8-bit, 16-bit or floating point bands."),
                ", ".join(dataset.dtypes),
            )
        crs = _crs(dataset, image)
        gsd_m = _gsd(dataset, crs)
        if not all(0 < size < math.inf for size in gsd_m):  # False for what is no number
            raise _misplaced(image, str(dataset.transform))
        try:
            found = named_bands(dataset)
            address = corrected(dataset, found, image.nodata)
        except CPLE_BaseError as error:  # GDAL's own, of a damaged file
            raise _not_a_raster(image, error) from error
        with rasterio.open(address) if address else nullcontext(dataset) as understood:
            yield Source(understood, image, found, address or image.path, tuple(dataset.files), crs, gsd_m)


def _opened(image: Image) -> DatasetReader:
    with rasterio.Env(**{**SERVERS, **image.access}):  # an open file keeps what it was opened with
        return rasterio.open(image.path)


@contextmanager
def open_reader(source: Source, lattice: Lattice, numbers: tuple[int, ...], scale: float = 0.0) -> Iterator[Reader]:
    """Open a raster once more, to read it on a lattice, with GDAL's cache sized for one strip of windows.

    Args:
        scale: pixels of the lattice for each of the raster; 0 lets GDAL estimate it, which blurs a turned lattice.
    """
    options = {**SERVERS, **source.image.access, "GDAL_CACHEMAX": cache_bytes(source, lattice)}
    with rasterio.Env(**options), ExitStack() as opening:
        require_one_type(source.dataset, numbers, source.name)
        dataset = opening.enter_context(rasterio.open(source.address))
        if lattice.transform != dataset.transform:
            dataset = opening.enter_context(_warped(source, dataset, lattice, scale))
        reader = Reader(source, dataset, lattice, numbers)
        try:
            yield reader
        finally:
            opened = opening.pop_all()
            if reader.busy.acquire(timeout=STUCK_S):  # closing a file under a read that is stuck would crash
                opened.close()
                reader.busy.release()


def _warped(source: Source, dataset: DatasetReader, lattice: Lattice, scale: float) -> rasterio.vrt.WarpedVRT:
    has_alpha = rasterio.enums.ColorInterp.alpha in dataset.colorinterp
    return rasterio.vrt.WarpedVRT(
        dataset,
        src_crs=source.crs.to_wkt(),
        crs=lattice.crs,
        transform=lattice.transform,
        width=lattice.width_px,
        height=lattice.height_px,
        resampling=rasterio.enums.Resampling.bilinear,
        add_alpha=not has_alpha,
        UNIFIED_SRC_NODATA="YES",
        **({"XSCALE": scale, "YSCALE": scale} if scale else {}),
    )


def cache_bytes(source: Source, lattice: Lattice) -> int:
    """Bytes of the raster's blocks under one strip of windows, so that none is decoded twice."""
    dataset = source.dataset
    finer = max(1.0, lattice.width_px and dataset.width / lattice.width_px)
    block_height = dataset.block_shapes[0][0]
    rows = lattice.window_px * finer + block_height
    needed = int(dataset.width * rows * sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes))
    return min(max(needed, CACHE_BYTES[0]), CACHE_BYTES[1])


def _clip(window: Window, lattice: Lattice) -> Window:
    width = min(window.x + window.width, lattice.width_px) - window.x
    height = min(window.y + window.height, lattice.height_px) - window.y
    return Window(window.x, window.y, width, height)


def _not_a_raster(image: Image, error: Exception) -> OrthomaskError:
    name = os.path.basename(image.path) or image.path
    if os.path.isfile(image.path) and os.path.getsize(image.path) == 0:
        sentence, remedy = tr("“{}” is empty."), tr("Copy or download the file again.")
    elif os.path.exists(image.path) or image.path.startswith("/vsi") or ":" in image.path[2:]:
        sentence = tr("“{}” cannot be opened as a raster.")
        remedy = tr("Choose a GeoTIFF or another raster that GDAL reads.")
    else:
        sentence, remedy = tr("“{}” does not exist."), tr("Check the path of the image.")
    return OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence.format(name), remedy, str(error))


def _crs(dataset: DatasetReader, image: Image) -> pyproj.CRS:
    text = image.crs or (dataset.crs.to_wkt() if dataset.crs else "")
    try:
        crs = pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.IMAGE_CRS,
            tr("“{}” has no coordinate reference system that is known here.").format(os.path.basename(image.path)),
            tr("Set the layer's CRS in QGIS, or name it with --crs."),
            str(error),
        ) from error
    if not (crs.is_projected or crs.is_geographic):
        raise OrthomaskError(
            ErrorCode.IMAGE_CRS,
            tr("The coordinate reference system of “{}” is not tied to the Earth.").format(
                os.path.basename(image.path)
            ),
            tr("Georeference the image first."),
            crs.to_wkt(),
        )
    return crs


def _misplaced(image: Image, details: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.IMAGE_CRS,
        tr("“{}” lies nowhere on the Earth.").format(os.path.basename(image.path)),
        tr("Georeference the image first, or give it the coordinate reference system that it is in."),
        details,
    )


def _bounds(dataset: DatasetReader) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of the raster, also of a rotated one."""
    corners = [
        dataset.transform @ corner
        for corner in ((0, 0), (dataset.width, 0), (0, dataset.height), (dataset.width, dataset.height))
    ]
    x, y = zip(*corners)
    return min(x), min(y), max(x), max(y)


def _center(dataset: DatasetReader) -> tuple[float, float]:
    x, y = dataset.transform @ (dataset.width / 2, dataset.height / 2)
    return x, y


def _gsd(dataset: DatasetReader, crs: pyproj.CRS) -> tuple[float, float]:
    """Ground size of the centre pixel along its own two axes, metres, on the CRS's ellipsoid."""
    transform = dataset.transform
    column, row = dataset.width / 2, dataset.height / 2
    across = (transform @ (column - 0.5, row), transform @ (column + 0.5, row))
    down = (transform @ (column, row - 0.5), transform @ (column, row + 0.5))
    return _ground_length(crs, *across), _ground_length(crs, *down)


def _ground_units(crs: pyproj.CRS, center: tuple[float, float]) -> tuple[float, float]:
    """Ground metres of one unit of a projected CRS at a place, to the east and to the north."""
    x, y = center
    east = _ground_length(crs, (x - 0.5, y), (x + 0.5, y))
    return east, _ground_length(crs, (x, y - 0.5), (x, y + 0.5))


def _ground_length(crs: pyproj.CRS, start: tuple[float, float], end: tuple[float, float]) -> float:
    geographic, geod = ellipsoid(crs)
    transformer = pyproj.Transformer.from_crs(crs, geographic, always_xy=True)
    longitudes, latitudes = transformer.transform([start[0], end[0]], [start[1], end[1]])
    return float(geod.inv(longitudes[0], latitudes[0], longitudes[1], latitudes[1])[2])


def ellipsoid(crs: pyproj.CRS) -> tuple[pyproj.CRS, pyproj.Geod]:
    """The geographic CRS under a CRS, and its ellipsoid to measure on."""
    # open_image lets only projected and geographic CRSs pass, which have both
    return cast(pyproj.CRS, crs.geodetic_crs), cast(pyproj.Geod, crs.get_geod())


def _utm(crs: pyproj.CRS, center: tuple[float, float]) -> pyproj.CRS:
    """The UTM zone of a place; near the poles, where there is none, Universal Polar Stereographic."""
    longitude, latitude = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*center)
    zones = query_utm_crs_info("WGS 84", AreaOfInterest(longitude, latitude, longitude, latitude))
    polar = "5041" if latitude > 0 else "5042"
    return pyproj.CRS.from_authority("EPSG", zones[0].code if zones else polar)
