"""Gaps between close objects: a border class, and weights that make a network learn the gap."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

W0 = 10.0
"""Largest extra weight of a pixel between two touching objects (Ronneberger et al. 2015)."""
SIGMA_PX = 5.0
"""Decay of the weight with the width of the gap, pixels (Ronneberger et al. 2015)."""
REACH_PX = 32
"""Distance to the second nearest object up to which weights are raised; beyond, the rise is below 2e-8."""


def border_weights(objects: np.ndarray) -> np.ndarray:
    """Weights `(H, W)` float32 of pixels, high in narrow gaps: 1 + w0 exp(-(d1 + d2)² / 2 sigma²).

    d1 and d2 are the distances of a pixel's centre to the nearest and second nearest object, 0 inside it, in pixels
    (Ronneberger, Fischer and Brox 2015, U-Net, equation 2, without class balancing). They depend only on objects
    within `REACH_PX`: a window with that margin gets the same weights as the whole.

    Args:
        objects: `(H, W)` number of the object in each pixel, 0 for none.
    """
    first, second = nearest_two(objects, REACH_PX)
    return np.asarray(1 + W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA_PX**2)), np.float32)


def borders(objects: np.ndarray, width_px: int) -> np.ndarray:
    """Whether pixels `(H, W)` lie within `width_px` of two or more objects."""
    return np.asarray(nearest_two(objects, width_px)[1] <= width_px)


def nearest_two(objects: np.ndarray, reach_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances `(H, W)` float32 to the nearest and second nearest object, pixels; infinite beyond `reach_px`."""
    first, second = np.full((2, *objects.shape), np.inf, np.float32)
    numbers, compact = np.unique(objects, return_inverse=True)
    boxes = ndimage.find_objects(compact.reshape(objects.shape) + 1)
    for number, box in zip(numbers, boxes):
        if number == 0:
            continue
        near = tuple(slice(max(0, side.start - reach_px), side.stop + reach_px) for side in box)
        distance = ndimage.distance_transform_edt(objects[near] != number).astype(np.float32)
        distance[distance > reach_px] = np.inf
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    return first, second
