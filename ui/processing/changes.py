"""`orthomask:changes`: what changed between two dates or more."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMatrix,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
    QgsVectorLayer,
)

from ...protocol import CHANGES_LAYER, Change, ChangesRequest, ChangesResult, Survey
from ..change.layers import (
    KINDS,
    Facts,
    changes_source,
    keep_facts,
    ledger_source,
    offsets_source,
    span,
    style_changes,
    style_ledger,
    style_offsets,
)
from ..change.objects import Choice, FrozenSurvey, Objects
from ..change.text import flicker_in_words, ground_in_words, shift_in_words
from ..client.engine_client import Feedback
from ..layers.vector_snapshot import SnapshotClient
from ..review.choice_box import run_folder
from ..runs.results import RECORD, read_run
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import Group, Paths, Values
from .labelled import LabelledAlgorithm
from .loading import load_when_done

SIDES = ("BEFORE", "AFTER")


class ChangesAlgorithm(LabelledAlgorithm):
    """Layers of changes, of all objects over time, and of the shift."""

    NAME = "changes"
    TITLE = mark("Find changes")
    HELP = mark(
        "Compares the objects of two dates or more: runs, or any polygon layers such as a cadastre. The shift between "
        "the dates is measured first, and nothing is called changed that lies within its error.\n\n"
        "The result is a folder with changes.gpkg (each change with its kind and its reason, all objects over time, "
        "the measured shift) and changes.html to read. No layer of yours is moved."
    )
    EXAMPLE = mark("The folders of a run on the orthophoto of 2021 and of one on that of 2024.")
    TAGS = mark("change detection,difference,time,dates,new,removed,demolished,cadastre,update,ledger")
    GROUP = Group.CHANGES
    SECTION = Section.CHANGES

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        for side, title in zip(SIDES, (tr("Earlier objects"), tr("Later objects"))):
            self._add_side(side, title)
        self.add(
            QgsProcessingParameterMatrix(
                "MORE", tr("More dates"), 1, False, [tr("Folder or file"), tr("Date")], optional=True
            ),
            tr("Further runs or files of polygons, in the order of their dates, after the later objects."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean("REGISTER", tr("Measure the shift first"), True),
            tr("Objects are compared after the shift between the dates."),
        )
        self.add(
            QgsProcessingParameterNumber(
                "LIMIT", tr("Largest shift (m)"), QgsProcessingParameterNumber.Type.Double, ChangesRequest.limit_m,
                minValue=0.1,
            ),
            tr("A larger shift, or one that cannot be measured, stops the comparison."),
        )  # fmt: skip
        self.add(
            QgsProcessingParameterBoolean("ANYWAY", tr("Go on anyway"), False),
            tr("Compare beyond the largest shift, too: more will be unsure."),
            advanced=True,
        )
        self.add_existing(tr("If the folder already contains changes"), resumable=False)
        self.add(
            QgsProcessingParameterBoolean("LOAD", tr("Add the changes to the map"), True),
            tr("Switch it off in models that need only the files."),
        )
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the changes")),
            tr("The folder of this comparison."),
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
        self._images = self._image_id(parameters, context, SIDES[0]), self._image_id(parameters, context, SIDES[1])
        return super().prepareAlgorithm(parameters, context, feedback)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Path, Feedback], ChangesRequest]]:
        """What the engine's client calls to write the copies and make the request."""
        surveys = [self._choice(parameters, context, side).freeze() for side in SIDES]
        rows = self.parameterAsMatrix(parameters, "MORE", context)
        surveys += [
            FrozenSurvey(Survey(str(path), date=str(date))) for path, date in zip(rows[::2], rows[1::2]) if path
        ]
        self._dates = [each.survey.date for each in surveys]
        options: dict[str, Any] = {
            "register": self.parameterAsBool(parameters, "REGISTER", context),
            "limit_m": self.parameterAsDouble(parameters, "LIMIT", context),
            "anyway": self.parameterAsBool(parameters, "ANYWAY", context),
            "existing": self.existing(parameters, context),
        }

        def build(paths: Paths, folder: Path, feedback: Feedback) -> ChangesRequest:
            written = tuple(survey.write(folder, feedback) for survey in surveys)
            return ChangesRequest(written, paths["OUTPUT"], **options)

        return lambda paths: lambda folder, feedback: build(paths, folder, feedback)

    def results(self, answer: ChangesResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """Files and numbers, the shift first; the layers are loaded if chosen."""
        steps = range(1, len(answer.registrations) + 1)
        for step in steps:
            feedback.pushInfo(f"{shift_in_words(answer, step)} {ground_in_words(answer, step)}")
        feedback.pushInfo(flicker_in_words(answer))
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        if self._load:
            self._load_layers(answer, context)
        counts: Counter[Change] = Counter()
        for tally in answer.tallies:
            counts[tally.kind] += tally.count
        return {
            "OUTPUT": str(Path(answer.changes_path).parent),
            "CHANGES": f"{answer.changes_path}|layername={CHANGES_LAYER}",
            "REPORT": answer.report_path,
            "SHIFT": max((each.size_m for each in answer.registrations if each.size_m is not None), default=None),
            "ERROR": max((each.error_m for each in answer.registrations if each.error_m is not None), default=None),
            **{kind.name: counts[kind] for kind in KINDS},
        }

    def _add_side(self, side: str, title: str) -> None:
        """Add the parameters of a date."""
        folder, polygon = QgsProcessingParameterFile.Behavior.Folder, [QgsProcessing.SourceType.TypeVectorPolygon]
        self.add(
            QgsProcessingParameterFile(f"{side}_RUN", tr("{}: run").format(title), folder, optional=True),
            tr("The folder of a run. Leave empty to take a layer."),
        )
        self.add(
            QgsProcessingParameterVectorLayer(side, tr("{}: layer").format(title), polygon, optional=True),
            tr("Any polygons, or those of a run, if no folder is given."),
        )
        self.add(
            QgsProcessingParameterString(f"{side}_DATE", tr("{}: date").format(title), optional=True),
            tr("A year, a month or a day, such as 2024-05-31. Leave empty for that of the run."),
        )
        self.add(
            QgsProcessingParameterField(
                f"{side}_CLASS", tr("{}: class field").format(title), None, side, optional=True
            ),
            tr("The attribute of the layer that names the class. Leave empty if everything is of one class."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterLayer(f"{side}_IMAGE", tr("{}: image").format(title), optional=True),
            tr("What the objects were taken from, to measure the shift. Leave empty for that of the run."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterVectorLayer(f"{side}_GROUND", tr("{}: ground").format(title), polygon, optional=True),
            tr("Polygons within which the layer has all objects. Leave empty for the hull of its polygons."),
            advanced=True,
        )

    def _image_id(self, parameters: Values, context: QgsProcessingContext, side: str) -> str:
        layer = self.parameterAsRasterLayer(parameters, f"{side}_IMAGE", context)
        return str(layer.id()) if layer is not None else ""

    def _choice(self, parameters: Values, context: QgsProcessingContext, side: str) -> Choice:
        """What is given for a date; nothing given is refused when it is frozen.

        Raises:
            OrthomaskError: the folder is of no run.
        """
        folder = self.parameterAsFile(parameters, f"{side}_RUN", context)
        objects = (
            Objects(read_run(Path(folder))) if folder else _of(self.parameterAsVectorLayer(parameters, side, context))
        )
        written = self.parameterAsString(parameters, f"{side}_DATE", context).strip()
        return Choice(
            objects,
            written or objects.date,
            self.parameterAsString(parameters, f"{side}_CLASS", context) if objects.is_plain else "",
            self.parameterAsRasterLayer(parameters, f"{side}_IMAGE", context),
            self.parameterAsVectorLayer(parameters, f"{side}_GROUND", context) if objects.is_plain else None,
        )

    def _load_layers(self, answer: ChangesResult, context: QgsProcessingContext) -> None:
        """Load all layers, as the panel does."""
        dates, steps = self._dates, len(answer.registrations)
        group = span(dates[0], dates[-1])
        for step in range(1, steps + 1):
            facts = Facts(answer, step, self._images if steps == 1 else ("", ""))
            name = span(dates[step - 1], dates[step])
            load_when_done(context, changes_source(facts, steps), name, group, partial(_style, facts=facts))
        path, flickers = answer.changes_path, answer.flickering > 0
        load_when_done(context, ledger_source(path), tr("All objects over time"), group, style_ledger, shown=flickers)
        load_when_done(context, offsets_source(path), tr("Measured shift"), group, style_offsets, shown=False)

    def _add_outputs(self) -> None:
        self.addOutput(QgsProcessingOutputVectorLayer("CHANGES", tr("Changes")))
        self.addOutput(QgsProcessingOutputFile("REPORT", tr("Report")))
        self.addOutput(QgsProcessingOutputNumber("SHIFT", tr("Shift (m)")))
        self.addOutput(QgsProcessingOutputNumber("ERROR", tr("Remaining error of the shift (m)")))
        for kind in KINDS:
            self.addOutput(QgsProcessingOutputNumber(kind.name, tr("Objects: {}").format(tr(KINDS[kind]))))


def _of(layer: Optional[QgsVectorLayer]) -> Objects:
    """The run whose polygons a layer shows, or else the layer."""
    folder = run_folder(layer) if layer is not None else None
    is_run = folder is not None and (folder / RECORD).is_file()
    return Objects(read_run(folder) if folder is not None and is_run else None, layer)


def _style(layer: QgsVectorLayer, facts: Facts) -> None:
    style_changes(layer)
    keep_facts(layer, facts)
