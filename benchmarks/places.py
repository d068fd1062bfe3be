"""The test places, what is known about their resolution, and pictures at other resolutions.

If the data's description does not give the ground sampling distance, it was measured on things of known size in the
pictures, never by the best score. Masks were checked by eye: 255 is a building, or a field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy import ndimage

from orthomask.engine.runs.runs import SCALE
from orthomask.protocol import SPECK_PX, UNKNOWN, ClassValue, Pictures, Split
from orthomask.training.chips.pictures import Tile, read_pictures

FLAT = "+proj=tmerc +datum=WGS84 +units=m"
"""A picture's position does not matter for its resampling."""
BLANK = 0.05
"""A black area larger than this share of a picture has no image."""
MAPPING = (ClassValue("0", 0), ClassValue("255", 1))


@dataclass(frozen=True)
class Place:
    """Test pictures of one place.

    Attributes:
        files: pattern of their names.
        gsd_m: metres per pixel, of its height if pixels are not square.
        reason: how that is known.
        aspect: pixel width divided by height.
    """

    name: str
    files: str
    gsd_m: float
    reason: str
    aspect: float = 1.0


@dataclass(frozen=True)
class TestSet:
    """Where the pictures of some places are in the data folder, and what is labelled on them.

    Attributes:
        boundaries: there are lines between touching objects.
        least_m2: smaller objects do not count, as in a run at the embedded model's resolution.
    """

    folder: str
    class_name: str
    boundaries: bool
    least_m2: float
    places: tuple[Place, ...]


KNOWN = "as published"
SECTIONS = "fences and roads on the section grid, a quarter or half mile apart, are 402 or 805 px apart"
BUILDINGS = TestSet("buildings/test", "building", False, SPECK_PX * 0.3**2, (
    Place("Kitsap", "inria_ds_kitsap*", 0.3, KNOWN),
    Place("Christchurch", "whu_nz_*", 0.3, KNOWN),
    Place("East Asia", "whu_ea_*", 0.45, KNOWN),
    Place("Cairo", "whu_sample_cairo*", 0.6, "parked cars are 7 to 8 px long and 3.5 to 4.3 px apart"),
    Place("Los Angeles", "whu_sample_los_angeles*", 0.75,
          "parking stalls of 2.5 m are 3.3 px wide; 5th to 6th Street, 203 m, are 265 px"),
    Place("Ottawa", "whu_sample_ottawa*", 0.42, "parking stalls of 2.6 m are 6.1 px wide, cars 12 to 13 px long"),
    Place("Taiwan", "whu_sample_taiwan*", 0.38,
          "cars are 11.5 px long, lanes 9 px wide; stripes of crossings, 0.8 to 1.2 m, repeat every 2.65 px"),
    Place("Wuhan", "whu_sample_wuhan*", 0.38, "cars are 12 px long, lanes for two cars 15 px wide; the least certain"),
    Place("Paris", "spacenet_AOI_3_Paris*", 0.3,
          "as published; pixels are squares of degrees, so they are cos 48.9° as wide (corners of roofs agree: 0.66)",
          aspect=0.657),
    Place("Rio de Janeiro", "spacenet1_rio_*", 0.5, KNOWN),
    Place("US suburb", "mapnet_*", 0.51,
          "broken lines of the highway, 12.19 m, repeat every 24.0 px; trailers of 16.15 m are 31 px long"),
))  # fmt: skip
FARMLAND = TestSet("farmland/test", "field", True, SPECK_PX * 2.0**2, (
    Place("Missouri, north-east", "agoro_40.05583*", 1.0, SECTIONS),
    Place("Iowa, south-west", "agoro_40.75028*", 1.0, SECTIONS),
    Place("Iowa, south-east", "agoro_41.27342*", 1.0, SECTIONS),
    Place("Illinois, north-west", "agoro_42.24770*", 1.0, SECTIONS),
    Place("Iowa, north-east", "agoro_42.68861*", 1.0, "roads are 8 to 11 px wide, houses 12 to 20 px long"),
))  # fmt: skip
TEST_SETS = {"buildings": BUILDINGS, "farmland": FARMLAND}


