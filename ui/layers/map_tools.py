"""Map tools that draw a region, and one that points at objects. They depend on nothing but the canvas."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsGeometry, QgsPointXY, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QKeyEvent, QPalette, QWheelEvent
from qgis.PyQt.QtWidgets import QFrame, QLabel, QToolTip, QWidget

from ..toolkit.present import present
from ..toolkit.words import area_in_words
from .sources import PickedRegion

REGION_COLOR = QColor(0, 120, 212)
DRAWING_ALPHA = 40
BESIDE_POINTER = QPoint(16, 16)
"""Pixels from the pointer to the words beside it."""
ROW_PX = 1000
"""Length of the row of screen pixels whose direction on the map is measured."""
OBJECT_COLOR = QColor(255, 200, 0)
OBJECT_ALPHA = 70
NOTCH = 120.0
"""What a wheel's notch turns, in Qt's units."""


def region_band(canvas: QgsMapCanvas, alpha: int = 0) -> QgsRubberBand:
    """A rubber band in the region's colours; `alpha` (0 to 255) fills it."""
    return cased_band(canvas, QgsWkbTypes.GeometryType.PolygonGeometry, REGION_COLOR, alpha, QColor(255, 255, 255, 200))


def cased_band(canvas: QgsMapCanvas, kind: Any, color: QColor, alpha: int, casing: QColor) -> QgsRubberBand:
    """A rubber band that is visible on dark and bright imagery; `alpha` (0 to 255) fills it."""
    band = QgsRubberBand(canvas, kind)
    fill = QColor(color)
    fill.setAlpha(alpha)
    band.setFillColor(fill)
    band.setStrokeColor(color)
    band.setSecondaryStrokeColor(casing)
    band.setWidth(2)
    return band


def object_band(canvas: QgsMapCanvas, kind: Any) -> QgsRubberBand:
    """A rubber band for objects that are meant."""
    return cased_band(canvas, kind, OBJECT_COLOR, OBJECT_ALPHA, QColor(0, 0, 0, 160))


class PointerWords(QLabel):
    """Words beside the pointer, in the colours of a tool tip; never where the pointer is.

    Args:
        viewport: of the canvas.
    """

    def __init__(self, viewport: QWidget) -> None:
        super().__init__(viewport)
        palette = QToolTip.palette()
        palette.setColor(QPalette.ColorRole.Window, palette.color(QPalette.ColorRole.ToolTipBase))
        palette.setColor(QPalette.ColorRole.WindowText, palette.color(QPalette.ColorRole.ToolTipText))
        self.setPalette(palette)
        self.setAutoFillBackground(True)
        self.setFrameShape(QFrame.Shape.Box)
        self.setMargin(2)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def show_at(self, pointer: QPoint, text: str) -> None:
        """Show the text below and right of the pointer, or on its other side near an edge."""
        self.setText(text)
        self.adjustSize()
        near, far, room = pointer + BESIDE_POINTER, pointer - BESIDE_POINTER, self.parentWidget().rect()
        x = near.x() if near.x() + self.width() <= room.right() else far.x() - self.width()
        y = near.y() if near.y() + self.height() <= room.bottom() else far.y() - self.height()
        self.move(x, y)
        self.show()


class CanvasTool(QgsMapTool):
    """Takes the canvas's keys, and gives the canvas back to the tool that was used before; Escape cancels."""

    given_up = pyqtSignal()
    """Escape was pressed."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._before: Optional[QgsMapTool] = None
        self.setCursor(Qt.CursorShape.CrossCursor)
        canvas.mapToolSet.connect(self._note_tool)

    def leave(self) -> None:
        """Give the canvas back to the tool that was used before, if this one is in use."""
        if self.canvas().mapTool() is not self:
            return
        self.canvas().unsetMapTool(self)
        if self._before is not None:
            self.canvas().setMapTool(self._before)

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
        """Cancel on Escape."""
        if event.key() == Qt.Key.Key_Escape:
            self._clear()
            self.given_up.emit()

    def _note_tool(self, now: Optional[QgsMapTool], before: Optional[QgsMapTool]) -> None:
        """Remember which tool this one replaces; of several tools of ours in a row, the one before them."""
        if now is not self or before is self:
            return
        if self._before is not None:
            self._before.destroyed.disconnect(self._forget_tool)
        self._before = before._before if isinstance(before, CanvasTool) else before
        if self._before is not None:
            self._before.destroyed.connect(self._forget_tool)

    def _forget_tool(self) -> None:
        self._before = None

    def _clear(self) -> None:
        """Discard what is unfinished."""


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


class RegionTool(CanvasTool):
    """Collects points, and shows them as a polygon with its area."""

    drawn = pyqtSignal(QgsGeometry)
    """The polygon that was drawn, in the canvas's CRS."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._points: list[QgsPointXY] = []
        self._band: Optional[QgsRubberBand] = None
        self._words: Optional[PointerWords] = None

    def _take_key(self, event: QKeyEvent) -> None:
        """Remove a point on Backspace."""
        super()._take_key(event)
        if event.key() == Qt.Key.Key_Backspace and self._points:
            self._points.pop()
            self._show(self._points)

    def _show(self, points: list[QgsPointXY]) -> None:
        canvas = self.canvas()
        if self._band is None:
            self._band, self._words = region_band(canvas, DRAWING_ALPHA), PointerWords(canvas.viewport())
        polygon, crs = QgsGeometry.fromPolygonXY([points]), canvas.mapSettings().destinationCrs()
        self._band.setToGeometry(polygon)
        if self._words is not None and crs.isValid() and len(points) > 2:
            self._words.show_at(canvas.mouseLastXY(), area_in_words(PickedRegion(polygon, crs).area_m2))

    def _clear(self) -> None:
        self._points = []
        if self._words is not None:
            self._words.hide()  # else visible until it is deleted
            self._words.deleteLater()
            self._words = None
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
            self._show(self._corners(event.mapPoint()))

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """Set the opposite corner."""
        if self._points and event.button() == Qt.MouseButton.LeftButton:
            self._finish(QgsGeometry.fromPolygonXY([self._corners(event.mapPoint())]))

    def _corners(self, opposite: QgsPointXY) -> list[QgsPointXY]:
        """The corners of a rectangle that is upright on the screen, also where the map is rotated."""
        first, view = self._points[0], present(self.canvas().getCoordinateTransform())
        row = view.toMapCoordinates(ROW_PX, 0) - view.toMapCoordinates(0, 0)
        across = row * ((opposite - first) * row / row.lengthSquared())
        return [first, first + across, opposite, opposite - across]


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
