"""Swipe: the earlier image on the left of a line, or above it, the later one on its other side."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsMapLayer
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent
from qgis.PyQt.QtCore import QLineF, QPoint, QRectF, Qt

from ..layers.map_tools import CanvasTool
from .pictures import DatePicture, MapCover, Part

ENOUGH_PX = 4
"""A drag must be longer than this to say in which direction it goes."""
TOP_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop
TOP_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
BOTTOM_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom


class SwipeTool(CanvasTool):
    """A map tool: dragging sideways moves an upright line, dragging up or down a level one."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._sides: tuple[DatePicture, ...] = ()
        self._titles = ("", "")
        self._cover: Optional[MapCover] = None
        self._from: Optional[QPoint] = None
        self._upright = True
        self._at = 0.5
        """Where the line is: part of the canvas's width or height."""
        self.setCursor(Qt.CursorShape.SplitHCursor)

    def compare(self, earlier: QgsMapLayer, later: QgsMapLayer) -> None:
        """Show these images, the line in the middle, and take over the canvas."""
        self.leave()
        canvas = self.canvas()
        self._titles = earlier.name(), later.name()
        self._upright, self._at = True, 0.5
        self._cover = MapCover(canvas)
        self._sides = tuple(DatePicture(canvas, layer.id()) for layer in (earlier, later))
        for side in self._sides:
            side.ready.connect(self._show)
            side.start()
        canvas.setMapTool(self)
        self._show()

    @property
    def line(self) -> QLineF:
        """The line, in pixels of the canvas."""
        width, height = self.canvas().width(), self.canvas().height()
        if self._upright:
            return QLineF(self._at * width, 0, self._at * width, height)
        return QLineF(0, self._at * height, width, self._at * height)

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        """Begin to drag."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._from = event.pos()

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Move the line to the pointer."""
        if self._from is None:
            return
        way = event.pos() - self._from
        if way.manhattanLength() > ENOUGH_PX:
            if self._from != QPoint(-1, -1):
                self._upright = abs(way.x()) >= abs(way.y())
                self._from = QPoint(-1, -1)
            self._move(event.pos())

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """End of the drag; a click moves the line, too."""
        if self._from is not None and event.button() == Qt.MouseButton.LeftButton:
            self._move(event.pos())
            self._from = None

    def _move(self, place: QPoint) -> None:
        canvas = self.canvas()
        self._at = place.x() / canvas.width() if self._upright else place.y() / canvas.height()
        self.setCursor(Qt.CursorShape.SplitHCursor if self._upright else Qt.CursorShape.SplitVCursor)
        self._show()

    def _show(self) -> None:
        if self._cover is None:
            return
        line, width, height = self.line, self.canvas().width(), self.canvas().height()
        first = QRectF(0, 0, line.x2(), line.y2())
        second = QRectF(line.x1(), line.y1(), width - line.x1(), height - line.y1())
        corners: tuple[Any, Any] = (TOP_LEFT, TOP_RIGHT) if self._upright else (TOP_LEFT, BOTTOM_LEFT)
        parts = [Part(*each) for each in zip(self._sides, (first, second), self._titles, corners)]
        self._cover.show_parts(*parts, line=line)

    def _clear(self) -> None:
        """Discard the pictures; called on Escape, too."""
        for side in self._sides:
            side.stop()
        self._sides, self._from = (), None
        if self._cover is not None:
            self._cover.remove()
            self._cover = None