def read(test: TestSet, place: Place, data: Path) -> list[Tile]:
    """The pictures of a place with square pixels; where they are blank, the class is unknown."""
    pictures = Pictures(
        images=f"{test.folder}/images/{place.files}", masks=f"{test.folder}/masks", gsd_m=place.gsd_m,
        mapping=MAPPING, split=Split.TEST, place=place.name,
        boundaries=f"{test.folder}/boundaries" if test.boundaries else "",
    )  # fmt: skip
    return [squared(with_blanks(tile), place.aspect) for tile in read_pictures(pictures, str(data))]


def with_blanks(tile: Tile) -> Tile:
    """The picture with large black areas as unknown; shadows are small and stay."""
    areas, _ = ndimage.label(~tile.pixels.any(axis=0))
    sizes = np.bincount(areas.ravel())
    blank = np.isin(areas, np.flatnonzero(sizes > BLANK * areas.size)) & (areas > 0)
    return tile._replace(mask=np.where(blank, np.uint8(UNKNOWN), tile.mask))


def squared(tile: Tile, aspect: float) -> Tile:
    """The picture with square pixels."""
    if aspect == 1:
        return tile
    height, width = tile.mask.shape
    size, pixel = (height, round(width * aspect)), (aspect, 1.0)
    pixels = _warped(tile.pixels, pixel, (1.0, 1.0), size, Resampling.average)
    mask = _warped(tile.mask[None], pixel, (1.0, 1.0), size, Resampling.mode)
    return tile._replace(pixels=pixels, mask=mask[0])


def resampled(bands: np.ndarray, gsd_m: float, wanted_m: float) -> np.ndarray:
    """Bands `(C, H, W)` at another resolution: the mean of what a pixel covers if coarser, else cubic."""
    size = _size(bands, gsd_m, wanted_m)
    resampling = Resampling.average if wanted_m > gsd_m else Resampling.cubic
    return _warped(bands, (gsd_m, gsd_m), (wanted_m, wanted_m), size, resampling)


def resampled_mask(mask: np.ndarray, gsd_m: float, wanted_m: float) -> np.ndarray:
    """A mask `(H, W)` at another resolution: the most frequent value if coarser, else the nearest."""
    size = _size(mask[None], gsd_m, wanted_m)
    resampling = Resampling.mode if wanted_m > gsd_m else Resampling.nearest
    return _warped(mask[None], (gsd_m, gsd_m), (wanted_m, wanted_m), size, resampling)[0]


def laid_back(probability: np.ndarray, gsd_m: float, wanted_m: float, size: tuple[int, ...]) -> np.ndarray:
    """Probabilities `(H, W)`, 0 to `SCALE`, on the `size` pixels of a picture of another resolution."""
    resampling = Resampling.average if wanted_m > gsd_m else Resampling.bilinear
    found = _warped(probability[None].astype(np.float32), (gsd_m, gsd_m), (wanted_m, wanted_m), size, resampling)
    return np.round(np.clip(found[0], 0, SCALE)).astype(np.uint8)


def _size(bands: np.ndarray, gsd_m: float, wanted_m: float) -> tuple[int, int]:
    height, width = (max(1, round(side * gsd_m / wanted_m)) for side in bands.shape[1:])
    return height, width


def _warped(
    bands: np.ndarray, before: Sequence[float], after: Sequence[float], size: tuple[int, ...], resampling: Resampling
) -> np.ndarray:
    """Bands on a grid of `size` pixels from the same corner; `before` and `after` are a pixel's width and height."""
    if tuple(before) == tuple(after) and bands.shape[1:] == tuple(size):
        return bands
    filled = np.pad(bands, ((0, 0), (0, 1), (0, 1)), "edge")  # sizes are rounded, so the new grid may reach further
    found = np.zeros((len(bands), *size), bands.dtype)
    grids = [Affine(width, 0, 1, 0, -height, 0) for width, height in (before, after)]
    reproject(
        filled, found, src_transform=grids[0], dst_transform=grids[1], src_crs=FLAT, dst_crs=FLAT,
        resampling=resampling, tolerance=0,
    )  # fmt: skip
    return found
