"""The shift between two dates, measured on ground that stayed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio.crs
import shapely
from shapely import Geometry

from ...protocol import Image
from ...protocol.change import Registration
from ..progress import Progress
from . import landmarks, pictures
from .field import Field, Fitted, Measured, agreement, fit

TURN = math.radians(1.0)
"""The turn between two dates that is looked for."""
TOWN_M = 750.0
"""Up to this distance from the middle."""
AGREE = 0.6
"""Share of the reliable windows that a field has to fit: else it is right for a part of the ground only."""
IMAGES = 0.8
"""Share of the time for images, where there are some."""
POINT = np.dtype([(name, float) for name in ("x", "y", "east_m", "north_m", "error_m")] + [("used", bool)])


class Side(NamedTuple):
    """One date.

    Attributes:
        objects: polygons `(N,)` in the common CRS.
        image: what they were taken from; None for none.
        covered: ground where the date has data, in the common CRS.
        crs: the common one, projected, in metres.
    """

    objects: np.ndarray
    image: Image | None
    covered: Geometry
    crs: rasterio.crs.CRS


@dataclass(frozen=True)
class Shifts:
    """How far the later date lies from the earlier one, everywhere.

    Attributes:
        points: where it was measured, `POINT` `(N,)`: places on the earlier date, the shift there, how far that is from
            the field through other points, and whether the field uses it.
        field: None where nothing was measured; then nothing is moved.
    """

    registration: Registration
    points: np.ndarray
    field: Field | None

    @property
    def error_m(self) -> float:
        """What remains after the shift, root mean square; NaN where it is unknown."""
        return math.nan if self.registration.error_m is None else self.registration.error_m

    def at(self, xy: np.ndarray) -> np.ndarray:
        """Metres east and north `(N, 2)` to add to places `(N, 2)` of the earlier date."""
        return self.field.at(xy) if self.field else np.zeros_like(xy, float)

    def moved(self, geometries: np.ndarray) -> np.ndarray:
        """Geometries `(N,)` of the earlier date where they lie on the later one."""
        if self.field is None:
            return geometries
        return np.asarray(shapely.transform(geometries, lambda xy: xy + self.at(xy)))


def register(before: Side, after: Side, limit_m: float, progress: Progress) -> Shifts:
    """Measure the shift from one date to the next: in their images if both have one, else on their objects.

    Looks for shifts of up to twice `limit_m` and turns of up to one degree over `TOWN_M`. Criteria follow AROSICS
    (Scheffler et al. 2017): windows of low reliability are refused, then those that RANSAC finds off. Where windows or
    objects do not agree, `registration.source` is empty, its lengths are None, and nothing is moved.
    """
    ground = before.covered & after.covered
    reach_m = 2 * limit_m + TURN * min(TOWN_M, math.hypot(*_size(ground)) / 2)
    tried = 0
    if before.image and after.image and ground.area > 0:
        images, crs = (before.image, after.image), pyproj.CRS.from_user_input(before.crs)
        seen = pictures.look(images, ground, crs, reach_m, progress.part(0, IMAGES))
        tried += seen.tried if seen else 0
        fitted = seen and _fitted(seen)
        if seen and fitted:
            return _shifts("images", fitted, seen.measured, tried)
    earlier, later = (_around(side.objects, ground, reach_m) for side in (before, after))
    found, looked_at = landmarks.pair(earlier, later, reach_m, progress.part(IMAGES, 1))
    if found:
        return _shifts("objects", fit(found.xy, found.shift, landmarks.EXACT_M), found, looked_at)
    return unknown(tried + looked_at)


def unknown(tried: int) -> Shifts:
    """No shift, since none could be measured; nothing is moved."""
    return Shifts(Registration("", None, None, None, 0, tried), np.empty(0, POINT), None)


def _around(objects: np.ndarray, ground: Geometry, reach_m: float) -> np.ndarray:
    """The objects that could lie on common ground after a shift."""
    left, bottom, right, top = shapely.bounds(objects).reshape(-1, 4).T
    reach = shapely.bounds(shapely.buffer(shapely.envelope(ground), reach_m))
    inside = (left <= reach[2]) & (right >= reach[0]) & (bottom <= reach[3]) & (top >= reach[1])
    return np.asarray(objects[inside])


def _size(ground: Geometry) -> tuple[float, float]:
    left, bottom, right, top = ground.bounds if ground.area > 0 else (0, 0, 0, 0)
    return right - left, top - bottom


def _fitted(seen: pictures.Seen) -> Fitted | None:
    """The field through the windows that agree; None where these could do so by chance, or too many do not."""
    measured = seen.measured
    agreed = agreement(measured, seen.reach_m, seen.tolerance_m)
    if agreed is None:
        return None
    fitted = fit(measured.xy, measured.shift, seen.least_m, agreed, seen.tolerance_m)
    return fitted if fitted.used.mean() >= AGREE else None


def _shifts(source: str, fitted: Fitted, measured: Measured, tried: int) -> Shifts:
    points = np.empty(len(fitted.off), POINT)
    points["x"], points["y"] = measured.xy.T
    points["east_m"], points["north_m"] = measured.shift.T
    points["error_m"], points["used"] = fitted.off, fitted.used
    lengths = np.hypot(*fitted.field.at(measured.xy[fitted.used]).T)
    size_m, largest_m = float(lengths.mean()), float(lengths.max())
    registration = Registration(source, size_m, largest_m, fitted.error_m, int(fitted.used.sum()), tried)
    return Shifts(registration, points, fitted.field)
