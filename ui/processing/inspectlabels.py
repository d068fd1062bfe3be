"""`orthomask:inspectlabels`: the probable faults of labels, worst first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterVectorDestination,
)

from ...protocol import ClassInfo, Existing, InspectRequest, InspectResult
from ..client.engine_client import Feedback
from ..evaluate.classes import fit
from ..label.sources import LabelSource
from ..layers.vector_snapshot import SnapshotClient
from ..models.own_models import classes_of, gsd_of
from ..review.quality.finding_style import style_findings
from ..runs.results import read_run
from ..toolkit.help import Section
from ..toolkit.words import in_digits, mark, tr, tr_n
from .base import Group, Paths, Values
from .labelled import LabelledAlgorithm
from .loading import Styler


class InspectLabelsAlgorithm(LabelledAlgorithm):
    """A layer of findings."""

    NAME = "inspectlabels"
    TITLE = mark("Inspect labels")
    HELP = mark(
        "Lists labels that are probably wrong, worst first: objects that the model is sure of and nobody labelled, "
        "labels that it contradicts, labels of double cover, and a shift between labels and image, estimated by "
        "matching their edges. The labels are not changed."
    )
    EXAMPLE = mark(
        "Before you train on footprints from OpenStreetMap: inspect them, delete what is wrong, and move them by "
        "EAST_M and NORTH_M with “Translate”."
    )
    TAGS = mark("label,quality,errors,duplicates,overlap,shift,offset,alignment,confident learning")
    GROUP = Group.LABEL
    SECTION = Section.QUALITY

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_labelled_image()
        self.add_reading()
        self.add_model()
        self.add(
            QgsProcessingParameterFile(
                "RUN", tr("Finished run"), behavior=QgsProcessingParameterFile.Behavior.Folder, optional=True
            ),
            tr("The folder of a finished run on this image, instead of running the model again."),
        )
        self.add_device()
        self.add_request_limit()
        polygon = QgsProcessing.SourceType.TypeVectorPolygon
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Findings"), polygon),
            tr(
                "A GeoPackage; an existing file is replaced. Its attributes label and other count the labels in the "
                "order of their layer, from 1."
            ),
        )
        self.addOutput(QgsProcessingOutputNumber("FINDINGS", tr("Number of findings")))
        self.addOutput(QgsProcessingOutputNumber("EAST_M", tr("How far to move the labels east (m)")))
        self.addOutput(QgsProcessingOutputNumber("NORTH_M", tr("How far to move the labels north (m)")))

    def engine(self) -> Any:
        """The engine, for temporary copies of layers."""
        return SnapshotClient(self._client)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Path, Feedback], InspectRequest]]:
        """What the engine's client calls to write the copies and make the request."""
        model, run = self.model(parameters, context), self.parameterAsFile(parameters, "RUN", context)
        device = self.parameterAsString(parameters, "DEVICE", context)
        frozen = self.frozen(parameters, context, gsd_of(model), makes_classes=False)

        def build(paths: Paths) -> Callable[[Path, Feedback], InspectRequest]:
            def write(folder: Path, feedback: Feedback) -> InspectRequest:
                (data,) = frozen.write(folder, feedback).projects
                image = None if run and data.image.rendered else data.image  # each run has a picture of its own
                return InspectRequest(
                    data.labels, paths["OUTPUT"], data.areas, image, model, run,
                    device=device, existing=Existing.OVERWRITE,
                )  # fmt: skip

            return write

        return build

    def source(
        self, parameters: Values, context: QgsProcessingContext, *, makes_classes: bool
    ) -> tuple[LabelSource, tuple[ClassInfo, ...]]:
        """The labels, with the model's class for each of their values.

        Raises:
            OrthomaskError: there are no labels, none is of a class of the model, or there is no such run.
        """
        source, own = super().source(parameters, context, makes_classes=makes_classes)
        run = self.parameterAsFile(parameters, "RUN", context)
        classes = read_run(Path(run)).classes if run else classes_of(self.model(parameters, context))
        return fit(source, own, classes), own

    def results(self, answer: InspectResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The layer of findings, styled."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        count, shift = sum(answer.counts.values()), answer.shift
        words = tr_n("{} label inspected", "{} labels inspected", answer.labels)
        feedback.pushInfo(words.format(in_digits(answer.labels)) + ". " + tr("Findings: {}").format(in_digits(count)))
        if shift is not None:
            feedback.pushInfo(tr("Move the labels {} to match the image.").format(shift.in_words))
        if context.willLoadLayerOnCompletion(answer.findings_path):
            details = context.layerToLoadOnCompletionDetails(answer.findings_path)
            details.setPostProcessor(Styler(style_findings))
        return {
            "OUTPUT": answer.findings_path,
            "FINDINGS": count,
            "EAST_M": shift.east_m if shift else 0.0,
            "NORTH_M": shift.north_m if shift else 0.0,
        }
