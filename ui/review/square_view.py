"""A square that fills the map, with its outline, and how long somebody works on it."""

from __future__ import annotations

import time
from typing import Callable, Optional

from qgis.core import QgsCoordinateTransform, QgsCsException, QgsGeometry, QgsProject, QgsRectangle, QgsVectorLayer
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt.QtCore import QEvent, QObject

from ..layers.map_tools import region_band

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
        self._band: Optional[QgsRubberBand] = None
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
        self.hide()
        self.seconds, self._last = 0.0, self._now()
        place, crs = QgsGeometry(geometry), self._canvas.mapSettings().destinationCrs()
        try:
            place.transform(QgsCoordinateTransform(areas.crs(), crs, QgsProject.instance()))
        except QgsCsException:
            return  # the map's CRS has no place for it
        self._canvas.setExtent(view_of(place, self._canvas.rotation()))
        self._canvas.refresh()
        self._band = region_band(self._canvas)
        self._band.setToGeometry(place, None)

    def hide(self) -> None:
        """Take the outline away."""
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None

    def note_work(self) -> None:
        """Count the time since the last sign of work, unless it was long."""
        now = self._now()
        self.seconds += now - self._last if now - self._last <= IDLE_SECONDS else 0.0
        self._last = now

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note that somebody works; takes no event."""
        if self._band is not None and event.type() in WORK:
            self.note_work()
        return False


def view_of(place: QgsGeometry, rotation: float, margin: float = MARGIN) -> QgsRectangle:
    """The extent of a map, turned by `rotation` degrees clockwise, that a geometry fills but for a margin.

    Args:
        margin: the extent's side, in sides of the geometry.
    """
    turned, centre = QgsGeometry(place), place.boundingBox().center()
    turned.rotate(rotation, centre)
    extent = turned.boundingBox()
    centre_there = QgsGeometry.fromPointXY(extent.center())
    centre_there.rotate(-rotation, centre)
    extent.scale(margin)
    middle = centre_there.asPoint()
    return QgsRectangle.fromCenterAndSize(middle, extent.width(), extent.height())
