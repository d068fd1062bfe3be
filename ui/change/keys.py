"""Keys on the map that go through changes; the same as for squares, where they mean the same."""

from __future__ import annotations

from qgis.PyQt.QtCore import Qt

from ..layers.map_keys import KeyStep


class Step(KeyStep):
    """What a key does."""

    NEXT = (Qt.Key.Key_N,)
    PREVIOUS = (Qt.Key.Key_B,)
    RIGHT = (Qt.Key.Key_A,)
    WRONG = (Qt.Key.Key_X,)
    UNSURE = (Qt.Key.Key_D,)
    UNDO = (Qt.Key.Key_U,)
