"""`orthomask:collect`: a label project with images, from OpenStreetMap, other layers and map services."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMatrix,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
)

from ...protocol import (
    MOST_TILES,
    OVERPASS,
    PRESET_TITLES,
    PRESETS,
    Areas,
    CollectRequest,
    CollectResult,
    ErrorCode,
    Existing,
    Imagery,
    OpenStreetMap,
    OrthomaskError,
    Sampled,
    TagRule,
)
from ..collect.addresses import Address, address_of, levels_in, typed
from ..collect.estimate import in_metres, latitude_of
from ..collect.frozen import Collection, Collector, FrozenVectors, Places
from ..collect.layers import IMAGE_SOURCES, LABEL_SOURCES, credit, image_layers, read_sources
from ..label.project import AREAS, LABELS, ROLE, read_classes, style_areas, style_labels
from ..layers.sources import extent_region, image_of
from ..layers.vector_snapshot import VectorSnapshot
from ..toolkit.help import Section
from ..toolkit.present import present
from ..toolkit.settings import CONTACT, OVERPASS_SERVER
from ..toolkit.words import in_digits, mark, time_in_words, tr, tr_n
from .base import Group, OrthomaskAlgorithm, Paths, Values
from .exporting import REAL, WHOLE
from .loading import load_when_done

SERVER, EXTRACT, LAYER, NOTHING = range(4)
POLYGON = [QgsProcessing.SourceType.TypeVectorPolygon]


class CollectAlgorithm(OrthomaskAlgorithm):
    """A folder with a label project and images."""

    NAME = "collect"
    TITLE = mark("Collect labels and images")
    HELP = mark(
        "Makes a label project: labels from OpenStreetMap or any polygon layer, such as a WFS or a cadastre, and "
        "images from XYZ tiles, a WMS, a WMTS or a file, for areas, an extent, or random squares, for example where "
        "people live. A collection that was cancelled goes on in the same folder."
    )
    EXAMPLE = mark(
        "Two hundred places where people live: squares inside the polygons of a country, a population raster as "
        "weights, number 200, size 256, zoom levels 17, 18, and the licence of the tiles."
    )
    TAGS = mark("osm,openstreetmap,overpass,wfs,xyz,wms,wmts,tiles,download,training data,population")
    GROUP = Group.LABEL
    SECTION = Section.COLLECT

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self._add_places()
        self._add_labels()
        self._add_imagery()
        self.add(
            QgsProcessingParameterBoolean("LOAD", tr("Add the results to the map"), True),
            tr("Switch it off in models that need only some of the outputs."),
        )
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the results")),
            tr("The folder of this collection."),
        )
        self.addOutput(QgsProcessingOutputFile("PROJECT", tr("Label project")))
        self.addOutput(QgsProcessingOutputVectorLayer("LABELS_LAYER", tr("Labels")))
        self.addOutput(QgsProcessingOutputVectorLayer("AREAS_LAYER", tr("Areas")))
        self.addOutput(QgsProcessingOutputNumber("IMAGES", tr("Number of images")))
        self.addOutput(QgsProcessingOutputString("COUNTS", tr("Labels of each class, as JSON")))

    def engine(self) -> Any:
        """The engine, called once the copies of the layers are written."""
        return Collector(self._client)

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the layers, and whether to load the results."""
        self._load = self.parameterAsBool(parameters, "LOAD", context)
        return super().prepareAlgorithm(parameters, context, feedback)

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], Collection]:
        """What makes the request, with its layers frozen."""
        sample, imagery = self._sample(parameters, context), self._imagery(parameters, context)
        places, vectors = self._places(parameters, context, sample), self._vectors(parameters, context)
        within = self.parameterAsVectorLayer(parameters, "WITHIN", context)
        if sample is not None and vectors is not None and imagery is not None and within is not None:
            sample = in_metres(sample, imagery.zooms, latitude_of(within.extent(), within.crs()))
        request = CollectRequest(
            output_dir="-",
            areas=None if sample else Areas("-"),
            sample=sample,
            osm=self._osm(parameters, context),
            vectors=(vectors.labels,) if vectors else (),
            imagery=imagery,
            contact=self.parameterAsString(parameters, "CONTACT", context),
            most_tiles=self.parameterAsInt(parameters, "MOST_TILES", context),
            existing=Existing.RESUME,
        )
        collection = Collection(request, places, vectors, context.transformContext())
        return lambda paths: replace(collection, request=replace(request, output_dir=paths["OUTPUT"]))

    def results(self, answer: CollectResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The label project, and how much there is; its layers are loaded if chosen."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        count = sum(answer.labels.values())
        words = tr_n("{} label; areas: {}, images: {}; in {}.", "{} labels; areas: {}, images: {}; in {}.", count)
        numbers = (in_digits(number) for number in (count, answer.areas, len(answer.images)))
        feedback.pushInfo(words.format(*numbers, time_in_words(answer.seconds)))
        for line in answer.attributions:
            feedback.pushInfo(line)
        if self._load:
            _load(context, answer)
        return {
            "OUTPUT": str(Path(answer.project_path).parent),
            "PROJECT": answer.project_path,
            "LABELS_LAYER": f"{answer.project_path}|layername={LABELS}",
            "AREAS_LAYER": f"{answer.project_path}|layername={AREAS}",
            "IMAGES": len(answer.images),
            "COUNTS": json.dumps(answer.labels),
        }

    def _add_places(self) -> None:
        self.add(
            QgsProcessingParameterVectorLayer("AREAS", tr("Areas"), POLYGON, optional=True),
            tr("Polygons, each of which becomes an area."),
        )
        self.add(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("Or one area: this extent."),
        )
        self.add(
            QgsProcessingParameterVectorLayer("WITHIN", tr("Random squares in"), POLYGON, optional=True),
            tr("Or random squares inside these polygons, such as a country."),
        )
        self.add(
            QgsProcessingParameterRasterLayer("WEIGHTS", tr("Weights"), optional=True),
            tr("A raster file whose values weight the sampling, such as people per pixel (WorldPop, GHS-POP)."),
        )
        self.add(
            QgsProcessingParameterBoolean("DENSITY", tr("Weights are per area"), False),
            tr("The raster holds numbers per area, such as people per km², not per pixel."),
            advanced=True,
        )
        self.add(QgsProcessingParameterNumber("COUNT", tr("Number"), WHOLE, 20, minValue=1), tr("Number of squares."))
        self.add(
            QgsProcessingParameterNumber("SIZE", tr("Size (px)"), WHOLE, 256, minValue=1),
            tr("Side length of the squares, in pixels of the coarsest image."),
        )
        self.add(
            QgsProcessingParameterNumber("SIZE_M", tr("Size (m)"), REAL, None, optional=True, minValue=0.1),
            tr("Side length on the ground instead; needed if there are no images."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber("DISTANCE", tr("Distance (m)"), REAL, 0.0, minValue=0),
            tr("Minimum distance between areas."),
        )
        self.add(
            QgsProcessingParameterBoolean("CHECKED", tr("Everything is labelled already"), False),
            tr("Areas without a label are then empty; otherwise they are still to do until you confirm them."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber("SEED", tr("Seed"), WHOLE, 1),
            tr("The same seed gives the same places."),
            advanced=True,
        )

    def _add_labels(self) -> None:
        sources = [
            tr("OpenStreetMap (internet)"), tr("OpenStreetMap (file)"), tr("a layer: file, WFS, cadastre …"),
            tr("none: images only"),
        ]  # fmt: skip
        self.add(
            QgsProcessingParameterEnum("LABELS", tr("Labels"), sources, defaultValue=SERVER),
            tr("Where the labels come from."),
        )
        self.add(
            QgsProcessingParameterEnum(
                "OBJECTS", tr("Objects"), [tr(title) for title in PRESET_TITLES.values()], defaultValue=0
            ),
            tr("What to take from OpenStreetMap."),
        )
        self.add(
            QgsProcessingParameterMatrix("TAGS", tr("Tags"), 1, False, [tr("Tag"), tr("Class")], optional=True),
            tr(
                "Used instead: tags such as building, landuse=farmland or landuse=farmland|meadow with their classes. "
                "Objects without a class are cut out of all others."
            ),
        )
        self.add(
            QgsProcessingParameterFile("EXTRACT", tr("OpenStreetMap file"), optional=True),
            tr("An extract of the region, such as those that Geofabrik offers"),
        )
        self.add(
            QgsProcessingParameterVectorLayer("LABEL_LAYER", tr("Layer of labels"), POLYGON, optional=True),
            tr("Any polygon layer of this QGIS project. A service is read around the areas only."),
        )
        self.add(
            QgsProcessingParameterField("CLASS_FIELD", tr("Class field"), None, "LABEL_LAYER", optional=True),
            tr("The attribute that names the class."),
        )
        self.add(
            QgsProcessingParameterString("CLASS", tr("Class"), "object"),
            tr("The class of all labels, if there is no class field."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString("SERVER", tr("Overpass server"), OVERPASS_SERVER.get() or OVERPASS),
            tr("The address of the server that OpenStreetMap's objects come from."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString("CONTACT", tr("Contact"), CONTACT.get(), optional=True),
            tr("An e-mail or web address of yours, which servers of map data are told."),
            advanced=True,
        )

    def _add_imagery(self) -> None:
        self.add(
            QgsProcessingParameterRasterLayer("IMAGERY", tr("Imagery"), optional=True),
            tr("XYZ tiles, WMS, WMTS, or a file such as a COG"),
        )
        self.add(
            QgsProcessingParameterString("URL", tr("Address of imagery"), optional=True),
            tr("XYZ tiles with {z}, {x} and {y}, a WMS or WMTS, or the address of a COG"),
        )
        self.add(
            QgsProcessingParameterString("ZOOMS", tr("Zoom levels"), "18", optional=True),
            tr("One level or several, as in 17, 18: one image for each level and place"),
        )
        self.add(
            QgsProcessingParameterString("LICENCE", tr("Licence of the images"), optional=True),
            tr("Such as CC BY 4.0. By naming it you confirm that it allows you to download and use the images."),
        )
        self.add(
            QgsProcessingParameterString("ATTRIBUTION", tr("Attribution"), optional=True),
            tr("Who must be named where the images or a model made from them are shown"),
        )
        self.add(
            QgsProcessingParameterNumber("MOST_TILES", tr("Maximum number of tiles"), WHOLE, MOST_TILES, minValue=1),
            tr("Nothing is fetched if it would be more."),
            advanced=True,
        )

    def _sample(self, parameters: Values, context: QgsProcessingContext) -> Optional[Sampled]:
        within = self.parameterAsVectorLayer(parameters, "WITHIN", context)
        weights = self.parameterAsRasterLayer(parameters, "WEIGHTS", context)
        if within is None and weights is None:
            return None
        in_metres = parameters.get("SIZE_M") is not None
        return Sampled(
            within=within.id() if within is not None else "",
            weights=image_of(weights).path if weights is not None else "",
            density=self.parameterAsBool(parameters, "DENSITY", context),
            count=self.parameterAsInt(parameters, "COUNT", context),
            size_px=self.parameterAsInt(parameters, "SIZE", context),
            size_m=self.parameterAsDouble(parameters, "SIZE_M", context) if in_metres else 0.0,
            min_distance_m=self.parameterAsDouble(parameters, "DISTANCE", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
            checked=self.parameterAsBool(parameters, "CHECKED", context),
        )

    def _places(self, parameters: Values, context: QgsProcessingContext, sample: Optional[Sampled]) -> Places:
        areas = self.parameterAsVectorLayer(parameters, "AREAS", context)
        within = self.parameterAsVectorLayer(parameters, "WITHIN", context)
        extent = self.parameterAsExtent(parameters, "EXTENT", context)
        if sum((areas is not None, sample is not None, not extent.isNull())) != 1:
            sentence = tr("It is not clear where to collect.")
            remedy = tr("Give one of these: areas, an extent, or where to place random squares.")
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
        if areas is not None:
            return Places.of_layer(areas)
        if sample is None:
            crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
            return Places.of_region(extent_region(extent, crs), tr("extent"))
        if within is None:
            return Places(None, present(context.project()).crs())
        return Places(VectorSnapshot.of(within, {}), within.crs())

    def _osm(self, parameters: Values, context: QgsProcessingContext) -> Optional[OpenStreetMap]:
        source = self.parameterAsEnum(parameters, "LABELS", context)
        if source not in (SERVER, EXTRACT):
            return None
        cells = [str(cell) for cell in self.parameterAsMatrix(parameters, "TAGS", context) or ()]
        own = tuple(TagRule(tag.strip(), name.strip()) for tag, name in zip(cells[::2], cells[1::2]) if tag.strip())
        rules = own or list(PRESETS.values())[self.parameterAsEnum(parameters, "OBJECTS", context)]
        if source == SERVER:
            return OpenStreetMap(rules, server=self.parameterAsString(parameters, "SERVER", context))
        path = self.parameterAsFile(parameters, "EXTRACT", context)
        if not path:
            sentence = tr("No OpenStreetMap file is chosen.")
            remedy = tr("Choose an extract such as nepal.osm.pbf, or take OpenStreetMap from the internet.")
            raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy)
        return OpenStreetMap(rules, extract=path)

    def _vectors(self, parameters: Values, context: QgsProcessingContext) -> Optional[FrozenVectors]:
        if self.parameterAsEnum(parameters, "LABELS", context) != LAYER:
            return None
        layer = self.parameterAsVectorLayer(parameters, "LABEL_LAYER", context)
        if layer is None:
            sentence, remedy = tr("No layer of labels is chosen."), tr("Add a layer of polygons to the QGIS project.")
            raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy)
        field, name = (self.parameterAsString(parameters, key, context) for key in ("CLASS_FIELD", "CLASS"))
        return FrozenVectors.of(layer, field, name)

    def _imagery(self, parameters: Values, context: QgsProcessingContext) -> Optional[Imagery]:
        layer = self.parameterAsRasterLayer(parameters, "IMAGERY", context)
        url = self.parameterAsString(parameters, "URL", context).strip()
        if layer is None and not url:
            return None
        address: Address = typed(url) if url or layer is None else address_of(layer)
        licence, attribution, zooms = (
            self.parameterAsString(parameters, name, context).strip() for name in ("LICENCE", "ATTRIBUTION", "ZOOMS")
        )
        return Imagery(address.url, licence, levels_in(zooms), attribution=attribution, access=address.access)


def _load(context: QgsProcessingContext, answer: CollectResult) -> None:
    """Load label project and mosaics, with their credits in the metadata."""
    path, sources = answer.project_path, read_sources(answer.project_path)
    name = Path(path).parent.name
    images = [source for source in sources if source.kind == IMAGE_SOURCES]
    for layer in image_layers(answer.images):
        load_when_done(context, layer.source(), layer.name(), name, functools.partial(credit, sources=images))
    labels = [source for source in sources if source.kind == LABEL_SOURCES]

    def style(layer: Any, role: str) -> None:
        if role == LABELS:
            style_labels(layer, read_classes(path))
        else:
            style_areas(layer)
        layer.setCustomProperty(ROLE, role)  # the dock finds the label project by it
        credit(layer, labels)

    for role in (AREAS, LABELS):
        load_when_done(context, f"{path}|layername={role}", role, name, functools.partial(style, role=role))
