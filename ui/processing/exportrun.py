"""`orthomask:exportrun`: the objects of a run as COCO annotations or fiboa fields."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from ...protocol import Existing, ExportRunRequest, ExportRunResult, RunFormat
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import OrthomaskAlgorithm, Paths, Values


class ExportRunAlgorithm(OrthomaskAlgorithm):
    """Formats that other programs read."""

    NAME = "exportrun"
    TITLE = mark("Export objects of a run")
    HELP = mark(
        "Writes the objects of a finished run, as they are now, in a format for other tools.\n\n"
        "“coco”: annotations of the run's image, in its pixels. “fiboa”: field boundaries as GeoJSON, or as "
        "GeoParquet if the file ends in .parquet, in longitude and latitude."
    )
    EXAMPLE = mark("The folder of a run with “farmland”, written as fiboa for a data portal.")
    TAGS = mark("coco,fiboa,geojson,annotations,fields,interoperability")
    SECTION = Section.HISTORY

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        formats = [each.value for each in RunFormat]
        self.add(
            QgsProcessingParameterFile("RUN", tr("Finished run"), QgsProcessingParameterFile.Behavior.Folder),
            tr("The folder of a finished run."),
        )
        self.add(
            QgsProcessingParameterEnum(
                "FORMAT", tr("Format"), options=formats, defaultValue=formats[0], usesStaticStrings=True
            ),
            tr("coco or fiboa."),
        )
        self.add(
            QgsProcessingParameterString("CLASSES", tr("Classes"), optional=True),
            tr("Names of the classes to write, separated by commas. Leave empty for all; for fiboa, for all fields."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFileDestination(
                "OUTPUT", tr("Exported objects"), tr("JSON or GeoParquet (*.json *.geojson *.parquet)")
            ),
            tr("A JSON or GeoParquet file; an existing file is replaced."),
        )
        self.addOutput(QgsProcessingOutputNumber("OBJECTS", tr("Exported objects")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], ExportRunRequest]:
        """What makes the request."""
        run_dir = self.parameterAsFile(parameters, "RUN", context)
        kind = RunFormat(self.parameterAsEnumString(parameters, "FORMAT", context))
        written = self.parameterAsString(parameters, "CLASSES", context)
        classes = tuple(name.strip() for name in written.split(",") if name.strip())
        return lambda paths: ExportRunRequest(run_dir, paths["OUTPUT"], kind, classes, Existing.OVERWRITE)

    def results(
        self, answer: ExportRunResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """The file, and how many objects it holds."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        return {"OUTPUT": answer.path, "OBJECTS": answer.objects}
