"""Request and result of growing an object from a click."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import require
from .words import tr

SIZES = (0.05, 20.0)
"""The smallest and the largest factor by which a proposed object can be changed."""


@dataclass(frozen=True)
class GrowRequest:
    """Outline the object at a place of a finished run.

    Attributes:
        run_dir: folder of the run.
        x, y: the place, in `crs`.
        crs: as WKT or `EPSG:n`, also of the result and of `taken`; empty for the one of the run's polygons.
        size: factor from the number of pixels that is proposed to the number wanted.
        class_value: the class where the model sees none; 0 for the most probable one.
        taken: polygons that the object must not enter, as WKT; empty for none.
    """

    run_dir: str
    x: float
    y: float
    crs: str = ""
    size: float = 1.0
    class_value: int = 0
    taken: str = ""
    device: str = "auto"

    def __post_init__(self) -> None:
        require(bool(self.run_dir), tr("No run was given."), tr("Choose the folder of a run."))
        placed = math.isfinite(self.x) and math.isfinite(self.y)
        require(placed, tr("The place has no coordinates."), tr("Click on the map."))
        low, high = SIZES
        sized = low <= self.size <= high
        require(sized, tr("A size of {:g} is out of range.").format(self.size), tr("Use {:g} to {:g}.").format(*SIZES))


@dataclass(frozen=True)
class GrowResult:
    """A new object.

    Attributes:
        wkt: a polygon that contains the place.
        confidence: mean probability of the class, 0 to 1.
        outline: how it is drawn: `squared`, `kept`, `shared` or `pixels`, as the run's own polygons.
        has_image: whether the image and the model took part; else the probabilities alone.
    """

    wkt: str
    class_value: int
    class_name: str
    confidence: float
    area_m2: float
    outline: str
    has_image: bool


@dataclass(frozen=True)
class SquareRequest:
    """Give a polygon right angles, as the polygons of a run have.

    Attributes:
        wkt: a polygon; of a multipolygon, each part by itself.
        crs: as WKT or `EPSG:n`.
        gsd_m: detail finer than about two of these is not shape, metres.
    """

    wkt: str
    crs: str
    gsd_m: float = 0.3

    def __post_init__(self) -> None:
        require(bool(self.wkt), tr("No polygon was given."), tr("Choose a polygon."))
        require(0 < self.gsd_m < 1e5, tr("The resolution is out of range."), tr("Use metres per pixel, such as 0.3."))


@dataclass(frozen=True)
class SquareResult:
    """The polygon, and whether it has right angles now: False leaves it as it was."""

    wkt: str
    is_squared: bool
