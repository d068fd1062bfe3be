"""`orthomask:check`: would this model work on this image?"""

from __future__ import annotations

import json

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
)

from ...protocol import CheckRequest, CheckResult, Level, to_json
from ..words import time_in_words, tr
from .base import OrthomaskAlgorithm, Values


class CheckAlgorithm(OrthomaskAlgorithm):
    """Preflight lights and an estimate of time."""

    NAME = "check"
    TITLE = "Check image against model"
    HELP = (
        "Says before anything runs whether a model fits an image: resolution, bands, pixel type, missing data, and how "
        "the image's values compare with those the model was trained on. Each is green, amber or red, with a reason. "
        "Also estimates how long a run would take."
    )

    def initAlgorithm(self, configuration: Values) -> None:
        """Declare parameters and outputs."""
        self.add_image_region_and_model()
        self.add_device()
        self.addOutput(QgsProcessingOutputString("LEVEL", tr("The worst of the lights: green, amber or red")))
        self.addOutput(QgsProcessingOutputString("LIGHTS", tr("All lights, as JSON")))
        self.addOutput(QgsProcessingOutputNumber("WINDOWS", tr("Windows that a run would look at")))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", tr("Seconds that a run would take")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> CheckRequest:
        """The check that the parameters stand for."""
        return CheckRequest(
            image=self.image(parameters, context),
            model=self.model(parameters, context),
            region=self.region(parameters, context),
            device=self.parameterAsString(parameters, "DEVICE", context),
        )

    def results(self, answer: CheckResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The lights, also in the log."""
        for light in answer.lights:
            say = feedback.pushInfo if light.level is Level.GREEN else feedback.pushWarning
            say(f"{light.level.value}: {light.reason}")
        feedback.pushInfo(tr("A run would take about {} on {}.").format(time_in_words(answer.seconds), answer.device))
        return {
            "LEVEL": answer.level.value,
            "LIGHTS": json.dumps(to_json(answer)["lights"]),
            "WINDOWS": answer.windows,
            "SECONDS": answer.seconds,
        }
