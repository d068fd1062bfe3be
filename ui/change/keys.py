"""Keys on the map that go through changes, while one is in view; the same as for squares, where they mean the same."""

from __future__ import annotations

import enum
from typing import Callable, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence

from ..layers.map_keys import MapKeys
from ..review.keys import WITH


class Step(enum.Enum):
    """What a key does."""

    NEXT = Qt.Key.Key_N
    PREVIOUS = Qt.Key.Key_B
    RIGHT = Qt.Key.Key_A
    WRONG = Qt.Key.Key_X
    UNSURE = Qt.Key.Key_D
    UNDO = Qt.Key.Key_U

    @property
    def key(self) -> str:
        """The key's name."""
        return QKeySequence(self.value).toString(QKeySequence.SequenceFormat.NativeText)


class ChangeKeys(MapKeys):
    """Says which `Step` was pressed.

    Args:
        canvas: the map.
        is_on: whether a change is in view.
    """

    def __init__(self, canvas: QgsMapCanvas, is_on: Callable[[], bool]) -> None:
        super().__init__(canvas, self._step)
        self._is_on = is_on

    def _step(self, event: QKeyEvent) -> Optional[Step]:
        if event.modifiers() not in WITH or not self._is_on():
            return None
        return next((step for step in Step if event.key() == step.value), None)
