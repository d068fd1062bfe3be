"""Parts that several requests share: images, regions, classes, options."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace
from typing import Callable, Optional

from .errors import require
from .words import tr


class Existing(str, enum.Enum):
    """What to do with results that are already in the output folder."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    RESUME = "resume"


class Level(str, enum.Enum):
    """A preflight light."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Outline(str, enum.Enum):
    """How the outlines of a class are drawn from its pixels."""

    PIXELS = "pixels"
    SQUARED = "squared"
    SHARED = "shared"


@dataclass(frozen=True)
class Region:
    """What the user draws: a polygon or multipolygon as WKT, and its CRS as WKT or `EPSG:n`."""

    wkt: str
    crs: str


@dataclass(frozen=True)
class Rendered:
    """What a temporary picture was rendered from, for the record of results made from it.

    Attributes:
        name: of the layer, or of the map.
        source: of the layer, without passwords.
        gsd_m: metres per pixel, on the ground.
        time: when it was rendered, ISO 8601.
        tiles: squares of 256 px that were requested.
        missing: those that did not arrive; nothing is known there.
    """

    name: str
    source: str
    gsd_m: float
    time: str
    tiles: int
    missing: int


@dataclass(frozen=True)
class Image:
    """A raster that rasterio opens.

    Attributes:
        path: file, URL or any other GDAL dataset name.
        crs: the CRS to assume where the raster itself has none, as WKT or `EPSG:n`.
        bands: names or one-based numbers of the bands to feed to the model; empty for the best match.
        rendered: what the file shows where it is a temporary picture of something else.
        access: GDAL's options to open it, such as user and password of a server. They are secret: never recorded.
        nodata: value to treat as no data in all bands, if the raster itself does not mark missing data.
        stretch: values that become 0 and 255 of 8-bit pixels: a low and a high one for all bands, or for each band that
            is read, in their order; empty to read the values as they are.
        second: another raster of the same ground, whose bands follow, resampled to the first one's pixels. `bands`
            names them `second:NAME`, or leaves them out for the best match.
    """

    path: str
    crs: str = ""
    bands: tuple[str, ...] = ()
    rendered: Optional[Rendered] = None
    access: dict[str, str] = field(default_factory=dict, repr=False, hash=False)
    nodata: Optional[float] = None
    stretch: tuple[float, ...] = ()
    second: Optional[Image] = None

    def __post_init__(self) -> None:
        require(bool(self.path), tr("No image was given."), tr("Choose a raster file."))
        alone = self.second is None or not (self.second.bands or self.second.stretch or self.second.second)
        require(
            alone,
            tr("The second image has bands, a stretch or a second image of its own."),
            tr("Specify bands and stretch with the first image; write second:NAME for a band of the second one."),
        )
        finite = self.nodata is None or math.isfinite(self.nodata)
        require(finite, tr("The no data value is not a number."), tr("Use a number, such as 0 or 255."))
        pairs = list(zip(self.stretch[::2], self.stretch[1::2]))
        rising = all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in pairs)
        require(
            rising and len(self.stretch) % 2 == 0,
            tr("The stretch is not a list of low and high values."),
            tr("Use a low and a higher value, such as 0 and 3000, for all bands or for each."),
        )

    def at(self, place: Callable[[str], str]) -> Image:
        """The same image, and its second one, with the path that `place` makes of each."""
        return replace(self, path=place(self.path), second=self.second and self.second.at(place))

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the image and of its second one."""
        return (self.path, *(self.second.paths if self.second else ()))


SPECK_PX = 64
"""Objects and holes of fewer pixels at the model's resolution say nothing: 5.8 m² at 0.3 m, 256 m² at 2 m."""


@dataclass(frozen=True)
class PolygonOptions:
    """How polygons are cleaned: smaller ones are dropped and smaller holes filled; None for those of `SPECK_PX`."""

    min_area_m2: Optional[float] = None
    min_hole_m2: Optional[float] = None
    simplify: bool = True

    def __post_init__(self) -> None:
        positive = (self.min_area_m2 or 0) >= 0 and (self.min_hole_m2 or 0) >= 0
        require(positive, tr("An area limit is negative."), tr("Use areas of 0 m² or more."))


@dataclass(frozen=True)
class ClassInfo:
    """A foreground class: its raster value (from 1), name, `#rrggbb` colour, and how it is outlined."""

    value: int
    name: str
    color: str
    outline: Outline = Outline.PIXELS
