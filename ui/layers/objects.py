"""The polygons of a layer at a place, with unsaved edits."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsFeature, QgsFeatureRequest, QgsGeometry, QgsPointXY, QgsRectangle, QgsVectorLayer


def object_at(layer: QgsVectorLayer, place: QgsPointXY) -> Optional[QgsFeature]:
    """The smallest polygon at a place in the layer's CRS."""
    point = QgsGeometry.fromPointXY(place)
    found = [each for each in near(layer, QgsRectangle(place, place)) if each.geometry().intersects(point)]
    return min(found, key=lambda each: each.geometry().area(), default=None)


def near(layer: QgsVectorLayer, box: QgsRectangle) -> list[QgsFeature]:
    """The polygons whose bounding box touches another one."""
    box = QgsRectangle(box)
    box.grow(1e-9 * max(1.0, abs(box.xMinimum())))  # an empty rectangle would find everything
    request = QgsFeatureRequest().setFilterRect(box)
    found = list(layer.getFeatures(request))
    if not found and _is_deaf(layer):
        layer.dataProvider().reloadData()
        found = list(layer.getFeatures(request))
    return [each for each in found if each.hasGeometry()]


def _is_deaf(layer: QgsVectorLayer) -> bool:
    """Whether a layer with features returns none.

    A connection to a file that QGIS opens just when editing starts, to draw the map, can find nothing. QGIS 3.22 keeps
    and reuses it.
    """
    first = QgsFeatureRequest().setLimit(1).setFlags(QgsFeatureRequest.Flag.NoGeometry)
    return layer.featureCount() > 0 and not list(layer.getFeatures(first))
