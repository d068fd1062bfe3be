"""Choosing the region: six ways to pick it, a rubber band that shows it, a line that describes it."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import QgsGeometry, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface, QgsRubberBand
from qgis.PyQt.QtCore import QSize, pyqtSignal
from qgis.PyQt.QtGui import QHideEvent, QShowEvent
from qgis.PyQt.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from ...protocol import OrthomaskError
from ..layers.images import has_end
from ..layers.map_tools import FreehandTool, PolygonTool, RectangleTool, RegionTool, region_band
from ..layers.map_view import ImageSource
from ..layers.sources import PickedRegion, extent_region, region_of, require_image, selected_region
from ..toolkit.icons import icon
from ..toolkit.words import area_in_words, tr

ICON_PX = 20


class RegionBox(QGroupBox):
    """Holds the picked region, and shows it on the map while the box is visible.

    Args:
        iface: QGIS, for its canvas and its active layer.
    """

    changed = pyqtSignal()
    """The picked region changed."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing was picked."""

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Region"), parent)
        self.region: Optional[PickedRegion] = None
        self._iface = iface
        self._canvas = iface.mapCanvas()
        self._image: Optional[ImageSource] = None
        self._band: Optional[QgsRubberBand] = None
        self._tools: list[RegionTool] = []
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(2)
        self._words = QLabel()
        self._words.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addLayout(self._buttons)
        layout.addWidget(self._words)
        self._add_tools()
        self._add_takers()
        self._canvas.destinationCrsChanged.connect(self._show_band)
        self._describe()

    def set_image(self, image: Optional[ImageSource]) -> None:
        """Set the image whose extent a button takes, if it has one."""
        self._image = image
        self.extent_button.setEnabled(has_end(image))

    def pick(self, region: Optional[PickedRegion]) -> None:
        """Make this the region; None for no region."""
        self.region = region
        self._describe()
        self._show_band()
        self.changed.emit()

    def release(self) -> None:
        """Remove rubber band and tools from the canvas; the box is unusable afterwards."""
        self._canvas.destinationCrsChanged.disconnect(self._show_band)
        for tool in self._tools:
            tool.leave()
            tool.deleteLater()
        self._hide_band()

    def showEvent(self, event: QShowEvent) -> None:
        """The rubber band comes and goes with the dock."""
        super().showEvent(event)
        self._show_band()

    def hideEvent(self, event: QHideEvent) -> None:
        """The rubber band comes and goes with the dock."""
        super().hideEvent(event)
        self._hide_band()

    def _add_tools(self) -> None:
        rectangle, polygon, freehand = (kind(self._canvas) for kind in (RectangleTool, PolygonTool, FreehandTool))
        self._tools = [rectangle, polygon, freehand]
        self.rectangle_button = self._add_tool("rectangle", tr("Draw a rectangle: press, drag, release"), rectangle)
        self.polygon_button = self._add_tool(
            "polygon", tr("Draw a polygon: click its corners; right-click or double-click to finish"), polygon
        )
        self.freehand_button = self._add_tool("freehand", tr("Draw freehand: press, draw around, release"), freehand)

    def _add_takers(self) -> None:
        self._buttons.addSpacing(8)
        self.view_button = self._add_button("view", tr("Use the visible map extent"))
        self.view_button.clicked.connect(lambda: self._take(self._visible_extent))
        self.extent_button = self._add_button("extent", tr("Use the whole image"))
        self.extent_button.clicked.connect(lambda: self._take(self._image_extent))
        self.selected_button = self._add_button("selected", tr("Use the selected polygons of the active layer"))
        self.selected_button.clicked.connect(lambda: self._take(self._selected_polygons))
        self._buttons.addStretch()
        self.clear_button = self._add_button("clear", tr("Clear the region"))
        self.clear_button.clicked.connect(lambda: self.pick(None))

    def _add_button(self, name: str, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setObjectName(name)
        button.setIcon(icon(name))
        button.setIconSize(QSize(ICON_PX, ICON_PX))
        button.setAutoRaise(True)
        button.setToolTip(tip)
        button.setAccessibleName(tip)
        self._buttons.addWidget(button)
        return button

    def _add_tool(self, name: str, tip: str, tool: RegionTool) -> QToolButton:
        button = self._add_button(name, tip)
        button.setCheckable(True)
        button.clicked.connect(lambda on: self._canvas.setMapTool(tool) if on else tool.leave())
        tool.activated.connect(lambda: button.setChecked(True))
        tool.deactivated.connect(lambda: button.setChecked(False))
        tool.drawn.connect(lambda geometry: self._take_drawn(tool, geometry))
        tool.given_up.connect(tool.leave)
        return button

    def _take_drawn(self, tool: RegionTool, geometry: QgsGeometry) -> None:
        tool.leave()
        self._take(lambda: region_of([geometry], self._canvas.mapSettings().destinationCrs()))

    def _take(self, source: Callable[[], PickedRegion]) -> None:
        try:
            region = source()
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        self.pick(region)

    def _visible_extent(self) -> PickedRegion:
        settings = self._canvas.mapSettings()
        return extent_region(settings.visibleExtent(), settings.destinationCrs())

    def _image_extent(self) -> PickedRegion:
        image = require_image(self._image)
        return extent_region(image.extent(), image.crs())

    def _selected_polygons(self) -> PickedRegion:
        layer = self._iface.activeLayer()
        return selected_region(layer if isinstance(layer, QgsVectorLayer) else None)

    def _describe(self) -> None:
        self.clear_button.setEnabled(self.region is not None)
        if self.region is None:
            self._words.setText(tr("Draw a region, or use an existing extent."))
        else:
            self._words.setText(_words(self.region))

    def _show_band(self) -> None:
        """Draw the region in the map's current CRS."""
        self._hide_band()
        if self.region is not None and self.isVisible():
            self._band = region_band(self._canvas)
            self._band.setToGeometry(self.region.geometry, self.region.crs)

    def _hide_band(self) -> None:
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None


def _words(region: PickedRegion) -> str:
    """The size of a region, or a warning that it is a large part of the globe."""
    if region.is_huge(QgsProject.instance().transformContext()):
        return tr("A large part of the globe is selected. Draw a smaller region, on the image.")
    return tr("{} selected").format(area_in_words(region.area_m2))
