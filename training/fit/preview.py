"""Preview picture of a training: validation examples with their true outlines, and predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from scipy import ndimage

from ...protocol import UNKNOWN, ClassInfo
from ..data.scenes import VALID
from .augment import Chip, Range

SIDE_PX = 256
"""Largest side of a panel."""
GAP_PX = 6
GROUND = 0.35
"""Brightness of the image under classes, and where the truth is unknown."""
LINE_PX, MARGIN_PX = 2, 8


def preview(
    examples: Sequence[tuple[Chip, np.ndarray]], classes: Sequence[ClassInfo], threshold: float, usual: Range
) -> bytes:
    """A PNG with a row for each example: the image with the truth outlined, and the prediction. Unknown is dark.

    Two panels, not three, and cut to what is known: they are seen in a narrow dock.

    Args:
        examples: chips, and the probabilities `(K, H, W)` of the foreground classes in each.
    """
    rows, cut = [], [_known_part(chip.mask) for chip, _ in examples]
    side = min(SIDE_PX, max(part.stop - part.start for parts in cut for part in parts))
    for (chip, found), part in zip(examples, cut):
        image = _image(chip, usual)
        predicted = np.where(found.max(axis=0) >= threshold, found.argmax(axis=0) + 1, 0)
        predicted = np.where(chip.mask == UNKNOWN, UNKNOWN, predicted)
        panels = _outlined(image, chip.mask, classes), _painted(image, predicted, classes)
        rows.append(np.concatenate([_framed(panel[:, part[0], part[1]], side) for panel in panels], axis=2))
    return _png(np.concatenate(rows, axis=1))


def _known_part(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of a mask with known pixels, and a little around them."""
    known = mask != UNKNOWN
    spans = (np.flatnonzero(known.any(axis=axis))[[0, -1]] for axis in (1, 0))
    rows, columns = (slice(max(0, int(first) - MARGIN_PX), int(last) + 1 + MARGIN_PX) for first, last in spans)
    return rows, columns


def _image(chip: Chip, usual: Range) -> np.ndarray:
    """Red, green and blue `(3, H, W)` in 0 to 1 of the first three bands, or of the first one."""
    light = ((chip.pixels[:-1] - usual.low) / (usual.high - usual.low)).clip(0, 1)
    light = light[:3] if len(light) >= 3 else light[[0, 0, 0]]
    return np.asarray(np.where(chip.pixels[-1] == VALID, light, 0))


def _outlined(image: np.ndarray, mask: np.ndarray, classes: Sequence[ClassInfo]) -> np.ndarray:
    """The image with the edges of classes in their colours, darkened where unknown."""
    drawn = np.where(mask == UNKNOWN, image * GROUND, image)
    for info in classes:
        inside = mask == info.value
        edge = inside & ~ndimage.binary_erosion(inside, iterations=LINE_PX, border_value=1)
        drawn = np.where(edge, _rgb(info), drawn)
    return drawn


def _rgb(info: ClassInfo) -> np.ndarray:
    """A class's colour `(3, 1, 1)` in 0 to 1."""
    return np.array([*bytes.fromhex(info.color[1:])])[:, None, None] / 255


def _painted(image: np.ndarray, mask: np.ndarray, classes: Sequence[ClassInfo]) -> np.ndarray:
    """The darkened image with classes in their colours."""
    painted = image * GROUND
    for info in classes:
        painted = np.where(mask == info.value, _rgb(info), painted)
    return painted


def _framed(panel: np.ndarray, side: int) -> np.ndarray:
    """The middle `side` x `side` pixels of a panel, on grey if smaller, plus a gap."""
    top, left = (max(0, size - side) // 2 for size in panel.shape[1:])
    part = panel[:, top : top + side, left : left + side]
    framed = np.full((3, side + GAP_PX, side + GAP_PX), 0.5)
    framed[:, : part.shape[1], : part.shape[2]] = part
    return framed


def _png(pixels: np.ndarray) -> bytes:
    """RGB pixels `(3, H, W)` in 0 to 1 as PNG."""
    profile = {"driver": "PNG", "dtype": "uint8", "count": 3, "height": pixels.shape[1], "width": pixels.shape[2]}
    with MemoryFile() as memory:
        with rasterio.Env(), memory.open(**profile) as dataset:
            dataset.write((pixels * 255).round().astype(np.uint8))
        return bytes(memory.getbuffer())
