"""`orthomask:polygonize`: polygons of a run at another threshold, without running the model again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ...protocol import Existing, PolygonizeRequest, PolygonizeResult
from ..runs import results
from ..toolkit.help import Section
from ..toolkit.words import area_in_words, in_digits, mark, tr, tr_n
from .base import OrthomaskAlgorithm, Paths, Values, threshold_parameter
from .loading import Styler

DEFAULT_THRESHOLD = 0.5


class PolygonizeAlgorithm(OrthomaskAlgorithm):
    """Polygons from probabilities."""

    NAME = "polygonize"
    TITLE = mark("Polygons from probabilities")
    HELP = mark(
        "Makes the polygons of a run again from its probabilities.tif, with another threshold or other area limits. "
        "The model does not run again, so this takes seconds."
    )
    EXAMPLE = mark(
        "A run missed pale roofs: its probabilities.tif with the threshold 0.3 instead of 0.5 gives more polygons, "
        "some of them wrong."
    )
    TAGS = mark("threshold,vectorize,vectorise,probability,polygons,buildings,fields")
    SECTION = Section.THRESHOLD

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterRasterLayer("PROBABILITIES", tr("Probabilities")),
            tr("The probabilities.tif of a run, in its folder."),
        )
        self.add(
            threshold_parameter(DEFAULT_THRESHOLD),
            tr("The minimum probability for a pixel to count: lower finds more, higher makes fewer mistakes."),
        )
        self.add_polygon_options()
        self.add(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("Only objects that touch this extent. Leave empty for all."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFile("EDITED", tr("Edited polygons"), extension="gpkg", optional=True),
            tr("Polygons of the same run: what you added, corrected or removed there stays so."),
            advanced=True,
        )
        polygon = QgsProcessing.SourceType.TypeVectorPolygon
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Polygons"), polygon),
            tr("A GeoPackage; an existing file is replaced."),
        )
        self.addOutput(QgsProcessingOutputNumber("POLYGON_COUNT", tr("Number of polygons")))
        self.addOutput(QgsProcessingOutputNumber("POLYGON_AREA_M2", tr("Area of all polygons (m²)")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], PolygonizeRequest]:
        """What makes the request."""
        layer = self.parameterAsRasterLayer(parameters, "PROBABILITIES", context)
        self._source = layer.source() if layer else ""
        options: dict[str, Any] = {
            "threshold": self.parameterAsDouble(parameters, "THRESHOLD", context),
            "existing": Existing.OVERWRITE,
            "polygons": self.polygon_options(parameters, context),
            "region": self.extent(parameters, context),
            "edited_path": self.parameterAsFile(parameters, "EDITED", context),
        }
        return lambda paths: PolygonizeRequest(self._source, paths["OUTPUT"], **options)

    def results(
        self, answer: PolygonizeResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """The polygons, styled like their run's if that is still next to the probabilities."""
        area = area_in_words(answer.polygon_area_m2)
        words = tr_n("{} polygon, {}.", "{} polygons, {}.", answer.polygon_count)
        feedback.pushInfo(words.format(in_digits(answer.polygon_count), area))
        folder = Path(self._source).parent
        if context.willLoadLayerOnCompletion(answer.polygons_path) and (folder / "run.json").exists():
            style = functools.partial(results.style_polygons, run=results.read_run(folder))
            context.layerToLoadOnCompletionDetails(answer.polygons_path).setPostProcessor(Styler(style))
        return {
            "OUTPUT": answer.polygons_path,
            "POLYGON_COUNT": answer.polygon_count,
            "POLYGON_AREA_M2": answer.polygon_area_m2,
        }
