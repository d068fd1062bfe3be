"""Map tools that draw a region: rectangle, polygon, freehand. They depend on nothing but the canvas."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsGeometry, QgsPointXY, QgsRectangle, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QKeyEvent

REGION_COLOR = QColor(0, 120, 212)
DRAWING_ALPHA = 40


def region_band(canvas: QgsMapCanvas, alpha: int = 0) -> QgsRubberBand:
    """A rubber band in the region's colours, visible on dark and bright imagery; `alpha` (0 to 255) fills it."""
    band = QgsRubberBand(canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
    fill = QColor(REGION_COLOR)
    fill.setAlpha(alpha)
    band.setFillColor(fill)
    band.setStrokeColor(REGION_COLOR)
    band.setSecondaryStrokeColor(QColor(255, 255, 255, 200))
    band.setWidth(2)
    return band


class RegionTool(QgsMapTool):
    """Collects points and shows them as a polygon; Escape cancels."""

    drawn = pyqtSignal(QgsGeometry)
    """The polygon that was drawn, in the canvas's CRS."""
    given_up = pyqtSignal()
    """Escape was pressed."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._points: list[QgsPointXY] = []
        self._band: Optional[QgsRubberBand] = None
        self.setCursor(Qt.CursorShape.CrossCursor)

    def activate(self) -> None:
        """Listen to the canvas's keys: the tool itself gets none while a mouse button is down."""
        super().activate()
        self.canvas().setFocus()  # Escape works at once, without a click
        self.canvas().keyPressed.connect(self._take_key)

    def deactivate(self) -> None:
        """Discard an unfinished drawing when another tool takes over."""
        self.canvas().keyPressed.disconnect(self._take_key)
        self._clear()
        super().deactivate()

    def _take_key(self, event: QKeyEvent) -> None:
        """Cancel on Escape; remove a point on Backspace."""
        if event.key() == Qt.Key.Key_Escape:
            self._clear()
            self.given_up.emit()
        elif event.key() == Qt.Key.Key_Backspace and self._points:
            self._points.pop()
            self._show(self._points)

    def _show(self, points: list[QgsPointXY]) -> None:
        if self._band is None:
            self._band = region_band(self.canvas(), DRAWING_ALPHA)
        self._band.setToGeometry(QgsGeometry.fromPolygonXY([points]))

    def _clear(self) -> None:
        self._points = []
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None

    def _finish(self, geometry: QgsGeometry) -> None:
        self._clear()
        self.drawn.emit(geometry)


class RectangleTool(RegionTool):
    """Press, drag, release."""

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        """Set the first corner."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._points = [event.mapPoint()]

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Show the rectangle to the pointer."""
        if self._points:
            self._show(_corners(self._points[0], event.mapPoint()))

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """Set the opposite corner."""
        if self._points and event.button() == Qt.MouseButton.LeftButton:
            self._finish(QgsGeometry.fromPolygonXY([_corners(self._points[0], event.mapPoint())]))


class PolygonTool(RegionTool):
    """Click corners; a right click or a double click finishes."""

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        """Add a corner, or finish."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._points.append(event.mapPoint())
            self._show(self._points)
        elif event.button() == Qt.MouseButton.RightButton:
            self._close()

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Show the polygon to the pointer."""
        if self._points:
            self._show([*self._points, event.mapPoint()])

    def canvasDoubleClickEvent(self, event: QgsMapMouseEvent) -> None:
        """Finish: the first of the two clicks has already set the corner."""
        self._close()

    def _close(self) -> None:
        if len(self._points) >= 3:
            self._finish(QgsGeometry.fromPolygonXY([self._points]))


class FreehandTool(RegionTool):
    """Press, draw around, release."""

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        """Begin the line."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._points = [event.mapPoint()]

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Draw on."""
        if self._points:
            self._points.append(event.mapPoint())
            self._show(self._points)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """Close the line, and smooth out detail below two screen pixels."""
        if len(self._points) >= 3 and event.button() == Qt.MouseButton.LeftButton:
            polygon = QgsGeometry.fromPolygonXY([self._points])
            self._finish(polygon.simplify(2 * self.canvas().mapUnitsPerPixel()))


def _corners(a: QgsPointXY, b: QgsPointXY) -> list[QgsPointXY]:
    box = QgsRectangle(a, b)
    left, right, bottom, top = box.xMinimum(), box.xMaximum(), box.yMinimum(), box.yMaximum()
    return [QgsPointXY(left, bottom), QgsPointXY(right, bottom), QgsPointXY(right, top), QgsPointXY(left, top)]
