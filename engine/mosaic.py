"""Many rasters as one image: a virtual raster (VRT) whose gaps and missing pixels hold no data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
from affine import Affine

from ..protocol import ErrorCode, Existing, Image, MosaicRequest, MosaicResult, OrthomaskError
from ..protocol.words import tr
from .files import listed
from .images.bands import VRT_TYPES, BandName, require_one_type
from .images.raster import open_image
from .outputs import write_atomically, writing
from .progress import Progress
from .runs.cogs import Band, Frame, vrt

SUFFIXES = {".tif", ".tiff", ".jp2"}
"""Files that a folder contributes to a mosaic."""
OFF_PX = 0.1
"""How far a raster may be off the first one's pixel grid."""


class Tile(NamedTuple):
    """One raster of a mosaic.

    Attributes:
        address: what GDAL opens: the path, or XML of a virtual raster.
        bands: all but alpha, which counts as mask.
        masks: numbers of the bands whose masks together mark valid data.
        stamp: of the file and its sidecars.
    """

    path: Path
    address: str
    crs: pyproj.CRS
    transform: Affine
    width: int
    height: int
    dtype: str
    bands: tuple[BandName, ...]
    masks: tuple[int, ...]
    stamp: str


def run(request: MosaicRequest, progress: Progress) -> MosaicResult:
    """Write a virtual raster of all rasters; leave an existing one untouched if nothing has changed.

    Raises:
        OrthomaskError: there are none, one cannot be opened, they are not on one grid, or the output exists.
    """
    paths = list(_paths(request.rasters))
    if not paths:
        sentence = tr("There are no rasters in {}.").format(", ".join(request.rasters))
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, tr("Choose GeoTIFFs, or folders that contain them."))
    tiles = []
    for number, path in enumerate(paths):
        progress.report(number / len(paths), tr("Opening {}").format(path.name))
        tiles.append(_tile(path, request.nodata))
    for tile in tiles[1:]:
        _require_same_grid(tile, tiles[0])
    pattern = next((tile for tile in tiles if not any(band.is_nameless for band in tile.bands)), tiles[0])
    tiles = [_ordered(tile, pattern) for tile in tiles]
    frame, target = _frame(tiles), Path(request.output_path)
    content, result = _xml(tiles, frame).encode(), MosaicResult(str(target), len(tiles), frame.width, frame.height)
    if target.exists() and target.read_bytes() == content:
        return result  # its modification time stays, so an unfinished run can resume
    if target.exists() and request.existing is not Existing.OVERWRITE:
        sentence = tr("“{}” already exists, but was made from other rasters, or they have changed.").format(target)
        raise OrthomaskError(ErrorCode.OUTPUT_EXISTS, sentence, tr("Choose another folder, or overwrite it."))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)
    return result


def _paths(rasters: Sequence[str]) -> Iterator[Path]:
    for raster in rasters:
        path = Path(raster).resolve()
        if path.is_dir():
            yield from (each for each in listed(path) if each.suffix.lower() in SUFFIXES)
        else:
            yield path


def _tile(path: Path, nodata: float | None) -> Tile:
    with open_image(Image(str(path), nodata=nodata)) as source:
        dataset, transform = source.dataset, source.transform
        if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
            raise _unlike(path, tr("it is not north-up"))
        if dataset.dtypes[0] not in VRT_TYPES:
            raise _unlike(path, tr("its pixel type is {}").format(dataset.dtypes[0]))
        bands = tuple(band for band in source.named_bands if not band.is_mask)
        require_one_type(dataset, [band.number for band in bands], path.name)
        masks = (1,) if dataset.nodata is None else tuple(band.number for band in bands)
        tile = Tile(
            path, source.address, source.crs, transform, dataset.width, dataset.height, dataset.dtypes[0], bands, masks,
            source.stamp(),
        )  # fmt: skip
        return tile if len(masks) == 1 else _masked_as_one(tile)


def _masked_as_one(tile: Tile) -> Tile:
    """The same raster with one mask for all bands: no data is where no band has any."""
    return tile._replace(address=_xml([tile], _frame([tile]), ""), masks=(1,))


