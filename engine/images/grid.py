"""The fixed lattice of windows, and the weights that blend them: pure functions over named tuples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from shapely import Geometry

SLACK_PX = 8
"""How much finer detail of a region's outline may be before what is computed around it ignores it."""


class Window(NamedTuple):
    """A rectangle of lattice pixels: left, top, width and height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and its columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True)
class Lattice:
    """Windows of `window_px`, one every `stride_px`, from the top left corner of the raster.

    The lattice depends only on the raster and the ground sampling distance, never on the region, so two regions agree
    where they overlap.

    Attributes:
        crs: WKT of the CRS of the pixels.
        transform: pixel to CRS coordinates, north-up.
        width_px, height_px: size of the raster on this grid.
    """

    crs: str
    transform: Affine
    width_px: int
    height_px: int
    window_px: int
    overlap_px: int

    @property
    def stride_px(self) -> int:
        """Distance between the starts of neighbouring windows."""
        return self.window_px - self.overlap_px

    @property
    def columns(self) -> int:
        """Number of windows side by side."""
        return window_count(self.width_px, self.window_px, self.overlap_px)

    @property
    def rows(self) -> int:
        """Number of strips."""
        return window_count(self.height_px, self.window_px, self.overlap_px)

    def window(self, row: int, column: int) -> Window:
        """The window at a place of the lattice; it may reach beyond the raster's right and lower edge."""
        return Window(column * self.stride_px, row * self.stride_px, self.window_px, self.window_px)

    def strip(self, row: int) -> tuple[int, int]:
        """First row and end row of the pixels that are finished once strip `row` has been blended."""
        top = row * self.stride_px
        return top, self.height_px if row == self.rows - 1 else top + self.stride_px


def window_count(size_px: int, window_px: int, overlap_px: int) -> int:
    """Windows needed to cover `size_px`: ceil((size - overlap) / (window - overlap)), at least one.

    n windows cover n * (window - overlap) + overlap pixels; the smallest n for which that reaches `size_px`.
    """
    return max(1, math.ceil((size_px - overlap_px) / (window_px - overlap_px)))


def blend_profile(index: int, count: int, window_px: int, overlap_px: int) -> np.ndarray:
    """Weights `(window_px,)` of window `index` of `count` along one axis: a ramp over each overlap, 1 between.

    A ramp and its neighbour's add up to 1 at every pixel, so a blend needs no division. The weight of a pixel in a
    window is the product of the two axes' profiles.
    """
    ramp = ((np.arange(overlap_px) + 0.5) / overlap_px).astype(np.float32) if overlap_px else np.empty(0, np.float32)
    profile = np.ones(window_px, np.float32)
    if index > 0:
        profile[:overlap_px] = ramp
    if index < count - 1:
        profile[window_px - overlap_px :] = 1 - ramp
    return profile


@dataclass(frozen=True)
class Selection:
    """The part of a lattice that a region needs.

    Attributes:
        extent: bounding box of the region in lattice pixels; the extent of the results.
        columns: for each strip from `first_row` on, the columns of the windows that touch the region.
        geometry: the region in lattice pixels, and what is computed around it; None for the whole raster.
        region: the region itself where more is computed; else None.
    """

    extent: Window
    first_row: int
    columns: tuple[tuple[int, ...], ...]
    geometry: Geometry | None
    region: Geometry | None = None

    @property
    def count(self) -> int:
        """Number of windows."""
        return sum(map(len, self.columns))


def select(lattice: Lattice, geometry: Geometry | None, within: Window | None = None, reach_px: int = 0) -> Selection:
    """The windows that touch `geometry` (in lattice pixels), whole, and the extent of the results.

    A window counts with its full extent, overlaps included, so every pixel of the region has all its windows.

    Args:
        within: a part of the extent to restrict the results to; its pixels have all their windows, too.
        reach_px: how far beyond the region results reach, along rows and columns.
    """
    whole = shapely.box(0, 0, lattice.width_px, lattice.height_px)
    region = geometry.intersection(whole) if geometry is not None and reach_px else None
    if region is not None:
        geometry = widened(region, reach_px)
    clipped = whole if geometry is None else geometry.intersection(whole)
    extent = within or _bounding(clipped)
    x, y = extent.x, extent.y
    rows = _touching(y, y + extent.height, lattice.rows, lattice)
    columns = _touching(x, x + extent.width, lattice.columns, lattice)
    shapely.prepare(clipped)
    chosen = tuple(_touching_columns(lattice, row, columns, clipped) for row in rows)
    return Selection(extent, rows.start, chosen, None if geometry is None else clipped, region)


def widened(region: Geometry, reach_px: int) -> Geometry:
    """A region and all within a square of half side `reach_px` around any of its places, and a little more.

    That is a Minkowski sum, of an outline with fewer corners.
    """
    region, reach_px = region.simplify(SLACK_PX), reach_px + SLACK_PX
    corners, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(region)), return_index=True)
    edges = np.stack([corners[:-1], corners[1:]], axis=1)[np.diff(ring) == 0]
    around = np.array(((-1, -1), (1, -1), (1, 1), (-1, 1))) * reach_px
    swept = shapely.convex_hull(shapely.multipoints((edges[:, :, None] + around).reshape(len(edges), -1, 2)))
    return shapely.union_all([region, *swept])


def _bounding(geometry: Geometry) -> Window:
    left, top, right, bottom = geometry.bounds
    x, y = math.floor(left), math.floor(top)
    return Window(x, y, math.ceil(right) - x, math.ceil(bottom) - y)


def blocks(lattice: Lattice, selection: Selection, side: int) -> list[Window]:
    """Cut an extent into blocks of at most `side` x `side` strides, at the edges of strips, row by row.

    Blocks that the region does not touch are omitted.
    """
    step, extent = side * lattice.stride_px, selection.extent
    windows = [
        Window(left, top, right - left, bottom - top)
        for top, bottom in _cuts(extent.y, extent.y + extent.height, step)
        for left, right in _cuts(extent.x, extent.x + extent.width, step)
    ]
    if selection.geometry is None:
        return windows
    x, y, width, height = np.array(windows).T
    touched = shapely.intersects(selection.geometry, shapely.box(x, y, x + width, y + height))
    return [window for window, is_touched in zip(windows, touched) if is_touched]


def _cuts(start_px: int, stop_px: int, step_px: int) -> list[tuple[int, int]]:
    inner = range((start_px // step_px + 1) * step_px, stop_px, step_px)
    return list(pairwise([start_px, *inner, stop_px]))


def _touching(start_px: int, stop_px: int, count: int, lattice: Lattice) -> range:
    """Indices of the windows along one axis that overlap the pixels from `start_px` to `stop_px`."""
    first = max(0, (start_px - lattice.window_px) // lattice.stride_px + 1)
    return range(first, min(count, math.ceil(stop_px / lattice.stride_px)))


def _touching_columns(lattice: Lattice, row: int, columns: range, geometry: Geometry) -> tuple[int, ...]:
    x = np.array(columns) * lattice.stride_px
    y = row * lattice.stride_px
    boxes = shapely.box(x, y, x + lattice.window_px, y + lattice.window_px)
    return tuple(np.array(columns)[shapely.intersects(geometry, boxes)].tolist())
