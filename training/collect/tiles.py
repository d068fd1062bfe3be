"""Pictures of areas from the tiles of a web map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

from ...protocol import ErrorCode, Imagery, OrthomaskError
from ...protocol.words import tr
from . import privacy
from .grids import MERCATOR, TileRange, corner, quadkey
from .pictures import Picture
from .web import Answer, Client, cut_off, host_of, require_no_page

MOST_BYTES = 16 << 20
TILE_PX = (64, 1024)
"""Least and most pixels along a tile."""
KINDS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "WEBP",
    b"GIF8": "GIF",
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
}
"""GDAL's driver by the first bytes. No other may open what a server sends: some follow names of files."""


class Tile(NamedTuple):
    """Colours `(3, H, W)` uint8, and where there are any `(H, W)`."""

    pixels: np.ndarray
    valid: np.ndarray


class Tiles:
    """Fetches the tiles of an imagery source.

    Attributes:
        fetched: tiles that came, from the server or the cache.
        missing: tiles that the server does not have.
    """

    def __init__(self, imagery: Imagery, client: Client) -> None:
        self._imagery, self._client = imagery, client
        self.missing = 0

    def picture(
        self, tiles: TileRange, bounds: tuple[float, float, float, float], report: Callable[[], None]
    ) -> Picture:
        """The picture inside bounds of web mercator (left, bottom, right, top), in whole pixels.

        Raises:
            OrthomaskError: there is no network, or the server refuses, stays busy, or sends something else.
        """
        whole: Tile | None = None
        size, missing = 0, 0
        for row in range(tiles.top, tiles.bottom):
            for column in range(tiles.left, tiles.right):
                report()
                tile = self._tile(tiles.zoom, column, row)
                if tile is None:
                    missing += 1
                    continue
                if whole is None:
                    size = tile.pixels.shape[1]
                    shape = (tiles.bottom - tiles.top) * size, (tiles.right - tiles.left) * size
                    whole = Tile(np.zeros((3, *shape), np.uint8), np.zeros(shape, bool))
                if tile.pixels.shape[1] != size:
                    raise self._odd(tile.pixels.shape)
                y, x = (row - tiles.top) * size, (column - tiles.left) * size
                whole.pixels[:, y : y + size, x : x + size] = tile.pixels
                whole.valid[y : y + size, x : x + size] = tile.valid
        self.missing += missing
        if whole is None:
            return Picture.nothing(missing)
        return _cut(whole, corner(tiles, size), bounds, missing)

    def _tile(self, zoom: int, column: int, row: int) -> Tile | None:
        """A tile; None if the server has none there."""
        name = address(self._imagery.url, zoom, column, row)
        url = privacy.filled(name, self._imagery.access)
        content = self._client.fetch(name, url, lambda answer: self._check(url, answer))
        return decoded(content) if content else None

    def _check(self, url: str, answer: Answer) -> None:
        require_no_page(url, answer)
        if driver_of(answer.content) is None:
            raise self._odd(answer.content[:200])
        try:
            decoded(answer.content)
        except RasterioError as error:
            raise cut_off(url, error) from error
        except ValueError as error:
            raise self._odd(error) from error

    def _odd(self, details: object) -> OrthomaskError:
        return OrthomaskError(
            ErrorCode.SERVER,
            tr("{} sends no tiles of 8-bit colours.").format(host_of(self._imagery.url)),
            tr("Check the address: it must name pictures such as PNG or JPEG."),
            str(details),
        )


def address(url: str, zoom: int, column: int, row: int) -> str:
    """The address of a tile."""
    values = {
        "z": str(zoom), "x": str(column), "y": str(row), "-y": str(2**zoom - 1 - row), "q": quadkey(zoom, column, row),
    }  # fmt: skip
    for name, value in values.items():
        url = url.replace(f"{{{name}}}", value)
    return url


def driver_of(content: bytes) -> str | None:
    """GDAL's driver for a picture; None if it is none."""
    return next((driver for start, driver in KINDS.items() if content.startswith(start)), None)


def decoded(content: bytes) -> Tile:
    """The colours of a picture.

    Raises:
        RasterioError: it is damaged or cut off.
        ValueError: it is no square of 8-bit colours.
    """
    with (
        _without_place(),
        rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING="YES"),
        MemoryFile(content) as file,
        rasterio.open(file.name, driver=driver_of(content)) as dataset,
    ):
        low, high = TILE_PX
        if not (low <= dataset.width == dataset.height <= high) or set(dataset.dtypes) != {"uint8"}:
            raise ValueError(f"{dataset.width} x {dataset.height} {dataset.dtypes[0]}")
        bands, valid = dataset.read(), dataset.dataset_mask() > 0
        if dataset.colorinterp[0] is ColorInterp.palette:
            table = np.zeros((256, 4), np.uint8)
            for value, tint in dataset.colormap(1).items():
                table[value] = tint
            bands = np.moveaxis(table[bands[0]], 2, 0)
            valid = valid & (bands[3] > 0)
    if len(bands) > 4:
        raise ValueError(f"{len(bands)} bands")
    colours = bands[:3] if len(bands) > 2 else np.repeat(bands[:1], 3, axis=0)
    return Tile(np.where(valid, colours, 0), valid)


@contextmanager
def _without_place() -> Iterator[None]:
    """Pictures have no georeference: no warning about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _cut(whole: Tile, transform: Affine, bounds: tuple[float, float, float, float], missing: int) -> Picture:
    """The pixels of a mosaic that bounds touch."""
    least = 1e-3
    left, top = (int(value + least) for value in ~transform @ (bounds[0], bounds[3]))
    right, bottom = (-int(-(value - least) // 1) for value in ~transform @ (bounds[2], bounds[1]))
    height, width = whole.valid.shape
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    part = np.s_[top:bottom, left:right]
    return Picture(
        whole.pixels[(slice(None), *part)], whole.valid[part], transform @ Affine.translation(left, top), MERCATOR,
        missing,
    )  # fmt: skip
