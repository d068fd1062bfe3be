"""Whether enough is checked to learn from, and how long learning takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import cast

from ...engine.compute import devices
from ...engine.images.raster import open_image
from ...engine.models.bundle import Bundle
from ...engine.progress import Progress
from ...protocol import CheckLearningRequest, CheckLearningResult, ErrorCode, OrthomaskError, Split, TrainRequest
from ...protocol.words import tr, tr_n
from ..fit import pace
from ..fit.start import parent_of
from ..truth.labels import image_grid, open_truth
from .replay import CHIP_PX, replay_of
from .requests import training_request

LEAST = 4
"""Checked areas that learning needs: three to learn from and one to choose by."""
MINUTES = 1
"""What an area takes to check; a rule of thumb."""
LOOKS = 10
"""How often the areas for validation and the chips kept out are looked at, to choose a share and to compare."""


def run(request: CheckLearningRequest, progress: Progress) -> CheckLearningResult:
    """Count the checked areas, and time a few steps of the network if this process has not done so before.

    Raises:
        OrthomaskError: the model, the image, labels or areas cannot be read.
    """
    training = training_request(request.learning)
    base, device = cast(Bundle, parent_of(training)), devices.choose(request.learning.device)
    counts, known_px = _counted(training, base)
    found = {split.value: counts[split] for split in Split if counts[split]}
    problem = missing(counts)
    if problem:
        return CheckLearningResult(found, " ".join(problem), None, device.words)
    replay = replay_of(base)
    looked_px = known_px + (len(replay.kept_out) * CHIP_PX**2 if replay else 0)
    looks = LOOKS * looked_px / training.schedule.epochs
    seconds = pace.seconds(training, base.card.architecture, looks, device, progress.part(0.3, 1))
    return CheckLearningResult(found, "", seconds, device.words)


def require_enough(training: TrainRequest, base: Bundle) -> None:
    """Raise if too few areas are checked, or all of them are for one purpose. Reads no pixels."""
    problem = missing(_counted(training, base)[0])
    if problem:
        raise OrthomaskError(ErrorCode.TRAINING_DATA, *problem)


def _counted(training: TrainRequest, base: Bundle) -> tuple[Counter[Split], float]:
    """The areas by split, and their pixels at the base's resolution."""
    (data,) = training.data.projects
    try:
        with (
            open_image(data.image) as source,
            open_truth(data.labels, data.areas, base.card.classes, image_grid(source), data.touch) as truth,
        ):
            counts = Counter(area.split for area in truth.areas)
            known = sum(area.polygon.area for area in truth.areas if area.split is not Split.TODO)
            return counts, known * source.gsd_m[0] * source.gsd_m[1] / base.card.gsd_m**2
    except OrthomaskError as error:
        if error.code is not ErrorCode.AREAS_EMPTY:
            raise
        return Counter(), 0.0


def missing(counts: Mapping[Split, int]) -> tuple[str, str] | None:
    """What is missing to learn, and the remedy with the time it takes; None if nothing is."""
    checked = sum(counts.get(split, 0) for split in (Split.TRAIN, Split.VALIDATION, Split.TEST))
    more = LEAST - checked
    if more > 0:
        words = tr_n("Check {} more square: about {} min.", "Check {} more squares: about {} min.", more)
        return tr("{} of the {} squares that learning needs are checked.").format(checked, LEAST), words.format(
            more, more * MINUTES
        )
    if not counts.get(Split.TRAIN, 0):
        sentence = tr("No checked square is for training: there is nothing to learn from.")
        return sentence, tr("Set the split of one of them to training, or check one more.")
    if not counts.get(Split.VALIDATION, 0):
        sentence = tr("No checked square is for validation: there is nothing to choose by.")
        return sentence, tr("Set the split of one of them to validation, or check one more.")
    return None
