"""Keys on the map that press the buttons of the tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence
from qgis.PyQt.QtWidgets import QToolButton

from ...layers.map_keys import MapKeys

WITH: tuple[object, ...] = (Qt.KeyboardModifier.NoModifier,)


class ToolKeys(MapKeys):
    """Clicks the button whose letter is pressed.

    Args:
        canvas: the map.
        buttons: each with its letter as the property `key`.
        is_on: whether the keys act.
    """

    def __init__(self, canvas: QgsMapCanvas, buttons: Sequence[QToolButton], is_on: Callable[[], bool]) -> None:
        super().__init__(canvas, self._button)
        self._is_on = is_on
        self._buttons = {QKeySequence(button.property("key")).toString(): button for button in buttons}
        self.pressed.connect(lambda button: button.click())

    def _button(self, event: QKeyEvent) -> Optional[QToolButton]:
        if event.modifiers() not in WITH or not self._is_on():
            return None
        button = self._buttons.get(QKeySequence(event.key()).toString())
        return button if button is not None and button.isEnabled() else None
