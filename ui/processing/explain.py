"""`orthomask:explain`: why a model finds an object, as a raster of its surroundings."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterPoint,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ...protocol import Existing, ExplainRequest, ExplainResult, Explanation
from ..explain.explanations import style, title
from ..layers.sources import crs_name
from ..toolkit.help import Section
from ..toolkit.words import briefly, mark, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values
from .loading import Styler

METHODS = tuple(Explanation)


class ExplainAlgorithm(OrthomaskAlgorithm):
    """A layer that explains an object."""

    NAME = "explain"
    TITLE = mark("Explain an object")
    HELP = mark(
        "Shows why a model finds an object, as a raster of its surroundings: what speaks for it in the network "
        "(Grad-CAM), by how much the probability falls when a part of the image is hidden (occlusion), or which "
        "channels of the network respond to it (activations).\n\n"
        "The log says what the raster shows, and what it does not."
    )
    EXAMPLE = mark(
        "A car park that was called a building: the orthophoto, the model “buildings”, and a point on the car park. "
        "Occlusion shows whether it was its surface or the shadow at its edge."
    )
    TAGS = mark("why,explanation,heat map,grad-cam,saliency,occlusion,activation,interpret")
    GROUP = Group.REVIEW
    SECTION = Section.WHY

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterRasterLayer("IMAGE", tr("Image")),
            tr("The orthophoto: a file with the model's bands and about its resolution."),
        )
        self.add(QgsProcessingParameterPoint("POINT", tr("Place")), tr("A place on the object."))
        self.add_model()
        self.add(
            QgsProcessingParameterEnum("METHOD", tr("Method"), [title(method) for method in METHODS], defaultValue=0),
            tr("Grad-CAM is the fastest; occlusion takes some seconds, and is measured in probability."),
        )
        self._add_details()
        self.add_reading()
        self.add_device()
        self.add(
            QgsProcessingParameterRasterDestination("OUTPUT", tr("Explanation")),
            tr("A GeoTIFF; an existing file is replaced."),
        )
        self.addOutput(QgsProcessingOutputString("SENTENCE", tr("What it shows")))
        self.addOutput(QgsProcessingOutputString("CLASS_NAME", tr("Class")))
        self.addOutput(QgsProcessingOutputNumber("CONFIDENCE", tr("Mean probability in the object")))

    def _add_details(self) -> None:
        whole = QgsProcessingParameterNumber.Type.Integer
        self.add(
            QgsProcessingParameterNumber("CLASS", tr("Class value"), whole, optional=True, minValue=1, maxValue=254),
            tr("The class to explain. Leave empty for the most probable one."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString("STAGE", tr("Stage of the network"), optional=True),
            tr(
                "For Grad-CAM and activations: its name in the drawing of the network, such as encoder.4. Leave empty "
                "for the usual one."
            ),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber("CHANNELS", tr("Channels"), whole, 3, minValue=1, maxValue=16),
            tr("How many of the strongest activations; each becomes a band."),
            advanced=True,
        )

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], ExplainRequest]:
        """What makes the request."""
        self._method = METHODS[self.parameterAsEnum(parameters, "METHOD", context)]
        image = self.reading(parameters, context).applied(self.image(parameters, context))
        point = self.parameterAsPoint(parameters, "POINT", context)
        crs = self.parameterAsPointCrs(parameters, "POINT", context)
        options: dict[str, Any] = {
            "method": self._method, "x": point.x(), "y": point.y(), "crs": crs_name(crs) if crs.isValid() else "",
            "class_value": self.parameterAsInt(parameters, "CLASS", context) if parameters.get("CLASS") else 0,
            "stage": self.parameterAsString(parameters, "STAGE", context),
            "channels": self.parameterAsInt(parameters, "CHANNELS", context),
            "device": self.parameterAsString(parameters, "DEVICE", context), "existing": Existing.OVERWRITE,
        }  # fmt: skip
        model = self.model(parameters, context)
        return lambda paths: ExplainRequest(image, model, paths["OUTPUT"], **options)

    def results(self, answer: ExplainResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The raster, coloured, and what it shows."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        words = tr("{}, mean probability {}.")
        feedback.pushInfo(words.format(answer.class_name, briefly(answer.confidence)))
        feedback.pushInfo(answer.sentence)
        if context.willLoadLayerOnCompletion(answer.path):
            styled = functools.partial(style, method=self._method, sentence=answer.sentence)
            context.layerToLoadOnCompletionDetails(answer.path).setPostProcessor(Styler(styled))
        return {
            "OUTPUT": answer.path, "SENTENCE": answer.sentence, "CLASS_NAME": answer.class_name,
            "CONFIDENCE": answer.confidence,
        }  # fmt: skip
