"""`orthomask:page`: a run as one HTML file that can be mailed."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from ...protocol import Existing, PageRequest, PageResult
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import OrthomaskAlgorithm, Paths, Values


class PageAlgorithm(OrthomaskAlgorithm):
    """Image, objects and provenance of a run."""

    NAME = "page"
    TITLE = mark("Save a run as web page")
    HELP = mark(
        "Makes one HTML file of a finished run: the image in a light version, the objects over it, a slider for the "
        "confidence, counts and areas, and where it all comes from. It can be mailed, and needs no network.\n\n"
        "Objects are shown as they are now, with a person's corrections."
    )
    EXAMPLE = mark("The folder of a run, to show a colleague what was found who has no QGIS.")
    TAGS = mark("html,share,report,export,map,browser")
    SECTION = Section.HISTORY

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterFile("RUN", tr("Finished run"), QgsProcessingParameterFile.Behavior.Folder),
            tr("The folder of a finished run."),
        )
        self.add(
            QgsProcessingParameterString("CREDIT", tr("Image credit"), optional=True),
            tr("Whose image it is, and its licence; shown on the page."),
        )
        self.add(
            QgsProcessingParameterFileDestination("OUTPUT", tr("Web page"), tr("Web page (*.html)")),
            tr("An HTML file; an existing file is replaced."),
        )
        self.addOutput(QgsProcessingOutputNumber("OBJECTS", tr("Objects on the page")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], PageRequest]:
        """What makes the request."""
        run_dir = self.parameterAsFile(parameters, "RUN", context)
        credit = self.parameterAsString(parameters, "CREDIT", context).strip()
        return lambda paths: PageRequest(run_dir, paths["OUTPUT"], credit, Existing.OVERWRITE)

    def results(self, answer: PageResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The file, and how many objects it shows."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        return {"OUTPUT": answer.path, "OBJECTS": answer.shown}
