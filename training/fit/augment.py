"""Random augmentation: one warp from scene to chip for place, size and angle, then colour changes.

A placement is a `(2, 3)` matrix from chip to scene: `(x, y) = matrix @ (column, row, 1)`, in pixels from the upper left
corner, so that the centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from ...engine.models.bundle import BandStatistics
from ...protocol import UNKNOWN, Augmentation
from ..data.scenes import VALID, Scene

TRIES = 4
"""Random places compared for each chip; the one with the most labels is taken."""


class Chip(NamedTuple):
    """A part of a scene.

    Attributes:
        pixels: `(bands + 1, H, W)` float32, the last band 255 where valid.
        mask: `(H, W)` uint8, 255 where unknown.
        weights: `(H, W)` float32 of the pixels in the loss.
    """

    pixels: np.ndarray
    mask: np.ndarray
    weights: np.ndarray


class Range(NamedTuple):
    """The values of black and white in an image.

    Attributes:
        low, high: `(bands, 1, 1)` float32.
        closed: whether values beyond them are impossible.
    """

    low: np.ndarray
    high: np.ndarray
    closed: bool


def usual_range(bands: Sequence[BandStatistics], dtype: str) -> Range:
    """0 to 255 for 8-bit images, else the 2 to 98 percentile range of each band, which values may exceed."""
    if dtype == "uint8":
        return Range(np.zeros((len(bands), 1, 1), np.float32), np.full((len(bands), 1, 1), np.float32(255)), True)
    low = np.array([band.percentile_2 for band in bands], np.float32)[:, None, None]
    high = np.array([band.percentile_98 for band in bands], np.float32)[:, None, None]
    return Range(low, np.where(high > low, high, low + 1), False)


def augment(
    scene: Scene, gsd_m: float, chip_px: int, options: Augmentation, usual: Range, rng: np.random.Generator
) -> Chip:
    """A random chip of a scene at about `gsd_m`."""
    zoom = math.exp(_draw(tuple(math.log(limit) for limit in options.scale), rng))
    ratio = gsd_m / (scene.gsd_m * zoom)
    turn = rng.uniform(0, math.tau) if options.rotate else rng.integers(4) * math.pi / 2
    flip = rng.choice((-1.0, 1.0)) if options.flip else 1.0
    centre = _centre(scene, ratio * chip_px, rng)
    chip = warp(scene, placement(centre, ratio, turn, flip, chip_px), chip_px)
    chip.pixels[:-1] = recolour(chip.pixels[:-1], chip.pixels[-1] == VALID, options, usual, rng)
    if rng.random() < options.blank:
        _blank(chip, usual, rng)
    if rng.random() < options.cutout:
        _hide(chip, rng)
    return chip


def placement(centre: np.ndarray, ratio: float, turn: float, flip: float, chip_px: int) -> np.ndarray:
    """The matrix of a chip around `centre` (x, y in scene pixels).

    Args:
        ratio: scene pixels per chip pixel.
        turn: angle in radians.
        flip: -1 to mirror, 1 not to.
    """
    cosine, sine = math.cos(turn), math.sin(turn)
    linear = ratio * np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([flip, 1.0])
    offset = centre - linear @ np.full(2, chip_px / 2)
    return np.column_stack([linear, offset])


def _centre(scene: Scene, extent_px: float, rng: np.random.Generator) -> np.ndarray:
    """The best labelled of a few random places whose chip extends beyond the scene no more than it must."""
    size = np.array(scene.mask.shape[::-1], float)
    half = np.minimum(extent_px / 2, size)
    limits = np.sort(np.stack([half, size - half]), axis=0)
    places = rng.uniform(limits[0], limits[1], (TRIES, 2))
    return np.asarray(places[np.argmax([_known(scene, place, half) for place in places])])


def _known(scene: Scene, place: np.ndarray, half: np.ndarray) -> int:
    left, top = np.maximum(place - half, 0).astype(int)
    right, bottom = (place + half).astype(int) + 1
    return int(np.count_nonzero(scene.mask[top:bottom:8, left:right:8] != UNKNOWN))


def warp(scene: Scene, matrix: np.ndarray, chip_px: int) -> Chip:
    """Cut a chip: values bilinear from the level nearest in resolution, classes and weights from the nearest pixel.

    Outside the scene pixels are 0 in every band, and the mask is unknown.
    """
    steps = np.arange(chip_px) + 0.5
    columns, rows = np.meshgrid(steps, steps)
    x, y = np.tensordot(matrix, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
    zoom = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    level = min(max(round(math.log2(zoom)), 0), len(scene.levels) - 1)
    pixels = _sample(scene.levels[level], x / 2**level, y / 2**level)
    if scene.weights is None:
        weights = np.ones((chip_px, chip_px), np.float32)
    else:
        weights = _nearest(scene.weights, x, y, 1).astype(np.float32)
    return Chip(pixels, _nearest(scene.mask, x, y, UNKNOWN), weights)


def _sample(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels `(bands, H, W)` at x and y `(h, w)`, bilinear, integers rounded as by a sensor; 0 outside."""
    height, width = pixels.shape[1:]
    left, top = max(math.floor(x.min()) - 1, 0), max(math.floor(y.min()) - 1, 0)
    right, bottom = min(math.ceil(x.max()) + 1, width), min(math.ceil(y.max()) + 1, height)
    part = torch.from_numpy(pixels[:, top:bottom, left:right].astype(np.float32))
    grid = np.stack([2 * (x - left) / (right - left) - 1, 2 * (y - top) / (bottom - top) - 1], axis=-1)
    flow = torch.from_numpy(grid.astype(np.float32))
    sampled = functional.grid_sample(part[None], flow[None], mode="bilinear", align_corners=False)[0].numpy()
    sampled[-1] = sampled[-1].round()
    return np.asarray(sampled if pixels.dtype.kind == "f" else sampled.round())


