"""`orthomask:segment`: run a model over a region of an image."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputString,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterString,
)

from ...protocol import Existing, PredictRequest, PredictResult
from ..layers.picture_client import FrozenRun, PictureClient
from ..layers.rendering import Picture
from ..models.own_models import gsd_of
from ..runs import results
from ..runs.folders import remember_parent
from ..runs.generations import POLYGONS
from ..toolkit.help import Section
from ..toolkit.words import area_in_words, in_digits, mark, time_in_words, tr, tr_n
from .base import OrthomaskAlgorithm, Paths, Values, threshold_parameter
from .loading import load_when_done

EXISTING = (Existing.REFUSE, Existing.OVERWRITE, Existing.RESUME)


class SegmentAlgorithm(OrthomaskAlgorithm):
    """Classes, probabilities and polygons of a region."""

    NAME = "segment"
    TITLE = mark("Segment image")
    HELP = mark(
        "Finds buildings or farmland in an orthophoto, on this computer, with an embedded model.\n\n"
        "The result is a folder with classes.tif, probabilities.tif, polygons.gpkg, and run.json, which records how "
        "they were made. To resume a cancelled run, run it again into the same folder with “Resume”."
    )
    EXAMPLE = mark(
        "The roofs of a village: the orthophoto as image, the polygon of the village as region, the model “buildings” "
        "and a folder. Outside QGIS: qgis_process run orthomask:segment -- IMAGE=village.tif MODEL=buildings OUTPUT=run"
    )
    TAGS = mark("buildings,roofs,footprints,farmland,fields,segmentation,deep learning,u-net,orthophoto,extract,detect")
    SECTION = Section.SEGMENT

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_image_region_and_model()
        self.add(
            threshold_parameter(None),
            tr("The minimum probability for a pixel to count: lower finds more. Leave empty for the model's default."),
        )
        self.add_polygon_options()
        self.add(
            QgsProcessingParameterBoolean("WHOLE", tr("Whole objects at the edge"), True),
            tr("An object on the region's edge is drawn whole if its middle lies inside, and left out otherwise."),
            advanced=True,
        )
        self.add_device()
        self.add_request_limit()
        self.add(
            QgsProcessingParameterString("IMAGE_DATE", tr("Image date"), optional=True),
            tr("When the image was taken; stored with the run."),
            advanced=True,
        )
        existing = [tr("Stop"), tr("Overwrite it"), tr("Resume it")]
        self.add(
            QgsProcessingParameterEnum(
                "EXISTING", tr("If the folder already contains a run"), existing, defaultValue=0
            ),
            tr("“Resume” finishes a run that was cancelled, and returns a finished one as it is."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean("LOAD", tr("Add the results to the map"), True),
            tr("Switch it off in models that need only some of the outputs."),
        )
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the results")),
            tr("The folder of this run."),
        )
        self._add_outputs()

    def engine(self) -> Any:
        """The engine; first renders the picture of a non-file image."""
        return PictureClient(self._client)

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], FrozenRun]:
        """What makes the request, with its image frozen."""
        given, model = parameters.get("THRESHOLD") is not None, self.model(parameters, context)
        image = self.planned(parameters, context, gsd_of(model))
        self.require_few(image, parameters, context)
        build = functools.partial(
            PredictRequest,
            image=image.key if isinstance(image, Picture) else image,
            model=model,
            region=self.region(parameters, context),
            threshold=self.parameterAsDouble(parameters, "THRESHOLD", context) if given else None,
            existing=EXISTING[self.parameterAsEnum(parameters, "EXISTING", context)],
            device=self.parameterAsString(parameters, "DEVICE", context),
            image_date=self.parameterAsString(parameters, "IMAGE_DATE", context),
            polygons=self.polygon_options(parameters, context),
            whole_objects=self.parameterAsBool(parameters, "WHOLE", context),
        )
        return lambda paths: FrozenRun(build(output_dir=paths["OUTPUT"]), image)

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the layers, and whether to load the results; tell the history where to look for the run."""
        self._load = self.parameterAsBool(parameters, "LOAD", context)
        remember_parent(self.parameterAsFileOutput(parameters, "OUTPUT", context))
        return super().prepareAlgorithm(parameters, context, feedback)

    def results(self, answer: PredictResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """Paths and numbers of the run; its layers are loaded if chosen."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        area, time = area_in_words(answer.polygon_area_m2), time_in_words(answer.seconds)
        words = tr_n("{} polygon, {}, in {} on {}.", "{} polygons, {}, in {} on {}.", answer.polygon_count)
        feedback.pushInfo(words.format(in_digits(answer.polygon_count), area, time, answer.device))
        folder = Path(answer.polygons_path).parent
        if self._load:
            _load(context, folder)
        return {
            "OUTPUT": str(folder),
            "CLASSES": answer.classes_path,
            "PROBABILITIES": answer.probabilities_path,
            "POLYGONS": f"{answer.polygons_path}|layername=polygons",
            "POLYGON_COUNT": answer.polygon_count,
            "POLYGON_AREA_M2": answer.polygon_area_m2,
            "SECONDS": answer.seconds,
            "DEVICE_USED": answer.device,
            "RUN_ID": answer.run_id,
        }

    def _add_outputs(self) -> None:
        self.addOutput(QgsProcessingOutputRasterLayer("CLASSES", tr("Classes")))
        self.addOutput(QgsProcessingOutputRasterLayer("PROBABILITIES", tr("Probabilities")))
        self.addOutput(QgsProcessingOutputVectorLayer("POLYGONS", tr("Polygons")))
        self.addOutput(QgsProcessingOutputNumber("POLYGON_COUNT", tr("Number of polygons")))
        self.addOutput(QgsProcessingOutputNumber("POLYGON_AREA_M2", tr("Area of all polygons (m²)")))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", tr("Seconds it took")))
        self.addOutput(QgsProcessingOutputString("DEVICE_USED", tr("Device used")))
        self.addOutput(QgsProcessingOutputString("RUN_ID", tr("Run id")))


def _load(context: QgsProcessingContext, folder: Path) -> None:
    """Load the results: polygons shown, rasters hidden, as in the dock.

    Processing loads a file once, so only the first class's probabilities are loaded.
    """
    run = results.read_run(folder)
    name = results.layer_name(tr("Probability of {}").format(run.classes[0].name), run)
    style = functools.partial(results.style_probabilities, run=run)
    load_when_done(context, str(folder / results.PROBABILITIES), name, run.title, style, shown=False)
    style = functools.partial(results.style_classes, run=run)
    name = results.layer_name(tr("Classes"), run)
    load_when_done(context, str(folder / results.CLASSES), name, run.title, style, shown=False)
    style = functools.partial(results.style_polygons, run=run)
    name = results.layer_name(tr("Polygons"), run)
    load_when_done(context, f"{folder / POLYGONS}|layername=polygons", name, run.title, style)
