"""Pictures of areas from any raster that GDAL opens: a COG on a server, WMS, WMTS, or a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import shapely

from ...engine.images.grid import Window
from ...engine.images.raster import Reader, Source, open_reader
from ...engine.images.regions import to_lattice
from ...engine.progress import Progress
from ...engine.waiting import patiently
from ...protocol import ErrorCode, Image, Imagery, OrthomaskError, Region
from . import privacy
from .pictures import Picture
from .web import agent


def image_of(imagery: Imagery, contact: str) -> Image:
    """The raster, with its key and with GDAL's options to open it."""
    options = {"GDAL_HTTP_USERAGENT": agent(contact), **privacy.options(imagery.access)}
    return Image(privacy.filled(imagery.url, imagery.access), access=options)


@contextmanager
def reading(source: Source, gsd_m: float) -> Iterator[Reader]:
    """Read the bands of a raster, without masks, at a resolution; 0 for its own."""
    lattice = source.lattice(gsd_m or source.gsd_m[0], 512, 0)
    with open_reader(source, lattice, source.bands(source.pictured())) as reader:
        yield reader


def window_of(reader: Reader, polygon: shapely.Geometry, crs: str) -> Window | None:
    """The pixels that an area touches; None if it lies beside the raster."""
    try:
        place, _ = to_lattice(Region(polygon.wkt, crs), reader.lattice)
    except OrthomaskError as error:
        if error.code is ErrorCode.REGION_OUTSIDE:
            return None
        raise
    left, top, right, bottom = (round(value) for value in place.bounds)
    return Window(left, top, max(1, right - left), max(1, bottom - top))


def picture(reader: Reader, window: Window, progress: Progress) -> Picture:
    """The picture in a window, and where the raster has data.

    Raises:
        OrthomaskError: it cannot be read there.
    """
    pixels, valid = patiently(lambda: reader.read(window), progress)
    names = reader.source.band_names()
    lattice = reader.lattice
    moved = lattice.transform @ lattice.transform.translation(window.x, window.y)
    return Picture(pixels, valid, moved, lattice.crs, 0, tuple(names[number - 1] for number in reader.numbers))
