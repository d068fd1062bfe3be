"""The user's region, converted to the lattice."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from affine import Affine
from shapely import Geometry

from ...protocol import ErrorCode, OrthomaskError, Region
from ...protocol.words import tr
from .georeference import doubt, full_turn
from .grid import Lattice

DENSIFY = 100
"""A region's edges are split this many times before reprojection, so that straight lines can bend."""
MARGIN = 1.0
"""Before reprojection, drawings are clipped this far beyond the image, in image sizes: the rest has no effect."""
SEAM = 1e-4
"""A longitude this share of half a turn beyond the map's seam stays there."""


def to_lattice(region: Region, lattice: Lattice) -> tuple[Geometry, tuple[str, ...]]:
    """The region in lattice pixels, clipped to the raster, and a warning for each repair or uncertainty.

    Raises:
        OrthomaskError: it is not a polygon, empty, without CRS, or off the raster.
    """
    geometry, warnings = _mended(_parsed(region))
    crs = _known_crs(region)
    whole = shapely.box(0, 0, lattice.width_px, lattice.height_px)
    polygon = polygonal(_reprojected(geometry, crs, lattice).intersection(whole))
    if polygon.area == 0:
        raise OrthomaskError(
            ErrorCode.REGION_OUTSIDE,
            tr("The region does not overlap the image."),
            tr("Draw it on the image; if you did, check the CRS of both layers."),
            f"region in its CRS: {geometry.bounds}",
        )
    return polygon, warnings + doubt(crs, pyproj.CRS.from_user_input(lattice.crs), _placed(lattice).bounds)


