"""Keys 1 to 9 on the map set the class of labels, while labels are edited."""

from __future__ import annotations

from typing import Callable

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent

KEYS = (
    Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_4, Qt.Key.Key_5,
    Qt.Key.Key_6, Qt.Key.Key_7, Qt.Key.Key_8, Qt.Key.Key_9,
)  # fmt: skip
WITH: tuple[object, ...] = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)


class LabelKeys(QObject):
    """Listens while the canvas has the focus; digits typed elsewhere are not affected.

    Args:
        canvas: the map.
        class_count: how many keys are active now; 0 while no labels are edited.
    """

    pressed = pyqtSignal(int)
    """The number of a class, from 1."""

    def __init__(self, canvas: QgsMapCanvas, class_count: Callable[[], int]) -> None:
        super().__init__()
        self._canvas, self._class_count = canvas, class_count
        canvas.installEventFilter(self)

    def release(self) -> None:
        """Stop listening."""
        self._canvas.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key before any QGIS shortcut that uses it."""
        if event.type() not in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride):
            return False
        number = self._number(event) if isinstance(event, QKeyEvent) else 0
        if number == 0:
            return False
        event.accept()
        if event.type() == QEvent.Type.KeyPress:
            self.pressed.emit(number)
        return True

    def _number(self, event: QKeyEvent) -> int:
        """The class of the key; 0 for none."""
        if event.key() not in KEYS or event.modifiers() not in WITH:
            return 0
        number = KEYS.index(event.key()) + 1
        return number if number <= self._class_count() else 0
