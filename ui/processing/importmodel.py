"""`orthomask:importmodel`: a model of an ONNX file, such as one for Deepness."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ...protocol import Existing, ImportModelRequest, ModelSummary
from ..label.export_options import numbers_in
from ..models import own_models
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values


class ImportModelAlgorithm(OrthomaskAlgorithm):
    """A model of an ONNX file."""

    NAME = "importmodel"
    TITLE = mark("Import model from ONNX")
    HELP = mark(
        "Makes a model of an ONNX file, such as one for the plugin Deepness. It runs like any other, with blended "
        "windows, polygons and evaluation, but cannot be trained. What the file's metadata do not say must be given."
    )
    EXAMPLE = mark("A model from Deepness's zoo that finds roads at 21 cm: only the file is needed, the rest is in it.")
    TAGS = mark("onnx,deepness,model zoo,model,network")
    GROUP = Group.TRAIN
    SECTION = Section.MODELS

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterFile("INPUT", tr("ONNX file"), extension="onnx"),
            tr("With one image of a fixed size as its input, and probabilities as its output."),
        )
        self.add(
            QgsProcessingParameterNumber(
                "GSD", tr("Resolution (m per pixel)"), QgsProcessingParameterNumber.Type.Double, optional=True
            ),
            tr("The ground sampling distance of its images, if the file does not say it."),
        )
        for name, title, words in (
            ("CLASSES", tr("Classes"), tr("Names separated by commas, if the file does not say them.")),
            ("BANDS", tr("Bands"), tr("Names separated by commas, in the model's order.")),
            ("NAME", tr("Name"), tr("Name of the new model. Leave empty for that of the file.")),
            ("LICENCE", tr("Licence"), tr("What its author allows.")),
        ):
            self.add(QgsProcessingParameterString(name, title, optional=True), words)
        for name, title in (("MEAN", tr("Mean")), ("STD", tr("Standard deviation"))):
            words = tr("For each band, of pixels divided by 255; only if the file does not say it.")
            self.add(QgsProcessingParameterString(name, title, optional=True), words, advanced=True)
        whole = QgsProcessingParameterNumber.Type.Integer
        self.add(
            QgsProcessingParameterNumber("HEAD", tr("Output number"), whole, 0, False, 0),
            tr("Which output, from 1 on, if the file has several."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean("KEEP", tr("Add the model to your models"), True),
            tr("A copy of it then appears among the models in Orthomask's panel."),
        )
        self.add(
            QgsProcessingParameterFileDestination("OUTPUT", tr("Model file"), tr("Models (*.safetensors)")),
            tr("The file to write; an existing one is replaced."),
        )
        self.addOutput(QgsProcessingOutputString("CLASS_NAMES", tr("Classes")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], ImportModelRequest]:
        """What makes the request."""
        text = functools.partial(self.parameterAsString, parameters, context=context)
        given = parameters.get("GSD") is not None
        self._keep = self.parameterAsBool(parameters, "KEEP", context)
        build = functools.partial(
            ImportModelRequest,
            self.parameterAsFile(parameters, "INPUT", context),
            title=text("NAME"),
            gsd_m=self.parameterAsDouble(parameters, "GSD", context) if given else None,
            classes=_listed(text("CLASSES")),
            bands=_listed(text("BANDS")),
            mean=numbers_in(text("MEAN")),
            std=numbers_in(text("STD")),
            head=self.parameterAsInt(parameters, "HEAD", context),
            licence=text("LICENCE"),
            existing=Existing.OVERWRITE,
        )
        return lambda paths: build(output_path=paths["OUTPUT"])

    def results(self, answer: ModelSummary, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The model; it is copied to the own models if chosen."""
        if self._keep:
            feedback.pushInfo(tr("Copied to {}").format(own_models.adopt(Path(answer.path))))
        return {"OUTPUT": answer.path, "CLASS_NAMES": ", ".join(info.name for info in answer.classes)}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
