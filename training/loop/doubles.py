"""Labels that cover the same ground."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import shapely

SHARE = 0.5
"""Of the smaller label under the other: as much as two objects need to count as one when models are measured (COCO)."""
WHOLE = 0.95
"""Share from which a label counts as wholly covered, or two as the same: what ObjectLab calls conflicting (2023)."""
PAIRS = 50_000
"""Pairs whose overlap is computed at a time."""


class Double(NamedTuple):
    """A label most of which another one covers.

    Attributes:
        label, other: their numbers; `label` is the smaller, or of two equal ones the later.
        share: of `label` that is covered.
        iou: of the two.
    """

    label: int
    other: int
    share: float
    iou: float

    @property
    def severity(self) -> float:
        """1 for the same outline, down to 0.25."""
        return (self.share + self.iou) / 2

    @property
    def is_same(self) -> bool:
        """Whether both have the same outline."""
        return self.iou >= WHOLE


def doubles(polygons: np.ndarray, kinds: np.ndarray) -> list[Double]:
    """The labels half or more of which another one covers, each with the one that covers it most.

    Args:
        polygons: `(N,)`.
        kinds: `(N, 2)` layer and class of each. Another class in another layer is no fault: later layers cover earlier
            ones.
    """
    areas = shapely.area(polygons)
    found: dict[int, Double] = {}
    for one, other, shared in _overlaps(polygons, kinds):
        small, large = (one, other) if (areas[one], -one) < (areas[other], -other) else (other, one)
        share = shared / areas[small]
        if share >= SHARE and (small not in found or share > found[small].share):
            found[small] = Double(small, large, share, shared / (areas[one] + areas[other] - shared))
    return list(found.values())


def _overlaps(polygons: np.ndarray, kinds: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Pairs of labels that may not overlap but do, with the area that they share."""
    tree = shapely.STRtree(polygons)
    for start in range(0, len(polygons), PAIRS):
        one, other = tree.query(polygons[start : start + PAIRS], predicate="intersects")
        one = one + start
        chosen = (one < other) & (kinds[one] == kinds[other]).any(axis=1)
        one, other = one[chosen], other[chosen]
        shared = shapely.area(shapely.intersection(polygons[one], polygons[other]))
        yield from zip(one.tolist(), other.tolist(), shared.tolist())
