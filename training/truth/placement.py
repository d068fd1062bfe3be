"""Find places for square areas on an image: apart from one another, inside the region, full of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from ...engine.images.grid import Window

TRIES = 500
"""Places tried for an area before giving up on it."""
DENSER = 0.9
"""Factor by which the spacing of an even grid is reduced when too few areas fit."""


@dataclass(frozen=True)
class Site:
    """Constraints on an area. Everything is in image pixels unless named in metres.

    Attributes:
        width_px, height_px: of an area.
        gsd_m: ground size of a pixel, across and down.
        region: areas lie inside it.
        is_full: whether the image has data everywhere in a window.
        there: existing areas.
    """

    width_px: int
    height_px: int
    gsd_m: tuple[float, float]
    min_distance_m: float
    region: shapely.Geometry
    is_full: Callable[[Window], bool]
    there: Sequence[shapely.Geometry]

    def fits(self, place: Window, taken: Sequence[Window]) -> bool:
        """Whether an area may lie there, next to those already taken."""
        square = shapely.box(place.x, place.y, place.x + place.width, place.y + place.height)
        apart = self._apart(place, taken) and self._apart_from_there(square)
        return apart and bool(shapely.covers(self.region, square)) and self.is_full(place)

    def around(self, x: float, y: float) -> Window:
        """The area centred there, moved inside the region's bounds if it extends beyond them."""
        left, top, right, bottom = self.region.bounds
        x = min(max(x - self.width_px / 2, math.ceil(left)), math.floor(right) - self.width_px)
        y = min(max(y - self.height_px / 2, math.ceil(top)), math.floor(bottom) - self.height_px)
        return Window(round(x), round(y), self.width_px, self.height_px)

    def _apart(self, place: Window, taken: Sequence[Window]) -> bool:
        if not taken:
            return True
        corners = np.array([(other.x, other.y) for other in taken])
        gaps = np.abs(corners - (place.x, place.y)) - (self.width_px, self.height_px)
        distances = np.hypot(*(np.maximum(gaps, 0) * self.gsd_m).T)
        return bool(((gaps.max(axis=1) >= 0) & (distances >= self.min_distance_m - 1e-9)).all())

    def _apart_from_there(self, square: shapely.Polygon) -> bool:
        x, y = self.gsd_m
        ground = shapely.affinity.scale(square, x, y, origin=(0, 0))
        for other in self.there:
            placed = shapely.affinity.scale(other, x, y, origin=(0, 0))
            overlaps = ground.intersects(placed) and not ground.touches(placed)
            if overlaps or ground.distance(placed) < self.min_distance_m:
                return False
        return True


def evenly(site: Site, count: int) -> list[Window]:
    """Places on a regular grid, as far apart as `count` of them allow; fewer if fewer fit."""
    left, top, right, bottom = site.region.bounds
    across, down = site.gsd_m
    spacing_m = math.sqrt((right - left) * across * (bottom - top) * down / count)
    least_m = max(site.width_px * across, site.height_px * down) + site.min_distance_m
    while True:
        spacing_m = max(spacing_m, least_m)
        places = _regular(site, math.ceil(spacing_m / across), math.ceil(spacing_m / down))
        found = [place for place in places if site.fits(place, ())]
        if len(found) >= count or spacing_m == least_m:
            break
        spacing_m *= DENSER
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[index] for index in chosen]


def anywhere(site: Site, count: int, draws: Sequence[Iterable[tuple[float, float]]]) -> list[Window]:
    """Random places, drawn in turn from several sources of centres; fewer if fewer fit."""
    taken: list[Window] = []
    sources = [iter(draw) for draw in draws]
    while sources and len(taken) < count:
        source = sources.pop(0)
        place = _drawn(site, source, taken)
        if place:
            taken.append(place)
            sources.append(source)
    return taken


def _drawn(site: Site, middles: Iterator[tuple[float, float]], taken: Sequence[Window]) -> Window | None:
    places = (site.around(*next(middles)) for _ in range(TRIES))
    return next((place for place in places if site.fits(place, taken)), None)


def _regular(site: Site, step_x: int, step_y: int) -> Iterator[Window]:
    """Places on a grid with this spacing, centred in the region's bounds."""
    left, top, right, bottom = site.region.bounds
    columns = max(0, int((right - left - site.width_px) // step_x) + 1)
    rows = max(0, int((bottom - top - site.height_px) // step_y) + 1)
    x = left + (right - left - (columns - 1) * step_x - site.width_px) / 2
    y = top + (bottom - top - (rows - 1) * step_y - site.height_px) / 2
    for row in range(rows):
        for column in range(columns):
            yield Window(round(x) + column * step_x, round(y) + row * step_y, site.width_px, site.height_px)
