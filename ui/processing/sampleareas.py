"""`orthomask:sampleareas`: square areas on an image, to label."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterField,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ...protocol import AreasRequest, Sampling
from ..label.area_sampling import PIXELS_ACROSS, AreaSampler, FrozenSampling, NewAreas, frozen_strata, frozen_weights
from ..label.project import AREAS, style_areas
from ..layers.rendering import Picture
from ..toolkit.help import Section
from ..toolkit.words import mark, tr
from .base import Group, OrthomaskAlgorithm, Paths, Values
from .exporting import REAL, WHOLE
from .loading import Styler

WAYS = (Sampling.RANDOM, Sampling.GRID, Sampling.STRATIFIED)


class SampleAreasAlgorithm(OrthomaskAlgorithm):
    """Areas in a GeoPackage."""

    NAME = "sampleareas"
    TITLE = mark("Make areas to label")
    HELP = mark(
        "Places square areas on an image: at random, in a regular grid, or the same number in each class, optionally "
        "weighted, for example by population density. Label all objects inside an area; everything outside is unknown."
    )
    EXAMPLE = mark(
        "Twenty squares of 50 m where people live: number 20, size 50, a population raster as weights, and 0.6, 0.2 "
        "and 0.2 as shares."
    )
    TAGS = mark("random,grid,stratified,sampling,areas,label,population")
    GROUP = Group.LABEL
    SECTION = Section.LABEL

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        kinds = [QgsProcessing.SourceType.TypeVectorPolygon, QgsProcessing.SourceType.TypeRaster]
        ways = [tr("at random"), tr("in a regular grid"), tr("the same number in each class")]
        self.add(QgsProcessingParameterRasterLayer("IMAGE", tr("Image")), tr("The orthophoto to label."))
        self.add(
            QgsProcessingParameterEnum("SAMPLING", tr("Placement"), ways, defaultValue=0),
            tr("A grid places as many as fit, spread evenly."),
        )
        self.add(QgsProcessingParameterNumber("COUNT", tr("Number"), WHOLE, 10, minValue=1), tr("Number of areas."))
        self.add(
            QgsProcessingParameterNumber("SIZE", tr("Size (m)"), REAL, 50.0, minValue=0.1),
            tr("Side length of the squares, on the ground."),
        )
        self.add(
            QgsProcessingParameterNumber("DISTANCE", tr("Distance (m)"), REAL, 0.0, minValue=0),
            tr("Minimum distance between areas; areas already in the file count, too."),
        )
        self.add(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("Place them inside this extent only; a map service needs one."),
        )
        self.add_nodata()
        self._add_layers(kinds)
        self._add_shares()
        self.add(
            QgsProcessingParameterBoolean("CHECKED", tr("Everything is labelled already"), False),
            tr("Areas without a label are then empty; otherwise they are still to do until you confirm them."),
            advanced=True,
        )
        self.add_request_limit()
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Areas"), QgsProcessing.SourceType.TypeVectorPolygon),
            tr("A GeoPackage, such as a label project: the areas are added to its areas layer."),
        )
        self.addOutput(QgsProcessingOutputNumber("ADDED", tr("Number of areas that were added")))

    def engine(self) -> Any:
        """The engine, called once the copies of the layers are written."""
        return AreaSampler(self._client)

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], FrozenSampling]:
        """What makes the request, with its layers frozen."""
        weights = self.parameterAsLayer(parameters, "WEIGHTS", context)
        strata = self.parameterAsLayer(parameters, "STRATA", context)
        field = self.parameterAsString(parameters, "STRATA_FIELD", context)
        shares = ("SHARE_TRAIN", "SHARE_VALIDATION", "SHARE_TEST")
        frozen = frozen_strata(strata, field) if strata is not None else None
        size_m = self.parameterAsDouble(parameters, "SIZE", context)
        image = self.planned(parameters, context, size_m / PIXELS_ACROSS)
        self.require_few(image, parameters, context)
        path, snapshot = frozen_weights(weights, self.parameterAsString(parameters, "WEIGHT_FIELD", context))
        build = functools.partial(
            AreasRequest,
            image=image.key if isinstance(image, Picture) else image,
            sampling=WAYS[self.parameterAsEnum(parameters, "SAMPLING", context)],
            count=self.parameterAsInt(parameters, "COUNT", context),
            size_m=size_m,
            min_distance_m=self.parameterAsDouble(parameters, "DISTANCE", context),
            region=self.extent(parameters, context),
            weight_path=path,
            strata=frozen.labels if frozen else None,
            shares=tuple(self.parameterAsDouble(parameters, name, context) for name in shares),
            seed=self.parameterAsInt(parameters, "SEED", context),
            checked=self.parameterAsBool(parameters, "CHECKED", context),
        )
        return lambda paths: FrozenSampling(build(output_path=paths["OUTPUT"]), image, None, snapshot, frozen)

    def results(self, answer: NewAreas, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The layer of areas, styled."""
        for warning in answer.result.warnings:
            feedback.pushWarning(warning)
        path = answer.result.areas_path
        uri = f"{path}|layername={AREAS}"
        loading: dict[Any, Any] = context.layersToLoadOnCompletion()
        if path in loading:  # else a label project's labels would be loaded
            details = loading.pop(path)
            details.setPostProcessor(Styler(style_areas))
            context.setLayersToLoadOnCompletion({**loading, uri: details})
        return {"OUTPUT": uri, "ADDED": answer.result.count}

    def _add_layers(self, kinds: list[Any]) -> None:
        self.add(
            QgsProcessingParameterMapLayer("WEIGHTS", tr("Weights"), optional=True, types=kinds),
            tr("A raster or polygons whose values weight the sampling, such as population density."),
        )
        self.add(
            QgsProcessingParameterField("WEIGHT_FIELD", tr("Weight field"), None, "WEIGHTS", optional=True),
            tr("The weight of each polygon; leave empty for equal weights."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterMapLayer("STRATA", tr("Classes to stratify by"), optional=True, types=kinds),
            tr("Labels or a class raster; every class gets the same number of areas."),
        )
        self.add(
            QgsProcessingParameterField("STRATA_FIELD", tr("Class field"), None, "STRATA", optional=True),
            tr("The attribute that names the class."),
            advanced=True,
        )

    def _add_shares(self) -> None:
        for name, title in (
            ("SHARE_TRAIN", tr("Share for training")),
            ("SHARE_VALIDATION", tr("Share for validation")),
            ("SHARE_TEST", tr("Share for test")),
        ):
            number = QgsProcessingParameterNumber(name, title, REAL, 0.0, minValue=0, maxValue=1)
            self.add(number, tr("Share of the areas; the rest, up to 1, becomes “todo”."), advanced=True)
        self.add(
            QgsProcessingParameterNumber("SEED", tr("Seed"), WHOLE, 1),
            tr("The same seed gives the same places."),
            advanced=True,
        )
