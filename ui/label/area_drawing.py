"""Drawing areas as rectangles, one after the other, until Escape is pressed."""

from __future__ import annotations

from typing import Optional

from qgis.core import (
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject

from ..layers.map_tools import RectangleTool
from ..toolkit.words import tr


class AreaDrawing(QObject):
    """Adds the rectangles drawn on the map to the edits of a layer, with its default values.

    Args:
        canvas: the map.
    """

    def __init__(self, canvas: QgsMapCanvas, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._layer: Optional[QgsVectorLayer] = None
        self.tool = RectangleTool(canvas)
        self.tool.drawn.connect(self._add)
        self.tool.given_up.connect(self.tool.leave)

    def begin(self, layer: QgsVectorLayer) -> None:
        """Draw into this layer, which is being edited."""
        self._layer = layer
        self._canvas.setMapTool(self.tool)

    def end(self) -> None:
        """Give the map back to the tool that was used before."""
        self._layer = None
        self.tool.leave()

    def release(self) -> None:
        """End for good."""
        self.end()
        self.tool.deleteLater()

    def _add(self, drawn: QgsGeometry) -> None:
        layer = self._layer
        if layer is None or not layer.isEditable() or drawn.area() == 0:
            return
        geometry, crs = QgsGeometry(drawn), self._canvas.mapSettings().destinationCrs()
        try:
            geometry.transform(QgsCoordinateTransform(crs, layer.crs(), QgsProject.instance()))
        except QgsCsException:
            return  # drawn where the layer's CRS has no place
        geometry.convertToMultiType()
        layer.beginEditCommand(tr("Draw area"))
        layer.addFeature(QgsVectorLayerUtils.createFeature(layer, geometry))
        layer.endEditCommand()
        layer.triggerRepaint()
