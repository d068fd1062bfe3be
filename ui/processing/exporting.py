"""Shared by masks and chips: combining several layers into labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterMatrix,
    QgsProcessingParameterNumber,
    QgsProcessingParameterVectorLayer,
    QgsVectorLayer,
)

from ...protocol import ClassInfo, ClassValue, ErrorCode, LabelledImage, OrthomaskError, Touch
from ..label.sources import GroundTruth, LabelSource, Rendering
from ..layers.images import read_as
from ..layers.vector_snapshot import SnapshotClient
from ..toolkit.words import tr
from .base import Paths, Values
from .labelled import LabelledAlgorithm

TOUCHES = (Touch.CENTRE, Touch.ALL)
WHOLE, REAL = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double


class ExportAlgorithm(LabelledAlgorithm):
    """Freezes stacked layers of labels, and writes them in the background before the engine runs."""

    def engine(self) -> Any:
        """The engine, called once the copies of the layers are written."""
        return SnapshotClient(self._client)

    def add_labels(self) -> None:
        """Add image, labels, areas, and the mapping to classes."""
        polygon = [QgsProcessing.SourceType.TypeVectorPolygon]
        self.add_labelled_image()
        self.add_request_limit()
        self.add(
            QgsProcessingParameterMatrix("MAPPING", tr("Classes"), 1, False, [tr("Value"), tr("Class")], optional=True),
            tr(
                "The class of each value of the class field: the number of a class, 0 for background or 255 "
                "for unknown. Leave empty to number the values in the order of the legend, else by size or "
                "alphabet; 0 is background."
            ),
        )
        self.add(
            QgsProcessingParameterNumber("CLASS", tr("Class"), WHOLE, 1, minValue=1, maxValue=254),
            tr("The class of all labels, if there is no class field."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterVectorLayer("OVER", tr("Labels on top"), polygon, optional=True),
            tr(
                "Polygons that take precedence where both overlap, such as hand-drawn ones; with that class field, or "
                "of one class."
            ),
        )
        self.add(
            QgsProcessingParameterVectorLayer("SUBTRACT", tr("Subtract"), polygon, optional=True),
            tr("Polygons of this layer become background, such as a farmyard in farmland."),
        )
        self.add(
            QgsProcessingParameterBoolean("ONLY_SELECTED", tr("Only selected labels"), False),
            tr("Use only the selected features of the labels."),
            advanced=True,
        )
        touches = [tr("whose centre is inside"), tr("that it touches")]
        self.add(
            QgsProcessingParameterEnum("TOUCH", tr("Pixels that a polygon covers"), touches, defaultValue=0),
            tr("Use the first to measure areas; the second keeps thin objects."),
            advanced=True,
        )

    def prepared(
        self,
        parameters: Values,
        context: QgsProcessingContext,
        build: Callable[[LabelledImage, tuple[ClassInfo, ...], Paths], object],
        rendering: Rendering,
    ) -> Callable[[Paths], Any]:
        """What makes the function that `SnapshotClient` calls; `build` makes the request. Main thread only.

        Args:
            rendering: how a non-file image is rendered.

        Raises:
            OrthomaskError: a layer cannot be used, there would be too many requests, or the mapping is invalid.
        """
        given = mapping_in(self.parameterAsMatrix(parameters, "MAPPING", context))
        source, classes = self.source(parameters, context, makes_classes=not given)
        value = self.parameterAsInt(parameters, "CLASS", context)
        selected = self.parameterAsBool(parameters, "ONLY_SELECTED", context)
        source = replace(source, class_value=value, only_selected=selected, mapping=given or source.mapping)
        sources = [source]
        over = self.parameterAsVectorLayer(parameters, "OVER", context)
        subtract = self.parameterAsVectorLayer(parameters, "SUBTRACT", context)
        if over is not None:
            sources.append(_over(source, over))
        if subtract is not None:
            sources.append(LabelSource(subtract, subtract=True))
        truth = GroundTruth.of(
            self.parameterAsRasterLayer(parameters, "IMAGE", context),
            sources,
            self.parameterAsVectorLayer(parameters, "AREAS", context),
            TOUCHES[self.parameterAsEnum(parameters, "TOUCH", context)],
            rendering,
        )
        truth = replace(truth, image=read_as(truth.image, self.reading(parameters, context)))
        self.require_few(truth.image, parameters, context)
        return lambda paths: truth.request(lambda data: build(data, classes, paths))


def mapping_in(cells: Optional[list[Any]]) -> tuple[ClassValue, ...]:
    """The mapping in the cells of a matrix with two columns, row by row.

    Raises:
        OrthomaskError: a class is not a whole number.
    """
    cells = list(cells or [])
    try:
        return tuple(ClassValue(str(source), int(value)) for source, value in zip(cells[::2], cells[1::2]))
    except ValueError as error:
        sentence = tr("A class is not a whole number.")
        remedy = tr("Write 1, 2, 3 …, 0 for background, 255 for unknown.")
        raise OrthomaskError(ErrorCode.LABELS_CLASSES, sentence, remedy, str(error)) from error


def _over(source: LabelSource, layer: QgsVectorLayer) -> LabelSource:
    """Like `source`, for another layer, with the attribute if it has it."""
    field = source.class_field if layer.fields().lookupField(source.class_field) >= 0 else ""
    return replace(source, layer=layer, class_field=field, only_selected=False)
