"""`orthomask:check`: would this model work on this image?"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
)

from ...protocol import CheckRequest, CheckResult, Level, to_json
from ..client.engine_client import Feedback
from ..layers.rendering import Picture
from ..layers.vector_snapshot import SnapshotClient
from ..models.own_models import gsd_of
from ..toolkit.help import Section
from ..toolkit.words import mark, megabytes_in_words, time_in_words, tr
from .base import OrthomaskAlgorithm, Paths, Values


class CheckAlgorithm(OrthomaskAlgorithm):
    """Preflight lights and what a run would take in time and memory."""

    NAME = "check"
    TITLE = mark("Check image against model")
    HELP = mark(
        "Checks before a run whether a model fits an image: resolution, bands, pixel type, missing data, and how the "
        "pixel values compare with those the model was trained on. Each check is green, amber or red, with a reason. "
        "Also estimates the time and memory of a run from measurements on this computer; the first time, this takes "
        "some seconds."
    )
    EXAMPLE = mark(
        "Before a batch of a hundred images: run this on each, and leave out those whose level is “red”. In the model "
        "designer, a conditional branch can test it."
    )
    TAGS = mark("preflight,resolution,bands,bit depth,time,estimate,compatible")
    SECTION = Section.SEGMENT

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_image_region_and_model()
        self.add_device()
        self.addOutput(QgsProcessingOutputString("LEVEL", tr("Worst of the checks: green, amber or red")))
        self.addOutput(QgsProcessingOutputString("LIGHTS", tr("All checks, as JSON")))
        self.addOutput(QgsProcessingOutputNumber("WINDOWS", tr("Number of windows in a run")))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", tr("Seconds that a run would take")))
        self.addOutput(QgsProcessingOutputNumber("MEMORY_MB", tr("Memory that a run would take, in megabytes")))

    def engine(self) -> Any:
        """The engine; first renders a sample of a non-file image."""
        return SnapshotClient(self._client)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Path, Feedback], CheckRequest]]:
        """What the engine's client calls to make the request."""
        model, device = self.model(parameters, context), self.parameterAsString(parameters, "DEVICE", context)
        image = self.planned(parameters, context, gsd_of(model))
        if isinstance(image, Picture):
            sample, windows = image.sample(), image.windows(gsd_of(model))
            build = functools.partial(CheckRequest, model=model, device=device, windows=windows, calibrate=True)
            return lambda _: lambda folder, feedback: build(image=sample.write(folder, feedback))
        request = CheckRequest(
            image, model, self.region(parameters, context), device, calibrate=True, whole_objects=True
        )
        return lambda _: lambda *_: request

    def results(self, answer: CheckResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The lights, also in the log."""
        for light in answer.lights:
            say = feedback.pushInfo if light.level is Level.GREEN else feedback.pushWarning
            say(f"{light.level.value}: {light.reason}")
            if light.nodata is not None:
                feedback.pushInfo(tr("Set the no data value to {:g} to leave it out.").format(light.nodata))
        if answer.seconds is not None:
            words = tr("A run would take about {} on {}.").format(time_in_words(answer.seconds), answer.device)
            feedback.pushInfo(words)
        if answer.memory_mb is not None:
            feedback.pushInfo(tr("It would take about {} of memory.").format(megabytes_in_words(answer.memory_mb)))
        return {
            "LEVEL": answer.level.value,
            "LIGHTS": json.dumps(to_json(answer)["lights"]),
            "WINDOWS": answer.windows,
            "SECONDS": answer.seconds,
            "MEMORY_MB": answer.memory_mb,
        }
