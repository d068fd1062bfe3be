"""Blink: the other date, as long as a key or a button is held."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import QgsMapLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, QRectF, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent

from ..layers.map_keys import WITH, MapKeys
from .map_tools import TOP_LEFT
from .pictures import DatePicture, MapCover, Part

KEY = Qt.Key.Key_O


class Blink(QObject):
    """Covers the map with the other date, from `show` to `hide`.

    Args:
        canvas: the map.
    """

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__()
        self._canvas = canvas
        self._picture: Optional[DatePicture] = None
        self._cover: Optional[MapCover] = None
        self._title = ""

    @property
    def is_on(self) -> bool:
        """Whether the other date is shown, or is about to be."""
        return self._cover is not None

    def show(self, image: QgsMapLayer) -> None:
        """Show the map with this image."""
        if self.is_on:
            return
        self._title = image.name()
        self._cover = MapCover(self._canvas)
        self._picture = DatePicture(self._canvas, image.id())
        self._picture.ready.connect(self._draw)
        self._picture.start()

    def hide(self) -> None:
        """Show the map itself again."""
        if self._picture is not None:
            self._picture.stop()
            self._picture = None
        if self._cover is not None:
            self._cover.remove()
            self._cover = None

    def _draw(self) -> None:
        if self._cover is not None and self._picture is not None:
            whole = QRectF(0, 0, self._canvas.width(), self._canvas.height())
            self._cover.show_parts(Part(self._picture, whole, self._title, TOP_LEFT))


class BlinkKey(MapKeys):
    """Says when the key is pressed on the map, and when it is released.

    Args:
        canvas: the map.
        is_on: whether the key means anything now.
    """

    released = pyqtSignal()

    def __init__(self, canvas: QgsMapCanvas, is_on: Callable[[], bool]) -> None:
        super().__init__(
            canvas, lambda event: KEY if event.key() == KEY and event.modifiers() in WITH and is_on() else None
        )

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note the release, also that of a key whose canvas has lost the focus."""
        if event.type() == QEvent.Type.FocusOut:
            self.released.emit()
        if event.type() == QEvent.Type.KeyRelease and isinstance(event, QKeyEvent) and event.key() == KEY:
            if not event.isAutoRepeat():
                self.released.emit()
            return False
        return super().eventFilter(watched, event)
