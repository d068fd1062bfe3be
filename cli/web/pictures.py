"""What can be chosen on the page: the bundled samples, and pictures that were dropped, with or without a position."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pyproj
import rasterio
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion

from ...engine.html import RESOURCES
from ...engine.images.unreadable import not_a_raster
from ...protocol import ErrorCode, Image, OrthomaskError
from ...protocol.errors import require
from ...protocol.words import mark, tr

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG", b"\xff\xd8\xff")
"""How TIFF, PNG and JPEG files begin. Other formats of GDAL can name files and servers, whatever a file is called."""
FINEST_M, COARSEST_M = 0.001, 1000.0
"""Sizes of a pixel that are believed."""


class Sample(NamedTuple):
    """A bundled picture; its credit names who made it, and its licence."""

    file: str
    title: str
    credit: str

    @property
    def path(self) -> str:
        """Where it is."""
        return str(RESOURCES / "sample" / self.file)


SAMPLES = (
    Sample("banepa.tif", mark("Banepa, Nepal: a town"), "© OpenAerialMap contributors, CC BY 4.0"),
    Sample("iowa.tif", mark("Iowa, United States: fields"), "USDA NAIP, public domain"),
)


class Unplaced(OrthomaskError):  # noqa: N818 (it asks for an answer)
    """A picture does not say where it lies, and nobody has said how large its pixels are."""

    def __init__(self, name: str) -> None:
        super().__init__(
            ErrorCode.IMAGE_GSD,
            tr("“{}” does not say how large its pixels are on the ground.").format(name),
            tr("Enter the metres per pixel."),
        )


def dropped(path: str, gsd_m: float | None, folder: Path) -> Image:
    """A dropped picture, copied to a folder. Without a position, it lies where `nowhere` says, with pixels of `gsd_m`.

    Raises:
        Unplaced: it has no position, and `gsd_m` is None.
        OrthomaskError: it is not a picture, or `gsd_m` is no size of a pixel.
    """
    copy = folder / Path(path).name
    shutil.copyfile(path, copy)
    image = Image(str(copy))
    try:
        with open(copy, "rb") as file:
            known = file.read(4).startswith(SIGNATURES)
        if not known:
            raise rasterio.errors.RasterioIOError("neither TIFF, PNG nor JPEG")
        with rasterio.open(copy) as dataset:
            if not dataset.transform.is_identity or dataset.gcps[0] or dataset.rpcs:
                return image
    except rasterio.errors.RasterioError as error:
        raise not_a_raster(image, error) from error
    if gsd_m is None:
        raise Unplaced(copy.name)
    require(
        FINEST_M <= gsd_m <= COARSEST_M,  # False for NaN
        tr("{:g} m is not a usable pixel size.").format(gsd_m),
        tr("Enter a number between {:g} and {:g}.").format(FINEST_M, COARSEST_M),
    )
    half = gsd_m / 2
    copy.with_suffix(".wld").write_text("\n".join(map(repr, (gsd_m, 0.0, 0.0, -gsd_m, half, -half))))
    return Image(str(copy), nowhere().to_wkt())


def nowhere() -> pyproj.CRS:
    """A plane in metres, true to scale, for what has no place: its origin, 0° N 0° E, is the upper left corner."""
    plane = TransverseMercatorConversion(0, 0, 0, 0, 1)
    return ProjectedCRS(plane, "No position: metres from the upper left corner", geodetic_crs=pyproj.CRS(4326))
