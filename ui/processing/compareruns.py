"""`orthomask:compareruns`: what differs between the objects of two runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
)

from ...protocol import CompareRequest, CompareResult, Existing, Image
from ..client.engine_client import Feedback
from ..label.sources import FrozenAreas, GroundTruth
from ..layers.vector_snapshot import SnapshotClient
from ..review.learn.map_comparison import style_differences
from ..toolkit.help import Section
from ..toolkit.words import in_digits, mark, tr
from .base import Group, Paths, Values
from .labelled import LabelledAlgorithm
from .loading import Styler


class CompareRunsAlgorithm(LabelledAlgorithm):
    """A layer of differences."""

    NAME = "compareruns"
    TITLE = mark("Compare two runs")
    HELP = mark(
        "Compares the objects of two runs over the same ground, such as before and after learning: which were gained, "
        "lost or reshaped.\n\n"
        "With labels and areas, each difference in a checked area is right or wrong; elsewhere nobody knows yet."
    )
    EXAMPLE = mark("The folders of a run with “buildings” and of one with its second version, over the same region.")
    TAGS = mark("difference,versions,gained,lost,review,map comparison")
    GROUP = Group.TRAIN
    SECTION = Section.TRAIN

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        polygon = QgsProcessing.SourceType.TypeVectorPolygon
        folder = QgsProcessingParameterFile.Behavior.Folder
        self.add(QgsProcessingParameterFile("BEFORE", tr("Run before"), folder), tr("The folder of the first run."))
        self.add(QgsProcessingParameterFile("AFTER", tr("Run after"), folder), tr("The folder of the second run."))
        self.add(
            QgsProcessingParameterVectorLayer("LABELS", tr("Labels"), [polygon], optional=True),
            tr("Polygons that say what is there. Leave empty if nobody knows."),
        )
        self.add(
            QgsProcessingParameterField("CLASS_FIELD", tr("Class field"), None, "LABELS", optional=True),
            tr(
                "The attribute that names the class. Leave empty for that of the label project, or if everything is of "
                "one class."
            ),
        )
        self.add(
            QgsProcessingParameterVectorLayer("AREAS", tr("Areas"), [polygon], optional=True),
            tr("Polygons in which everything is labelled. Leave empty if that is everywhere."),
        )
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Differences"), polygon),
            tr("A GeoPackage; an existing file is replaced."),
        )
        for name, title in (
            ("GAINED", tr("Objects gained")),
            ("LOST", tr("Objects lost")),
            ("RESHAPED", tr("Objects reshaped")),
            ("RIGHT", tr("Differences that are right")),
            ("WRONG", tr("Differences that are wrong")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, title))

    def engine(self) -> Any:
        """The engine, for temporary copies of layers."""
        return SnapshotClient(self._client)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Path, Feedback], CompareRequest]]:
        """What the engine's client calls to write the copies and make the request."""
        before, after = (self.parameterAsFile(parameters, name, context) for name in ("BEFORE", "AFTER"))
        truth = self._truth(parameters, context, before)

        def build(paths: Paths, folder: Path, feedback: Feedback) -> CompareRequest:
            request = CompareRequest(before, after, paths["OUTPUT"], existing=Existing.OVERWRITE)
            return request if truth is None else replace(request, truth=truth.write(folder, feedback))

        return lambda paths: lambda folder, feedback: build(paths, folder, feedback)

    def results(self, answer: CompareResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The layer, styled, and the counts."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        gained, lost, reshaped = (answer.counts.get(kind, 0) for kind in ("gained", "lost", "reshaped"))
        words = tr("{} gained, {} lost, {} reshaped; {} right and {} wrong.")
        feedback.pushInfo(
            words.format(*(in_digits(each) for each in (gained, lost, reshaped, answer.right, answer.wrong)))
        )
        if context.willLoadLayerOnCompletion(answer.path):
            context.layerToLoadOnCompletionDetails(answer.path).setPostProcessor(Styler(style_differences))
        return {
            "OUTPUT": answer.path, "GAINED": gained, "LOST": lost, "RESHAPED": reshaped, "RIGHT": answer.right,
            "WRONG": answer.wrong,
        }  # fmt: skip

    def _truth(self, parameters: Values, context: QgsProcessingContext, place: str) -> Optional[GroundTruth]:
        """Labels and areas as they are now; None without labels. The engine takes the ground from the runs."""
        if self.parameterAsVectorLayer(parameters, "LABELS", context) is None:
            return None
        source, _ = self.source(parameters, context, makes_classes=False)
        areas = self.parameterAsVectorLayer(parameters, "AREAS", context)
        return GroundTruth(Image(place), (source.freeze(),), FrozenAreas.of(areas) if areas is not None else None)
