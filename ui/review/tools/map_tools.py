"""A map tool that draws a line across an object. It depends on nothing but the canvas."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsGeometry, QgsPointXY, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QApplication

from ...layers.map_tools import CanvasTool, object_band


class LineTool(CanvasTool):
    """A straight line: press, drag, release; or click both ends."""

    drawn = pyqtSignal(QgsGeometry)
    """The line, in the canvas's CRS."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._begin: Optional[QgsPointXY] = None
        self._pressed = QPoint()
        self._band: Optional[QgsRubberBand] = None

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        """Begin the line, unless it has begun."""
        if event.button() == Qt.MouseButton.LeftButton and self._begin is None:
            self._begin, self._pressed = event.mapPoint(), event.pos()

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Show the line to the pointer."""
        if self._begin is None:
            return
        if self._band is None:
            self._band = object_band(self.canvas(), QgsWkbTypes.GeometryType.LineGeometry)
        self._band.setToGeometry(QgsGeometry.fromPolylineXY([self._begin, event.mapPoint()]))

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """End the line where the button is released; a click is its beginning only."""
        moved = (event.pos() - self._pressed).manhattanLength() >= QApplication.startDragDistance()
        if event.button() != Qt.MouseButton.LeftButton or self._begin is None or not moved:
            return
        line = QgsGeometry.fromPolylineXY([self._begin, event.mapPoint()])
        self._clear()
        self.drawn.emit(line)

    def _clear(self) -> None:
        self._begin = None
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None
