"""Keys on the map: they act while the canvas has the focus, before any QGIS shortcut that uses them."""

from __future__ import annotations

from typing import Any, Callable, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent


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
