"""An evaluation as layers: correct, missed and false detections. Nothing else changes."""

from __future__ import annotations

from typing import Optional, cast

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ...protocol import EvaluateResult
from ..runs.results import STYLES_DIR
from ..toolkit.words import mark, tr

KINDS = (mark("right"), mark("false"), mark("missed"), mark("matched"), mark("wrong class"))
"""What the legends of the style files say, for the catalogues."""


def add_evaluation(project: QgsProject, result: EvaluateResult, title: str) -> Optional[QgsLayerTreeGroup]:
    """Add objects and, below them, pixels on top of the layer tree; None if the images have no georeference."""
    layers = [layer for layer in (object_layer(result), error_layer(result)) if layer is not None]
    if not layers:
        return None
    group = QgsLayerTreeGroup(title)
    for layer in layers:
        project.addMapLayer(layer, addToLegend=False)
        group.addLayer(layer)
    project.layerTreeRoot().insertChildNode(0, group)
    for expanded in (False, True):  # QGIS's legend shows a new group collapsed and reacts to changes only
        group.setExpanded(expanded)
    return group


def object_layer(result: EvaluateResult) -> Optional[QgsVectorLayer]:
    """Missed and false objects; matched ones can be switched on."""
    if not result.objects_path:
        return None
    layer = QgsVectorLayer(f"{result.objects_path}|layername=objects", tr("Missed and false objects"), "ogr")
    style_objects(layer)
    return layer


def error_layer(result: EvaluateResult) -> Optional[QgsRasterLayer]:
    """Correct, false and missed pixels; correct background is transparent."""
    if not result.errors_path:
        return None
    layer = QgsRasterLayer(result.errors_path, tr("Right, false and missed"))
    style_errors(layer)
    return layer


def style_objects(layer: QgsMapLayer) -> None:
    """Blue for missed, red for false, with a legend in the user's language."""
    layer.loadNamedStyle(str(STYLES_DIR / "objects.qml"))
    renderer = cast(QgsCategorizedSymbolRenderer, cast(QgsVectorLayer, layer).renderer())
    for index, category in enumerate(renderer.categories()):
        renderer.updateCategoryLabel(index, tr(category.label()))


def style_errors(layer: QgsMapLayer) -> None:
    """Green for correct, blue for missed, red for false, yellow for the wrong class; a legend as in `style_objects`."""
    layer.loadNamedStyle(str(STYLES_DIR / "errors.qml"))
    pixels = cast(QgsRasterLayer, layer)
    classes = cast(QgsPalettedRasterRenderer, pixels.renderer()).classes()
    for entry in classes:
        entry.label = tr(entry.label) if entry.label else ""
    pixels.setRenderer(QgsPalettedRasterRenderer(pixels.dataProvider(), 1, classes))
