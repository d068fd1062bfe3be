"""Keys on the map that go through squares, while one is in view."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.gui import QgsMapCanvas, QgsMapTool
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeyEvent

from ..layers.map_keys import KeyStep, StepKeys


class Step(KeyStep):
    """What a key does."""

    NEXT = (Qt.Key.Key_N,)
    PREVIOUS = (Qt.Key.Key_B,)
    ACCEPT = (Qt.Key.Key_A,)
    REJECT = (Qt.Key.Key_X, Qt.Key.Key_Delete)
    UNDO = (Qt.Key.Key_U,)


class ReviewKeys(StepKeys):
    """Leaves Delete to a tool that edits: it deletes a vertex.

    Args:
        canvas: the map.
        is_on: whether a square is in view.
    """

    def __init__(self, canvas: QgsMapCanvas, is_on: Callable[[], bool]) -> None:
        super().__init__(canvas, Step, is_on)

    def _step(self, event: QKeyEvent) -> Optional[KeyStep]:
        return None if event.key() == Qt.Key.Key_Delete and self._tool_edits() else super()._step(event)

    def _tool_edits(self) -> bool:
        tool = self._canvas.mapTool()
        return tool is not None and bool(tool.flags() & QgsMapTool.Flag.EditTool)
