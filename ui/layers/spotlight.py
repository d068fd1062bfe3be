"""A place that fills the map, with its outline."""

from __future__ import annotations

from typing import Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas, QgsRubberBand

from .ground import ground_units
from .map_tools import region_band


class Spotlight:
    """Shows one place at a time.

    Args:
        canvas: the map.
        margin: the view's side, in sides of the place.
        least_m: the view's side, at least, in metres on the ground.
    """

    def __init__(self, canvas: QgsMapCanvas, margin: float, least_m: float = 0.0) -> None:
        self._canvas, self._margin, self._least_m = canvas, margin, least_m
        self._band: Optional[QgsRubberBand] = None

    @property
    def is_on(self) -> bool:
        """Whether a place is outlined."""
        return self._band is not None

    def show(self, geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> None:
        """Zoom to a place, and outline it."""
        self.hide()
        place, target = QgsGeometry(geometry), self._canvas.mapSettings().destinationCrs()
        try:
            place.transform(QgsCoordinateTransform(crs, target, QgsProject.instance()))
        except QgsCsException:
            return  # the map's CRS has no place for it
        box = place.boundingBox()
        size_m = max(box.width(), box.height()) * max(ground_units(target, box))
        margin = max(self._margin, self._least_m / max(size_m, 0.1))
        self._canvas.setExtent(view_of(place, self._canvas.rotation(), margin))
        self._canvas.refresh()
        self._band = region_band(self._canvas)
        self._band.setToGeometry(place, None)

    def hide(self) -> None:
        """Take the outline away."""
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None


def view_of(place: QgsGeometry, rotation: float, margin: float) -> QgsRectangle:
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
