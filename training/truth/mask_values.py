"""Meaning of numbers and colours in class pictures: greys, 0 and 255, and values blurred by JPEG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from ...protocol import BACKGROUND, UNKNOWN, ClassValue, ErrorCode, OrthomaskError
from ...protocol.words import tr

BLACK = "#000000"
UNKNOWN_RGB = (128, 128, 128)
"""Colour of unknown in masks of chips."""
YES_NO = (ClassValue(str(BACKGROUND), BACKGROUND), ClassValue(str(UNKNOWN), 1))
"""Classes of 0 and 255 if no other values occur."""
NEAR = 0.25
"""A value blurred by JPEG is clear within this share of the distance between the two nearest true ones."""
CLEAR_SHARE = 0.9
"""Share of pixels that must be clear; along edges none is."""


def is_color(text: str) -> bool:
    """Whether a text is a colour `#rrggbb`."""
    return text.startswith("#") and len(text) == 7


def has_colors(mapping: Sequence[ClassValue]) -> bool:
    """Whether a mapping names colours."""
    return any(is_color(entry.source) for entry in mapping)


def packed(bands: np.ndarray) -> np.ndarray:
    """One number `(H, W)` for each pixel of `(1 or 3, H, W)`: the value, or the colour as 0xrrggbb."""
    if len(bands) == 1:
        return np.asarray(bands[0])
    red, green, blue = bands[:3].astype(np.uint32)
    return np.asarray(red << 16 | green << 8 | blue)


def are_greys(colors: np.ndarray) -> bool:
    """Whether all colours 0xrrggbb are greys, and so stand for numbers."""
    return bool(((colors & 255) * 0x010101 == colors).all())


def is_chip_palette(dataset: DatasetReader) -> bool:
    """Whether an open raster has the palette of `write_mask`."""
    if dataset.colorinterp[0] is not ColorInterp.palette:
        return False
    palette = dataset.colormap(1)
    return bool(palette.get(BACKGROUND, ())[:3] == (0, 0, 0) and palette.get(UNKNOWN, ())[:3] == UNKNOWN_RGB)


def is_yes_no(values: Iterable[float]) -> bool:
    """Whether the values are exactly 0 and 255, which then mean no and yes, by the oldest convention of masks."""
    return set(values) == {BACKGROUND, UNKNOWN}


def true_values(mapping: Sequence[ClassValue], bands: int) -> np.ndarray:
    """The values `(N, bands)` of a class picture before JPEG: those of its mapping, else 0 and 255."""
    if bands == 3 and has_colors(mapping):
        texts = {BLACK, *(entry.source for entry in mapping if is_color(entry.source))}
        return np.array([tuple(bytes.fromhex(text[1:])) for text in sorted(texts)], np.int16)
    numbers = {float(entry.source) for entry in mapping if entry.source.strip().isdecimal()}
    return np.repeat(sorted(numbers or {BACKGROUND, UNKNOWN}), bands).reshape(-1, bands).astype(np.int16)


def restored(bands: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, int]:
    """Pixels `(B, H, W)` set to the nearest `true` values `(N, B)`, and how many of them are clear."""
    best = np.zeros(bands.shape[1:], np.intp)
    least = np.full(bands.shape[1:], np.iinfo(np.int16).max, np.int16)
    for number, value in enumerate(true):
        distance = np.abs(bands.astype(np.int16) - value[:, None, None]).max(axis=0)
        best[distance < least] = number
        least = np.minimum(least, distance)
    apart = np.abs(true[:, None] - true).max(axis=2)
    gap = apart[apart > 0].min(initial=UNKNOWN)
    return np.moveaxis(true[best], -1, 0).astype(bands.dtype), int(np.count_nonzero(least <= NEAR * gap))


def refuse_blurred(name: str) -> OrthomaskError:
    """The error for a JPEG whose values cannot be recovered."""
    return OrthomaskError(
        ErrorCode.LABELS_CLASSES,
        tr("“{}” is a JPEG: compression has mixed up its class values.").format(name),
        tr("Save masks as PNG or GeoTIFF, or map each true value to its class."),
    )


def blurred_note(name: str) -> str:
    """The warning about a JPEG whose values were restored."""
    return tr("“{}” is a JPEG, which blurs class values: each pixel got the nearest one. PNG keeps them.").format(name)


def yes_no_note(name: str, class_value: int) -> str:
    """The warning that 255 was read as a class."""
    return tr("“{}” contains only 0 and 255: 255 was read as class {}.").format(name, class_value)