def _nearest(values: np.ndarray, x: np.ndarray, y: np.ndarray, outside: int) -> np.ndarray:
    columns, rows = np.floor(x).astype(int), np.floor(y).astype(int)
    height, width = values.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    found = values[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, found, np.asarray(outside, values.dtype))


def recolour(
    pixels: np.ndarray, valid: np.ndarray, options: Augmentation, usual: Range, rng: np.random.Generator
) -> np.ndarray:
    """Simulate other light and another sensor on pixels `(bands, H, W)`; the valid ones `(H, W)` set the mean."""
    light = _shade((pixels - usual.low) / (usual.high - usual.low), options.shade, rng)
    grey = light.mean(axis=0)
    light = grey + (light - grey) * _draw(options.saturation, rng)
    light *= (1 + options.colour * rng.uniform(-1, 1, (len(light), 1, 1))).astype(np.float32)
    mean = light[:, valid].mean() if valid.any() else 0.0
    light = (light - mean) * _draw(options.contrast, rng) + mean
    light += options.brightness * rng.uniform(-1, 1)
    light = _bounded(light, usual)
    light = np.copysign(np.abs(light) ** _draw(options.gamma, rng), light)
    light = _soften(light, options.blur * rng.uniform(-0.5, 1))
    if options.noise:
        sigma = np.float32(options.noise * rng.random())
        light += sigma * rng.standard_normal(light.shape, np.float32)
    return np.asarray(_bounded(light, usual) * (usual.high - usual.low) + usual.low)


def _draw(limits: tuple[float, ...], rng: np.random.Generator) -> float:
    return rng.uniform(limits[0], limits[1])


def _bounded(light: np.ndarray, usual: Range) -> np.ndarray:
    return light.clip(0, 1) if usual.closed else light


def _shade(light: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add large soft patches, darker (cloud shadow) or whiter (haze)."""
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 3, 3)).astype(np.float32))
    field = functional.interpolate(coarse, light.shape[1:], mode="bilinear", align_corners=True)[0].numpy()
    field *= np.float32(strength * rng.random())
    return np.asarray(np.where(field > 0, light + field * (1 - light), light * (1 + field)))


def _soften(light: np.ndarray, blend: float) -> np.ndarray:
    """Blend with a copy blurred over 3 x 3 pixels; a negative blend sharpens."""
    padded = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    blurred = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
    return np.asarray(light + np.float32(blend) * (blurred - light))


def _blank(chip: Chip, usual: Range, rng: np.random.Generator) -> None:
    """Paint a block black or white, as at a mosaic's edge, and label it background."""
    box = _box(chip.mask.shape, rng)
    chip.pixels[:-1][box] = usual.low if rng.random() < 0.5 else usual.high
    chip.pixels[-1][box] = VALID
    chip.mask[box] = 0
    chip.weights[box] = 1


def _hide(chip: Chip, rng: np.random.Generator) -> None:
    """Remove a block, as if it had no data."""
    box = _box(chip.mask.shape, rng)
    chip.pixels[box] = 0
    chip.mask[box] = UNKNOWN


def _box(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    """A random block of a tenth to six tenths of height and width."""
    size = np.array(shape)
    extent = (rng.uniform(0.1, 0.6, 2) * size).astype(int)
    top, left = rng.integers(-extent // 2, size - extent // 2)
    return np.s_[..., max(top, 0) : top + extent[0], max(left, 0) : left + extent[1]]
