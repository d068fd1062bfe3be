"""Burn polygons onto a grid with GDAL's rasteriser, in fixed strips.

The last bit of a sum decides whether a pixel whose centre is exactly on an edge belongs to a polygon, and the walk
along an edge that finds all touched pixels restarts where a strip cuts the edge. So windows cannot be burned on their
own: two windows could disagree. Instead, every strip is as wide as the grid and has a fixed place in the pixel
coordinates of the whole grid; windows are cut from strips. GDAL burns large rasters in the same way (option CHUNKYSIZE
of `GDALRasterizeGeometries`), so the result equals `gdal_rasterize`, pixel for pixel.
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
"""GDAL burns in parts as large as its cache: a strip of int32 has to fit."""


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
    """Burn the value of each polygon, later over earlier, into `strip` `(rows, width)`, which starts at row `top`.

    Args:
        polygons: in pixels of the grid.
    """
    if len(polygons) == 0:
        return
    # GDAL orients rings before it knows their pixels, and their direction decides whether an edge along a row of
    # centres is burned: so y points north here if it does in the grid's coordinates
    upright = Affine.scale(1, -1 if grid.transform.determinant < 0 else 1)
    parts, owners = shapely.get_parts(np.asarray(polygons, object), return_index=True)
    moved = _geojson(parts, lambda points: (points - [0, top]) * [1, upright.e])
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        burned = zip(moved, np.asarray(values)[owners].tolist())
        rasterize(burned, out=strip, transform=upright, all_touched=touch is Touch.ALL)


def _geojson(polygons: np.ndarray, move: Callable[[np.ndarray], np.ndarray]) -> Iterator[dict[str, object]]:
    """Polygons as GeoJSON with moved vertices; in bulk, as shapely's own interface would take most of the time."""
    _, points, (ring_ends, polygon_ends) = shapely.to_ragged_array(polygons, include_z=False)
    vertices = move(points).tolist()
    rings = [vertices[first:end] for first, end in pairwise(ring_ends.tolist())]
    for first, end in pairwise(polygon_ends.tolist()):
        yield {"type": "Polygon", "coordinates": rings[first:end]}
