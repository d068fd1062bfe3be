"""Pictures of areas from any raster that GDAL opens: a COG on a server, WMS, WMTS, or a file.

They stay in the raster's own CRS. GDAL takes coarser ones from its overviews, so that servers send no more than needed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import rasterio
import rasterio.windows
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from ...engine.images.grid import Lattice
from ...engine.images.raster import SERVERS, Source
from ...engine.images.regions import to_lattice
from ...engine.images.unreadable import damaged
from ...engine.progress import Progress
from ...engine.waiting import patiently
from ...protocol import ErrorCode, Image, Imagery, OrthomaskError, Region
from . import privacy
from .pictures import Picture
from .services import SERVICE
from .web import agent


class Cutout(NamedTuple):
    """Pixels of a raster to read, and how many to make of them."""

    window: rasterio.windows.Window
    height: int
    width: int


def image_of(imagery: Imagery, contact: str) -> Image:
    """The raster, with its key and with GDAL's options to open it."""
    options = {"GDAL_HTTP_USERAGENT": agent(contact), **privacy.options(imagery.access)}
    url = privacy.filled(imagery.url, imagery.access)
    if SERVICE.search(url):
        options["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"  # no 30 requests for files beside it
        options["CPL_VSIL_CURL_NON_CACHED"] = f"/vsicurl/{url.removeprefix('/vsicurl/')}"  # a wrong key is not for ever
    return Image(url, access=options)


def cutout(source: Source, polygon: shapely.Geometry, crs: str, gsd_m: float) -> Cutout | None:
    """The pixels that an area touches; None if it lies beside the raster.

    Args:
        gsd_m: metres per pixel to make; 0, or finer than the raster, for its own.
    """
    dataset = source.dataset
    whole = Lattice(source.crs.to_wkt(), source.transform, dataset.width, dataset.height, 512, 0)
    try:
        place, _ = to_lattice(Region(polygon.wkt, crs), whole)
    except OrthomaskError as error:
        if error.code is ErrorCode.REGION_OUTSIDE:
            return None
        raise
    least = 1e-3
    left, top = (math.floor(value + least) for value in place.bounds[:2])
    right, bottom = (math.ceil(value - least) for value in place.bounds[2:])
    width, height = max(1, right - left), max(1, bottom - top)
    across, down = (min(1.0, own / gsd_m) if gsd_m else 1.0 for own in source.gsd_m)
    window = rasterio.windows.Window(left, top, width, height)
    return Cutout(window, max(1, round(height * down)), max(1, round(width * across)))


def picture(source: Source, cut: Cutout, progress: Progress) -> Picture:
    """The picture of a cutout, all bands but masks, and where the raster has data.

    Raises:
        OrthomaskError: it cannot be read there.
    """
    numbers, names = source.bands(source.pictured()), source.band_names()
    try:
        pixels, valid = patiently(lambda: _read(source, numbers, cut), progress)
    except RasterioError as error:
        raise damaged(source.name, int(cut.window.row_off), error) from error
    scale = Affine.scale(cut.window.width / cut.width, cut.window.height / cut.height)
    transform: Affine = source.transform @ Affine.translation(cut.window.col_off, cut.window.row_off) @ scale
    return Picture(pixels, valid, transform, source.crs.to_wkt(), 0, tuple(names[number - 1] for number in numbers))


def _read(source: Source, numbers: tuple[int, ...], cut: Cutout) -> tuple[np.ndarray, np.ndarray]:
    shape = cut.height, cut.width
    resampling = Resampling.nearest if shape == (cut.window.height, cut.window.width) else Resampling.average
    with rasterio.Env(**{**SERVERS, **source.image.access}):
        pixels = source.dataset.read(
            numbers, window=cut.window, out_shape=(len(numbers), *shape), resampling=resampling
        )  # fmt: skip
        valid = source.dataset.dataset_mask(window=cut.window, out_shape=shape) > 0
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels).all(axis=0)
    return np.where(valid, pixels, 0).astype(pixels.dtype), valid
