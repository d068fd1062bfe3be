"""Rasters resampled to the pixels of another, and two rasters as one."""

from __future__ import annotations

from html import escape
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import rasterio
import rasterio.enums
import rasterio.shutil
import rasterio.vrt
import shapely
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader, MemoryFile

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from . import georeference as geo
from .bands import VRT_TYPES
from .grid import Lattice
from .regions import reprojected, transformed

if TYPE_CHECKING:
    from .raster import Source

STEPS = 32
"""An edge is cut this many times before it is reprojected."""


def warped(source: Source, dataset: DatasetReader, lattice: Lattice) -> rasterio.vrt.WarpedVRT:
    """A raster resampled to a lattice, bilinearly, or by averaging to coarser pixels; its mask becomes a band."""
    has_alpha = ColorInterp.alpha in dataset.colorinterp
    crs, transform = source.crs.to_wkt(), source.transform
    if lattice.crs != crs and source.crs.is_geographic and geo.is_plain(geo.ellipsoid(source.crs)[0]):
        crs, transform = geo.centred(source.crs, transform, source.center)
    x_scale, y_scale = _scales(source, lattice)
    return rasterio.vrt.WarpedVRT(
        dataset,
        src_crs=crs,
        src_transform=transform,
        crs=lattice.crs,
        transform=lattice.transform,
        width=lattice.width_px,
        height=lattice.height_px,
        resampling=rasterio.enums.Resampling.bilinear,
        add_alpha=not has_alpha,
        UNIFIED_SRC_NODATA="YES",
        XSCALE=x_scale,
        YSCALE=y_scale,
    )


def _scales(source: Source, lattice: Lattice) -> tuple[float, float]:
    """Lattice pixels per raster pixel along its rows and along its columns, at most 1.

    GDAL estimates them for each chunk from its sides, which blurs rotated rasters.
    """
    column, row = source.dataset.width / 2, source.dataset.height / 2
    steps = ((-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5))
    places = np.array([source.transform @ (column + x, row + y) for x, y in steps]).T
    if lattice.crs != source.crs.to_wkt():
        places = np.array(pyproj.Transformer.from_crs(source.crs, lattice.crs, always_xy=True).transform(*places))
    (left, right, upper, lower) = (np.array(~lattice.transform @ tuple(place)) for place in places.T)
    x_scale, y_scale = float(np.hypot(*(right - left))), float(np.hypot(*(lower - upper)))
    return min(1.0, x_scale), min(1.0, y_scale)


def stacked(first: Source, second: Source) -> str:
    """A virtual raster, as XML, of the bands of two, all of one pixel type, on the pixels of the first.

    It holds data where both do. The second is resampled bilinearly.

    Raises:
        OrthomaskError: they do not overlap.
    """
    _require_overlap(first, second)
    size = first.dataset.width, first.dataset.height
    grid = Lattice(first.crs.to_wkt(), first.transform, *size, 0, 0)
    with warped(second, second.dataset, grid) as placed, MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(placed, memory.name, driver="VRT")
        address, masks = bytes(memory.read()).decode(), _masks(first.dataset, first.address)
        masks += _masks(placed, address)
    sources = [_source(first.address, number) for number in first.dataset.indexes]
    sources += [_source(address, number) for number in second.dataset.indexes]
    kind = VRT_TYPES.get(str(np.result_type(*first.dataset.dtypes, *second.dataset.dtypes)), "Float64")
    bands = "".join(
        f"<VRTRasterBand dataType='{kind}' band='{number}'>{source}</VRTRasterBand>"
        for number, source in enumerate(sources, 1)
    )
    return (
        f"<VRTDataset rasterXSize='{size[0]}' rasterYSize='{size[1]}'><SRS>{escape(grid.crs)}</SRS>"
        f"<GeoTransform>{', '.join(map(repr, grid.transform.to_gdal()))}</GeoTransform>{bands}"
        "<MaskBand><VRTRasterBand dataType='Byte' subClass='VRTDerivedRasterBand'>"
        f"<PixelFunctionType>mul</PixelFunctionType>{masks}</VRTRasterBand></MaskBand></VRTDataset>"
    )


def _source(address: str, band: object) -> str:
    """A band of a raster of the same size, by its number or as `mask,` and the number, as a VRT element."""
    name = f"<SourceFilename>{escape(address)}</SourceFilename>"
    return f"<SimpleSource>{name}<SourceBand>{band}</SourceBand></SimpleSource>"


def _masks(dataset: DatasetReader | rasterio.vrt.WarpedVRT, address: str) -> str:
    """Where any band of a raster has data, as a VRT element."""
    if ColorInterp.alpha in dataset.colorinterp:
        return _source(address, dataset.colorinterp.index(ColorInterp.alpha) + 1)
    if dataset.count == 1 or MaskFlags.nodata not in chain.from_iterable(dataset.mask_flag_enums):
        return _source(address, "mask,1")
    masks = "".join(_source(address, f"mask,{number}") for number in dataset.indexes)
    anywhere = (
        f"<VRTDataset rasterXSize='{dataset.width}' rasterYSize='{dataset.height}'>"
        "<VRTRasterBand dataType='Byte' band='1' subClass='VRTDerivedRasterBand'>"
        f"<PixelFunctionType>sum</PixelFunctionType>{masks}</VRTRasterBand></VRTDataset>"
    )
    return _source(anywhere, 1)


def _require_overlap(first: Source, second: Source) -> None:
    width, height = first.dataset.width, first.dataset.height
    outline = shapely.segmentize(shapely.box(0, 0, width, height), max(width, height) / STEPS)
    ground = reprojected(transformed(outline, first.transform), first.crs, second.crs, second.center[0])
    there = transformed(ground, ~second.transform)
    known = bool(np.isfinite(shapely.get_coordinates(there)).all())
    if known and not shapely.make_valid(there).intersects(shapely.box(0, 0, *second.dataset.shape[::-1])):
        raise OrthomaskError(
            ErrorCode.IMAGE_EMPTY,
            tr("“{}” does not overlap “{}”.").format(second.name, first.name),
            tr("Choose a second image of the same place, or check the coordinate reference system of both."),
        )
