"""`orthomask:suggest`: the squares where a check of a run helps most, added to a label project."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterVectorDestination,
    QgsProject,
)

from ...protocol import ErrorCode, OrthomaskError, SuggestRequest, SuggestResult
from ..label.project import AREAS, file_of, style_areas
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values
from .exporting import REAL, WHOLE
from .loading import Styler


class SuggestAlgorithm(OrthomaskAlgorithm):
    """Squares in a label project."""

    NAME = "suggest"
    TITLE = mark("Suggest where to check")
    HELP = mark(
        "Adds the squares of a run where a check helps most to a label project: where the model is unsure and the "
        "squares differ, and one of four at random, to estimate accuracy. Check them in the Review panel."
    )
    EXAMPLE = mark("Ten squares of 40 m of a run of buildings: its folder, number 10, size 40, and a label project.")
    TAGS = mark("active learning,uncertainty,squares,review,correct,label")
    GROUP = Group.REVIEW
    SECTION = Section.REVIEW

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterFile("RUN", tr("Finished run"), QgsProcessingParameterFile.Behavior.Folder),
            tr("The folder of a finished run."),
        )
        self.add(QgsProcessingParameterNumber("COUNT", tr("Number"), WHOLE, 10, minValue=1), tr("Number of squares."))
        self.add(
            QgsProcessingParameterNumber("SIZE", tr("Size (m)"), REAL, None, optional=True, minValue=0.5),
            tr("Side length of the squares; leave empty for 40 m, or 400 m for a model coarser than 1 m."),
        )
        self.add(
            QgsProcessingParameterNumber("SEED", tr("Seed"), WHOLE, 1),
            tr("The same seed gives the same places."),
            advanced=True,
        )
        self.add_device()
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Areas"), QgsProcessing.SourceType.TypeVectorPolygon),
            tr("A label project: the squares are added to its areas. If it does not exist, it is made."),
        )
        self.addOutput(QgsProcessingOutputNumber("ADDED", tr("Number of squares that were added")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], SuggestRequest]:
        """What makes the request."""
        run_dir = self.parameterAsFile(parameters, "RUN", context)
        count = self.parameterAsInt(parameters, "COUNT", context)
        given = parameters.get("SIZE") is not None
        size_m = self.parameterAsDouble(parameters, "SIZE", context) if given else None
        seed = self.parameterAsInt(parameters, "SEED", context)
        device = self.parameterAsString(parameters, "DEVICE", context)
        edited = [Path(file_of(layer)) for layer in _edited()]

        def build(paths: Paths) -> SuggestRequest:
            if Path(paths["OUTPUT"]) in edited:
                sentence = tr("“{}” has unsaved edits in QGIS.").format(Path(paths["OUTPUT"]).name)
                remedy = tr("Save or discard them, or suggest squares in the Review panel.")
                raise OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence, remedy)
            return SuggestRequest(run_dir, paths["OUTPUT"], count, size_m, seed, device)

        return build

    def results(self, answer: SuggestResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The layer of areas, styled."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        path = answer.areas_path
        uri = f"{path}|layername={AREAS}"
        loading: dict[Any, Any] = context.layersToLoadOnCompletion()
        if path in loading:  # else a label project's labels would be loaded
            details = loading.pop(path)
            details.setPostProcessor(Styler(style_areas))
            context.setLayersToLoadOnCompletion({**loading, uri: details})
        return {"OUTPUT": uri, "ADDED": answer.count}

    def postProcessAlgorithm(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """Show the squares where QGIS has the label project open; the main thread."""
        ended: Values = super().postProcessAlgorithm(context, feedback)
        for layer in QgsProject.instance().mapLayers().values():
            if file_of(layer) == self._paths.get("OUTPUT"):
                layer.reload()
                layer.updateFields()
                layer.dataChanged.emit()
                layer.triggerRepaint()
        return ended


def _edited() -> list[Any]:
    """Layers with unsaved edits."""
    return [layer for layer in QgsProject.instance().mapLayers().values() if getattr(layer, "isModified", bool)()]
