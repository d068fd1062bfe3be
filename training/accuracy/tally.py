"""Count pixels and objects of predictions and truth, piece by piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from ...engine.images.grid import Window
from ...engine.runs.runs import SCALE
from ...protocol import SPECK_PX, UNKNOWN, ClassInfo, PixelScores
from ..truth.components import components
from .area_estimate import Sample, map_at, pixel_m2
from .calibration import Histogram
from .comparison import Comparison, Ground
from .objects import Matches, match
from .scores import foreground_scores

Chip = tuple[slice, ...]
"""Rows and columns."""
EXAMPLE_PX = 256
"""Largest side of an example in the report."""
WORST = 8
"""How many examples are kept."""


class Example(NamedTuple):
    """A chip of the evaluated ground: picture `(H, W, 3)`, and class values `(H, W)` found and true."""

    area: str
    scores: PixelScores
    wrong: int
    picture: np.ndarray
    found: np.ndarray
    truth: np.ndarray


class AreaScores(NamedTuple):
    """Scores of all foreground in one area, and its numbers of true foreground and wrong pixels."""

    place: str
    scores: PixelScores
    true: int
    wrong: int


class Matched(NamedTuple):
    """The objects of a piece: numbers `(H, W)` of those found, their matches, and the ground area of a pixel."""

    numbers: np.ndarray
    matches: Matches
    pixel_m2: float


class Tally:
    """Counts of pixels and objects, and the worst examples.

    Attributes:
        confusion: pixel counts, row = truth, column = prediction, background first.
        mapped_m2: predicted ground area of background and each class.
        labelled_m2: labelled ground area on the map, row = class there, column = true class.
        worst: the examples with the most wrong pixels, the worst first.
    """

    def __init__(self, classes: Sequence[ClassInfo], map_path: Path | None = None) -> None:
        """Start with nothing.

        Args:
            map_path: the class raster whose areas are to be estimated; None for the predictions themselves.
        """
        self._map_path = map_path
        count = len(classes) + 1
        self.names = tuple(info.name for info in classes)
        self.confusion = np.zeros((count, count), np.int64)
        self.mapped_m2 = np.zeros(count)
        self.labelled_m2 = np.zeros((count, count))
        self.histogram, self.sample = Histogram.empty(), Sample(count)
        self.matches: list[Matches] = []
        self.worst: list[Example] = []
        self._places: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((2, 2), np.int64))
        self._areas: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros((2, 2), np.int64))

    def add(self, ground: Ground, piece: Comparison) -> Matched:
        """Count a piece, and match its objects."""
        known = piece.truth != UNKNOWN
        found, truth = piece.found[known], piece.truth[known]
        self.confusion += confusion_of(found, truth, len(self.confusion))
        whole = confusion_of(found > 0, truth > 0, 2)
        self._places[piece.place] += whole
        self._areas[piece.place, piece.area] += whole
        self.histogram.add(piece.probabilities[:, known], truth)
        self.sample.add(found, truth)
        size_m2 = pixel_m2(pyproj.CRS.from_user_input(ground.lattice.crs), ground.lattice.transform, piece.window)
        self.mapped_m2 += np.bincount(found, minlength=len(self.confusion)) * size_m2
        self.labelled_m2 += self._labelled(ground, piece) * size_m2
        self._keep_worst(ground, piece)
        return self._match(piece, size_m2)

    def _labelled(self, ground: Ground, piece: Comparison) -> np.ndarray:
        """Labelled pixels on the map: row = class there, column = true class."""
        count = len(self.confusion)
        mapped = map_at(self._map_path, ground.lattice, piece.window) if self._map_path else piece.found
        if mapped is None:
            return np.zeros((count, count))
        known = (piece.truth != UNKNOWN) & (mapped < count)
        return confusion_of(mapped[known], piece.truth[known], count).T

    def _match(self, piece: Comparison, size_m2: float) -> Matched:
        numbers, matches = matched_in(piece, SPECK_PX)
        self.matches.append(matches)
        return Matched(numbers, matches, size_m2)

    def _keep_worst(self, ground: Ground, piece: Comparison) -> None:
        chips = [(int(np.count_nonzero(piece.found[chip] != piece.truth[chip])), chip) for chip in _chips(piece)]
        for wrong, chip in sorted(chips, key=lambda one: -one[0])[:WORST]:
            if wrong > (self.worst[-1].wrong if len(self.worst) == WORST else 0):
                example = _example(ground, piece, chip, wrong)
                self.worst = sorted([*self.worst, example], key=lambda one: -one.wrong)[:WORST]

    def places(self) -> tuple[PixelScores, ...]:
        """Scores of all foreground in each place."""
        return tuple(foreground_scores(name, whole, int(whole.sum())) for name, whole in sorted(self._places.items()))

    def areas(self) -> list[AreaScores]:
        """Scores of all foreground in each area, that with the largest share of wrong pixels first."""
        rows = []
        for (place, name), whole in self._areas.items():
            pixels = int(whole.sum())
            scores = foreground_scores(name, whole, pixels)
            rows.append(AreaScores(place, scores, int(whole[1].sum()), pixels - int(np.trace(whole))))
        return sorted(rows, key=lambda row: -row.wrong / row.scores.pixels)


def matched_in(piece: Comparison, least_px: float) -> tuple[np.ndarray, Matches]:
    """Numbers `(H, W)` of the objects found in a piece, and their matches.

    Args:
        least_px: smaller objects do not count.
    """
    numbers = components(piece.found)
    probability = piece.probabilities.max(axis=0) / SCALE
    return numbers, match(numbers, piece.found, probability, piece.objects, piece.truth, least_px)


def confusion_of(found: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Pixel counts, row = truth, column = prediction, of class values `(N,)`."""
    predicted, target = (torch.from_numpy(values.astype(np.int64)) for values in (found, truth))
    return np.asarray(multiclass_confusion_matrix(predicted, target, classes, validate_args=False))


def _chips(piece: Comparison) -> list[Chip]:
    """A piece cut into equal parts of at most `EXAMPLE_PX`."""
    cuts = []
    for size in piece.found.shape:
        edges = np.linspace(0, size, -(-size // EXAMPLE_PX) + 1).astype(int).tolist()
        cuts.append([slice(*edge) for edge in pairwise(edges)])
    return list(product(*cuts))


def _example(ground: Ground, piece: Comparison, chip: Chip, wrong: int) -> Example:
    found, truth = piece.found[chip], piece.truth[chip]
    known = truth != UNKNOWN
    confusion = confusion_of(found[known] > 0, truth[known] > 0, 2)
    (height, width), (rows, columns) = found.shape, chip
    window = Window(piece.window.x + columns.start, piece.window.y + rows.start, width, height)
    scores = foreground_scores(piece.place, confusion, int(known.sum()))
    return Example(piece.area, scores, wrong, ground.picture(window), found.copy(), truth.copy())
