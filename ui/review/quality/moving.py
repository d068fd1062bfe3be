"""Moving labels to where they fit the image: an edit that the user asks for, and can undo."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsFeatureRequest, QgsGeometry, QgsVectorLayer

from ...label.project import edit
from ...toolkit.words import tr


def targets(layer: QgsVectorLayer, place: Optional[QgsGeometry]) -> list[int]:
    """The labels to move: those that are selected, else those that touch a place, else all."""
    if layer.selectedFeatureCount():
        return list(layer.selectedFeatureIds())
    if place is None:
        return list(layer.allFeatureIds())
    request = QgsFeatureRequest().setNoAttributes().setFilterRect(place.boundingBox())
    return [feature.id() for feature in layer.getFeatures(request) if feature.geometry().intersects(place)]


def move(layer: QgsVectorLayer, numbers: list[int], step: tuple[float, float], way: str) -> None:
    """Move labels as one undo step; editing starts if it has not.

    Args:
        step: in units of the layer's CRS; `way` says it in words.

    Raises:
        OrthomaskError: the layer cannot be edited.
    """
    edit(layer)
    layer.beginEditCommand(tr("Move labels {}").format(way))
    request = QgsFeatureRequest().setNoAttributes().setFilterFids(numbers)
    for feature in list(layer.getFeatures(request)):
        geometry = QgsGeometry(feature.geometry())
        geometry.translate(*step)
        layer.changeGeometry(feature.id(), geometry)
    layer.endEditCommand()
    layer.triggerRepaint()
