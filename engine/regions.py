"""The region a person drew, brought onto the lattice."""

from __future__ import annotations

import pyproj
import shapely
from affine import Affine
from shapely import Geometry

from ..protocol import ErrorCode, OrthomaskError, Region
from ..protocol.words import tr
from .grid import Lattice

DENSIFY = 100
"""A region's edges are cut this many times before reprojection, so that straight lines bend as they must."""


def to_lattice(region: Region, lattice: Lattice) -> tuple[Geometry, tuple[str, ...]]:
    """The region in lattice pixels, mended where it crosses itself, and a warning for each thing that was mended.

    Raises:
        OrthomaskError: it is no polygon, empty, without CRS, or nowhere on the raster.
    """
    geometry, warnings = _mended(_parsed(region))
    polygon = _reprojected(geometry, _known_crs(region), lattice)
    if polygon.is_empty or not polygon.intersects(shapely.box(0, 0, lattice.width_px, lattice.height_px)):
        raise OrthomaskError(
            ErrorCode.REGION_OUTSIDE,
            tr("The region does not touch the image."),
            tr("Draw it on the image; if you did, check the CRS of both layers."),
            f"region in lattice pixels: {polygon.bounds}",
        )
    return polygon, warnings


def transformed(geometry: Geometry, transform: Affine) -> Geometry:
    """A geometry, or an array of them, under an affine transform."""
    a, b, c, d, e, f = transform[:6]
    return shapely.transform(geometry, lambda xy: xy @ [[a, d], [b, e]] + [c, f])


def reprojected(geometry: Geometry, source: pyproj.CRS | str, target: pyproj.CRS | str) -> Geometry:
    """A geometry, or an array of them, from one CRS to another, vertex by vertex."""
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(geometry, transformer.transform, interleaved=False)


def mended(geometry: Geometry) -> Geometry:
    """The area of a polygon or multipolygon, valid, as GDAL fills it.

    Each part is filled by the even-odd rule: where its rings lie twice over each other is a hole. Parts that overlap
    are one. Lines and points that mending leaves are dropped, so nothing may be left.
    """
    parts = shapely.get_parts(shapely.get_parts(shapely.get_parts(geometry)))
    pieces = shapely.get_parts(shapely.get_parts(shapely.make_valid(parts[shapely.get_dimensions(parts) == 2])))
    return shapely.union_all(pieces[shapely.get_dimensions(pieces) == 2])


def _parsed(region: Region) -> Geometry:
    try:
        geometry = shapely.from_wkt(region.wkt)
    except shapely.errors.ShapelyError as error:
        raise OrthomaskError(
            ErrorCode.REGION_UNREADABLE, tr("The region cannot be read."), tr("Draw it again."), str(error)
        ) from error
    if geometry is None or geometry.is_empty or shapely.get_dimensions(geometry) < 2:
        raise OrthomaskError(ErrorCode.REGION_EMPTY, tr("The region is empty."), tr("Draw or choose a polygon."))
    return shapely.force_2d(geometry)


def _mended(geometry: Geometry) -> tuple[Geometry, tuple[str, ...]]:
    if geometry.is_valid:
        return geometry, ()
    reason = shapely.is_valid_reason(geometry).split("[")[0].lower()
    whole = mended(geometry)
    if whole.is_empty:
        raise OrthomaskError(ErrorCode.REGION_EMPTY, tr("The region has no area."), tr("Draw it again."), reason)
    return whole, (tr("The region was not valid ({}) and has been mended.").format(reason),)


def _known_crs(region: Region) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(region.crs)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.REGION_CRS,
            tr("The region has no coordinate reference system that is known here."),
            tr("Set the CRS of the layer or file that the region comes from."),
            str(error),
        ) from error


def _reprojected(geometry: Geometry, crs: pyproj.CRS, lattice: Lattice) -> Geometry:
    left, bottom, right, top = geometry.bounds
    dense = shapely.segmentize(geometry, max(right - left, top - bottom) / DENSIFY)
    moved = reprojected(dense, crs, lattice.crs)
    finite = shapely.is_valid(moved)
    return transformed(moved if finite else mended(moved), ~lattice.transform)
