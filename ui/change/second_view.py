"""A second view of the map with the other date; both views move together."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsMapLayer, QgsPointXY, QgsProject, QgsRectangle
from qgis.gui import QgsDockWidget, QgsMapCanvas, QgsMapToolPan, QgsVertexMarker
from qgis.PyQt.QtCore import QSize, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QWidget

from ..toolkit.words import tr
from .pictures import layers_with

MARK_PX, MARK_WIDTH_PX = 14, 2
MARK_COLOR = QColor(255, 255, 0)


class SecondView(QgsDockWidget):
    """Shows the vector layers of the map over another image, at the same place and scale.

    Args:
        canvas: of QGIS; only its extent is changed, when the second view is moved.
    """

    left = pyqtSignal()
    """The user has closed it."""

    def __init__(self, canvas: QgsMapCanvas, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setObjectName("OrthomaskSecondView")
        self._main, self._image = canvas, ""
        self._busy = False
        self._size = QSize()
        self.canvas = _Canvas(canvas.size())
        self.canvas.setObjectName("OrthomaskSecondCanvas")
        self.canvas.setCanvasColor(canvas.canvasColor())
        self.canvas.enableAntiAliasing(canvas.antiAliasingEnabled())
        self.canvas.setMapTool(QgsMapToolPan(self.canvas))
        self.canvas.setAccessibleName(tr("Map of the other date"))
        self.setWidget(self.canvas)
        self._marks = [_mark(each) for each in (canvas, self.canvas)]
        self._connect(on=True)
        self.closed.connect(self.left)

    def show_image(self, image: QgsMapLayer) -> None:
        """Show this image."""
        self._image = image.id()
        self.setWindowTitle(tr("Other date: {}").format(image.name()))
        self._take_layers()
        self._follow()

    def release(self) -> None:
        """Let go of the map."""
        self._connect(on=False)
        for canvas, mark in zip((self._main, self.canvas), self._marks):
            canvas.scene().removeItem(mark)
        self._marks = []
        self.canvas.stopRendering()
        self.canvas.setLayers([])

    def _connect(self, *, on: bool) -> None:
        for signal, slot in (
            (self._main.extentsChanged, self._follow),
            (self._main.rotationChanged, self._follow),
            (self._main.destinationCrsChanged, self._follow),
            (self._main.layersChanged, self._take_layers),
            (self._main.xyCoordinates, self._mark_here),
            (self.canvas.extentsChanged, self._lead),
            (self.canvas.xyCoordinates, self._mark_there),
        ):
            signal.connect(slot) if on else signal.disconnect(slot)

    def _take_layers(self) -> None:
        image = QgsProject.instance().mapLayer(self._image)
        if image is not None:
            self.canvas.setLayers(layers_with(self._main, image))

    def _follow(self, *_: object) -> None:
        """Look where the map looks."""
        if not self._busy:
            self._busy = True
            self.canvas.setDestinationCrs(self._main.mapSettings().destinationCrs())
            self.canvas.setRotation(self._main.rotation())
            _look_alike(self._main, self.canvas)
            self._busy = False

    def _lead(self) -> None:
        """Let the map look where this view looks. QGIS says so, too, when a view has only changed its size."""
        size = self.canvas.mapSettings().outputSize()
        if size != self._size:
            self._size = size
            self._follow()
        elif not self._busy:
            self._busy = True
            _look_alike(self.canvas, self._main)
            self._busy = False

    def _mark_here(self, place: QgsPointXY) -> None:
        """The pointer is on the map: mark its place in this view."""
        self._show_mark(1, place)

    def _mark_there(self, place: QgsPointXY) -> None:
        self._show_mark(0, place)

    def _show_mark(self, number: int, place: QgsPointXY) -> None:
        self._marks[number].setCenter(place)
        self._marks[number].show()
        self._marks[1 - number].hide()


class _Canvas(QgsMapCanvas):
    """Asks for half the room that the map has had."""

    def __init__(self, room: QSize) -> None:
        super().__init__()
        self._half = QSize(room.width(), room.height() // 2)

    def sizeHint(self) -> QSize:
        """Half the room."""
        return self._half


def _look_alike(leader: QgsMapCanvas, follower: QgsMapCanvas) -> None:
    """Same centre and scale; the canvases may differ in size."""
    unit, size = leader.mapUnitsPerPixel(), follower.mapSettings().outputSize()
    if size.isEmpty():
        return
    extent = QgsRectangle.fromCenterAndSize(leader.center(), unit * size.width(), unit * size.height())
    follower.setExtent(extent)
    follower.refresh()


def _mark(canvas: QgsMapCanvas) -> QgsVertexMarker:
    mark = QgsVertexMarker(canvas)
    mark.setIconType(QgsVertexMarker.IconType.ICON_CROSS)
    mark.setIconSize(MARK_PX)
    mark.setPenWidth(MARK_WIDTH_PX)
    mark.setColor(MARK_COLOR)
    mark.hide()
    return mark
