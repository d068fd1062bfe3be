"""Geometries brought onto the pixels of a grid: cut to what its CRS can show, mended as GDAL fills them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyproj
import shapely
from affine import Affine

from ..engine import regions

REACH = 1.0
"""How far around a grid labels are kept where they have to be cut, in parts of its size."""
PIECES = 64
"""A cut edge has this many vertices, so that it bends as it must."""
FAR = 4.0
"""Labels that reach beyond the surroundings by this many times their size are looked at vertex by vertex."""
WORLD_M = 2e7
RETURN_TOLERANCE = 1e-6
"""A vertex is where it should be if it comes back to within this part of half the world."""


class Grid(NamedTuple):
    """The pixels that ground truth is burned onto.

    Attributes:
        crs: as WKT.
        transform: pixel to CRS coordinates; may be rotated.
    """

    crs: str
    transform: Affine
    width_px: int
    height_px: int

    @property
    def box(self) -> shapely.Polygon:
        """Its outline, in pixels."""
        return shapely.box(0, 0, self.width_px, self.height_px)


class Placed(NamedTuple):
    """Geometries in pixels of a grid.

    Attributes:
        pixels: `(N,)`; empty where nothing comes near the grid.
        lost: `(N,)` whether a geometry has no place in the grid's CRS, so that nobody knows where it lies.
    """

    pixels: np.ndarray
    lost: np.ndarray


def placed(geometries: np.ndarray, source: pyproj.CRS, grid: Grid) -> Placed:
    """Geometries of another CRS in pixels of a grid, vertex by vertex as GDAL's tools do.

    Those that reach beyond what the grid's CRS can show, up to the whole globe, are cut to the surroundings of the grid
    first, in their own CRS, so that their edges there run where they were drawn.
    """
    target = pyproj.CRS.from_user_input(grid.crs)
    lost = np.zeros(len(geometries), bool)
    if source.equals(target, ignore_axis_order=True):
        return Placed(to_pixels(geometries, grid.transform), lost)
    moved = regions.reprojected(geometries, source, target)
    around = surroundings(grid, source, REACH)
    far = np.flatnonzero(_reaches_far(geometries, moved, around))
    astray = far[_astray(geometries[far], moved[far], source, target)]
    if astray.size and around is not None:
        pieces = [shapely.intersection(regions.mended(geometry), around) for geometry in geometries[astray]]
        moved[astray] = regions.reprojected(np.array(pieces, object), source, target)
    lost[astray] = around is None
    lost |= ~np.isfinite(shapely.bounds(moved)).all(axis=1) & ~shapely.is_empty(moved)
    if target.is_geographic:
        _unwrap(geometries, moved, grid)
    return Placed(to_pixels(moved, grid.transform), lost)


def surroundings(grid: Grid, crs: pyproj.CRS, reach: float) -> shapely.Geometry | None:
    """A grid and what lies around it, in another CRS; two boxes across 180 degrees; None where it cannot be told."""
    wide = shapely.affinity.scale(grid.box, 1 + 2 * reach, 1 + 2 * reach)
    corners = regions.transformed(wide, grid.transform)
    transformer = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True)
    left, bottom, right, top = transformer.transform_bounds(*corners.bounds)
    if not np.isfinite([left, bottom, right, top]).all():
        return None
    spans = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
    boxes = shapely.multipolygons([shapely.box(start, bottom, end, top) for start, end in spans])
    return shapely.segmentize(boxes, max(*(end - start for start, end in spans), top - bottom) / PIECES)


def _reaches_far(geometries: np.ndarray, moved: np.ndarray, around: shapely.Geometry | None) -> np.ndarray:
    """Which geometries `(N,)` come near the grid, but reach so far that their vertices have to be looked at."""
    bounds = shapely.bounds(geometries)
    if around is None:
        return np.ones(len(geometries), bool)
    left, bottom, right, top = around.bounds
    width, height = FAR * (right - left), FAR * (top - bottom)
    beyond = (bounds[:, :2] < [left - width, bottom - height]) | (bounds[:, 2:] > [right + width, top + height])
    near = (bounds[:, :2] <= [right, top]) & (bounds[:, 2:] >= [left, bottom])
    infinite = ~np.isfinite(shapely.bounds(moved)).all(axis=1)
    return np.asarray((beyond.any(axis=1) & near.all(axis=1)) | infinite)


def _astray(geometries: np.ndarray, moved: np.ndarray, source: pyproj.CRS, target: pyproj.CRS) -> np.ndarray:
    """Which geometries `(N,)` have vertices that the target CRS cannot show: they do not come back from there."""
    points, owners = shapely.get_coordinates(geometries, return_index=True)
    there = shapely.get_coordinates(moved)
    transformer = pyproj.Transformer.from_crs(target, source, always_xy=True)
    off = np.abs(np.column_stack(transformer.transform(*there.T)) - points)
    tolerance = RETURN_TOLERANCE * WORLD_M
    if source.is_geographic:
        off[:, 0] = np.minimum(off[:, 0] % 360, -off[:, 0] % 360)  # 180 degrees west is 180 degrees east
        tolerance = RETURN_TOLERANCE * 180
    returned = np.isfinite(there).all(axis=1) & (off <= tolerance).all(axis=1)
    return np.bincount(owners, ~returned, minlength=len(geometries)) > 0


def _unwrap(geometries: np.ndarray, moved: np.ndarray, grid: Grid) -> None:
    """Bring vertices beyond 180 degrees to the grid's side, in what was `moved` into degrees.

    A ring that runs across 180 degrees is turned inside out there; one that reaches round the globe is not.
    """
    left, _, right, _ = shapely.bounds(moved).T
    middle, _ = grid.transform @ (grid.width_px / 2, grid.height_px / 2)
    for index in np.flatnonzero(right - left > 180):
        rings = [shapely.get_exterior_ring(shapely.get_parts(whole[index])) for whole in (geometries, moved)]
        if (shapely.is_ccw(rings[0]) != shapely.is_ccw(rings[1])).any():
            moved[index] = shapely.transform(
                moved[index], lambda xy: np.column_stack([(xy[:, 0] - middle + 180) % 360 - 180 + middle, xy[:, 1]])
            )


def to_pixels(geometries: np.ndarray, transform: Affine) -> np.ndarray:
    """Geometries in the pixels of a grid, by the very arithmetic of GDAL.

    A vertex that lies on a pixel's centre but for rounding then falls on the same side as with GDAL's own tools
    (`GDALInvGeoTransform`, `GDALGenImgProjTransform`).
    """
    a, b, c, d, e, f = transform[:6]
    if b == d == 0:
        inverse = (1 / a, 0.0, -c / a, 0.0, 1 / e, -f / e)
    else:
        scale = 1 / (a * e - b * d)
        inverse = (
            e * scale, -b * scale, (b * f - c * e) * scale,
            -d * scale, a * scale, (-a * f + c * d) * scale,
        )  # fmt: skip
    xx, xy, x0, yx, yy, y0 = inverse

    def move(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.column_stack([x0 + x * xx + y * xy, y0 + x * yx + y * yy])

    return np.asarray(shapely.transform(geometries, move))


def polygonal(geometry: shapely.Geometry) -> shapely.Geometry:
    """Only the polygons of a geometry, without the lines and points that mending or cutting leaves."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    parts = parts[shapely.get_dimensions(parts) == 2]
    return shapely.multipolygons(parts) if len(parts) != 1 else parts[0]
