"""Shared by the algorithms: image, region and model parameters, and calling the engine."""

from __future__ import annotations

import enum
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)
from qgis.PyQt.QtGui import QIcon

from ...protocol import OVERLAP_PX, Cancelled, ErrorCode, Image, OrthomaskError, PolygonOptions, Region
from ..client.engine_client import EngineClient
from ..label.export_options import numbers_in
from ..layers.images import FrozenImage, frozen, has_end, is_rendered, places_of, planned, read_as
from ..layers.reading import Reading
from ..layers.rendering import Picture
from ..layers.sources import PickedRegion, extent_region, image_of, region_of, require_image
from ..toolkit.folders import why_unwritable
from ..toolkit.help import Section
from ..toolkit.icons import icon, icon_path
from ..toolkit.settings import ASK_FROM
from ..toolkit.words import in_digits, mark, tr
from .help_page import help_page
from .model_choice import model_named, model_names, titles
from .outputs import NOT_LAYERS, folder_of, is_temporary

MILESTONE_PERCENT = 5.0

Values = dict[str, Any]
"""Parameters or results of an algorithm, by name."""
Paths = dict[str, str]
"""Files and folders that an algorithm writes, by output; empty if it is not wanted."""


class Group(enum.Enum):
    """Groups the algorithms as in the dock."""

    SEGMENT = mark("Segment")
    REVIEW = mark("Review")
    LABEL = mark("Label")
    TRAIN = mark("Train and evaluate")
    CHANGES = mark("Changes")


