"""A change that fills the map, with its outline."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsCsException, QgsGeometry, QgsProject
from qgis.gui import QgsMapCanvas, QgsRubberBand

from ..layers.ground import ground_units
from ..layers.map_tools import region_band
from ..review.square_view import view_of

ROOM, LEAST_M = 2.0, 20.0
"""The view: so many sides of the change, and at least so many metres."""


class ChangeView:
    """Shows one change at a time.

    Args:
        canvas: the map.
    """

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self._canvas = canvas
        self._band: Optional[QgsRubberBand] = None

    def show(self, geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> None:
        """Zoom to a change, and outline it."""
        self.hide()
        place, target = QgsGeometry(geometry), self._canvas.mapSettings().destinationCrs()
        try:
            place.transform(QgsCoordinateTransform(crs, target, QgsProject.instance()))
        except QgsCsException:
            return  # the map's CRS has no place for it
        box = place.boundingBox()
        size_m = max(box.width(), box.height()) * max(ground_units(target, box))
        self._canvas.setExtent(view_of(place, self._canvas.rotation(), max(ROOM, LEAST_M / max(size_m, 0.1))))
        self._canvas.refresh()
        self._band = region_band(self._canvas)
        self._band.setToGeometry(place, None)

    def hide(self) -> None:
        """Take the outline away."""
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None
