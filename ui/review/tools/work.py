"""What a tool of the box does: a map tool, the layer that it changes, and words about both."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import QgsFeature, QgsGeometry, QgsPointXY, QgsRectangle, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ....protocol import OrthomaskError
from ...layers.ground import metres_per_unit
from ...layers.map_tools import CanvasTool, PointTool
from ...layers.objects import object_at
from ...toolkit.present import present
from ...toolkit.words import tr
from ..context import Context
from . import edits
from .edits import Refused, moved

GSD_M = 0.3
"""Metres per pixel where no run says it."""


class Work(QObject):
    """One tool. Subclasses connect their map tool to what is to be done.

    Args:
        canvas: the map.
        tool: on it.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing was changed."""
    said = pyqtSignal(str)
    """What has happened, or why nothing has."""

    def __init__(self, canvas: QgsMapCanvas, tool: CanvasTool, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self.tool = tool
        self._canvas = canvas
        self._context = Context()

    @property
    def advice(self) -> str:
        """What to do with the tool."""
        return ""

    @property
    def layer(self) -> Optional[QgsVectorLayer]:
        """The layer that is changed."""
        return self._context.target

    def follow(self, context: Context) -> None:
        """Change this layer from now on."""
        self._context = context

    def begin(self) -> None:
        """Prepare: the tool is about to be used.

        Raises:
            OrthomaskError: the layer cannot be edited.
        """
        if self.layer is not None:
            self._canvas.stopRendering()  # a file that is drawn while editing starts can look empty afterwards
            edits.start(self.layer)

    def release(self) -> None:
        """End for good."""
        self.tool.leave()
        self.tool.deleteLater()

    def say(self, text: str) -> None:
        """Tell it below the tools and, if the tool has a pointer, beside it."""
        self.said.emit(text or self.advice)
        if isinstance(self.tool, PointTool):
            self.tool.say(text)

    def change(self, name: str, act: Callable[[QgsVectorLayer], None]) -> None:
        """Change the layer in one step of its undo; say why if that is refused."""
        layer = self.layer
        if layer is None:
            return
        try:
            with edits.step(layer, name):
                act(layer)
        except Refused as refused:
            self.say(str(refused))
        except OrthomaskError as error:
            self.failed.emit(error)

    def on_layer(self, geometry: QgsGeometry) -> QgsGeometry:
        """A geometry of the canvas in the layer's CRS."""
        layer = present(self.layer)
        return moved(geometry, self._canvas.mapSettings().destinationCrs(), layer.crs())

    def on_map(self, geometry: QgsGeometry) -> QgsGeometry:
        """A geometry of the layer in the canvas's CRS."""
        layer = present(self.layer)
        return moved(geometry, layer.crs(), self._canvas.mapSettings().destinationCrs())

    def object_at(self, place: QgsPointXY) -> Optional[QgsFeature]:
        """The object at a place of the canvas."""
        if self.layer is None:
            return None
        try:
            return object_at(self.layer, self.on_layer(QgsGeometry.fromPointXY(place)).asPoint())
        except Refused:
            return None


def gsd_m(context: Context) -> float:
    """Metres per pixel of the model that objects come from."""
    return float(context.run.record["model"].get("gsd_m", GSD_M)) if context.run is not None else GSD_M


def pixel_units(context: Context, layer: QgsVectorLayer, place: QgsPointXY) -> float:
    """The size of such a pixel at a place of the layer, in its units."""
    half = 1e-4 if layer.crs().isGeographic() else 10.0
    around = QgsRectangle(place.x() - half, place.y() - half, place.x() + half, place.y() + half)
    return gsd_m(context) / metres_per_unit(layer.crs(), around)


class Picking(Work):
    """A tool that picks objects: the one under the pointer is shown."""

    def __init__(self, canvas: QgsMapCanvas, parent: Optional[QObject] = None) -> None:
        self.pointer = PointTool(canvas)
        super().__init__(canvas, self.pointer, parent)
        self.pointer.hovered.connect(self._hover)
        self.pointer.clicked.connect(self._click)

    def picked(self, feature: QgsFeature) -> None:
        """An object was clicked."""

    def show_features(self, features: list[QgsFeature]) -> None:
        """Show objects of the layer on the map."""
        shapes = [self.on_map(feature.geometry()) for feature in features]
        self.pointer.show_shape(QgsGeometry.unaryUnion(shapes) if shapes else None)

    def _hover(self, place: QgsPointXY) -> None:
        feature = self.object_at(place)
        self.show_features([feature] if feature is not None else [])

    def _click(self, place: QgsPointXY) -> None:
        feature = self.object_at(place)
        if feature is None:
            self.say(tr("There is no object here."))
        else:
            self.picked(feature)
