"""Objects of a class raster: connected pixels of one class."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def components(classes: np.ndarray) -> np.ndarray:
    """Numbers `(H, W)` from 1 of the 4-connected objects of each class value in 1 to 254; 0 elsewhere."""
    numbers, count = np.zeros(classes.shape, np.int32), 0
    for value in np.unique(classes[(classes > 0) & (classes < 255)]).tolist():
        part, parts = ndimage.label(classes == value)
        numbers += np.where(part > 0, part + count, 0).astype(np.int32)
        count += parts
    return numbers
