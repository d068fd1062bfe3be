"""Transform geometries to the pixels of a grid: cut to what its CRS can show, repaired as GDAL fills them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyproj
import shapely
from affine import Affine

from ...engine.images import regions
from ...engine.images.georeference import full_turn

REACH = 1.0
"""Margin around a grid to which labels are cut if necessary, as a share of its size."""
PIECES = 64
"""Vertices along a cut edge, so that it follows the curve."""
FAR = 4.0
"""Labels this many times larger than these surroundings are checked edge by edge."""
HIGH = 1 / 8
"""Height in turns from which a label that spans the map counts as reaching round the globe."""
BEND = 0.1
"""Largest offset of an edge's middle from the straight line, as a share of a label's size, if a CRS can show it."""
WORLD_M = 2e7
RETURN_TOLERANCE = 1e-6
"""A vertex is right if it transforms back to within this share of half the world."""


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
        lost: `(N,)` whether a geometry has no place in the grid's CRS, so that its position is unknown.
    """

    pixels: np.ndarray
    lost: np.ndarray


def placed(geometries: np.ndarray, source: pyproj.CRS, grid: Grid) -> Placed:
    """Geometries of another CRS in pixels of a grid, vertex by vertex as GDAL's tools do.

    Those that extend beyond what the grid's CRS can show, up to the whole globe, are first cut to the surroundings of
    the grid in their own CRS, so that their edges there stay where they were drawn.
    """
    target = pyproj.CRS.from_user_input(grid.crs)
    lost, (middle, _) = np.zeros(len(geometries), bool), grid.transform @ (grid.width_px / 2, grid.height_px / 2)
    if source.equals(target, ignore_axis_order=True):
        return Placed(to_pixels(regions.brought_near(geometries, target, middle), grid.transform), lost)
    if source.is_geographic:
        geometries = _across(geometries, full_turn(source))
    moved = regions.reprojected(geometries, source, target)
    around = surroundings(grid, source, REACH)
    far = np.flatnonzero(_reaches_far(geometries, moved, around))
    astray = far[_astray(geometries[far], moved[far], source, target)]
    if astray.size and around is not None:
        frame = _repeated(around, full_turn(source))
        frame = shapely.segmentize(frame, max(around[2] - around[0], around[3] - around[1]) / PIECES)
        pieces = [shapely.intersection(regions.mended(geometry), frame) for geometry in geometries[astray]]
        cut = regions.reprojected(np.array(pieces, object), source, target)
        finite = np.isfinite(shapely.bounds(cut)).all(axis=1)
        cut[finite] = [regions.mended(piece) for piece in cut[finite]]  # joins the parts on each side of 180
        moved[astray] = cut
    lost[astray] = around is None
    lost |= ~np.isfinite(shapely.bounds(moved)).all(axis=1) & ~shapely.is_empty(moved)
    if source.is_geographic:
        bottom, top = shapely.bounds(geometries)[:, [1, 3]].T
        lost |= (bottom > full_turn(source) / 4) | (top < -full_turn(source) / 4)
    if target.is_geographic:
        _unwrap(geometries, moved, middle, full_turn(target))
    return Placed(to_pixels(regions.brought_near(moved, target, middle), grid.transform), lost)


def surroundings(grid: Grid, crs: pyproj.CRS, reach: float) -> tuple[float, float, float, float] | None:
    """Left, bottom, right and top of a grid and its surroundings in another CRS; None if undefined.

    Args:
        reach: margin as a share of the grid's size. Across 180 degrees, right exceeds 180.
    """
    wide = shapely.affinity.scale(grid.box, 1 + 2 * reach, 1 + 2 * reach)
    corners = regions.transformed(wide, grid.transform)
    transformer = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True)
    left, bottom, right, top = transformer.transform_bounds(*corners.bounds)
    if not np.isfinite([left, bottom, right, top]).all():
        return None
    return left, bottom, right + full_turn(crs) * (left > right), top


def _repeated(around: tuple[float, float, float, float], turn: float) -> shapely.Geometry:
    """A box, repeated one turn to either side; a turn is 0 in a projected CRS."""
    left, bottom, right, top = around
    return shapely.union_all([shapely.box(left + by, bottom, right + by, top) for by in {-turn, 0.0, turn}])


