"""`orthomask:exportmask`: labels rasterized on exactly the grid of an image."""

from __future__ import annotations

import functools
import json
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterExtent,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
)

from ...protocol import Existing, MaskRequest, MaskResult, to_json
from ..label.mask_layer import style_mask
from ..label.sources import Rendering
from ..layers.images import kept_beside
from ..toolkit.help import Section
from ..toolkit.words import in_digits, mark, time_in_words, tr
from .base import Group, Paths, Values
from .exporting import REAL, WHOLE, ExportAlgorithm
from .loading import Styler


class ExportMaskAlgorithm(ExportAlgorithm):
    """A raster of class values."""

    NAME = "exportmask"
    TITLE = mark("Export mask")
    HELP = mark(
        "Burns polygons onto exactly the grid of an image: 0 is background, classes are 1, 2, 3 …, and 255 is unknown, "
        "outside the areas. Layers can have any CRS; their filters, joins, virtual fields and unsaved edits count, and "
        "the layers are not changed. Invalid polygons are repaired, and counted."
    )
    EXAMPLE = mark(
        "Farmland without its yards: the image, a layer of fields as labels, a layer of farmyards to subtract, and "
        "the areas in which both are complete."
    )
    TAGS = mark("ground truth,rasterize,rasterise,burn,labels,classes,training data")
    GROUP = Group.LABEL
    SECTION = Section.EXPORT

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_labels()
        self.add(
            QgsProcessingParameterNumber("GSD", tr("Resolution (m)"), REAL, optional=True, minValue=0),
            tr("Metres per pixel of an image that is not a file; the rendered image is saved next to the mask."),
        )
        self.add(
            QgsProcessingParameterNumber("BORDER", tr("Border class (px)"), WHOLE, 0, minValue=0, maxValue=32),
            tr("Width of the border between touching objects that becomes a separate class; 0 for none."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("Write only this part of the grid."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination("OUTPUT", tr("Mask")),
            tr("A GeoTIFF; an existing file is replaced."),
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                "WEIGHTS", tr("Pixel weights"), optional=True, createByDefault=False
            ),
            tr("A raster of weights for training, high between close objects."),
        )
        self.addOutput(QgsProcessingOutputString("COUNTS", tr("Pixels and objects of each class, as JSON")))
        self.addOutput(QgsProcessingOutputNumber("UNKNOWN_PIXELS", tr("Unknown pixels")))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", tr("Seconds it took")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], Any]:
        """What writes the layers and makes the request."""
        options: dict[str, Any] = {
            "border_px": self.parameterAsInt(parameters, "BORDER", context),
            "region": self.extent(parameters, context),
            "existing": Existing.OVERWRITE,
        }
        return self.prepared(
            parameters,
            context,
            lambda data, classes, paths: MaskRequest(
                kept_beside(data.image, paths["OUTPUT"]), data.labels, paths["OUTPUT"], areas=data.areas,
                classes=classes, touch=data.touch, weights_path=paths["WEIGHTS"], **options,
            ),
            Rendering(self.parameterAsDouble(parameters, "GSD", context), 0),
        )  # fmt: skip

    def results(self, answer: MaskResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The mask, styled, and its counts."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        for count in answer.counts:
            feedback.pushInfo(
                tr("{}: {} objects, {} pixels").format(count.name, in_digits(count.objects), in_digits(count.pixels))
            )
        feedback.pushInfo(tr("Done in {}.").format(time_in_words(answer.seconds)))
        if context.willLoadLayerOnCompletion(answer.mask_path):
            style = functools.partial(style_mask, result=answer)
            context.layerToLoadOnCompletionDetails(answer.mask_path).setPostProcessor(Styler(style))
        return {
            "OUTPUT": answer.mask_path,
            "WEIGHTS": self._paths["WEIGHTS"],
            "COUNTS": json.dumps(to_json(answer)["counts"]),
            "UNKNOWN_PIXELS": answer.unknown_px,
            "SECONDS": answer.seconds,
        }
