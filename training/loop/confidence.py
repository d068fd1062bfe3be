"""What a model thinks of labels: confident learning (Northcutt et al. 2021), with labels instead of pictures.

The threshold of a class is the model's mean probability of it where it is labelled, so that a model that is shy
everywhere does not call everything wrong. A label is contradicted if another class reaches its own threshold in it and
the label's does not. What the model found and no label covers is unlabelled if it reaches the threshold of its class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from ...engine.images.grid import Window
from ...engine.images.regions import polygonal
from ...engine.progress import Progress
from ...engine.runs.runs import NODATA, SCALE
from ...protocol import BACKGROUND, SPECK_PX, UNKNOWN
from ...protocol.words import tr
from ..truth.labels import Truth

FEW = 10
"""With fewer labels of a class its threshold is `SURE`."""
SURE = 0.95
"""Threshold of a class that is hardly labelled: what ObjectLab calls a high probability (cleanlab, 2023)."""
LEAST = 0.5
"""A threshold is never lower: the model would not be sure of anything."""
RIM_PX = 3
"""Narrower rims and gaps are left over where outlines differ: 1.8 m wide at 0.3 m. Of 146 labels left out in Banepa,
127 are found, as with half of it, but other findings fall from 86 to 75."""


@dataclass(frozen=True)
class Confidence:
    """Mean probabilities under labels.

    Attributes:
        labels: `(N, K + 1)` mean probability of background and each class in the visible part of each label.
        pixels: `(N,)` of that part, within the areas and what was predicted.
        unseen: `(N,)` whether nothing of it was predicted.
        thresholds: `(K + 1,)`: see above.
    """

    labels: np.ndarray
    pixels: np.ndarray
    unseen: np.ndarray
    thresholds: np.ndarray


class Contradicted(NamedTuple):
    """A label where the model is sure of another class: its number, the class, and both probabilities."""

    label: int
    value: int
    probability: float
    own: float


class Unlabelled(NamedTuple):
    """What the model is sure of and nobody labelled: a polygon in pixels, its class and mean probability."""

    polygon: shapely.Polygon
    value: int
    probability: float


def measure(truth: Truth, dataset: DatasetReader, extent: Window, progress: Progress) -> Confidence:
    """The mean probabilities under the labels of a run's raster, strip by strip.

    Args:
        extent: the part of the raster to look at.
    """
    count = len(truth.drawn)
    sums = np.zeros((dataset.count + 1, count + 1))
    pixels, drawn = np.zeros((2, count + 1))
    for strip in truth.strips(extent):
        progress.report((strip.y - extent.y) / extent.height, tr("Comparing labels with the model"))
        found = dataset.read(window=RasterWindow(*strip))
        labelled, objects = truth.mask(strip) != UNKNOWN, truth.objects(strip)
        known = labelled & (found[0] != NODATA)
        numbers = objects[known]
        drawn += np.bincount(objects[labelled], minlength=count + 1)
        pixels += np.bincount(numbers, minlength=count + 1)
        for value, band in enumerate(found, 1):
            sums[value] += np.bincount(numbers, weights=band[known], minlength=count + 1)
    means = sums / np.maximum(pixels, 1) / SCALE
    means[BACKGROUND] = np.clip(1 - means[1:].sum(axis=0), 0, 1)
    unseen = (drawn > 0) & (pixels == 0)
    return Confidence(means.T[1:], pixels[1:], unseen[1:], _thresholds(means.T, pixels, truth.object_values))


def _thresholds(means: np.ndarray, pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The threshold of background and each class; number 0 is the background."""
    found = np.full(means.shape[1], SURE)
    if pixels[0] >= FEW * SPECK_PX:
        found[BACKGROUND] = means[0, BACKGROUND]
    for value in range(1, means.shape[1]):
        chosen = (values == value) & (pixels >= SPECK_PX)
        if chosen.sum() >= FEW:
            found[value] = means[chosen, value].mean()
    return np.asarray(np.maximum(found, LEAST))


def contradicted(confidence: Confidence, values: np.ndarray) -> list[Contradicted]:
    """The labels of classes where another class reaches its threshold, and their own does not.

    Args:
        values: `(N,)` class value of each label.
    """
    found = []
    for label in np.flatnonzero((confidence.pixels >= SPECK_PX) & (values > BACKGROUND) & (values < UNKNOWN)).tolist():
        means, own = confidence.labels[label], int(values[label])
        reached = means >= confidence.thresholds
        if reached.any() and not reached[own]:
            value = int(np.argmax(np.where(reached, means, -1)))
            found.append(Contradicted(label, value, float(means[value]), float(means[own])))
    return found


def unlabelled(
    objects: np.ndarray, values: Sequence[int], truth: Truth, areas: np.ndarray, dataset: DatasetReader,
    thresholds: np.ndarray, progress: Progress,
) -> Iterator[Unlabelled]:  # fmt: skip
    """The parts of the model's objects that no label covers, within the areas, as sure as its class is elsewhere.

    A label without a class, or of a class that the model does not know, says that something is there.

    Args:
        objects: `(N,)` polygons in pixels of the raster, with their class `values`.
        areas: polygons in the same.
    """
    labels = truth.drawn[truth.object_values[1:] != BACKGROUND]
    tree, around = shapely.STRtree(labels), shapely.STRtree(areas)
    for number, (polygon, value) in enumerate(zip(objects, values)):
        progress.report(number / len(objects), tr("Looking for objects without a label"))
        near = labels[tree.query(polygon, predicate="intersects")]
        left = shapely.difference(polygon, shapely.union_all(near)) if len(near) else polygon
        if left.area < SPECK_PX:
            continue
        inside = shapely.union_all(areas[around.query(polygon, predicate="intersects")])
        left = shapely.intersection(_opened(left) if len(near) else left, inside)
        for part in shapely.get_parts(polygonal(left)):
            probability = _mean(part, value, dataset) if part.area >= SPECK_PX else 0.0
            if probability >= thresholds[value]:
                yield Unlabelled(part, value, probability)


def _opened(shape: shapely.Geometry) -> shapely.Geometry:
    """A shape without what is narrower than twice `RIM_PX`."""
    core = shapely.buffer(shapely.simplify(shape, 0.5), -RIM_PX, quad_segs=2)
    return shapely.intersection(shapely.buffer(core, RIM_PX, quad_segs=2), shape)


def _mean(polygon: shapely.Polygon, value: int, dataset: DatasetReader) -> float:
    """The mean probability of a class under a polygon; 0 where there is none."""
    left, top = np.floor(polygon.bounds[:2]).astype(int).tolist()
    right, bottom = np.ceil(polygon.bounds[2:]).astype(int).tolist()
    found = dataset.read(value, window=RasterWindow(left, top, right - left, bottom - top))
    inside = rasterio.features.geometry_mask([polygon], found.shape, Affine.translation(left, top), invert=True)
    inside &= found != NODATA
    return float(found[inside].mean()) / SCALE if inside.any() else 0.0
