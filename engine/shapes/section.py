"""A part of a probability raster, traced as if it were the whole."""

from __future__ import annotations

import math

import numpy as np
from rasterio.io import DatasetReader
from rasterio.windows import Window as Block
from shapely import Geometry, affinity

from ...protocol import OVERLAP_PX, REACH_PX, WINDOW_PX, Region
from ..images import regions
from ..images.grid import Lattice, Window


class Section:
    """A window of a raster, with what tracing needs of it; objects that cross its edge are cut there.

    Attributes:
        within: where objects are wanted, in its pixels; None for everywhere.
    """

    def __init__(self, dataset: DatasetReader, region: Region | None = None) -> None:
        """Take the raster, or what lies within reach of a region.

        Raises:
            OrthomaskError: the region is not a polygon, without CRS, or off the raster.
        """
        self._dataset, self.within, window = dataset, None, Window(0, 0, dataset.width, dataset.height)
        if region is not None:
            place = _placed(region, dataset)
            window = _around(place, window)
            self.within = affinity.translate(place, -window.x, -window.y)
        self.x, self.y, self.width, self.height = window
        self.count, self.crs = dataset.count, dataset.crs
        self.transform = dataset.transform @ dataset.transform.translation(self.x, self.y)

    def read(self, window: Block) -> np.ndarray:
        """Its pixels `(bands, H, W)` in a window."""
        at = Block(self.x + window.col_off, self.y + window.row_off, window.width, window.height)
        return np.asarray(self._dataset.read(window=at))

    def here(self, geometry: Geometry) -> Geometry:
        """A geometry in pixels of the raster, in its own."""
        return affinity.translate(geometry, -self.x, -self.y)


def _placed(region: Region, dataset: DatasetReader) -> Geometry:
    """A region in the raster's pixels, clipped to it."""
    size = dataset.width, dataset.height
    return regions.to_lattice(region, Lattice(dataset.crs.to_wkt(), dataset.transform, *size, WINDOW_PX, OVERLAP_PX))[0]


def _around(place: Geometry, whole: Window) -> Window:
    """What objects of a usual size that touch the place can reach."""
    left, top, right, bottom = place.bounds
    x, y = max(0, math.floor(left) - REACH_PX), max(0, math.floor(top) - REACH_PX)
    end_x, end_y = min(whole.width, math.ceil(right) + REACH_PX), min(whole.height, math.ceil(bottom) + REACH_PX)
    return Window(x, y, end_x - x, end_y - y)
