"""`orthomask:exportmodel`: a model as an ONNX file for Deepness and other programs."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
)

from ...protocol import LARGEST_SIDE_PX, WINDOW_PX, Existing, ExportModelRequest, ExportModelResult
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values


class ExportModelAlgorithm(OrthomaskAlgorithm):
    """A model as an ONNX file."""

    NAME = "exportmodel"
    TITLE = mark("Export model to ONNX")
    HELP = mark(
        "Writes a model as an ONNX file, with what the plugin Deepness needs in its metadata. ONNX Runtime and other "
        "programs run it, too. The file is compared with the model before it is written."
    )
    EXAMPLE = mark("A colleague works with Deepness: export the model that you fine-tuned, and send the file.")
    TAGS = mark("onnx,deepness,share,model,network")
    GROUP = Group.TRAIN
    SECTION = Section.MODELS

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_model()
        whole = QgsProcessingParameterNumber.Type.Integer
        self.add(
            QgsProcessingParameterNumber("SIZE", tr("Window size (px)"), whole, WINDOW_PX, False, 64, LARGEST_SIDE_PX),
            tr("Height and width of the file's image, which are fixed."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFileDestination("OUTPUT", tr("ONNX file"), tr("ONNX models (*.onnx)")),
            tr("The file to write; an existing one is replaced."),
        )
        self.addOutput(QgsProcessingOutputNumber("DIFFERENCE", tr("Largest difference of a probability")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], ExportModelRequest]:
        """What makes the request."""
        model, size = self.model(parameters, context), self.parameterAsInt(parameters, "SIZE", context)
        return lambda paths: ExportModelRequest(model, paths["OUTPUT"], size, Existing.OVERWRITE)

    def results(
        self, answer: ExportModelResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """The file, and how far it is from the model."""
        return {"OUTPUT": answer.path, "DIFFERENCE": answer.difference}
