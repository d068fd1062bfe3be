"""Many rasters as one image: a virtual raster in GDAL's XML, whose gaps and missing pixels hold no data."""

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
from rasterio.enums import ColorInterp

from ..protocol import ErrorCode, Existing, Image, MosaicRequest, MosaicResult, OrthomaskError
from ..protocol.words import tr
from .cogs import VRT_TYPES, Band, Frame, vrt
from .outputs import write_atomically, writing
from .progress import Progress
from .raster import open_image

SUFFIXES = {".tif", ".tiff", ".jp2"}
"""What belongs to a mosaic of all that is in a folder."""
OFF_PX = 0.1
"""How far a raster may lie beside the pixels of the first one."""


class Tile(NamedTuple):
    """One raster of a mosaic.

    Attributes:
        bands: number and name of each band but alpha, which counts as mask.
        masks: numbers of the bands whose masks say, together, where there are data.
        stamp: size and time of the file.
    """

    path: Path
    crs: pyproj.CRS
    transform: Affine
    width: int
    height: int
    dtype: str
    bands: tuple[tuple[int, str], ...]
    masks: tuple[int, ...]
    stamp: tuple[int, int]


def run(request: MosaicRequest, progress: Progress) -> MosaicResult:
    """Write a virtual raster of all rasters; where it is there already, and nothing has changed, it stays as it is.

    Raises:
        OrthomaskError: there are none, one cannot be opened, they do not lie on one grid, or the output exists.
    """
    paths = list(_paths(request.rasters))
    if not paths:
        sentence = tr("There are no rasters in {}.").format(", ".join(request.rasters))
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, tr("Name GeoTIFFs, or folders with some."))
    tiles = []
    for number, path in enumerate(paths):
        progress.report(number / len(paths), tr("Opening {}").format(path.name))
        tiles.append(_tile(path))
    for tile in tiles[1:]:
        _require_same_grid(tile, tiles[0])
    frame, target = _frame(tiles), Path(request.output_path)
    content, result = _xml(tiles, frame).encode(), MosaicResult(str(target), len(tiles), frame.width, frame.height)
    if target.exists() and target.read_bytes() == content:
        return result  # as old as it was: an unfinished run of it can go on
    if target.exists() and request.existing is not Existing.OVERWRITE:
        sentence = tr("“{}” is there already, and was made of other rasters, or these have changed.").format(target)
        raise OrthomaskError(ErrorCode.OUTPUT_EXISTS, sentence, tr("Choose another folder, or overwrite it."))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)
    return result


def _paths(rasters: Sequence[str]) -> Iterator[Path]:
    for raster in rasters:
        path = Path(raster).resolve()
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        else:
            yield path


def _tile(path: Path) -> Tile:
    with open_image(Image(str(path))) as source:
        dataset, transform = source.dataset, source.transform
        if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
            raise _unlike(path, tr("it is not north-up"))
        if dataset.dtypes[0] not in VRT_TYPES:
            raise _unlike(path, tr("it has pixels of type {}").format(dataset.dtypes[0]))
        named = zip(dataset.colorinterp, enumerate(source.band_names(), 1))
        bands = tuple(band for colour, band in named if colour is not ColorInterp.alpha)
        masks = (1,) if dataset.nodata is None else tuple(number for number, _ in bands)
        status = path.stat()
        return Tile(
            path, source.crs, transform, dataset.width, dataset.height, dataset.dtypes[0], bands, masks,
            (status.st_size, status.st_mtime_ns),
        )  # fmt: skip


def _require_same_grid(tile: Tile, first: Tile) -> None:
    """Raise where a raster cannot be laid beside the first one pixel by pixel."""
    if tile.crs != first.crs:
        raise _unlike(
            tile.path, tr("its coordinate reference system is {}, not {}").format(tile.crs.name, first.crs.name)
        )
    if (tile.dtype, len(tile.bands)) != (first.dtype, len(first.bands)):
        words = tr("it has {} bands of {}, not {} of {}")
        raise _unlike(tile.path, words.format(len(tile.bands), tile.dtype, len(first.bands), first.dtype))
    column, row = ~first.transform @ (tile.transform.c, tile.transform.f)
    right, bottom = ~first.transform @ (tile.transform @ (tile.width, tile.height))
    corners = np.array([column, row, right - tile.width, bottom - tile.height])
    if np.abs(corners - np.round(corners)[[0, 1, 0, 1]]).max() > OFF_PX:
        raise _unlike(tile.path, tr("its pixels are of another size, or lie between those of the first one"))


def _unlike(path: Path, why: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("“{}” cannot be joined with the other images: {}.").format(path.name, why),
        tr("Warp all of them to one grid first (gdalwarp -t_srs … -tr … -tap), or predict it apart."),
    )


def _xml(tiles: Sequence[Tile], frame: Frame) -> str:
    first = tiles[0]
    bands = [
        (
            Band(first.dtype, None, f"<Description>{escape(name)}</Description>", ""),
            "".join(
                _source(tile, str(tile.bands[index][0]), frame, "<UseMaskBand>true</UseMaskBand>") for tile in tiles
            ),
        )
        for index, (_, name) in enumerate(first.bands)
    ]
    masks = chain.from_iterable(
        (_source(tile, f"mask,{number}", frame, "<NODATA>0</NODATA>") for number in tile.masks) for tile in tiles
    )
    mask = f"<MaskBand><VRTRasterBand dataType='Byte'>{''.join(masks)}</VRTRasterBand></MaskBand>"
    stamps = hashlib.sha256(repr([tile.stamp for tile in tiles]).encode()).hexdigest()
    return vrt(frame, bands, stamps).replace("</VRTDataset>", f"{mask}</VRTDataset>")


def _source(tile: Tile, band: str, frame: Frame, rule: str) -> str:
    """A band of a raster, or of its mask, at its place; what has no data leaves what is below."""
    x, y = map(round, ~frame.transform @ (tile.transform.c, tile.transform.f))
    size = f"xSize='{tile.width}' ySize='{tile.height}'"
    return (
        f"<ComplexSource><SourceFilename>{escape(str(tile.path))}</SourceFilename><SourceBand>{band}</SourceBand>"
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
