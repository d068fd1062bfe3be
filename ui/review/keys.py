"""Keys on the map that go through squares, while one is in view."""

from __future__ import annotations

import enum
from typing import Callable, Optional

from qgis.gui import QgsMapCanvas, QgsMapTool
from qgis.PyQt.QtCore import QEvent, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence

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


class ReviewKeys(QObject):
    """Listens while the canvas has the focus; letters typed elsewhere are not affected.

    Args:
        canvas: the map.
        is_on: whether a square is in view.
    """

    pressed = pyqtSignal(object)
    """A `Step`."""

    def __init__(self, canvas: QgsMapCanvas, is_on: Callable[[], bool]) -> None:
        super().__init__()
        self._canvas, self._is_on = canvas, is_on
        canvas.installEventFilter(self)

    def release(self) -> None:
        """Stop listening."""
        self._canvas.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key before any QGIS shortcut that uses it."""
        if event.type() not in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride):
            return False
        step = self._step(event) if isinstance(event, QKeyEvent) and self._is_on() else None
        if step is None:
            return False
        event.accept()
        if event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():  # type: ignore[attr-defined]
            self.pressed.emit(step)  # a key that is held must not accept square after square
        return True

    def _step(self, event: QKeyEvent) -> Optional[Step]:
        if event.modifiers() not in WITH:
            return None
        if event.key() == Qt.Key.Key_Delete and self._tool_edits():
            return None  # it deletes a vertex
        return next((step for step in Step if event.key() in step.value), None)

    def _tool_edits(self) -> bool:
        tool = self._canvas.mapTool()
        return tool is not None and bool(tool.flags() & QgsMapTool.Flag.EditTool)
