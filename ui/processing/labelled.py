"""Shared by the algorithms that read an image with labels and areas."""

from __future__ import annotations

from dataclasses import replace

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingParameterEnum,
    QgsProcessingParameterField,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorLayer,
    QgsVectorLayer,
)

from ...protocol import OVERLAP_PX, ClassInfo, ErrorCode, Existing, OrthomaskError
from ..label.class_table import by_number, matched, values_of
from ..label.project import CLASS_FIELD, file_of, read_classes
from ..label.sources import GroundTruth, LabelSource, Rendering, is_areas_layer
from ..layers.images import read_as
from ..layers.sources import require_image
from ..toolkit.words import tr
from ..train.data import FrozenLayers
from .base import OrthomaskAlgorithm, Values

CHOICES = (Existing.REFUSE, Existing.OVERWRITE, Existing.RESUME)


class LabelledAlgorithm(OrthomaskAlgorithm):
    """Adds image, labels and areas, and freezes them on the main thread."""

    def add_labelled_image(self) -> None:
        """Add the parameters for the image and its labels."""
        polygon = [QgsProcessing.SourceType.TypeVectorPolygon]
        self.add(
            QgsProcessingParameterRasterLayer("IMAGE", tr("Image")),
            tr(
                "The orthophoto that was labelled: any raster layer. A layer that is not a file is rendered around the "
                "areas."
            ),
        )
        self.add(
            QgsProcessingParameterVectorLayer("LABELS", tr("Labels"), polygon),
            tr("Polygons of the objects to find: the labels layer of a label project, or any other."),
        )
        self.add(
            QgsProcessingParameterField("CLASS_FIELD", tr("Class field"), None, "LABELS", optional=True),
            tr(
                "The attribute that names the class. Leave empty for that of the label project, or if everything is of "
                "one class."
            ),
        )
        self.add(
            QgsProcessingParameterVectorLayer("AREAS", tr("Areas"), polygon, optional=True),
            tr(
                "Polygons in which everything is labelled, with the attribute split: train, validation, test or todo. "
                "Leave empty if the whole image is labelled."
            ),
        )

    def add_existing(self, what: str, *, resumable: bool) -> None:
        """Add what to do with an existing folder."""
        options = [tr("Stop"), tr("Overwrite it"), tr("Resume it")]
        self.add(
            QgsProcessingParameterEnum("EXISTING", what, options[: 3 if resumable else 2], defaultValue=0),
            tr("“Resume” finishes what was interrupted.") if resumable else tr("“Stop” leaves it as it is."),
            advanced=True,
        )

    def existing(self, parameters: Values, context: QgsProcessingContext) -> Existing:
        """What to do with an existing folder."""
        return CHOICES[self.parameterAsEnum(parameters, "EXISTING", context)]

    def frozen(
        self, parameters: Values, context: QgsProcessingContext, gsd_m: float, *, makes_classes: bool
    ) -> FrozenLayers:
        """Image, labels and areas as they are now. Main thread only.

        Args:
            gsd_m: resolution to render a non-file image at.
            makes_classes: number the values of the class field as classes; otherwise use a model's.

        Raises:
            OrthomaskError: a layer cannot be used, or there would be too many requests.
        """
        image = require_image(self.parameterAsRasterLayer(parameters, "IMAGE", context))
        areas = self.parameterAsVectorLayer(parameters, "AREAS", context)
        source, classes = self.source(parameters, context, makes_classes=makes_classes)
        truth = GroundTruth.of(image, [source], areas, rendering=Rendering(gsd_m, OVERLAP_PX))
        truth = replace(truth, image=read_as(truth.image, self.reading(parameters, context)))
        self.require_few(truth.image, parameters, context)
        return FrozenLayers(image.name(), truth, classes)

    def source(
        self, parameters: Values, context: QgsProcessingContext, *, makes_classes: bool
    ) -> tuple[LabelSource, tuple[ClassInfo, ...]]:
        """The labels and their classes, for `frozen`.

        Raises:
            OrthomaskError: there are no labels, or too many classes.
        """
        labels = self.parameterAsVectorLayer(parameters, "LABELS", context)
        field = self.parameterAsString(parameters, "CLASS_FIELD", context)
        if labels is None:
            sentence, remedy = tr("The labels cannot be read."), tr("Choose a layer of polygons.")
            raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy)
        if is_areas_layer(labels):
            sentence = tr("The layer {} contains areas, not labels.").format(labels.name())
            raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, tr("Choose the layer of the labels."))
        classes = () if field else _project_classes(labels)
        field = CLASS_FIELD if classes else field
        if field and not classes and makes_classes:
            numbered, mapping = matched(values_of(labels, field), ())
            return LabelSource(labels, field, tuple(mapping)), tuple(numbered)
        return LabelSource(labels, field, by_number(classes) if field == CLASS_FIELD else ()), classes


def _project_classes(labels: QgsVectorLayer) -> tuple[ClassInfo, ...]:
    """The classes of the label project that the layer belongs to; empty if it belongs to none."""
    if labels.fields().lookupField(CLASS_FIELD) < 0:
        return ()
    try:
        return read_classes(file_of(labels))
    except OrthomaskError:
        return ()
