"""*The map as it looks now*: all layers that the canvas shows, as one image, and the chooser that offers it."""

from __future__ import annotations

import math
from typing import Optional, Union

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsMapLayer,
    QgsMapLayerProxyModel,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorTileLayer,
)
from qgis.gui import QgsMapCanvas, QgsMapLayerComboBox
from qgis.PyQt.QtWidgets import QSizePolicy, QWidget

from ..toolkit.words import tr
from .ground import ground_units
from .pixels import MapPixels

STRETCH = 0.05
"""A CRS whose units differ by more than this to the east and to the north distorts the map."""


class MapView:
    """The visible layers of a canvas, with the methods of a layer that images need.

    Args:
        canvas: only read.
    """

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self._canvas = canvas

    def name(self) -> str:
        """Its name in lists and folders."""
        return tr("Map as it looks now")

    def source(self) -> str:
        """Empty: there is no source to break."""
        return ""

    def isValid(self) -> bool:
        """Always: it holds only what is shown."""
        return True

    def layers(self) -> list[QgsMapLayer]:
        """The layers shown, topmost first."""
        return [layer for layer in self._canvas.layers() if layer.isSpatial()]

    def extent(self) -> QgsRectangle:
        """The visible extent, in `crs`."""
        settings = self._canvas.mapSettings()
        transform = QgsCoordinateTransform(settings.destinationCrs(), self.crs(), QgsProject.instance())
        return transform.transformBoundingBox(settings.visibleExtent())

    def crs(self) -> QgsCoordinateReferenceSystem:
        """The map's CRS; the UTM zone of the visible part if the map's CRS would distort pixels."""
        settings = self._canvas.mapSettings()
        crs, visible = settings.destinationCrs(), settings.visibleExtent()
        if not crs.isGeographic():
            east, north = ground_units(crs, visible)
            if abs(east / north - 1) < STRETCH:
                return crs
        geographic = QgsCoordinateReferenceSystem("EPSG:4326")
        return utm_zone(QgsCoordinateTransform(crs, geographic, QgsProject.instance()).transform(visible.center()))

    def pixels(self) -> MapPixels:
        """Its pixels, as drawn. Main thread only."""
        return MapPixels.of(self.name(), self.layers(), self.crs(), self._canvas.mapSettings())


ImageSource = Union[QgsRasterLayer, QgsVectorTileLayer, MapView]
"""What can be used as an image."""


class ImageChooser(QgsMapLayerComboBox):
    """Offers all layers that can be used as an image and, last, the map itself.

    Args:
        canvas: whose map is offered.
    """

    def __init__(self, canvas: QgsMapCanvas, tip: str, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._map, self._map_wanted = MapView(canvas), False
        self.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer | QgsMapLayerProxyModel.Filter.VectorTileLayer)
        self.setAdditionalItems([self._map.name()])
        self.setToolTip(tip)
        self.setAccessibleName(tr("Image"))
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.activated.connect(self._note_choice)
        self.model().rowsInserted.connect(self._prefer_layer)
        self._prefer_layer()

    @property
    def image(self) -> Optional[ImageSource]:
        """What is chosen; None for nothing."""
        if self.currentLayer() is None and self.currentText() == self._map.name() and self._map.layers():
            return self._map
        chosen = self.currentLayer()
        return chosen if isinstance(chosen, (QgsRasterLayer, QgsVectorTileLayer)) else None

    @property
    def map_name(self) -> str:
        """The map's name among the layers."""
        return self._map.name()

    def choose_map(self) -> None:
        """Choose the map itself."""
        self.setCurrentIndex(self.count() - 1)
        self._note_choice()

    def _note_choice(self, *_: object) -> None:
        self._map_wanted = self.currentLayer() is None

    def _prefer_layer(self, *_: object) -> None:
        """Prefer a layer to the map, unless the user chose the map."""
        if self.currentLayer() is None and not self._map_wanted and self.count() > 1:
            self.setCurrentIndex(0)
            self.layerChanged.emit(self.currentLayer())  # the index may not have changed


def utm_zone(place: QgsPointXY) -> QgsCoordinateReferenceSystem:
    """The UTM zone at a longitude and latitude; near the poles, Universal Polar Stereographic."""
    longitude, latitude = place.x(), place.y()
    if not -80 <= latitude <= 84:
        return QgsCoordinateReferenceSystem("EPSG:5041" if latitude > 0 else "EPSG:5042")
    zone = min(60, math.floor((longitude + 180) / 6) + 1)
    return QgsCoordinateReferenceSystem(f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}")