def _ordered(tile: Tile, pattern: Tile) -> Tile:
    """The raster with its bands reordered by name to match another one's.

    Raises:
        OrthomaskError: both name their bands, and the names differ.
    """
    left, found = list(tile.bands), dict[int, BandName]()
    for place, wanted in enumerate(pattern.bands):
        same = [band for band in left if not wanted.is_nameless and _kind(band) == _kind(wanted)]
        if same:
            found[place] = same[0]
            left.remove(same[0])
    for place, wanted in enumerate(pattern.bands):
        if place not in found:
            found[place] = left.pop(0)
            if not (wanted.is_nameless or found[place].is_nameless):
                own, others = (", ".join(band.name for band in bands) for bands in (tile.bands, pattern.bands))
                raise _unlike(tile.path, tr("its bands are {}, not {}").format(own, others))
    return tile._replace(bands=tuple(found[place] for place in range(len(found))))


def _kind(band: BandName) -> str:
    return band.colour or band.name.casefold()


def _require_same_grid(tile: Tile, first: Tile) -> None:
    """Raise if CRS, bands, pixel type or grid differ from the first raster's."""
    if tile.crs != first.crs:
        raise _unlike(
            tile.path, tr("its coordinate reference system is {}, not {}").format(tile.crs.name, first.crs.name)
        )
    if (tile.dtype, len(tile.bands)) != (first.dtype, len(first.bands)):
        words = tr("it has {} bands of type {}, not {} of type {}")
        raise _unlike(tile.path, words.format(len(tile.bands), tile.dtype, len(first.bands), first.dtype))
    column, row = ~first.transform @ (tile.transform.c, tile.transform.f)
    right, bottom = ~first.transform @ (tile.transform @ (tile.width, tile.height))
    corners = np.array([column, row, right - tile.width, bottom - tile.height])
    if np.abs(corners - np.round(corners)[[0, 1, 0, 1]]).max() > OFF_PX:
        raise _unlike(
            tile.path, tr("its pixels have a different size, or are not aligned with those of the first image")
        )


def _unlike(path: Path, why: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("“{}” cannot be joined with the other images: {}.").format(path.name, why),
        tr("Warp all images to one grid first (gdalwarp -t_srs … -tr … -tap), or run this one separately."),
    )


def _xml(tiles: Sequence[Tile], frame: Frame, rule: str = "<UseMaskBand>true</UseMaskBand>") -> str:
    """A virtual raster of rasters.

    Args:
        rule: which of a raster's pixels cover what is below, as a VRT element.
    """
    first = tiles[0]
    names = [
        next((tile.bands[n].name for tile in tiles if not tile.bands[n].is_nameless), str(n + 1))
        for n in range(len(first.bands))
    ]
    bands = [
        (
            Band(first.dtype, None, f"<Description>{escape(name)}</Description>", ""),
            "".join(_source(tile, str(tile.bands[index].number), frame, rule) for tile in tiles),
        )
        for index, name in enumerate(names)
    ]
    masks = chain.from_iterable(
        (_source(tile, f"mask,{number}", frame, "<NODATA>0</NODATA>") for number in tile.masks) for tile in tiles
    )
    mask = f"<MaskBand><VRTRasterBand dataType='Byte'>{''.join(masks)}</VRTRasterBand></MaskBand>"
    stamps = hashlib.sha256(repr([tile.stamp for tile in tiles]).encode()).hexdigest()
    return vrt(frame, bands, stamps).replace("</VRTDataset>", f"{mask}</VRTDataset>")


def _source(tile: Tile, band: str, frame: Frame, rule: str) -> str:
    """A raster's band or mask at its position; pixels without data leave what is below."""
    x, y = map(round, ~frame.transform @ (tile.transform.c, tile.transform.f))
    size = f"xSize='{tile.width}' ySize='{tile.height}'"
    return (
        f"<ComplexSource><SourceFilename>{escape(tile.address)}</SourceFilename><SourceBand>{band}</SourceBand>"
        f"<SourceProperties RasterXSize='{tile.width}' RasterYSize='{tile.height}' DataType='{VRT_TYPES[tile.dtype]}'/>"
        f"<SrcRect xOff='0' yOff='0' {size}/><DstRect xOff='{x}' yOff='{y}' {size}/>{rule}</ComplexSource>"
    )


def _frame(tiles: Sequence[Tile]) -> Frame:
    """The smallest frame around all rasters, on the grid of the first one."""
    grid = tiles[0].transform
    places = np.array([np.round(~grid @ (tile.transform.c, tile.transform.f)) for tile in tiles])
    ends = places + [(tile.width, tile.height) for tile in tiles]
    (left, top), (right, bottom) = places.min(axis=0).astype(int), ends.max(axis=0).astype(int)
    transform = grid @ Affine.translation(left, top)
    return Frame(int(right - left), int(bottom - top), tiles[0].crs.to_wkt(), transform)
