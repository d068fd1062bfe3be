"""Labelled images in memory, joined into scenes where they touch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from scipy import ndimage

from ..engine.bundle import BandStatistics
from ..protocol import ErrorCode, OrthomaskError
from .recipe import Recipe, Source

UNKNOWN = 255
"""Value in a mask of pixels whose class nobody knows; the loss and the scores leave them out."""
LEVELS = 4
"""Resolutions that a scene is kept at, each half the one before, so that a warp that shrinks does not alias."""


class Tile(NamedTuple):
    """An image and its mask.

    Attributes:
        name: stem of the file.
        pixels: `(bands, H, W)`, in the image's own units.
        mask: `(H, W)` class values, 255 where unknown.
    """

    name: str
    pixels: np.ndarray
    mask: np.ndarray

    @property
    def place(self) -> str:
        """Where it was taken: the last part of the file name that begins with a letter, without digits.

        `inria512_austin4_00061_481` is of `austin`.
        """
        named = [part for part in self.name.split("_") if part[:1].isalpha()]
        return named[-1].rstrip("0123456789") if named else "unknown"


@dataclass(frozen=True)
class Scene:
    """A contiguous labelled image.

    Attributes:
        levels: `(bands + 1, H, W)` uint8 at full, half, quarter … resolution; the last band is 255
            where there is image.
        mask: `(H, W)` uint8 class values, 255 where unknown.
        gsd_m: ground sampling distance, metres per pixel of the first level.
    """

    levels: tuple[np.ndarray, ...]
    mask: np.ndarray
    gsd_m: float

    @property
    def known_px(self) -> int:
        """Number of labelled pixels."""
        return int(np.count_nonzero(self.mask != UNKNOWN))


def read_tiles(folder: Path, mask_values: Sequence[int], files: str = "*") -> list[Tile]:
    """Read `images/NAME.*` and `masks/NAME.png` of a folder.

    Raises:
        OrthomaskError: there are none, or a mask is missing, unreadable or of another size.
    """
    tiles = [_read_tile(path, mask_values) for path in sorted((folder / "images").glob(files))]
    if not tiles:
        sentence = f"There are no images “{files}” in “{folder / 'images'}”."
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, "Check the data folder and the recipe.")
    return tiles


def _read_tile(path: Path, mask_values: Sequence[int]) -> Tile:
    mask_path = path.parent.parent / "masks" / f"{path.stem}.png"
    pixels, values = _read(path), _read(mask_path)[0]
    if pixels.shape[1:] != values.shape:
        sentence = f"“{mask_path.name}” is not of the size of its image."
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, "Export image and mask on the same grid.")
    mask = np.full(values.shape, UNKNOWN, np.uint8)
    for number, value in enumerate(mask_values):
        mask[values == value] = number
    return Tile(path.stem, pixels, mask)


def _read(path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                pixels: np.ndarray = dataset.read()
    except RasterioError as error:
        sentence = f"“{path}” cannot be read."
        remedy = "Copy it again, or take it out of the data folder."
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy, str(error)) from error
    return pixels


def read_scenes(data: Path, source: Source) -> list[Scene]:
    """The scenes of a source: its tiles, joined to larger images where they touch."""
    tiles = read_tiles(data / source.folder, source.mask_values, source.files)
    joined = _join(tiles, source.tile_step, source.north_up) if source.tile_step else iter(tiles)
    return [make_scene(tile, source.gsd_m) for tile in joined]


def _join(tiles: Sequence[Tile], step: float, north_up: bool) -> Iterator[Tile]:
    """Tiles of equal size, whose names end in their column and row times `step`, as one for each connected group."""
    positions = np.array([[float(number) for number in tile.name.split("_")[-2:]] for tile in tiles])
    columns, rows = np.round((positions - positions.min(axis=0)) / step).astype(int).T
    rows = rows.max() - rows if north_up else rows
    present = np.full((rows.max() + 1, columns.max() + 1), -1)
    present[rows, columns] = np.arange(len(tiles))
    groups, _ = ndimage.label(present >= 0)
    for number, box in enumerate(ndimage.find_objects(groups), start=1):
        yield _mosaic(tiles, np.where(groups[box] == number, present[box], -1))


def _mosaic(tiles: Sequence[Tile], layout: np.ndarray) -> Tile:
    """One tile from the tiles whose numbers stand in `layout`; -1 is a gap, its mask unknown, its pixels 0."""
    first = tiles[layout.max()]
    bands, height, width = first.pixels.shape
    rows, columns = layout.shape
    pixels = np.zeros((bands, rows * height, columns * width), first.pixels.dtype)
    mask = np.full(pixels.shape[1:], UNKNOWN, np.uint8)
    for row, column in np.argwhere(layout >= 0):
        box = np.s_[..., row * height : (row + 1) * height, column * width : (column + 1) * width]
        pixels[box], mask[box] = tiles[layout[row, column]][1:]
    return Tile(first.name, pixels, mask)


def make_scene(tile: Tile, gsd_m: float) -> Scene:
    """The scene of one image, at all its levels; unlabelled pixels that are 0 in every band are outside of it."""
    valid = np.where((tile.mask != UNKNOWN) | tile.pixels.any(axis=0), 255, 0).astype(np.uint8)
    levels = [np.concatenate([tile.pixels, valid[None]])]
    while len(levels) < LEVELS and min(levels[-1].shape[1:]) >= 4:
        levels.append(_half(levels[-1]))
    return Scene(tuple(levels), tile.mask, gsd_m)


def _half(pixels: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, rounded; an odd last row or column is left out."""
    bands, height, width = pixels.shape
    quads = pixels[:, : height // 2 * 2, : width // 2 * 2].reshape(bands, height // 2, 2, width // 2, 2)
    return np.asarray((quads.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4, np.uint8)


def band_statistics(recipe: Recipe, scenes: Sequence[Sequence[Scene]]) -> tuple[BandStatistics, ...]:
    """Distribution of each band over the labelled pixels, every source counted by its weight."""
    return tuple(
        _statistics(name, sum(_histogram(found, band) * source.weight for source, found in zip(recipe.sources, scenes)))
        for band, name in enumerate(recipe.bands)
    )


def _histogram(scenes: Sequence[Scene], band: int) -> np.ndarray:
    counts = [np.bincount(scene.levels[0][band][scene.mask != UNKNOWN], minlength=256) for scene in scenes]
    return np.asarray(np.sum(counts, axis=0) / np.sum(counts))


def _statistics(name: str, histogram: np.ndarray | int) -> BandStatistics:
    shares = np.asarray(histogram) / np.sum(histogram)
    values = np.arange(shares.size)
    mean = float(shares @ values)
    low, high = np.searchsorted(np.cumsum(shares), [0.02, 0.98])
    std = float(np.sqrt(shares @ (values - mean) ** 2))
    return BandStatistics(name, round(mean, 3), round(max(std, 1.0), 3), float(low), float(high))
