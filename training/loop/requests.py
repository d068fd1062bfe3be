"""The training inside a learning."""

from __future__ import annotations

from dataclasses import replace

from ...engine.models import bundle as bundles
from ...protocol import Hardware, LabelledData, LearnRequest, Schedule, TrainRequest
from ...protocol.words import tr
from ..accuracy.fitting import fit_data

LEARNING = Schedule(
    epochs=12, steps=30, chip_px=128, learning_rate=0.003, warmup_steps=20, averaging=0.95, frozen_epochs=5
)
"""The decoder first, then all: that forgets the least for what is gained (docs/performance.md)."""
TUNED = "tuned"
"""Name of the bundle before it is blended."""


def training_request(request: LearnRequest) -> TrainRequest:
    """The training inside a learning: labels by the names of the base's classes.

    Raises:
        OrthomaskError: the base or the labels cannot be read.
    """
    base = bundles.load(request.model).card
    return TrainRequest(
        fit_data(LabelledData((request.data,)), base.classes), request.output_dir, request.model, TUNED,
        title=tr("{}, tuned").format(base.title), classes=base.classes, threshold=base.threshold,
        schedule=replace(LEARNING, seed=request.seed), hardware=Hardware(request.device), existing=request.existing,
    )  # fmt: skip
