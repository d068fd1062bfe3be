"""Preflight of a training: what there is to learn from, what is missing, how long it will take. Reads no pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import shapely

from ...engine.compute import devices
from ...engine.images.grid import Window
from ...engine.images.raster import open_image
from ...engine.progress import Progress
from ...protocol import (
    AREA_CHECKED,
    CheckTrainingRequest,
    CheckTrainingResult,
    Level,
    Light,
    Split,
    TrainRequest,
)
from ...protocol.words import tr, tr_n
from ..data.material import COLOURS, SHARES, Reading, rooted
from ..data.scenes import HELD_BACK
from ..truth.area_states import labels_in
from ..truth.labels import Truth, image_grid, open_truth
from . import pace
from .start import arguments, parent_of

FEW_TUNING, FEW_SCRATCH, FEW_VALIDATION = 20, 200, 5
"""With fewer objects than this a training teaches little, or its score says little. Rules of thumb."""


@dataclass
class _Tally:
    """What the images with labels hold together.

    Attributes:
        areas: their number by split.
        objects: labels by split; one that lies in two areas counts in both.
        square_metres: ground in the areas, by split.
        empty: areas without a label that count as background.
        outside: labels that lie in no area.
        blocks: whether an image without areas is split by blocks.
        rasters: whether some labels are rasters, so that objects are not counted.
    """

    areas: Counter[Split] = field(default_factory=Counter)
    objects: Counter[Split] = field(default_factory=Counter)
    square_metres: dict[Split, float] = field(default_factory=lambda: defaultdict(float))
    empty: int = 0
    outside: int = 0
    blocks: bool = False
    rasters: bool = False
    notes: list[str] = field(default_factory=list)

    def add(self, truth: Truth, area_m2: float) -> None:
        """Count the labels and areas of an image whose pixels have this area."""
        grid, self.rasters = truth.grid, self.rasters or truth.has_rasters
        self.notes += truth.warnings
        drawn = truth.polygons(Window(0, 0, grid.width_px, grid.height_px)) if not truth.has_rasters else []
        labels = np.array([label.polygon for label in drawn], object)
        if not truth.areas:
            self._add_blocks(len(labels), grid.width_px * grid.height_px * area_m2)
            return
        tree, inside = shapely.STRtree(labels), np.zeros(len(labels), bool)
        for area in truth.areas:
            if area.split is Split.TODO:
                continue
            near = labels_in(area.polygon, tree)
            inside[near] = True
            self.areas[area.split] += 1
            self.objects[area.split] += len(near)
            self.square_metres[area.split] += area.polygon.area * area_m2
            self.empty += not len(near) and area.state != AREA_CHECKED and not truth.has_rasters
        self.outside += int((~inside).sum())

    def _add_blocks(self, labels: int, area_m2: float) -> None:
        self.blocks = True
        for split, share in zip(Split, SHARES):
            self.objects[split] += round(share * labels)
            self.square_metres[split] += share * area_m2


def run(request: CheckTrainingRequest, progress: Progress) -> CheckTrainingResult:
    """Look at the data, and time a few steps of the network if this process has not done so before.

    Raises:
        OrthomaskError: the model, an image, labels or areas cannot be read: the training would end the same way.
    """
    training = request.training
    progress.report(0, tr("Looking at the training data"))
    parent = parent_of(training)
    reading, device = Reading(training, parent), devices.choose(training.hardware.device)
    tally, bands, classes = _Tally(), reading.bands, len(reading.classes)
    for project in rooted(training.data).projects:
        with open_image(project.image) as source:
            bands = bands or source.asked_bands()
            source.bands(bands)  # or the training would end so
            labels, areas, grid = project.labels, project.areas, image_grid(source)
            with open_truth(labels, areas, reading.classes, grid, project.touch) as truth:
                classes = classes or len(truth.classes)
                tally.add(truth, source.gsd_m[0] * source.gsd_m[1])
        progress.report(0.4)
    chips = Counter(chip.split for manifest in reading.manifests for chip in manifest.chips)
    lights = (*_lights(tally, training), *_chip_lights(chips))
    if any(light.level is Level.RED for light in lights):
        return CheckTrainingResult(lights, None, device.words)
    network = arguments(training, parent, bands or COLOURS, (classes or 1) + 1)
    validated_px = _validated_m2(tally) / reading.gsd_m**2 + chips[Split.VALIDATION] * training.schedule.chip_px**2
    seconds = pace.seconds(training, network, validated_px, device, progress.part(0.5, 1))
    memory = [] if seconds is not None else [_memory_light()]
    return CheckTrainingResult((*lights, *memory), seconds, device.words)


def _lights(tally: _Tally, training: TrainRequest) -> Iterator[Light]:
    """What the images with labels say; nothing where there are none."""
    if not tally.square_metres:
        return
    if not tally.rasters:
        yield _objects(tally, FEW_TUNING if training.model else FEW_SCRATCH)
    yield _validation(tally)
    if tally.empty:
        words = tr_n(
            "{} area without labels counts as background: is nothing there, or not drawn yet?",
            "{} areas without labels count as background: is nothing there, or not drawn yet?",
            tally.empty,
        )
        yield Light("areas", Level.AMBER, words.format(tally.empty))
    if tally.outside > sum(tally.objects.values()):
        words = tr("{} labels lie outside every area and are not used: draw areas where everything is labelled.")
        yield Light("labels", Level.AMBER, words.format(tally.outside))
    for note in dict.fromkeys(tally.notes):
        yield Light("labels", Level.AMBER, note)


def _objects(tally: _Tally, few: int) -> Light:
    count = tally.objects[Split.TRAIN]
    if not count:
        words = tr("There is no label in the areas for training: there is nothing to learn from.")
        return Light("objects", Level.RED, words)
    if count < few:
        words = tr_n(
            "Only {} label to learn from: expect little. {} or more are better.",
            "Only {} labels to learn from: expect little. {} or more are better.",
            count,
        )
        return Light("objects", Level.AMBER, words.format(count, few))
    if tally.blocks:
        return Light("objects", Level.GREEN, tr("Enough to learn from: about {} labels for training.").format(count))
    areas = tally.areas[Split.TRAIN]
    words = tr_n(
        "Enough to learn from: {} labels in {} area for training.",
        "Enough to learn from: {} labels in {} areas for training.",
        areas,
    )
    return Light("objects", Level.GREEN, words.format(count, areas))


def _validation(tally: _Tally) -> Light:
    areas, count = tally.areas[Split.VALIDATION], tally.objects[Split.VALIDATION]
    if not areas and not tally.blocks:
        words = tr("No area is for validation: a part of those for training is held back, and its score says less.")
        return Light("validation", Level.AMBER, words)
    if tally.rasters:
        return Light("validation", Level.GREEN, tr("There are areas for validation."))
    if not count:
        words = tr("There is no label in the areas for validation: add an area that contains some.")
        return Light("validation", Level.RED, words)
    if count < FEW_VALIDATION:
        words = tr_n(
            "Only {} label to validate on: which epoch is best is a matter of chance.",
            "Only {} labels to validate on: which epoch is best is a matter of chance.",
            count,
        )
        return Light("validation", Level.AMBER, words.format(count))
    return Light("validation", Level.GREEN, tr("Enough to validate on: {} labels.").format(count))


def _chip_lights(chips: Counter[Split]) -> Iterator[Light]:
    if not chips:
        return
    train, validation = chips[Split.TRAIN], chips[Split.VALIDATION]
    if not train:
        yield Light("chips", Level.RED, tr("No chip is for training: there is nothing to learn from."))
    elif not validation:
        words = tr("No chip is for validation: a part of those for training is held back, and its score says less.")
        yield Light("validation", Level.AMBER, words)
    else:
        words = tr("Fine: {} chips for training, {} for validation.")
        yield Light("chips", Level.GREEN, words.format(train, validation))


def _validated_m2(tally: _Tally) -> float:
    """Ground in the areas for validation, or in what will be held back for it."""
    return tally.square_metres[Split.VALIDATION] or HELD_BACK * tally.square_metres[Split.TRAIN]


def _memory_light() -> Light:
    words = tr("There is not enough memory for this training.")
    return Light("memory", Level.RED, f"{words} {tr('Use a smaller batch, or smaller chips.')}")
