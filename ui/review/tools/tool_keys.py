"""Keys on the map that press the buttons of the tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, Qt
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence
from qgis.PyQt.QtWidgets import QToolButton

WITH: tuple[object, ...] = (Qt.KeyboardModifier.NoModifier,)


class ToolKeys(QObject):
    """Listens while the canvas has the focus; letters typed elsewhere are not affected.

    Args:
        canvas: the map.
        buttons: each with its letter as the property `key`.
        is_on: whether the keys act.
    """

    def __init__(self, canvas: QgsMapCanvas, buttons: Sequence[QToolButton], is_on: Callable[[], bool]) -> None:
        super().__init__()
        self._canvas, self._is_on = canvas, is_on
        self._buttons = {QKeySequence(button.property("key")).toString(): button for button in buttons}
        canvas.installEventFilter(self)

    def release(self) -> None:
        """Stop listening."""
        self._canvas.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key before any QGIS shortcut that uses it."""
        if event.type() not in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride):
            return False
        button = self._button(event) if isinstance(event, QKeyEvent) else None
        if button is None or not button.isEnabled():
            return False
        event.accept()
        if event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():  # type: ignore[attr-defined]
            button.click()
        return True

    def _button(self, event: QKeyEvent) -> Optional[QToolButton]:
        if event.modifiers() not in WITH or not self._is_on():
            return None
        return self._buttons.get(QKeySequence(event.key()).toString())
