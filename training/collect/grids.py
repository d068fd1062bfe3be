"""The grid of web map tiles, in web mercator."""

from __future__ import annotations

import math
from typing import NamedTuple

from affine import Affine

MERCATOR = "EPSG:3857"
WORLD_M = 2 * math.pi * 6_378_137
"""Side of the world in web mercator, metres at the equator."""
TILE_PX = 256


class TileRange(NamedTuple):
    """Tiles from the first column and row to before the last, of a zoom; rows count from the north."""

    zoom: int
    left: int
    top: int
    right: int
    bottom: int

    @property
    def number(self) -> int:
        """How many tiles."""
        return (self.right - self.left) * (self.bottom - self.top)


def pixel_size(zoom: int, tile_px: int = TILE_PX) -> float:
    """Side of a pixel at a zoom, in units of web mercator."""
    return float(WORLD_M / tile_px / 2**zoom)


def ground_scale(y: float) -> float:
    """Units of web mercator in a metre on the ground, at a northing (on the sphere: 0.3% off at most)."""
    return math.cosh(float(y) / 6_378_137)


def nearest_zoom(gsd_m: float, y: float, most: int) -> int:
    """The zoom whose pixels on the ground come closest to a size, at a northing."""
    equator = gsd_m * ground_scale(y)
    return min(most, max(0, round(math.log2(pixel_size(0) / equator))))


def tiles_of(bounds: tuple[float, float, float, float], zoom: int) -> TileRange:
    """The tiles that bounds in web mercator (left, bottom, right, top) overlap."""
    side, half, least = WORLD_M / 2**zoom, WORLD_M / 2, 1e-6
    left, bottom, right, top = bounds
    columns = math.floor((left + half) / side + least), math.ceil((right + half) / side - least)
    rows = math.floor((half - top) / side + least), math.ceil((half - bottom) / side - least)
    limits = (min(max(number, 0), 2**zoom) for number in (columns[0], rows[0], columns[1], rows[1]))
    return TileRange(zoom, *limits)


def corner(tiles: TileRange, tile_px: int) -> Affine:
    """From pixels of the first tile to web mercator."""
    size, side = pixel_size(tiles.zoom, tile_px), WORLD_M / 2**tiles.zoom
    return Affine(size, 0, tiles.left * side - WORLD_M / 2, 0, -size, WORLD_M / 2 - tiles.top * side)


def quadkey(zoom: int, column: int, row: int) -> str:
    """Bing's name of a tile: a digit for each zoom."""
    return "".join(str((column >> bit & 1) + 2 * (row >> bit & 1)) for bit in reversed(range(zoom)))
