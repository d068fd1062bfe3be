"""Looking at two dates: swipe, blink, and two views that move together."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsMapLayer, QgsMapLayerProxyModel, QgsProject
from qgis.gui import QgisInterface, QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtWidgets import QFormLayout, QGridLayout, QGroupBox, QPushButton, QSizePolicy, QWidget

from ..toolkit.icons import icon
from ..toolkit.words import tr
from .blink import Blink, BlinkKey
from .map_tools import SwipeTool
from .pictures import other_of
from .second_view import SecondView

IMAGES = QgsMapLayerProxyModel.Filter.RasterLayer | QgsMapLayerProxyModel.Filter.VectorTileLayer


class LookBox(QGroupBox):
    """Chooses an image for each date, and shows both. Only what it has added to the canvas itself is taken away.

    Args:
        iface: QGIS, for its map.
    """

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Look at both dates"), parent)
        self._iface, canvas = iface, iface.mapCanvas()
        self.earlier, self.later = _chooser(tr("Earlier image")), _chooser(tr("Later image"))
        self._swipe, self._blink = SwipeTool(canvas), Blink(canvas)
        self._key = BlinkKey(canvas, lambda: self.isVisible() and self._images is not None)
        self.view: Optional[SecondView] = None
        self._shown: tuple[str, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._refresh)
        self.swipe_button = _button("swipe", tr("Swipe"), tr("Drag a line over the map: earlier on the left or above"))
        self.blink_button = _button("blink", tr("Blink"), tr("Hold to see the other date; on the map, hold O"))
        self.view_button = _button("views", tr("Two views"), tr("Show the other date in a second map that moves along"))
        for button in (self.swipe_button, self.view_button):
            button.setCheckable(True)
        self._lay_out()
        self._connect()
        self._refresh()

    def release(self) -> None:
        """Leave the canvas and the window as they were."""
        project = QgsProject.instance()
        project.layersWillBeRemoved["QStringList"].disconnect(self._note_removed)
        project.cleared.disconnect(self.stop)
        self._iface.mapCanvas().mapToolSet.disconnect(self._note_tool)
        self._timer.stop()
        self.stop()
        self._swipe.deleteLater()
        self._key.release()

    def choose(self, earlier: str, later: str) -> None:
        """Choose these layers, by their IDs, as far as they are in the QGIS project."""
        for chooser, name in ((self.earlier, earlier), (self.later, later)):
            layer = QgsProject.instance().mapLayer(name)
            if layer is not None:
                chooser.setLayer(layer)

    def stop(self) -> None:
        """Show the map as it is."""
        self._blink.hide()
        self._swipe.leave()
        self._close_view()

    @property
    def _images(self) -> Optional[tuple[QgsMapLayer, QgsMapLayer]]:
        """Both images; None unless two different ones are chosen."""
        earlier, later = self.earlier.currentLayer(), self.later.currentLayer()
        return (earlier, later) if earlier is not None and later is not None and earlier != later else None

    def _lay_out(self) -> None:
        buttons, form = QGridLayout(), QFormLayout(self)
        for place, button in enumerate((self.swipe_button, self.blink_button, self.view_button)):
            buttons.addWidget(button, place // 2, place % 2)  # one row does not fit a narrow dock
        form.addRow(tr("Earlier image"), self.earlier)
        form.addRow(tr("Later image"), self.later)
        form.addRow(buttons)

    def _connect(self) -> None:
        project = QgsProject.instance()
        project.layersWillBeRemoved["QStringList"].connect(self._note_removed)
        project.cleared.connect(self.stop)
        self._iface.mapCanvas().mapToolSet.connect(self._note_tool)
        for chooser in (self.earlier, self.later):
            chooser.layerChanged.connect(self._refresh)
        self.swipe_button.clicked.connect(self._toggle_swipe)
        self._swipe.given_up.connect(self._swipe.leave)
        self.view_button.clicked.connect(self._toggle_view)
        self.blink_button.pressed.connect(self._show_other)
        self.blink_button.released.connect(self._blink.hide)
        self._key.pressed.connect(self._show_other)
        self._key.released.connect(self._blink.hide)

    def _refresh(self) -> None:
        """Offer what is possible with the chosen images; others are looked at no more."""
        images = self._images
        self._shown = tuple(image.id() for image in images or ())
        for button in (self.swipe_button, self.blink_button, self.view_button):
            button.setEnabled(images is not None)
        self._blink.hide()
        if images is None:
            self.stop()
            return
        if self.swipe_button.isChecked():
            self._swipe.compare(*images)
        if self.view is not None:
            self.view.show_image(other_of(self._iface.mapCanvas(), *images))

    def _toggle_swipe(self, on: bool) -> None:
        if on and self._images is not None:
            self._swipe.compare(*self._images)
        else:
            self._swipe.leave()

    def _note_tool(self, *_: object) -> None:
        """The button says whether the tool is in use, whoever has changed it."""
        self.swipe_button.setChecked(self._iface.mapCanvas().mapTool() is self._swipe)

    def _show_other(self, *_: object) -> None:
        if self._images is not None:
            self._blink.show(other_of(self._iface.mapCanvas(), *self._images))

    def _toggle_view(self, on: bool) -> None:
        if not on or self._images is None:
            self._close_view()
            return
        self.view = SecondView(self._iface.mapCanvas(), self._iface.mainWindow())
        self.view.left.connect(self._close_view)
        self._iface.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.view)
        self.view.show_image(other_of(self._iface.mapCanvas(), *self._images))

    def _close_view(self) -> None:
        view, self.view = self.view, None
        self.view_button.setChecked(False)
        if view is not None:
            view.release()
            self._iface.removeDockWidget(view)
            view.deleteLater()

    def _note_removed(self, identities: list[str]) -> None:
        """An image is about to go: nothing may show it then. The choosers know later, and say nothing."""
        if set(self._shown) & set(identities):
            self.stop()
            self._timer.start(0)


def _chooser(name: str) -> QgsMapLayerComboBox:
    chooser = QgsMapLayerComboBox()
    chooser.setFilters(IMAGES)
    chooser.setAllowEmptyLayer(True, tr("none"))
    chooser.setCurrentIndex(0)
    chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    chooser.setAccessibleName(name)
    return chooser


def _button(picture: str, text: str, tip: str) -> QPushButton:
    button = QPushButton(icon(picture), text)
    button.setToolTip(tip)
    return button
