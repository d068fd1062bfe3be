"""Values of any type stretched to 8 bits, for models of that type."""

from __future__ import annotations

import numpy as np

from ...protocol import ErrorCode, Image, OrthomaskError
from ...protocol.words import tr


def limits_of(image: Image, count: int) -> np.ndarray | None:
    """Low and high value `(bands, 2)` of each of `count` bands; None to read the values as they are.

    Raises:
        OrthomaskError: the request has another number of pairs.
    """
    limits = image.stretch
    if not limits:
        return None
    if len(limits) not in (2, 2 * count):
        sentence = tr("The stretch has {} pairs of values, but {} bands are read.")
        remedy = tr("Use a low and a high value for all bands, or for each.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence.format(len(limits) // 2, count), remedy)
    return np.broadcast_to(np.reshape(limits, (-1, 2)), (count, 2))


def stretched(pixels: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Pixels `(bands, H, W)` in 8 bits: the limits `(bands, 2)` become 0 and 255, and what is beyond them likewise.

    What is not finite gets any value: it is masked.
    """
    low, high = limits.T[:, :, None, None]
    with np.errstate(invalid="ignore"):
        scaled = (pixels.astype(np.float32) - low) * (255 / (high - low))
        return np.asarray(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8))