def polygonal(geometry: Geometry) -> Geometry:
    """Only the polygons of a geometry, without lines and points left by collecting, repairing or clipping."""
    parts = np.array([geometry])
    while (shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        parts = shapely.get_parts(parts)
    parts = parts[shapely.get_dimensions(parts) == 2]
    return shapely.multipolygons(parts) if len(parts) != 1 else parts[0]


def transformed(geometry: Geometry, transform: Affine) -> Geometry:
    """A geometry, or an array of them, under an affine transform."""
    a, b, c, d, e, f = transform[:6]
    return shapely.transform(geometry, lambda xy: xy @ [[a, d], [b, e]] + [c, f])


def reprojected(
    geometry: Geometry, source: pyproj.CRS | str, target: pyproj.CRS | str, near_x: float | None = None
) -> Geometry:
    """A geometry, or an array of them, from one CRS to another, vertex by vertex.

    Args:
        near_x: shift longitudes as near to this one as whole turns allow; None for -180° to 180°.
    """
    target = pyproj.CRS.from_user_input(target)
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    turn = full_turn(target)

    def move(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = transformer.transform(x, y)
        return (x if near_x is None or not turn else x + turn * np.round((near_x - x) / turn * (1 - SEAM))), y

    return shapely.transform(geometry, move, interleaved=False)


def cut_around(
    geometries: np.ndarray, crs: pyproj.CRS, bounds: tuple[float, float, float, float], target: pyproj.CRS
) -> np.ndarray:
    """Clip geometries `(N,)` in `crs` to what is around bounds in `target`, with longitudes counted as there.

    So far-away parts, where a projection may be undefined, are never reprojected. Geometries inside stay unchanged.
    If the bounds contain a pole or cannot be expressed in `crs`, nothing is clipped.
    """
    box = _around(bounds, crs, target)
    if box is None:
        return geometries
    turn = full_turn(crs)
    around = shapely.box(*box)
    nearest = brought_near(geometries, crs, (box[0] + box[2]) / 2)
    left, bottom, right, top = shapely.bounds(nearest).T
    far = (left < box[0]) | (bottom < box[1]) | (right > box[2]) | (top > box[3])
    if not far.any():
        return nearest
    result, shifts = nearest.copy(), (-turn, 0.0, turn) if turn else (0.0,)
    for index in np.flatnonzero(far):
        valid = nearest[index] if nearest[index].is_valid else mended(nearest[index])
        parts = [shapely.affinity.translate(valid, shift).intersection(around) for shift in shifts]
        result[index] = polygonal(shapely.union_all(parts))
    return result


def brought_near(geometries: np.ndarray, crs: pyproj.CRS, x: float) -> np.ndarray:
    """Shift each of the geometries `(N,)` by whole turns of a geographic CRS, so that its middle is closest to `x`."""
    turn = full_turn(crs)
    if not turn:
        return geometries
    left, _, right, _ = shapely.bounds(geometries).T
    steps = turn * np.round((x - (left + right) / 2) / turn)
    steps = np.where(np.isfinite(steps), steps, 0.0)
    if not steps.any():
        return geometries
    return np.array([shapely.affinity.translate(*pair) for pair in zip(geometries, steps)], object)


def _around(
    bounds: tuple[float, float, float, float], crs: pyproj.CRS, target: pyproj.CRS
) -> tuple[float, float, float, float] | None:
    """Bounds in `target` as bounds in `crs`, wider by a margin; None if they cannot be expressed."""
    transformer = pyproj.Transformer.from_crs(target, crs, always_xy=True)
    left, bottom, right, top = transformer.transform_bounds(*bounds)
    if crs.is_geographic and left > right:  # across the antimeridian
        right += full_turn(crs)
    if not all(map(np.isfinite, (left, bottom, right, top))) or left > right:
        return None
    margin, turn = max(right - left, top - bottom) * MARGIN, full_turn(crs)
    beside = max(0.0, min(margin, (turn - right + left) / 2)) if turn else margin
    return left - beside, bottom - margin, right + beside, top + margin


def mended(geometry: Geometry) -> Geometry:
    """The area of a polygon or multipolygon, valid, as GDAL fills it.

    Each part is filled by the even-odd rule: where its rings overlap twice is a hole. Overlapping parts are merged.
    Lines and points left by the repair are dropped, so the result may be empty.
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
    polygons = polygonal(shapely.force_2d(geometry)) if geometry is not None else shapely.Polygon()
    if polygons.is_empty:
        raise OrthomaskError(ErrorCode.REGION_EMPTY, tr("The region is empty."), tr("Draw or choose a polygon."))
    return polygons


def _mended(geometry: Geometry) -> tuple[Geometry, tuple[str, ...]]:
    if geometry.is_valid:
        return geometry, ()
    reason = shapely.is_valid_reason(geometry).split("[")[0].lower()
    whole = mended(geometry)
    if whole.is_empty:
        raise OrthomaskError(ErrorCode.REGION_EMPTY, tr("The region has no area."), tr("Draw it again."), reason)
    return whole, (tr("The region was not valid ({}) and has been repaired.").format(reason),)


def named_crs(text: str) -> pyproj.CRS:
    """A CRS that the user named.

    Raises:
        OrthomaskError: there is no such CRS, or it is not tied to the Earth.
    """
    try:
        return _on_earth(text)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.REGION_CRS,
            tr("“{}” is not a coordinate reference system.").format(text),
            tr("Use EPSG:n, or leave it empty for the image's own."),
            str(error),
        ) from error


def _on_earth(text: str) -> pyproj.CRS:
    crs = pyproj.CRS.from_user_input(text)
    if not (crs.is_projected or crs.is_geographic):
        raise pyproj.exceptions.CRSError(f"not tied to the Earth: {crs.name}")
    return crs


def _known_crs(region: Region) -> pyproj.CRS:
    try:
        return _on_earth(region.crs)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.REGION_CRS,
            tr("The region has no known coordinate reference system."),
            tr("Set the CRS of the layer or file that the region comes from."),
            str(error),
        ) from error


def _reprojected(geometry: Geometry, crs: pyproj.CRS, lattice: Lattice) -> Geometry:
    target, placed = pyproj.CRS.from_user_input(lattice.crs), _placed(lattice)
    near = cut_around(np.array([geometry], object), crs, placed.bounds, target)[0]
    if near.is_empty:
        return near
    left, bottom, right, top = near.bounds
    dense = shapely.segmentize(near, max(right - left, top - bottom) / DENSIFY)
    moved = reprojected(dense, crs, target, placed.centroid.x)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        return shapely.Polygon()
    return transformed(moved if moved.is_valid else mended(moved), ~lattice.transform)


def _placed(lattice: Lattice) -> Geometry:
    """The outline of a lattice, in its CRS."""
    return transformed(shapely.box(0, 0, lattice.width_px, lattice.height_px), lattice.transform)
