"""Polygons burned onto a grid by GDAL's rasteriser, in strips that never change.

Whether a pixel whose centre lies exactly on an edge belongs to a polygon is decided by the last bit of a sum, and the
walk along an edge that finds all touched pixels starts anew where a strip cuts the edge. So a window cannot be burned
on its own: another window would decide otherwise. Here every strip is as wide as the grid and lies where it always
lies, in the pixel coordinates of the whole grid; windows are cut out of strips. That is also how GDAL itself burns a
large raster (option CHUNKYSIZE of `GDALRasterizeGeometries`), so the result equals `gdal_rasterize`, pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize

from ...protocol import Touch
from .placing import Grid

STRIP_PX = 1 << 24
"""Most pixels of a strip; smaller grids are burned in one go."""
CACHE_BYTES = 4 * STRIP_PX
"""GDAL cuts what it burns into parts of the size of its cache: a strip of int32 has to fit."""


def strip_height(grid: Grid) -> int:
    """Rows of a strip of a grid."""
    return min(grid.height_px, max(1, STRIP_PX // grid.width_px))


def burn(
    grid: Grid,
    polygons: Sequence[shapely.Geometry] | np.ndarray,
    values: Sequence[float],
    touch: Touch,
    top: int,
    strip: np.ndarray,
) -> None:
    """Write the value of each polygon, later over earlier, into `strip` `(rows, width)`, which begins at row `top`.

    Args:
        polygons: in pixels of the grid.
    """
    if len(polygons) == 0:
        return
    # GDAL turns rings one way before it knows their pixels, and burns an edge along a row of centres or not by its
    # direction: so polygons are given with y to the north where the grid's own coordinates have it there
    upright = Affine.scale(1, -1 if grid.transform.determinant < 0 else 1)
    parts, owners = shapely.get_parts(np.asarray(polygons, object), return_index=True)
    moved = _geojson(parts, lambda points: (points - [0, top]) * [1, upright.e])
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        burned = zip(moved, np.asarray(values)[owners].tolist())
        rasterize(burned, out=strip, transform=upright, all_touched=touch is Touch.ALL)


def _geojson(polygons: np.ndarray, move: Callable[[np.ndarray], np.ndarray]) -> Iterator[dict[str, object]]:
    """Polygons as GeoJSON, their vertices moved; all at once, as shapely's own interface takes most of the burning."""
    _, points, (ring_ends, polygon_ends) = shapely.to_ragged_array(polygons, include_z=False)
    vertices = move(points).tolist()
    rings = [vertices[first:end] for first, end in pairwise(ring_ends.tolist())]
    for first, end in pairwise(polygon_ends.tolist()):
        yield {"type": "Polygon", "coordinates": rings[first:end]}
