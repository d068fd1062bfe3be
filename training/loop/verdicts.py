"""Whether a difference between two runs is right: known where a person has checked an area."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyproj
import shapely
from affine import Affine

from ...engine.images import regions
from ...engine.images.grid import Window
from ...protocol import ClassInfo, ErrorCode, LabelledImage, OrthomaskError, Split
from ...protocol.words import tr
from ..accuracy.objects import MATCH_IOU
from ..truth.labels import Grid, Truth, open_truth
from .run_objects import Box, Objects

RIGHT, WRONG, UNKNOWN = "right", "wrong", ""
GRID_PX = 1 << 15
"""Ground truth is read in the pixels of a grid; so many span the ground."""
INSIDE = 0.5
"""Share of an object that must lie in checked areas for its verdict to be known."""
NOTHING = {ErrorCode.LABELS_OUTSIDE, ErrorCode.AREAS_EMPTY, ErrorCode.LABELS_EMPTY}
"""Errors of ground truth that has nothing to say about this ground."""


class Verdict(NamedTuple):
    """Whether a difference is right, and why, in words."""

    value: str
    reason: str


class Known:
    """Checked areas and the labels in them, in the CRS of the comparison.

    Args:
        areas: everything that is checked, as one geometry.
        labels: cut to `areas`.
    """

    def __init__(self, areas: shapely.Geometry, labels: Objects) -> None:
        self._areas = areas
        shapely.prepare(areas)
        self._labels, self._tree = labels, shapely.STRtree(labels.outlines)

    def holds(self, outlines: np.ndarray) -> np.ndarray:
        """Which of the outlines `(N,)` lie in checked areas for the most part."""
        found = np.asarray(shapely.intersects(outlines, self._areas))
        inside = shapely.area(shapely.intersection(outlines[found], self._areas))
        found[found] = inside >= INSIDE * shapely.area(outlines[found])
        return found

    def iou(self, objects: Objects) -> np.ndarray:
        """The highest IoU of each object with a label of its class, both cut to the checked areas."""
        if not len(self._labels.outlines):
            return np.zeros(len(objects.outlines))
        cut = Objects(np.asarray(shapely.intersection(objects.outlines, self._areas)), objects.classes)
        of, _, iou = overlaps(cut, self._labels, self._tree)
        best = np.zeros(len(objects.outlines))
        np.maximum.at(best, of, iou)
        return best


NOTHING_KNOWN = Known(shapely.Polygon(), Objects(np.empty(0, object), np.empty(0, object)))


def overlaps(these: Objects, those: Objects, tree: shapely.STRtree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of overlapping objects of the same class: numbers in both, and their IoU; each `(N,)`.

    Args:
        tree: of the outlines of `those`.
    """
    here, there = tree.query(these.outlines, predicate="intersects")
    same = these.classes[here] == those.classes[there]
    here, there = here[same], there[same]
    one, other = these.outlines[here], those.outlines[there]
    shared = shapely.area(shapely.intersection(one, other))
    joint = shapely.area(one) + shapely.area(other) - shared
    return here, there, shared / np.where(joint > 0, joint, 1)


def gained(iou: float) -> Verdict:
    """Of a new object, by its IoU with a label."""
    if iou >= MATCH_IOU:
        return Verdict(RIGHT, tr("It matches a label."))
    return Verdict(WRONG, tr("No label matches it."))


def lost(iou: float) -> Verdict:
    """Of an object that is gone, by its IoU with a label."""
    if iou >= MATCH_IOU:
        return Verdict(WRONG, tr("It matched a label."))
    return Verdict(RIGHT, tr("No label matched it."))


def reshaped(before: float, after: float) -> Verdict:
    """Of an object with another outline, by its IoU with a label before and after."""
    if max(before, after) == 0:
        return Verdict(UNKNOWN, tr("There is no label, neither before nor after."))
    words = tr("IoU with its label: {:.2f} before, {:.2f} after.").format(before, after)
    if before == after:
        return Verdict(UNKNOWN, words)
    return Verdict(RIGHT if after > before else WRONG, words)


def unknown() -> Verdict:
    """Of a difference in no checked area."""
    return Verdict(UNKNOWN, tr("The decision changed; nobody has checked it."))


def open_known(
    truth: LabelledImage | None, classes: Sequence[ClassInfo], crs: pyproj.CRS, bounds: Box
) -> tuple[Known, tuple[str, ...]]:
    """What is known of some ground, and warnings; nothing where the truth lies elsewhere.

    Raises:
        OrthomaskError: labels or areas cannot be read, or are of other classes.
    """
    if truth is None:
        return NOTHING_KNOWN, ()
    try:
        with _read(truth, classes, crs, bounds) as read:
            return _known(read, classes), read.warnings
    except OrthomaskError as error:
        if error.code not in NOTHING:
            raise
        return NOTHING_KNOWN, (error.sentence,)


@contextmanager
def _read(truth: LabelledImage, classes: Sequence[ClassInfo], crs: pyproj.CRS, bounds: Box) -> Iterator[Truth]:
    left, bottom, right, top = bounds
    step = max(right - left, top - bottom) / GRID_PX or 1.0
    size = max(1, round((right - left) / step)), max(1, round((top - bottom) / step))
    grid = Grid(crs.to_wkt(), Affine(step, 0, left, 0, -step, top), *size)
    with open_truth(truth.labels, truth.areas, classes, grid, truth.touch) as read:
        yield read


def _known(truth: Truth, classes: Sequence[ClassInfo]) -> Known:
    grid, names = truth.grid, {info.value: info.name for info in classes}
    checked = [area.polygon for area in truth.areas if area.split is not Split.TODO] if truth.areas else [grid.box]
    areas = shapely.union_all(np.array(checked, object))
    shapely.prepare(areas)
    labels = [
        label
        for label in truth.polygons(Window(0, 0, grid.width_px, grid.height_px))
        if shapely.intersects(label.polygon, areas)
    ]
    outlines = shapely.intersection(np.array([label.polygon for label in labels], object), areas)
    placed = np.asarray(regions.transformed(outlines, grid.transform))
    said = np.array([names.get(label.class_value, "") for label in labels], object)
    return Known(regions.transformed(areas, grid.transform), Objects(placed, said))
