"""A square that fills the map, with its outline, and how long somebody works on it."""

from __future__ import annotations

import time
from typing import Callable

from qgis.core import QgsGeometry, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject

from ..layers.spotlight import Spotlight

MARGIN = 1.15
"""The view's side, in sides of the square."""
IDLE_SECONDS = 20.0
"""A longer pause is not work."""
WORK = frozenset({QEvent.Type.MouseMove, QEvent.Type.MouseButtonPress, QEvent.Type.Wheel, QEvent.Type.KeyPress})


class SquareView(QObject):
    """Shows one square at a time.

    Args:
        canvas: the map.
        now: seconds of a clock.
    """

    def __init__(self, canvas: QgsMapCanvas, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._canvas, self._now = canvas, now
        self._spotlight = Spotlight(canvas, MARGIN)
        self._last = 0.0
        self.seconds = 0.0
        """Of work since the square was shown."""
        self._watched = (canvas, canvas.viewport())
        for widget in self._watched:
            widget.installEventFilter(self)

    def release(self) -> None:
        """Leave the canvas as it was."""
        self.hide()
        for widget in self._watched:
            widget.removeEventFilter(self)

    def show(self, geometry: QgsGeometry, areas: QgsVectorLayer) -> None:
        """Zoom to a square of this layer, and outline it."""
        self.seconds, self._last = 0.0, self._now()
        self._spotlight.show(geometry, areas.crs())

    def hide(self) -> None:
        """Take the outline away."""
        self._spotlight.hide()

    def note_work(self) -> None:
        """Count the time since the last sign of work, unless it was long."""
        now = self._now()
        self.seconds += now - self._last if now - self._last <= IDLE_SECONDS else 0.0
        self._last = now

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note that somebody works; takes no event."""
        if self._spotlight.is_on and event.type() in WORK:
            self.note_work()
        return False
