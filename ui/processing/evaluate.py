"""`orthomask:evaluate`: a model's accuracy against labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMatrix,
    QgsProcessingParameterRasterLayer,
)

from ...protocol import ClassInfo, EvaluateRequest, EvaluateResult, PixelScores, Split
from ..client.engine_client import Feedback
from ..evaluate.classes import fit
from ..evaluate.layers import style_errors, style_objects
from ..evaluate.text import threshold_words
from ..label.sources import LabelSource
from ..layers.sources import image_of
from ..layers.vector_snapshot import SnapshotClient
from ..models.own_models import classes_of, gsd_of
from ..toolkit.help import Section
from ..toolkit.words import in_digits, mark, tr
from .base import Group, Paths, Values, threshold_parameter
from .exporting import mapping_in
from .labelled import LabelledAlgorithm
from .loading import load_when_done

SPLITS = (Split.TEST, Split.VALIDATION, Split.TRAIN)


class EvaluateAlgorithm(LabelledAlgorithm):
    """Scores, a report, and layers of errors."""

    NAME = "evaluate"
    TITLE = mark("Evaluate model")
    HELP = mark(
        "Compares what a model finds with labels, by pixels and by objects, and estimates the area of each class with "
        "its margin of error (Olofsson et al. 2014).\n\n"
        "The result is a folder with report.html to read, evaluation.json for programs, errors.tif (right, false and "
        "missed pixels) and objects.gpkg (matched, missed and false objects)."
    )
    EXAMPLE = mark(
        "Is a model of your own better than “buildings”? Run this once with each, on the same test areas, and compare "
        "the two reports."
    )
    TAGS = mark("accuracy,validation,iou,f1,precision,recall,confusion matrix,area estimate,olofsson")
    GROUP = Group.TRAIN
    SECTION = Section.EVALUATE

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_labelled_image()
        self.add_reading()
        self.add_model()
        self.add(
            QgsProcessingParameterEnum(
                "SPLIT",
                tr("Areas for"),
                [split.value for split in SPLITS],
                defaultValue=SPLITS[0].value,
                usesStaticStrings=True,
            ),
            tr("Which areas count. Only those that the model has not learnt from show how good it is."),
        )
        self.add(
            threshold_parameter(None),
            tr("The minimum probability for a pixel to count. Leave empty for the model's default."),
        )
        self.add(
            QgsProcessingParameterRasterLayer("MAP", tr("Map for the area estimate"), optional=True),
            tr("The classes.tif of a run with this model. Leave empty to estimate only the labelled areas."),
        )
        self.add(
            QgsProcessingParameterMatrix("MAPPING", tr("Classes"), 1, False, [tr("Value"), tr("Class")], optional=True),
            tr(
                "The class of each value of the class field: the number of a class of the model, 0 for background or "
                "255 for unknown. Leave empty to match them by name; classes that the model lacks count as background."
            ),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean("DIAGNOSIS", tr("What the model depends on"), False),
            tr(
                "Run it again on a sample with other resolution, brightness, contrast, blur and bands; takes minutes. "
                "The report shows the curves."
            ),
        )
        self.add_device()
        self.add_request_limit()
        self.add_existing(tr("If the folder already contains an evaluation"), resumable=False)
        self.add(
            QgsProcessingParameterBoolean("LOAD", tr("Add the errors to the map"), True),
            tr("Switch it off in models that need only the numbers."),
        )
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the report")),
            tr("The folder of this evaluation."),
        )
        self._add_outputs()

    def engine(self) -> Any:
        """The engine, for temporary copies of layers."""
        return SnapshotClient(self._client)

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the layers, and whether to load the results."""
        self._load = self.parameterAsBool(parameters, "LOAD", context)
        return super().prepareAlgorithm(parameters, context, feedback)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Path, Feedback], EvaluateRequest]]:
        """What the engine's client calls to write the copies and make the request."""
        model = self.model(parameters, context)
        frozen = self.frozen(parameters, context, gsd_of(model), makes_classes=False)
        map_layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        given = parameters.get("THRESHOLD") is not None
        options: dict[str, Any] = {
            "split": Split(self.parameterAsEnumString(parameters, "SPLIT", context)),
            "threshold": self.parameterAsDouble(parameters, "THRESHOLD", context) if given else None,
            "map_path": image_of(map_layer).path if map_layer else "",
            "device": self.parameterAsString(parameters, "DEVICE", context),
            "existing": self.existing(parameters, context),
            "diagnosis": self.parameterAsBool(parameters, "DIAGNOSIS", context),
        }
        return lambda paths: (
            lambda folder, feedback: EvaluateRequest(model, frozen.write(folder, feedback), paths["OUTPUT"], **options)
        )

    def source(
        self, parameters: Values, context: QgsProcessingContext, *, makes_classes: bool
    ) -> tuple[LabelSource, tuple[ClassInfo, ...]]:
        """The labels, with the model's class for each of their values.

        Raises:
            OrthomaskError: there are no labels, or none is of a class of the model.
        """
        source, own = super().source(parameters, context, makes_classes=makes_classes)
        given = mapping_in(self.parameterAsMatrix(parameters, "MAPPING", context))
        if given:
            return replace(source, mapping=given), own
        return fit(source, own, classes_of(self.model(parameters, context))), own

    def results(self, answer: EvaluateResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """Numbers and files; the layers are loaded if chosen."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        scores = _total(answer)
        words = tr("IoU {}, F1 {}, precision {}, recall {}.")
        told = [in_digits(score, 3) for score in (scores.iou, scores.f1, scores.precision, scores.recall)]
        feedback.pushInfo(f"{words.format(*told)} {threshold_words(answer)}")
        if answer.diagnosis:
            feedback.pushInfo(answer.diagnosis.sentence)
        if self._load:
            _load_layers(context, answer)
        return {
            "OUTPUT": str(Path(answer.report_path).parent), "REPORT": answer.report_path, "JSON": answer.json_path,
            "ERRORS": answer.errors_path, "OBJECTS": _objects_uri(answer), "IOU": scores.iou, "F1": scores.f1,
            "PRECISION": scores.precision, "RECALL": scores.recall, "BEST_THRESHOLD": answer.best_threshold,
        }  # fmt: skip

    def _add_outputs(self) -> None:
        self.addOutput(QgsProcessingOutputFile("REPORT", tr("Report")))
        self.addOutput(QgsProcessingOutputFile("JSON", tr("All numbers, as JSON")))
        self.addOutput(QgsProcessingOutputRasterLayer("ERRORS", tr("Right, false and missed pixels")))
        self.addOutput(QgsProcessingOutputVectorLayer("OBJECTS", tr("Matched, missed and false objects")))
        for name, title in (
            ("IOU", tr("Intersection over union")),
            ("F1", tr("F1 score")),
            ("PRECISION", tr("Precision")),
            ("RECALL", tr("Recall")),
            ("BEST_THRESHOLD", tr("Best threshold")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, title))


def _total(answer: EvaluateResult) -> PixelScores:
    """The scores of all foreground."""
    return next((row for row in answer.pixels if row.name == "all"), answer.pixels[-1])


def _objects_uri(answer: EvaluateResult) -> str:
    return f"{answer.objects_path}|layername=objects" if answer.objects_path else ""


def _load_layers(context: QgsProcessingContext, answer: EvaluateResult) -> None:
    group = tr("Errors of a model")
    if answer.errors_path:
        load_when_done(context, answer.errors_path, tr("Right, false and missed"), group, style_errors)
    if answer.objects_path:
        load_when_done(context, _objects_uri(answer), tr("Missed and false objects"), group, style_objects)
