"""Labelled images in memory, at several resolutions, and their band statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...engine.models.bundle import BandStatistics
from ...protocol import UNKNOWN

LEVELS = 4
"""Resolutions kept of a scene, each half the one before, so that shrinking does not alias."""
VALID = 255
"""Value of a scene's last band where there is image data."""
HELD_BACK = 0.2
"""Share of the objects kept for validation if no area is marked for it."""
FEW = 3
"""Up to this many scenes with objects are each cut in two for validation; of more, whole ones are taken."""
SAMPLED_PX = 1_000_000
"""About the most pixels of a source that are sampled for band statistics."""


@dataclass(frozen=True)
class Scene:
    """A contiguous labelled image.

    Attributes:
        levels: `(bands + 1, H, W)` of the image's values at full, half, quarter … resolution; the last band is 255
            where there is image data.
        mask: `(H, W)` uint8 class values, 255 where unknown.
        gsd_m: ground sampling distance, metres per pixel of the first level.
        place: for tables of scores.
        weights: `(H, W)` of the pixels in the loss; None for 1 everywhere.
    """

    levels: tuple[np.ndarray, ...]
    mask: np.ndarray
    gsd_m: float
    place: str = ""
    weights: np.ndarray | None = None

    @property
    def known_px(self) -> int:
        """Number of labelled pixels."""
        return int(np.count_nonzero(self.mask != UNKNOWN))

    @property
    def found(self) -> np.ndarray:
        """Where there is any foreground class, `(H, W)`."""
        return np.asarray((self.mask != UNKNOWN) & (self.mask > 0))


@dataclass(frozen=True)
class Source:
    """Scenes drawn as one source, in proportion to its weight among all sources."""

    weight: float
    scenes: tuple[Scene, ...]

    @property
    def known_px(self) -> int:
        """Number of labelled pixels."""
        return sum(scene.known_px for scene in self.scenes)


def make_scene(
    pixels: np.ndarray, valid: np.ndarray, mask: np.ndarray, gsd_m: float, place: str = "",
    weights: np.ndarray | None = None,
) -> Scene:  # fmt: skip
    """The scene of pixels `(bands, H, W)` at all its levels; pixels not valid `(H, W)` become unknown."""
    dtype = stored_type(pixels.dtype)
    image = np.concatenate([pixels.astype(dtype), np.where(valid, VALID, 0).astype(dtype)[None]])
    levels = [image]
    while len(levels) < LEVELS and min(levels[-1].shape[1:]) >= 4:
        levels.append(_half(levels[-1]))
    return Scene(tuple(levels), np.where(valid, mask, UNKNOWN).astype(np.uint8), gsd_m, place, weights)


def stored_type(dtype: np.dtype) -> np.dtype:
    """The smallest type that holds an image's values (16 bit exactly, more as float32) and 255."""
    small = dtype.kind in "bui" and dtype.itemsize <= 2
    return np.promote_types(dtype, np.uint8) if small else np.dtype(np.float32)


def _half(pixels: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, integers rounded; an odd last row or column is dropped."""
    bands, height, width = pixels.shape
    quads = pixels[:, : height // 2 * 2, : width // 2 * 2].reshape(bands, height // 2, 2, width // 2, 2)
    if pixels.dtype.kind == "f":
        return np.asarray(quads.mean(axis=(2, 4)), pixels.dtype)
    return np.asarray((quads.sum(axis=(2, 4), dtype=np.int32) + 2) // 4, pixels.dtype)


def hold_back(sources: Sequence[Source], rng: np.random.Generator) -> tuple[tuple[Source, ...], tuple[Scene, ...]]:
    """Hold back a spatial part of the training for validation: whole scenes, or the end of each if few."""
    numbered = [
        (i, j) for i, source in enumerate(sources) for j, scene in enumerate(source.scenes) if scene.found.any()
    ]
    if len(numbered) <= FEW:
        parts = [[_cut(scene) for scene in source.scenes] for source in sources]
        kept = tuple(replace(s, scenes=tuple(first for first, _ in pairs)) for s, pairs in zip(sources, parts))
        return kept, tuple(rest for pairs in parts for _, rest in pairs if rest.known_px)
    count = max(1, round(HELD_BACK * len(numbered)))
    taken = {numbered[index] for index in rng.permutation(len(numbered))[:count]}
    kept = tuple(
        replace(source, scenes=tuple(scene for j, scene in enumerate(source.scenes) if (i, j) not in taken))
        for i, source in enumerate(sources)
    )
    return tuple(source for source in kept if source.scenes), tuple(sources[i].scenes[j] for i, j in sorted(taken))


def _cut(scene: Scene) -> tuple[Scene, Scene]:
    """The scene twice: labelled up to a line across its longer side, and beyond it."""
    counted = scene.found if scene.found.any() else scene.mask != UNKNOWN
    along = int(np.argmax(scene.mask.shape))
    total = np.cumsum(counted.sum(axis=1 - along))
    line = int(np.searchsorted(total, (1 - HELD_BACK) * total[-1])) + 1
    beyond = np.arange(scene.mask.shape[along]) >= line
    beyond = beyond[:, None] if along == 0 else beyond[None]
    first = np.where(beyond, UNKNOWN, scene.mask).astype(np.uint8)
    rest = np.where(beyond, scene.mask, UNKNOWN).astype(np.uint8)
    return replace(scene, mask=first), replace(scene, mask=rest)


def band_statistics(names: Sequence[str], sources: Sequence[Source]) -> tuple[BandStatistics, ...]:
    """Distribution of each band over the labelled pixels, with sources weighted."""
    sampled = [_sample(source) for source in sources]
    shares = [np.full(values.shape[1], source.weight / values.shape[1]) for source, values in zip(sources, sampled)]
    values, weights = np.concatenate(sampled, axis=1), np.concatenate(shares)
    return tuple(_statistics(name, band, weights / weights.sum()) for name, band in zip(names, values))


def _sample(source: Source) -> np.ndarray:
    """Labelled pixels `(bands, n)` of a source, evenly spread."""
    stride = math.ceil(source.known_px / SAMPLED_PX)
    return np.concatenate([s.levels[0][:-1, s.mask != UNKNOWN][:, ::stride] for s in source.scenes], axis=1)


def _statistics(name: str, values: np.ndarray, shares: np.ndarray) -> BandStatistics:
    values = values.astype(np.float64)
    mean = float(shares @ values)
    std = float(np.sqrt(shares @ (values - mean) ** 2))
    order = np.argsort(values, kind="stable")
    places = np.searchsorted(np.cumsum(shares[order]), [0.02, 0.98])
    low, high = values[order[places.clip(max=len(order) - 1)]]
    return BandStatistics(name, _rounded(mean), _rounded(std) or 1.0, _rounded(low), _rounded(high))


def _rounded(value: float) -> float:
    """The number to six significant digits."""
    return float(f"{value:.6g}")