class OrthomaskAlgorithm(QgsProcessingAlgorithm):
    """Freezes its parameters into a request on the main thread, and calls the engine in the background.

    A subclass sets its `NAME`, which is also its icon's, `TITLE`, `HELP`, `EXAMPLE`, `TAGS` (separated by commas),
    `GROUP` and the `SECTION` of the user guide; it adds its parameters, freezes them for the `request` and makes
    the `results` from the engine's answer.

    Args:
        client: the engine.
    """

    NAME = ""
    TITLE = ""
    HELP = ""
    EXAMPLE = ""
    TAGS = ""
    GROUP = Group.SEGMENT
    SECTION = Section.TOOLBOX

    def __init__(self, client: EngineClient) -> None:
        super().__init__()
        self._client = client
        self._build: Callable[[Paths], Any] = dict
        self._paths: Paths = {}

    def name(self) -> str:
        return self.NAME

    def displayName(self) -> str:
        return tr(self.TITLE)

    def group(self) -> str:
        return tr(self.GROUP.value)

    def groupId(self) -> str:
        return self.GROUP.name.lower()

    def tags(self) -> list[str]:
        return [tag.strip() for tag in tr(self.TAGS).split(",")]

    def shortHelpString(self) -> str:
        return help_page(self, tr(self.HELP), tr(self.EXAMPLE))

    def helpUrl(self) -> str:
        return self.SECTION.url

    def icon(self) -> QIcon:
        return icon(self.NAME)

    def svgIconPath(self) -> str:
        return icon_path(self.NAME)

    def createInstance(self) -> OrthomaskAlgorithm:
        return type(self)(self._client)

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], Any]:
        """Freeze the parameters; returns what makes the request, given the outputs. Main thread only."""
        raise NotImplementedError

    def results(self, answer: Any, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """Make the outputs from the engine's answer."""
        raise NotImplementedError

    def engine(self) -> Any:
        """The client for the request."""
        return self._client

    def checkParameterValues(self, parameters: Values, context: QgsProcessingContext) -> tuple[bool, Optional[str]]:
        """Say before it runs that a model is gone, or a folder cannot be written."""
        try:
            if self.parameterDefinition("MODEL_FILE") is not None:
                self.model(parameters, context)
        except OrthomaskError as error:
            return False, f"{error.sentence} {error.remedy}"
        outputs = self.destinationParameterDefinitions()
        folders = [folder_of(output, parameters.get(output.name()), context) for output in outputs]
        unwritable = "\n".join(filter(None, (why_unwritable(folder) for folder in folders if folder)))
        if unwritable:
            return False, unwritable
        sound: tuple[bool, Optional[str]] = super().checkParameterValues(parameters, context)
        return sound

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the layers while on the main thread."""
        try:
            self._build = self.request(parameters, context)
        except OrthomaskError as error:
            raise _exception(error, feedback) from error
        return True

    def processAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """Call the engine. A cancelled algorithm has no results."""
        try:
            self._paths = self._destinations(parameters, context)
            request = self._build(self._paths)
            found = self.results(self.engine().call(request, _Milestones(feedback)), context, feedback)
        except Cancelled:
            return {}
        except OrthomaskError as error:
            raise _exception(error, feedback) from error
        if any(map(is_temporary, found.values())):
            words = tr("These results are temporary: QGIS deletes them when it closes. Choose a folder to keep them.")
            feedback.pushWarning(words)
        return found

    def _destinations(self, parameters: Values, context: QgsProcessingContext) -> Paths:
        """Where each output goes; called once, because a temporary one is somewhere else each time.

        QGIS loads the layers that it is told of here: a dialog's task has another context while preparing.
        """
        return {
            output.name(): self.parameterAsFileOutput(parameters, output.name(), context)
            if isinstance(output, NOT_LAYERS)
            else self.parameterAsOutputLayer(parameters, output.name(), context)
            for output in self.destinationParameterDefinitions()
        }

    def add(self, parameter: QgsProcessingParameterDefinition, description: str, *, advanced: bool = False) -> None:
        """Add a parameter with its help."""
        parameter.setHelp(description)
        if advanced:
            advanced_flag = QgsProcessingParameterDefinition.Flag.FlagAdvanced  # type: ignore[attr-defined] # its name before QGIS 3.36
            parameter.setFlags(parameter.flags() | advanced_flag)
        self.addParameter(parameter)

    def add_image_region_and_model(self) -> None:
        """Add the parameters for image, region and model."""
        polygon = [QgsProcessing.SourceType.TypeVectorPolygon]
        self.add(
            QgsProcessingParameterRasterLayer("IMAGE", tr("Image")),
            tr(
                "The orthophoto: any raster layer with the model's bands and about its resolution. A layer that is not "
                "a file, such as a map service, is rendered first, at the model's resolution."
            ),
        )
        self.add(
            QgsProcessingParameterFeatureSource("REGION", tr("Region"), polygon, optional=True),
            tr("Limits the run to these polygons, or to the selected ones only. Leave empty for the whole image."),
        )
        self.add(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("Run only inside this extent; with a region, only where both overlap."),
        )
        self.add_reading()
        self.add_model()

    def add_reading(self) -> None:
        """Add the parameters for how the image is read."""
        self.add(
            QgsProcessingParameterString("BANDS", tr("Bands"), optional=True),
            tr("Numbers or names of the bands to read, separated by commas. Leave empty for the best match."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString("STRETCH", tr("Stretch"), optional=True),
            tr("Values that become 0 and 255 of 8-bit pixels, for all bands or for each, such as 200, 3000."),
            advanced=True,
        )
        self.add_nodata()
        self.add(
            QgsProcessingParameterRasterLayer("SECOND", tr("Second image"), optional=True),
            tr(
                "For models that read two images: another raster file of the same place, of any bands and resolution. "
                "Bands calls its bands second:NAME."
            ),
            advanced=True,
        )

    def add_nodata(self) -> None:
        """Add the parameter for the image's nodata value."""
        self.add(
            QgsProcessingParameterNumber(
                "NODATA", tr("No data value"), QgsProcessingParameterNumber.Type.Double, optional=True
            ),
            tr(
                "Pixels with this value in all bands are left out. Used only if the image itself marks no missing data."
            ),
            advanced=True,
        )

    def reading(self, parameters: Values, context: QgsProcessingContext) -> Reading:
        """How the image is read.

        Raises:
            OrthomaskError: the stretch is not a list of numbers, or the second image is not a file.
        """
        second = self.parameterAsRasterLayer(parameters, "SECOND", context)
        bands, stretch = (self.parameterAsString(parameters, name, context) for name in ("BANDS", "STRETCH"))
        given = parameters.get("NODATA") is not None
        nodata = self.parameterAsDouble(parameters, "NODATA", context) if given else None
        names = tuple(name.strip() for name in bands.split(",") if name.strip())
        return Reading(names, numbers_in(stretch), nodata, image_of(second) if second else None)

    def add_model(self) -> None:
        """Add the model, embedded or from a file."""
        names = model_names()
        self.add(
            QgsProcessingParameterEnum(
                "MODEL", tr("Model"), options=names, defaultValue=names[0], usesStaticStrings=True
            ),
            tr("An embedded model, or one of your own.") + f" {titles()}",
        )
        self.add(
            QgsProcessingParameterFile("MODEL_FILE", tr("Model file"), extension="safetensors", optional=True),
            tr("The file of another model, used instead of that one."),
        )

    def add_polygon_options(self) -> None:
        """Add the polygon cleaning options."""
        sound, number = PolygonOptions(), QgsProcessingParameterNumber.Type.Double
        for name, title, help_ in (
            (
                "MIN_AREA",
                tr("Smallest polygon (m²)"),
                tr("Smaller ones are dropped; leave empty for the model's default."),
            ),
            ("MIN_HOLE", tr("Smallest hole (m²)"), tr("Smaller ones are filled; leave empty for the model's default.")),
        ):
            parameter = QgsProcessingParameterNumber(name, title, number, optional=True, minValue=0)
            self.add(parameter, help_, advanced=True)
        self.add(
            QgsProcessingParameterBoolean("SIMPLIFY", tr("Tidy outlines"), sound.simplify),
            tr("Straight walls and right angles instead of pixel steps."),
            advanced=True,
        )

    def add_device(self) -> None:
        """Add the device parameter."""
        self.add(
            QgsProcessingParameterString("DEVICE", tr("Device"), "auto"),
            tr("auto, cpu, cuda, cuda:1 or mps."),
            advanced=True,
        )

    def image(self, parameters: Values, context: QgsProcessingContext) -> Image:
        """The chosen image, which must be a file."""
        return image_of(self.parameterAsRasterLayer(parameters, "IMAGE", context))

    def add_request_limit(self) -> None:
        """Add the limit on requests to a map service, about which the panel asks the user first."""
        title, whole = tr("Maximum requests to a service"), QgsProcessingParameterNumber.Type.Integer
        self.add(
            QgsProcessingParameterNumber("MOST_REQUESTS", title, whole, ASK_FROM.get(), minValue=0),
            tr(
                "A layer that is not a file is rendered first; nothing is started that would take more requests than "
                "this."
            ),
            advanced=True,
        )

    def planned(self, parameters: Values, context: QgsProcessingContext, gsd_m: float) -> FrozenImage:
        """The chosen image, or the picture of the region to render. Main thread only.

        Raises:
            OrthomaskError: the layer cannot be used.
        """
        layer = require_image(self.parameterAsRasterLayer(parameters, "IMAGE", context))
        picked = self.picked_region(parameters, context) if is_rendered(layer) else None
        if picked is None and has_end(layer):
            picked = extent_region(layer.extent(), layer.crs())
        image = planned(layer, gsd_m, places_of(picked, layer.crs()), OVERLAP_PX)
        return frozen(read_as(image, self.reading(parameters, context)))

    def require_few(self, image: FrozenImage, parameters: Values, context: QgsProcessingContext) -> None:
        """Raise if rendering an image takes more requests than allowed."""
        most = self.parameterAsInt(parameters, "MOST_REQUESTS", context)
        if isinstance(image, Picture) and image.requests > most:
            sentence = tr("Rendering “{}” would take about {} server requests.").format(
                image.name, in_digits(image.requests)
            )
            remedy = tr("Choose a smaller region, or raise “Maximum requests to a service” if its provider allows it.")
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)

    def model(self, parameters: Values, context: QgsProcessingContext) -> str:
        """The name of the embedded model, or the path of the own one or the model file.

        Raises:
            OrthomaskError: there is no model of that name any more.
        """
        file = self.parameterAsFile(parameters, "MODEL_FILE", context)
        return file or model_named(self.parameterAsString(parameters, "MODEL", context))

    def region(self, parameters: Values, context: QgsProcessingContext) -> Optional[Region]:
        """The region's polygons, clipped to the extent, if any; None for the whole image."""
        picked = self.picked_region(parameters, context)
        return picked.request() if picked else None

    def picked_region(self, parameters: Values, context: QgsProcessingContext) -> Optional[PickedRegion]:
        """The same, as QGIS holds it."""
        source = self.parameterAsSource(parameters, "REGION", context)
        whole = self.parameterAsExtent(parameters, "EXTENT", context).isNull()
        crs = source.sourceCrs() if source else self.parameterAsExtentCrs(parameters, "EXTENT", context)
        extent = self.parameterAsExtentGeometry(parameters, "EXTENT", context, crs)
        if source is None:
            return None if whole else region_of([extent], crs)
        picked = region_of((feature.geometry() for feature in source.getFeatures()), crs)
        return picked if whole else region_of([picked.geometry.intersection(extent)], crs)

    def extent(self, parameters: Values, context: QgsProcessingContext) -> Optional[Region]:
        """The region of the parameter `EXTENT`; None if it is empty."""
        if self.parameterAsExtent(parameters, "EXTENT", context).isNull():
            return None
        crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
        return region_of([self.parameterAsExtentGeometry(parameters, "EXTENT", context, crs)], crs).request()

    def polygon_options(self, parameters: Values, context: QgsProcessingContext) -> PolygonOptions:
        """How polygons are cleaned."""
        min_area_m2, min_hole_m2 = (
            None if parameters.get(name) is None else self.parameterAsDouble(parameters, name, context)
            for name in ("MIN_AREA", "MIN_HOLE")
        )
        return PolygonOptions(min_area_m2, min_hole_m2, self.parameterAsBool(parameters, "SIMPLIFY", context))


class _Milestones:
    """A feedback that logs a line every few percent, not one for each of a hundred thousand windows."""

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self._feedback = feedback
        self._percent = self._next = 0.0

    def setProgress(self, percent: float) -> None:
        self._percent = percent
        self._feedback.setProgress(percent)

    def setProgressText(self, text: str) -> None:
        if self._percent >= self._next:
            self._feedback.setProgressText(text)
            self._next = self._percent + MILESTONE_PERCENT

    def isCanceled(self) -> bool:
        return bool(self._feedback.isCanceled())


def threshold_parameter(default: Optional[float]) -> QgsProcessingParameterNumber:
    """The parameter for the threshold; optional if it has no default."""
    number = QgsProcessingParameterNumber.Type.Double
    return QgsProcessingParameterNumber("THRESHOLD", tr("Threshold"), number, default, default is None, 0.01, 0.99)


def _exception(error: OrthomaskError, feedback: QgsProcessingFeedback) -> QgsProcessingException:
    """The error as Processing shows it, its details in the log."""
    if error.details:
        feedback.pushDebugInfo(error.details)
    return QgsProcessingException(f"{error.sentence} {error.remedy}")
