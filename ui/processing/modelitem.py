"""`orthomask:modelitem`: the card of a model as a STAC item."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from ...protocol import Existing, ModelItemRequest, ModelItemResult
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values


class ModelItemAlgorithm(OrthomaskAlgorithm):
    """For catalogues of models."""

    NAME = "modelitem"
    TITLE = mark("Save a model's card as STAC item")
    HELP = mark(
        "Describes a model for a catalogue: bands, resolution, classes, normalisation, accuracy, licence, size and "
        "checksum, as a STAC item with the Machine Learning Model extension 1.5."
    )
    EXAMPLE = mark("A model of your own, before you publish its file beside the item.")
    TAGS = mark("stac,mlm,catalogue,metadata,publish")
    GROUP = Group.TRAIN
    SECTION = Section.MODELS

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_model()
        self.add(
            QgsProcessingParameterString("HREF", tr("Address of the model file"), optional=True),
            tr("Where others can get the model. Leave empty if its file will be beside the item."),
        )
        self.add(
            QgsProcessingParameterFileDestination("OUTPUT", tr("STAC item"), tr("STAC item (*.json)")),
            tr("A JSON file; an existing file is replaced."),
        )

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], ModelItemRequest]:
        """What makes the request."""
        model = self.model(parameters, context)
        href = self.parameterAsString(parameters, "HREF", context).strip()
        return lambda paths: ModelItemRequest(model, paths["OUTPUT"], href, Existing.OVERWRITE)

    def results(
        self, answer: ModelItemResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """The file."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        return {"OUTPUT": answer.path}
