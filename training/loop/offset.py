"""Estimate how far labels lie beside what an image shows, from edges alone: no model is asked.

The outline of an object is an edge of the image. For every displacement of a label of up to `REACH_PX`, the image's
gradient across its outline is averaged; the displacement with the highest mean over many labels is where they fit.
Each label counts alike, and the peak is located between pixels by a parabola through its neighbours. How sure that is
says a bootstrap over labels (Efron 1979): labels with nothing to fit have their peak anywhere within reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from scipy import ndimage

from ...engine.images.grid import Window

REACH_PX = 20
"""Largest displacement, along rows and columns: 6 m at 0.3 m."""
SMOOTH_PX = 1.0
"""Scale of the edges: outlines are drawn to about a pixel."""
MARGIN_PX = REACH_PX + 4
"""Of picture around a label: its displacements, and the smoothing's reach."""
LARGEST_PX = 1024
"""Longer labels are left out, so that memory is bounded."""
MOST_POINTS = 200
"""Points of an outline, at most; else one for each pixel of its length."""
LEAST_LABELS = 10
"""Fewer labels do not tell a shift: from ten, one of 1 m is found four times out of five, to 0.3 m."""
RESAMPLES = 200
SURE_PX = 3.0
"""A peak located less well than this (95% interval) is none: without a shift to find, it is about 20 px."""
LEAST_GAIN = 3.0
"""Standard errors by which the labels fit better there than where they are."""
LEAST_M = 0.3
"""Smaller shifts are within what labels are drawn to; so is half a pixel."""

Read = Callable[[Window], tuple[np.ndarray, np.ndarray]]
"""Maps a window to brightness `(H, W)` and its validity `(H, W)`."""


class Offset(NamedTuple):
    """Where labels fit best.

    Attributes:
        x, y: how far to move them, in pixels.
        margin: half of the longer side of the 95% interval, pixels.
        gain: standard errors by which they fit better there.
        labels: how many were looked at.
    """

    x: float
    y: float
    margin: float
    gain: float
    labels: int

    @property
    def is_sure(self) -> bool:
        """Whether it is a place, rather than noise."""
        inside = max(abs(self.x), abs(self.y)) < REACH_PX - 1
        return self.labels >= LEAST_LABELS and self.margin <= SURE_PX and inside

    @property
    def is_better(self) -> bool:
        """Whether the labels surely fit better there than where they are."""
        return self.gain >= LEAST_GAIN

    def exceeds(self, pixel_m: float, other: tuple[float, float] = (0.0, 0.0)) -> bool:
        """Whether it surely differs from another displacement by more than `LEAST_M` and half a pixel."""
        apart = float(np.hypot(self.x - other[0], self.y - other[1])) - self.margin
        return self.is_sure and apart * pixel_m > max(LEAST_M, pixel_m / 2)


def fits(label: shapely.Polygon, read: Read) -> np.ndarray | None:
    """How well a label fits at each displacement `(2R + 1, 2R + 1)`, 1 on average; None where that cannot be told."""
    left, top, right, bottom = np.round(label.bounds).astype(int).tolist()
    x, y = left - MARGIN_PX, top - MARGIN_PX
    window = Window(x, y, right - x + MARGIN_PX, bottom - y + MARGIN_PX)
    if max(window.width, window.height) > LARGEST_PX:
        return None
    bright, valid = read(window)
    if not valid.all():
        return None
    points, normals = outline(label)
    strength = _strength(bright.astype(np.float32), points - (x, y), normals.astype(np.float32))
    mean = float(strength.mean())
    return strength / mean if mean > 0 else None


def _strength(bright: np.ndarray, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The mean strength of the edges along an outline, at each displacement; between pixels it is interpolated."""
    across = ndimage.gaussian_filter(bright, SMOOTH_PX, order=(0, 1))
    down = ndimage.gaussian_filter(bright, SMOOTH_PX, order=(1, 0))
    corner = np.floor(points - 0.5).astype(int)  # pixels lie half a pixel beside their coordinates
    (column, row), (right, below) = corner.T, (points - 0.5 - corner).astype(np.float32).T[:, :, None, None]
    steps = np.arange(-REACH_PX, REACH_PX + 2)
    place = (row[:, None, None] + steps[:, None], column[:, None, None] + steps)
    edge = across[place] * normals[:, 0, None, None] + down[place] * normals[:, 1, None, None]
    edge = edge[:, :, :-1] + right * np.diff(edge, axis=2)
    edge = edge[:, :-1] + below * np.diff(edge, axis=1)
    return np.asarray(np.abs(edge).mean(axis=0))


def outline(label: shapely.Polygon) -> tuple[np.ndarray, np.ndarray]:
    """Points `(N, 2)` along the rings of a polygon, one for each pixel, and the unit normals there."""
    corners, ring = shapely.get_coordinates(shapely.get_rings(label), return_index=True)
    within = np.diff(ring) == 0
    starts, edges = corners[:-1][within], np.diff(corners, axis=0)[within]
    lengths = np.hypot(*edges.T)
    counts = np.maximum(1, np.round(lengths * min(1.0, MOST_POINTS / max(lengths.sum(), 1e-9)))).astype(int)
    counts[lengths == 0] = 0
    edge = np.repeat(np.arange(len(edges)), counts)
    share = (np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / counts[edge]
    normals = np.column_stack([-edges[:, 1], edges[:, 0]])[edge] / lengths[edge, None]
    return starts[edge] + share[:, None] * edges[edge], normals


def estimate(maps: Sequence[np.ndarray], seed: int = 1) -> Offset:
    """Where labels fit best together, from how well each fits at each displacement."""
    if len(maps) < LEAST_LABELS:
        return Offset(0.0, 0.0, np.inf, 0.0, len(maps))
    stacked = np.array(maps, np.float32).reshape(len(maps), -1)
    x, y = _peak(stacked.mean(axis=0))
    draws = np.random.default_rng(seed).multinomial(len(maps), np.full(len(maps), 1 / len(maps)), RESAMPLES)
    peaks = np.array([_peak(drawn) for drawn in draws.astype(np.float32) @ stacked])
    low, high = np.percentile(peaks, (2.5, 97.5), axis=0)
    side, middle = 2 * REACH_PX + 1, REACH_PX * (2 * REACH_PX + 2)
    better = stacked[:, middle + round(y) * side + round(x)] - stacked[:, middle]
    error = float(better.std(ddof=1)) / np.sqrt(len(maps))
    gain = float(better.mean()) / error if error > 0 else 0.0
    return Offset(x, y, float((high - low).max()) / 2, gain, len(maps))


def _peak(fit: np.ndarray) -> tuple[float, float]:
    """The displacement with the highest value, across and down, between pixels."""
    side = 2 * REACH_PX + 1
    fit = fit.reshape(side, side)
    row, column = divmod(int(np.argmax(fit)), side)
    return (
        column - REACH_PX + _vertex(fit[row, max(0, column - 1) : column + 2]),
        row - REACH_PX + _vertex(fit[max(0, row - 1) : row + 2, column]),
    )


def _vertex(values: np.ndarray) -> float:
    """Where the parabola through three values has its peak, from the middle one; 0 at an end."""
    if len(values) < 3:
        return 0.0
    before, here, after = values.tolist()
    bend = before - 2 * here + after
    return (before - after) / (2 * bend) if bend < 0 else 0.0
