"""What a model depends on: its scores on a sample of the areas, changed in one way at a time.

The changes are chosen so that real images differ as much. The values are not cut where a sensor would saturate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyproj
from shapely import Geometry

from ...engine.compute.devices import Predictor
from ...engine.images.grid import Lattice, select
from ...engine.images.regions import reprojected, transformed
from ...engine.models.bundle import Bundle
from ...engine.progress import Progress
from ...protocol import SPECK_PX, UNKNOWN, Curve, Dependence, Diagnosis, Probe
from ...protocol.words import tr
from .alterations import Change, altered, changes
from .comparison import Area, Comparison, Ground, pieces
from .diagnosis_words import depends_most, sentence
from .objects import Matches, object_scores
from .scores import pixel_scores
from .tally import confusion_of, matched_in

SEED = 1
MOST_IMAGES = 8
PATCH_PX = 512
"""Side of the patches that are looked at."""
SAMPLE_PX = 1 << 20
"""Labelled pixels looked at, of all images together: some minutes on a CPU, about as long as a run of 500 windows."""
TRIES = 200
"""Patches of an image of which the truth is read to find some with objects."""

Open = Callable[..., AbstractContextManager[Ground]]
"""Opens an image with its truth; `scale` makes the pixels larger."""


class Place(NamedTuple):
    """An image of the sample, with its patches on its own lattice."""

    open: Open
    lattice: Lattice
    patches: tuple[Area, ...]


class Sample:
    """Some of the images that are offered, each as likely as any other (reservoir sampling, Vitter 1985)."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        self._offered = 0
        self.images: list[Open] = []

    def offer(self, image: Open) -> None:
        """Keep an image, perhaps in place of an earlier one."""
        self._offered += 1
        if len(self.images) < MOST_IMAGES:
            self.images.append(image)
        elif (place := int(self._random.integers(self._offered))) < MOST_IMAGES:
            self.images[place] = image


class _Score:
    """Counts of one change over all patches."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.confusion = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        self._matches: list[Matches] = []

    def add(self, piece: Comparison, least_px: float) -> None:
        known = piece.truth != UNKNOWN
        self.confusion += confusion_of(piece.found[known], piece.truth[known], len(self.confusion))
        self._matches.append(matched_in(piece, least_px)[1])

    def means(self) -> tuple[float, float]:
        """IoU and object F1, each the mean of the classes that are labelled."""
        there = self.confusion.sum(axis=1)[1:] > 0
        if not there.any():
            return 0.0, 0.0
        pixels = np.array([row.iou for row in pixel_scores(self.confusion, self._names)[1:]])
        objects = np.array([row.f1 for row in object_scores(self._matches, self._names)])
        return float(pixels[there].mean()), float(objects[there].mean())


def diagnose(sample: Sample, bundle: Bundle, predictor: Predictor, threshold: float, progress: Progress) -> Diagnosis:
    """Score the model on the sample, unchanged and with each change.

    Raises:
        OrthomaskError: an image is damaged, or `Cancelled`.
    """
    names = [info.name for info in bundle.card.classes]
    every = list(changes(bundle.card.bands))
    scores = {change: _Score(names) for change in (None, *every)}
    places = list(_places(sample))
    steps, done = max(1, len(places) * (len(every) + 1)), 0
    for place in places:
        for scale, alike in _by_scale(every):
            with place.open(scale=scale) as ground:
                there = replace(ground, areas=_moved(place, ground.lattice))
                for change in alike:
                    message = tr("Diagnosis: {} of {}").format(done + 1, steps)
                    progress.report(done / steps, message)
                    part = progress.part(done / steps, (done + 1) / steps).quiet()
                    changed = altered(predictor, change.alter if change else None)
                    for piece in there.compare(changed, threshold, part):
                        scores[change].add(piece, SPECK_PX / scale**2)
                    done += 1
    return _summed_up(every, scores, bundle, len(places))


def _places(sample: Sample) -> Iterator[Place]:
    """The images of the sample that have something to look at, with their patches."""
    random = np.random.default_rng(SEED)
    for image in sample.images:
        with image() as ground:
            patches = _patches(ground, SAMPLE_PX // len(sample.images), random)
            if patches:
                yield Place(image, ground.lattice, patches)


def _patches(ground: Ground, wanted_px: float, random: np.random.Generator) -> tuple[Area, ...]:
    """Patches at random, those with labelled objects first: on others a model can only be wrong."""
    cut = [Area(area.name, patch) for area in ground.areas for patch in pieces(area.polygon, PATCH_PX)]
    filled: list[Area] = []
    empty: list[Area] = []
    for number in random.permutation(len(cut))[:TRIES]:
        truth = ground.truth.mask(select(ground.lattice, cut[number].polygon).extent)
        (filled if ((truth > 0) & (truth != UNKNOWN)).any() else empty).append(cut[number])
        if sum(area.polygon.area for area in filled) >= wanted_px:
            break
    chosen: list[Area] = []
    for area in (*filled, *empty):
        if sum(each.polygon.area for each in chosen) < wanted_px:
            chosen.append(area)
    return tuple(chosen)


def _by_scale(every: Sequence[Change]) -> list[tuple[float, list[Change | None]]]:
    """Changes that need the same lattice; first none, then those of the values alone."""
    groups: list[tuple[float, list[Change | None]]] = [
        (1.0, [None, *(change for change in every if change.scale == 1)])
    ]
    groups += [(change.scale, [change]) for change in every if change.scale != 1]
    return groups


def _moved(place: Place, lattice: Lattice) -> tuple[Area, ...]:
    """The patches in pixels of another lattice."""
    return tuple(Area(area.name, _on(area.polygon, place.lattice, lattice)) for area in place.patches)


def _on(polygon: Geometry, old: Lattice, new: Lattice) -> Geometry:
    if old.transform == new.transform and old.crs == new.crs:
        return polygon
    ground = transformed(polygon, old.transform)
    if old.crs != new.crs:
        ground = reprojected(ground, pyproj.CRS.from_wkt(old.crs), pyproj.CRS.from_wkt(new.crs))
    return transformed(ground, ~new.transform)


def _summed_up(every: Sequence[Change], scores: dict[Change | None, _Score], bundle: Bundle, images: int) -> Diagnosis:
    iou, object_f1 = scores[None].means()
    curves = []
    for dependence in Dependence:
        tried = (change for change in every if change.dependence is dependence)
        probes = tuple(Probe(change.label, change.value, *scores[change].means()) for change in tried)
        if probes:  # a single band has no order
            curves.append(Curve(dependence, probes, sentence(dependence, probes, iou, bundle.card.gsd_m)))
    pixels = int(scores[None].confusion.sum())
    return Diagnosis(iou, object_f1, tuple(curves), depends_most(curves, iou), images, pixels)
