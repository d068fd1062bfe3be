"""Map tools that point at objects, or draw a line across one. They depend on nothing but the canvas."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsGeometry, QgsPointXY, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QWheelEvent
from qgis.PyQt.QtWidgets import QApplication

from ...layers.map_tools import CanvasTool, PointerWords, cased_band

COLOR = QColor(255, 200, 0)
ALPHA = 70
NOTCH = 120.0
"""What a wheel's notch turns, in Qt's units."""


def object_band(canvas: QgsMapCanvas, kind: Any) -> QgsRubberBand:
    """A rubber band for objects that are meant."""
    return cased_band(canvas, kind, COLOR, ALPHA, QColor(0, 0, 0, 160))


class PointTool(CanvasTool):
    """Says where the pointer rests and clicks, and shows a geometry, or words, there."""

    hovered = pyqtSignal(QgsPointXY)
    clicked = pyqtSignal(QgsPointXY)
    """Places in the canvas's CRS."""
    turned = pyqtSignal(float)
    """Notches of the wheel, forwards."""

    def __init__(self, canvas: QgsMapCanvas, takes_wheel: bool = False) -> None:
        super().__init__(canvas)
        self._takes_wheel = takes_wheel
        self._pointer = QPoint()
        self._band: Optional[QgsRubberBand] = None
        self._words: Optional[PointerWords] = None

    def show_shape(self, geometry: Optional[QgsGeometry]) -> None:
        """Show a polygon in the canvas's CRS instead of what is shown; None for nothing."""
        self._clear()
        if geometry is not None and not geometry.isEmpty():
            self._band = object_band(self.canvas(), QgsWkbTypes.GeometryType.PolygonGeometry)
            self._band.setToGeometry(geometry)

    def say(self, text: str) -> None:
        """Show words beside the pointer instead of what is shown."""
        self._clear()
        if text:
            self._words = PointerWords(self.canvas().viewport())
            self._words.show_at(self._pointer, text)

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Say where the pointer is; words follow it."""
        self._pointer = event.pos()
        if self._words is not None:
            self._words.show_at(self._pointer, self._words.text())
        if not event.buttons():
            self.hovered.emit(event.mapPoint())

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """Say where it was clicked."""
        self._pointer = event.pos()
        if event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit(event.mapPoint())

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Say how far it was turned; with Ctrl, the map zooms as ever."""
        zooms = event.modifiers() & Qt.KeyboardModifier.ControlModifier
        if zooms or not self._takes_wheel:
            event.ignore()
            return
        self.turned.emit(event.angleDelta().y() / NOTCH)
        event.accept()

    def _clear(self) -> None:
        if self._words is not None:
            self._words.hide()  # else visible until it is deleted
            self._words.deleteLater()
            self._words = None
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None


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