def _across(geometries: np.ndarray, turn: float) -> np.ndarray:
    """Geometries of a geographic CRS, with those across 180 degrees made continuous there.

    Their rings jump from one end of the map to the other. So do those that reach round the globe, but these are high.
    """
    left, bottom, right, top = shapely.bounds(geometries).T
    geometries = geometries.copy()
    for index in np.flatnonzero((right - left > turn / 2) & (top - bottom < HIGH * turn)):
        rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(geometries[index])]
        if any((np.abs(np.diff(ring[:, 0])) > turn / 2).any() for ring in rings):
            geometries[index] = shapely.transform(
                geometries[index], lambda xy: np.column_stack([xy[:, 0] % turn, xy[:, 1]])
            )
    return geometries


def _reaches_far(
    geometries: np.ndarray, moved: np.ndarray, around: tuple[float, float, float, float] | None
) -> np.ndarray:
    """Which geometries `(N,)` are so large that their edges need checking, or partly cannot be projected."""
    if around is None:
        return np.ones(len(geometries), bool)
    left, bottom, right, top = shapely.bounds(geometries).T
    large = (right - left > FAR * (around[2] - around[0])) | (top - bottom > FAR * (around[3] - around[1]))
    return np.asarray(large | ~np.isfinite(shapely.bounds(moved)).all(axis=1))


def _astray(geometries: np.ndarray, moved: np.ndarray, source: pyproj.CRS, target: pyproj.CRS) -> np.ndarray:
    """Which geometries `(N,)` the target CRS cannot show: points of their edges do not come back, or move off."""
    rings, owners = shapely.get_rings(geometries, return_index=True)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    ends = shapely.get_coordinates(shapely.get_rings(moved))
    edges = np.flatnonzero(of_ring[1:] == of_ring[:-1])
    middles = (points[edges] + points[edges + 1]) / 2
    forth, back = (pyproj.Transformer.from_crs(*pair, always_xy=True) for pair in ((source, target), (target, source)))
    there = np.column_stack(forth.transform(*middles.T))
    left, bottom, right, top = shapely.bounds(moved).T
    extent = np.maximum(right - left, top - bottom)
    with np.errstate(invalid="ignore"):
        bent = np.hypot(*(there - (ends[edges] + ends[edges + 1]) / 2).T)
        fits = bent <= BEND * extent[owners[of_ring[edges]]]
        fits &= _come_back(points[edges], ends[edges], back) & _come_back(middles, there, back)
    if source.is_geographic:
        fits &= np.abs(points[edges + 1, 0] - points[edges, 0]) <= full_turn(source) / 2
    return np.bincount(owners[of_ring[edges]], ~fits, minlength=len(geometries)) > 0


def _come_back(points: np.ndarray, there: np.ndarray, back: pyproj.Transformer) -> np.ndarray:
    """Which points `(N,)`, transformed to `there`, transform back to where they were."""
    off = np.abs(np.column_stack(back.transform(*there.T)) - points)
    half_world = WORLD_M
    if back.target_crs and back.target_crs.is_geographic:
        turn = full_turn(back.target_crs)
        half_world = turn / 2
        off[:, 0] = np.minimum(off[:, 0] % turn, -off[:, 0] % turn)  # 180 degrees west equals 180 east
    return np.asarray(np.isfinite(there).all(axis=1) & (off <= RETURN_TOLERANCE * half_world).all(axis=1))


def _unwrap(geometries: np.ndarray, moved: np.ndarray, middle: float, turn: float) -> None:
    """Move vertices beyond 180 degrees to the side of the grid's `middle`, in place in `moved` (geographic CRS).

    A ring that runs across 180 degrees is turned inside out there; one that reaches round the globe is not.
    """
    left, _, right, _ = shapely.bounds(moved).T
    for index in np.flatnonzero(right - left > turn / 2):
        rings = [shapely.get_exterior_ring(shapely.get_parts(whole[index])) for whole in (geometries, moved)]
        if (shapely.is_ccw(rings[0]) != shapely.is_ccw(rings[1])).any():
            moved[index] = shapely.transform(
                moved[index], lambda xy: np.column_stack([middle + _wrapped(xy[:, 0] - middle, turn), xy[:, 1]])
            )


def _wrapped(x: np.ndarray, turn: float) -> np.ndarray:
    """Longitude differences wrapped to half a turn."""
    return np.asarray((x + turn / 2) % turn - turn / 2)


def to_pixels(geometries: np.ndarray, transform: Affine) -> np.ndarray:
    """Geometries in the pixels of a grid, with GDAL's exact arithmetic.

    A vertex at a pixel's centre, except for rounding, then falls on the same side as with GDAL's own tools
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
