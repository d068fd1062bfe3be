"""Keys 1 to 9 on the map set the class of labels, while labels are edited."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeyEvent

from ..layers.map_keys import MapKeys

KEYS = (
    Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_4, Qt.Key.Key_5,
    Qt.Key.Key_6, Qt.Key.Key_7, Qt.Key.Key_8, Qt.Key.Key_9,
)  # fmt: skip
WITH: tuple[object, ...] = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)


class LabelKeys(MapKeys):
    """Says which class was pressed: its number, from 1.

    Args:
        canvas: the map.
        class_count: how many keys are active now; 0 while no labels are edited.
    """

    def __init__(self, canvas: QgsMapCanvas, class_count: Callable[[], int]) -> None:
        super().__init__(canvas, self._number)
        self._class_count = class_count

    def _number(self, event: QKeyEvent) -> Optional[int]:
        if event.key() not in KEYS or event.modifiers() not in WITH:
            return None
        number = KEYS.index(event.key()) + 1
        return number if number <= self._class_count() else None
