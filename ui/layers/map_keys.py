"""Keys on the map: they act while the canvas has the focus, before any QGIS shortcut that uses them."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, Callable, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence

WITH: tuple[object, ...] = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
"""Modifiers of a plain key."""


class MapKeys(QObject):
    """Listens to the canvas; what is typed elsewhere is not affected. A key that is held acts once.

    Args:
        canvas: the map.
        meaning: what a key means now; None for nothing.
    """

    pressed = pyqtSignal(object)
    """The meaning of the key."""

    def __init__(self, canvas: QgsMapCanvas, meaning: Callable[[QKeyEvent], Optional[Any]]) -> None:
        super().__init__()
        self._canvas, self._meaning = canvas, meaning
        canvas.installEventFilter(self)

    def release(self) -> None:
        """Stop listening."""
        self._canvas.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key if it means something."""
        if event.type() not in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride) or not isinstance(event, QKeyEvent):
            return False
        meaning = self._meaning(event)
        if meaning is None:
            return False
        event.accept()
        if event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():
            self.pressed.emit(meaning)
        return True


class KeyStep(enum.Enum):
    """What keys do: each value is a tuple of keys, the first of which is shown in tool tips."""

    @property
    def key(self) -> str:
        """The key's name."""
        return QKeySequence(self.value[0]).toString(QKeySequence.SequenceFormat.NativeText)


class StepKeys(MapKeys):
    """Says which step was pressed.

    Args:
        canvas: the map.
        steps: all there are.
        is_on: whether the keys mean anything now.
    """

    def __init__(self, canvas: QgsMapCanvas, steps: Iterable[KeyStep], is_on: Callable[[], bool]) -> None:
        super().__init__(canvas, self._step)
        self._steps, self._is_on = tuple(steps), is_on

    def _step(self, event: QKeyEvent) -> Optional[KeyStep]:
        if event.modifiers() not in WITH or not self._is_on():
            return None
        return next((step for step in self._steps if event.key() in step.value), None)
