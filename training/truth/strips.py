"""Burned rows of a grid: one code per pixel, and tables of the codes' meaning.

Tables are looked up once per run of equal codes along a row: labels are many pixels wide, so runs are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...protocol import BACKGROUND, UNKNOWN

CLASS_VALUES = UNKNOWN + 1
"""Codes of a strip in addition to its labels': one for each class value that a raster can hold."""
CACHED_PX = 1 << 20


class Strip(NamedTuple):
    """Burned rows.

    Attributes:
        codes: `(rows, width)` uint16, or int32 for very many labels: what is on top; 0 nothing, then the strip's
            labels, then the class values of rasters.
        classes: uint8 class value of each code.
        objects: int32 number of the label of each code that shows a class, else 0; minus the class value for a
            raster's code.
        known: `(rows, width)` uint8: 1 inside the areas; None without areas.
    """

    codes: np.ndarray
    classes: np.ndarray
    objects: np.ndarray
    known: np.ndarray | None


def code_type(labels: int) -> type[np.generic]:
    """The smallest type for the codes of a strip with this many labels."""
    return np.uint16 if labels + CLASS_VALUES <= np.iinfo(np.uint16).max else np.int32


def tables(labels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Strip.classes` and `Strip.objects`.

    Args:
        labels: `(N,)` numbers of the strip's labels.
        values: class value of each label, by its number.
    """
    said = np.arange(CLASS_VALUES)
    classes = np.concatenate([[BACKGROUND], values[labels], said]).astype(np.uint8)
    objects = np.concatenate([[0], labels, -said]).astype(np.int32)
    objects[(classes == BACKGROUND) | (classes == UNKNOWN)] = 0
    return classes, objects


def looked_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`table[codes]`."""
    result = np.empty(codes.shape, table.dtype)
    for rows in _cached(codes):
        flat = codes[rows].ravel()
        starts = _run_starts(flat)
        result[rows] = np.repeat(table[flat[starts]], np.diff(starts, append=flat.size)).reshape(result[rows].shape)
    return result


def distinct(codes: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The codes that occur where `where` is true, sorted; may include 0."""
    found = [np.empty(0, codes.dtype)]
    for rows in _cached(codes):
        flat = (codes[rows] * where[rows]).ravel()
        found.append(np.unique(flat[_run_starts(flat)]))
    return np.unique(np.concatenate(found))


def _cached(codes: np.ndarray) -> Iterator[slice]:
    """Blocks of rows that fit in the CPU's cache."""
    count = max(1, CACHED_PX // codes.shape[1])
    for top in range(0, len(codes), count):
        yield slice(top, top + count)


def _run_starts(flat: np.ndarray) -> np.ndarray:
    """Where runs of equal values begin."""
    return np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
