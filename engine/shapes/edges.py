"""Objects at the edge of a region: kept whole by the one region that they belong to, whoever else sees a part of them.

An object that lies on both sides of the edge belongs to the region that holds its anchor: the pixel at its centre of
gravity, or its first pixel where that one is not its own. Two neighbouring regions so draw each object once. Both must
see it whole to agree, so only objects of a limited width and height are kept whole, and a run computes as many pixels
beyond its region. Larger ones are cut at the edge, by both: wherever such an object crosses an edge, what is
seen of it is larger than that, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from affine import Affine
from rasterio.features import geometry_mask, rasterize
from shapely import Geometry

from ..images.grid import Window
from ..progress import Progress
from .section import Section
from .tracing import traced


class Kept:
    """Which pixels of a raster a region's objects are made of, as the mask of `traced`.

    Args:
        region: in pixels of the section.
        reach_px: objects of at most this width and height are kept whole or left out.
    """

    def __init__(
        self, section: Section, threshold: float, min_pixels: float, region: Geometry, reach_px: int,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._region, self._reach_px = region, reach_px
        self._edge = region.boundary
        self._band = self._edge.buffer(reach_px + 1)
        for geometry in (self._edge, self._band):
            shapely.prepare(geometry)
        polygons, owned = [], []
        for objects, _ in traced(section, threshold, min_pixels, progress, self._near):
            for polygon in objects.polygons[self._may_straddle(objects.polygons)]:
                for is_owned in self._owned(polygon):
                    polygons.append(polygon)
                    owned.append(is_owned)
        self._tree, self._owns = shapely.STRtree(polygons), np.array(owned, np.uint8)

    def __call__(self, tile: Window) -> np.ndarray:
        """Which pixels of a tile belong to the region's objects `(H, W)`."""
        mask = _inside(self._region, tile).astype(np.uint8)
        found = np.sort(self._tree.query(_box(tile)))
        if len(found):
            shapes = zip(self._tree.geometries[found], self._owns[found].tolist())
            rasterize(shapes, out=mask, transform=Affine.translation(tile.x, tile.y))
        return mask > 0

    def _near(self, tile: Window) -> np.ndarray:
        """All pixels of tiles that hold some within reach of the edge."""
        return np.full((tile.height, tile.width), bool(shapely.intersects(self._band, _box(tile))))

    def _may_straddle(self, polygons: np.ndarray) -> np.ndarray:
        left, top, right, bottom = shapely.bounds(polygons).T
        small = np.maximum(right - left, bottom - top) <= self._reach_px
        small[small] = shapely.intersects(self._edge, polygons[small])
        return np.asarray(small)

    def _owned(self, polygon: Geometry) -> Iterator[bool]:
        """Whether the object is the region's; nothing if it lies on one side."""
        left, top, right, bottom = map(int, polygon.bounds)
        window = Window(left, top, right - left, bottom - top)
        inside, pixels = _inside(self._region, window), _inside(polygon, window)
        if inside[pixels].any() and not inside[pixels].all():
            yield bool(inside[_anchor(pixels)])


def _anchor(pixels: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel at the centre of gravity, in whole numbers; else of the first pixel, row by row."""
    rows, columns = np.nonzero(pixels)
    count = len(rows)
    row, column = ((2 * int(places.sum()) + count) // (2 * count) for places in (rows, columns))
    return (row, column) if pixels[row, column] else (int(rows[0]), int(columns[0]))


def _inside(geometry: Geometry, window: Window) -> np.ndarray:
    """Pixels of a window whose centre lies in a geometry `(H, W)`."""
    transform = Affine.translation(window.x, window.y)
    return np.asarray(geometry_mask([geometry], (window.height, window.width), transform, invert=True))


def _box(tile: Window) -> Geometry:
    return shapely.box(tile.x, tile.y, tile.x + tile.width, tile.y + tile.height)
