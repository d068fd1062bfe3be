"""`orthomask:uncertainty`: where a run is unsure, as a raster on its grid."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
)

from ...protocol import Existing, UncertaintyRequest, UncertaintyResult
from ..runs.uncertainty import style_uncertainty
from ..toolkit.help import Section
from ..toolkit.words import briefly, mark, time_in_words, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values
from .loading import Styler


class UncertaintyAlgorithm(OrthomaskAlgorithm):
    """Entropy, and disagreement under flips."""

    NAME = "uncertainty"
    TITLE = mark("Uncertainty of a run")
    HELP = mark(
        "Makes a raster of where the model is unsure, on the grid of a run. Band 1 is the entropy of the run's "
        "probabilities: 0 where the model is sure of one class, 1 where all are equally likely. Band 2 is how much the "
        "probabilities change when the image is mirrored. A model can be sure and wrong."
    )
    EXAMPLE = mark("The folder of a run; the dark places are those to check first.")
    TAGS = mark("entropy,confidence,quality,doubt,review")
    GROUP = Group.REVIEW
    SECTION = Section.REVIEW

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterFile("RUN", tr("Finished run"), QgsProcessingParameterFile.Behavior.Folder),
            tr("The folder of a finished run."),
        )
        self.add(
            QgsProcessingParameterBoolean("FLIPS", tr("Mirror the image, too"), True),
            tr(
                "Run the model again on the mirrored image, which takes four times as long as the run. Without, there "
                "is only the entropy, in seconds."
            ),
        )
        self.add_device()
        self.add(
            QgsProcessingParameterRasterDestination("OUTPUT", tr("Uncertainty")),
            tr("A GeoTIFF; an existing file is replaced."),
        )
        self.addOutput(QgsProcessingOutputNumber("UNSURE", tr("Share of pixels with an entropy above 0.5 (%)")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], UncertaintyRequest]:
        """What makes the request."""
        run_dir = self.parameterAsFile(parameters, "RUN", context)
        flips = self.parameterAsBoolean(parameters, "FLIPS", context)
        device = self.parameterAsString(parameters, "DEVICE", context)
        return lambda paths: UncertaintyRequest(run_dir, paths["OUTPUT"], flips, device, Existing.OVERWRITE)

    def results(
        self, answer: UncertaintyResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """The raster, styled."""
        percent = round(100 * answer.unsure_share, 1)
        feedback.pushInfo(tr("Pixels of which the model is unsure: {}%").format(briefly(percent)))
        feedback.pushInfo(tr("Done in {}.").format(time_in_words(answer.seconds)))
        if context.willLoadLayerOnCompletion(answer.path):
            context.layerToLoadOnCompletionDetails(answer.path).setPostProcessor(Styler(style_uncertainty))
        return {"OUTPUT": answer.path, "UNSURE": percent}
