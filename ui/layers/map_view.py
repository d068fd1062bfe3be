"""*The map as it looks now*: all layers that the canvas shows, as one image, and the chooser that offers it."""

from __future__ import annotations

import math
import re
from pathlib import Path
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

MAP = "map"
"""Stands for the map where a layer's ID is meant."""
RESULTS = {
    "run.json": r"(classes|probabilities|uncertainty)\.tif|polygons(-\d+)?\.gpkg",
    "evaluation.json": r"errors.*\.tif|objects\.gpkg",
}
"""The files of runs and evaluations, by the record that lies beside them."""
PREVIEW = "orthomask/preview"
"""Custom property of a layer that shows an unfinished run."""
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
        """The layers shown, topmost first, without results of Orthomask: they would cover the image."""
        return [layer for layer in self._canvas.layers() if layer.isSpatial() and not is_result(layer)]

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
    """Offers all layers that can be used as an image and, last, the map itself, while it shows anything.

    Results of Orthomask are not offered. What the user chose stays chosen, or is again once its layer is back.

    Args:
        canvas: whose map is offered.
    """

    def __init__(self, canvas: QgsMapCanvas, tip: str, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._map, self._wanted = MapView(canvas), ""
        self._left_out: set[str] = set()  # the combo box itself keeps pointers, also to what is deleted
        self.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer | QgsMapLayerProxyModel.Filter.VectorTileLayer)
        self.setToolTip(tip)
        self.setAccessibleName(tr("Image"))
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.activated.connect(self._note_choice)
        self.model().rowsInserted.connect(self._prefer_layer)
        QgsProject.instance().layersAdded.connect(self._leave_out_results)
        canvas.layersChanged.connect(self._offer_map)
        self._leave_out_results()
        self._offer_map()
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
        """Choose the map itself, as soon as it shows anything."""
        self._wanted = MAP
        self._prefer_layer()

    def setLayer(self, layer: Optional[QgsMapLayer]) -> None:
        """Choose this layer, and keep to it."""
        super().setLayer(layer)
        self._note_choice()

    def _note_choice(self, *_: object) -> None:
        layer = self.currentLayer()
        self._wanted = layer.id() if layer is not None else MAP if self.currentText() == self._map.name() else ""

    def _offer_map(self) -> None:
        """Offer the map only if it shows a layer: else only a layer helps."""
        items = [self._map.name()] if self._map.layers() else []
        if items != self.additionalItems():
            self.setAdditionalItems(items)
            self._prefer_layer()

    def _leave_out_results(self, *_: object) -> None:
        results = {name: layer for name, layer in QgsProject.instance().mapLayers().items() if is_result(layer)}
        if set(results) != self._left_out:
            self._left_out = set(results)
            self.setExceptedLayerList(list(results.values()))
            self._prefer_layer()

    def _prefer_layer(self, *_: object) -> None:
        """Return to the choice of the user; without one, prefer a layer to the map."""
        before, wanted = self.currentLayer(), QgsProject.instance().mapLayer(self._wanted)
        if wanted is not None and before is not wanted:
            super().setLayer(wanted)
        elif self._wanted == MAP and self._map.name() in self.additionalItems():
            self.setCurrentIndex(self.count() - 1)
        elif before is None and self.count() > len(self.additionalItems()):
            self.setCurrentIndex(0)
        if self.currentLayer() is not before:
            self.layerChanged.emit(self.currentLayer())  # the index may not have changed


def is_result(layer: QgsMapLayer) -> bool:
    """Whether a layer shows a file of a run or an evaluation, or an unfinished run."""
    if layer.customProperty(PREVIEW):
        return True
    path = Path(layer.source().split("|")[0])
    records = [record for record, names in RESULTS.items() if re.fullmatch(names, path.name)]
    return any(path.with_name(record).is_file() for record in records)


def utm_zone(place: QgsPointXY) -> QgsCoordinateReferenceSystem:
    """The UTM zone at a longitude and latitude; near the poles, Universal Polar Stereographic."""
    longitude, latitude = place.x(), place.y()
    if not -80 <= latitude <= 84:
        return QgsCoordinateReferenceSystem("EPSG:5041" if latitude > 0 else "EPSG:5042")
    zone = min(60, math.floor((longitude + 180) / 6) + 1)
    return QgsCoordinateReferenceSystem(f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}")
