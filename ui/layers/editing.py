"""Begin an edit."""

from __future__ import annotations

from qgis.core import QgsVectorLayer

from ..toolkit.present import present


def start_editing(layer: QgsVectorLayer) -> bool:
    """Start editing, unless the layer is edited already; returns whether it is edited now."""
    if layer.isEditable():
        return True
    if layer.readOnly() or not layer.startEditing():
        return False
    present(layer.dataProvider()).reloadData()  # connections opened meanwhile, to draw the map, can find nothing
    return True
