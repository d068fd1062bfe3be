"""A small picture of the ground that a run covers, for a page that can be mailed."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.io import MemoryFile

from ...protocol import Cancelled, Image, OrthomaskError
from ...protocol.words import tr
from .. import html
from ..images import georeference as geo
from ..images.grid import Lattice, Window
from ..images.raster import Source, open_image, open_reader
from ..progress import Progress
from .objects import SharedRun

CLASSES = "classes.tif"
LONGEST_PX = 2048
"""The longer side of the picture."""
STRIP_PX = 256
"""Rows that are read at a time: reading can be cancelled in between."""
QUALITY = 80
PAPER = 236
"""Grey of pixels without data."""
STRETCH = (2, 98)
"""Percentiles that become black and white in images of more than 8 bits."""
COLOURS = ("red", "green", "blue")


class Overview(NamedTuple):
    """The picture, and where it is.

    Attributes:
        uri: the picture itself; empty where the image cannot be opened.
        pixel_m: size of a pixel on the ground.
        warning: what is wrong with it, as a sentence; empty for nothing.
    """

    uri: str
    width: int
    height: int
    crs: pyproj.CRS
    transform: Affine
    pixel_m: float
    warning: str = ""


def overview(shared: SharedRun, progress: Progress) -> Overview:
    """The run's image where the run is, at most `LONGEST_PX` wide or high.

    Raises:
        OrthomaskError: the run's raster of classes, which says where it is, is gone.
    """
    with rasterio.open(shared.raster(CLASSES)) as dataset:
        width, height, transform = dataset.width, dataset.height, dataset.transform
        crs = pyproj.CRS.from_user_input(dataset.crs.to_wkt())
    pixel_m = _pixel_m(width, height, crs, transform)
    longest, warning = max(width, height), tr("The image could not be opened, so the page shows only the objects.")
    try:
        if shared.image is not None:
            with open_image(replace(shared.image, stretch=()), progress) as source:
                side = min(LONGEST_PX, round(longest * pixel_m / min(source.gsd_m)))
                frame = _frame(width, height, crs, transform, pixel_m, side / longest)
                picture = _encoded(*_read(source, frame, progress))
                return frame._replace(uri=picture, warning=shared.change(source))
    except Cancelled:
        raise
    except OrthomaskError:
        pass
    return _frame(width, height, crs, transform, pixel_m, min(1, LONGEST_PX / longest))._replace(warning=warning)


def whole(image: Image, progress: Progress) -> Overview:
    """All of an image, at most `LONGEST_PX` wide or high, north-up.

    Raises:
        OrthomaskError: it cannot be opened, or is damaged.
    """
    with open_image(image, progress) as source:
        lattice = source.lattice(max(source.gsd_m), 0, 0)
        width, height, crs = lattice.width_px, lattice.height_px, pyproj.CRS.from_user_input(lattice.crs)
        pixel_m = _pixel_m(width, height, crs, lattice.transform)
        frame = _frame(width, height, crs, lattice.transform, pixel_m, min(1, LONGEST_PX / max(width, height)))
        return frame._replace(uri=_encoded(*_read(source, frame, progress)))


def _pixel_m(width: int, height: int, crs: pyproj.CRS, transform: Affine) -> float:
    """Size of the centre pixel on the ground."""
    return float(np.hypot(*geo.ground(crs, transform, width / 2, height / 2))[0])


def _frame(width: int, height: int, crs: pyproj.CRS, transform: Affine, pixel_m: float, factor: float) -> Overview:
    """The same ground in other pixels."""
    small = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = transform @ Affine.scale(width / small[0], height / small[1])
    return Overview("", *small, crs, scaled, pixel_m * width / small[0])


def _read(source: Source, frame: Overview, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the bands to show `(1 or 3, H, W)`, and their validity `(H, W)`."""
    lattice = Lattice(frame.crs.to_wkt(), frame.transform, frame.width, frame.height, STRIP_PX, 0)
    strips = []
    with open_reader(source, lattice, _shown(source)) as reader:
        for top in range(0, frame.height, STRIP_PX):
            progress.report(0.8 * top / frame.height, tr("Reading the image"))
            strips.append(reader.read(Window(0, top, frame.width, min(STRIP_PX, frame.height - top))))
    pixels, valid = zip(*strips)
    return np.concatenate(pixels, axis=1), np.concatenate(valid)


def _shown(source: Source) -> tuple[int, ...]:
    """Red, green and blue if the image has them, else the first three of the bands that the run read, or the first."""
    numbers = {band.colour: band.number for band in source.named_bands if not band.in_second}
    if set(COLOURS) <= set(numbers):
        return tuple(numbers[colour] for colour in COLOURS)
    asked = source.bands(source.asked_bands())
    return asked[:3] if len(asked) >= 3 else asked[:1]


def _encoded(pixels: np.ndarray, valid: np.ndarray) -> str:
    """A JPEG in its own address."""
    if pixels.dtype != np.uint8:
        pixels = np.stack([_stretched(band, valid) for band in pixels])
    shown = np.where(valid, pixels, np.uint8(PAPER))
    profile = {
        "driver": "JPEG", "dtype": "uint8", "count": len(shown), "height": shown.shape[1], "width": shown.shape[2],
        "quality": QUALITY, "transform": Affine.translation(0, 1),  # without any, rasterio warns
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(shown)
        return html.data_uri("image/jpeg", bytes(memory.getbuffer()))


def _stretched(band: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """A band in 8 bits."""
    seen = band[valid]
    low, high = np.percentile(seen, STRETCH) if len(seen) else (0, 1)
    scaled = (band.astype(np.float64) - low) * (255 / max(high - low, 1e-12))
    return np.asarray(np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8))
