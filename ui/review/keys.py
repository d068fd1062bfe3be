"""Keys on the map that go through squares, while one is in view."""

from __future__ import annotations

import enum
from typing import Callable, Optional

from qgis.gui import QgsMapCanvas, QgsMapTool
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence

from ..layers.map_keys import MapKeys

WITH: tuple[object, ...] = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)


class Step(enum.Enum):
    """What a key does; its first key is shown in tool tips."""

    NEXT = (Qt.Key.Key_N,)
    PREVIOUS = (Qt.Key.Key_B,)
    ACCEPT = (Qt.Key.Key_A,)
    REJECT = (Qt.Key.Key_X, Qt.Key.Key_Delete)
    UNDO = (Qt.Key.Key_U,)

    @property
    def key(self) -> str:
        """The key's name."""
        return QKeySequence(self.value[0]).toString(QKeySequence.SequenceFormat.NativeText)


class ReviewKeys(MapKeys):
    """Says which `Step` was pressed.

    Args:
        canvas: the map.
        is_on: whether a square is in view.
    """

    def __init__(self, canvas: QgsMapCanvas, is_on: Callable[[], bool]) -> None:
        super().__init__(canvas, self._step)
        self._is_on = is_on

    def _step(self, event: QKeyEvent) -> Optional[Step]:
        if event.modifiers() not in WITH or not self._is_on():
            return None
        if event.key() == Qt.Key.Key_Delete and self._tool_edits():
            return None  # it deletes a vertex
        return next((step for step in Step if event.key() in step.value), None)

    def _tool_edits(self) -> bool:
        tool = self._canvas.mapTool()
        return tool is not None and bool(tool.flags() & QgsMapTool.Flag.EditTool)
