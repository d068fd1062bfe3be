"""Where to collect: the visible map, the polygons of a layer, or places drawn at random in them."""

from __future__ import annotations

import enum
from typing import Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsMapLayer,
    QgsMapLayerProxyModel,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.gui import QgisInterface, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGroupBox,
    QHBoxLayout,
    QSpinBox,
    QWidget,
)

from ...protocol import ErrorCode, OrthomaskError, Sampled
from ..layers.sources import extent_region, image_of
from ..layers.vector_snapshot import VectorSnapshot
from ..toolkit.field_chooser import show_whole
from ..toolkit.words import mark, tr
from .frozen import Places
from .rows import FoldingForm

MOST_PLACES, MOST_SIDE, MOST_M = 100_000, 100_000, 1_000_000.0
PIXELS, METRES = "px", "m"


class Where(enum.Enum):
    """Ways to choose the areas; the value is what the chooser says."""

    VISIBLE = mark("the visible map")
    POLYGONS = mark("the polygons of a layer")
    SAMPLED = mark("random squares in a layer")


class WhereBox(QGroupBox):
    """Chooses areas.

    Args:
        iface: QGIS, for its visible map.
    """

    changed = pyqtSignal()

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Where"), parent)
        self._iface = iface
        self.way = QComboBox()
        for way in Where:
            self.way.addItem(tr(way.value), way)
        self.layer = _chooser(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.layer.setToolTip(tr("Polygons, such as a country or the areas of a label project"))
        self.only_selected = QCheckBox(tr("Only selected polygons"))
        self.count, self.side = _number(20, MOST_PLACES), _number(256, MOST_SIDE)
        self.unit = QComboBox()
        self.unit.addItem(tr("pixels"), PIXELS)
        self.unit.addItem(tr("metres"), METRES)
        self.side.setToolTip(
            tr("Side length of the square areas: pixels of the coarsest image, or metres on the ground")
        )
        self.unit.setAccessibleName(tr("Unit of the size"))
        self.distance_m = QDoubleSpinBox()
        self.distance_m.setRange(0.0, MOST_M)
        self.distance_m.setDecimals(0)
        self.distance_m.setGroupSeparatorShown(True)
        self.distance_m.setSuffix(tr(" m"))
        self.distance_m.setToolTip(tr("Minimum distance between areas."))
        self.weights = _chooser(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.weights.setAllowEmptyLayer(True, tr("equal weights"))
        self.weights.setCurrentIndex(0)
        self.weights.setToolTip(
            tr("A raster file whose values weight the sampling, such as people per pixel (WorldPop, GHS-POP).")
        )
        self.density = QCheckBox(tr("Weights are per area"))
        self.density.setToolTip(tr("The raster holds numbers per area, such as people per km², not per pixel."))
        self.checked = QCheckBox(tr("Everything is labelled already"))
        self.checked.setToolTip(
            tr("Areas without a label are then empty; otherwise they are still to do until you confirm them.")
        )
        for chooser in (self.way, self.layer, self.weights):
            show_whole(chooser)
        self._lay_out()
        self._connect()
        self._show_fitting()

    @property
    def chosen(self) -> Where:
        """How the areas are chosen."""
        return Where(self.way.currentData())

    def places(self) -> Places:
        """The areas, or what places are drawn in, frozen. Main thread only.

        Raises:
            OrthomaskError: there is no layer, nothing is selected, it encloses nothing, or it is most of the globe.
        """
        if self.chosen is Where.VISIBLE:
            settings = self._iface.mapCanvas().mapSettings()
            region = extent_region(settings.visibleExtent(), settings.destinationCrs())
            if region.is_huge(settings.transformContext()):
                sentence = tr("The visible map is a large part of the globe.")
                raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Zoom in to the place that you want."))
            return Places.of_region(region, tr("visible map"))
        layer, only_selected = self._polygons(), self.only_selected.isChecked()
        if self.chosen is Where.POLYGONS:
            return Places.of_layer(layer, only_selected=only_selected)
        return Places(VectorSnapshot.of(layer, {}, only_selected=only_selected), layer.crs())

    def sample(self) -> Optional[Sampled]:
        """How places are drawn, except for what in; None for areas that exist. Main thread only.

        Raises:
            OrthomaskError: the weights are not a file.
        """
        if self.chosen is not Where.SAMPLED:
            return None
        weights, size = self.weights.currentLayer(), self.side.value()
        in_pixels = self.unit.currentData() == PIXELS
        return Sampled(
            within=self._within(),
            weights=image_of(weights).path if isinstance(weights, QgsRasterLayer) else "",
            density=self.density.isChecked(),
            count=self.count.value(),
            size_px=size if in_pixels else Sampled.size_px,
            size_m=0.0 if in_pixels else float(size),
            min_distance_m=self.distance_m.value(),
            checked=self.checked.isChecked(),
        )

    def _within(self) -> str:
        """What tells the layer, or what is selected in it, from others."""
        layer = self._polygons()
        selected = sorted(layer.selectedFeatureIds()) if self.only_selected.isChecked() else ""
        return f"{layer.id()} {selected}".strip()

    def middle(self) -> tuple[QgsRectangle, QgsCoordinateReferenceSystem]:
        """An extent around the areas with its CRS, to say how large pixels are there. Main thread only."""
        layer = self.layer.currentLayer() if self.chosen is not Where.VISIBLE else None
        if layer is not None and layer.isValid() and not layer.extent().isEmpty():
            return layer.extent(), layer.crs()
        settings = self._iface.mapCanvas().mapSettings()
        return settings.visibleExtent(), settings.destinationCrs()

    def problem(self) -> str:
        """What is still missing, with the remedy; empty if nothing is."""
        try:
            if self.chosen is not Where.VISIBLE:
                self._polygons()
        except OrthomaskError as error:
            return f"{error.sentence} {error.remedy}"
        return ""

    def _polygons(self) -> QgsVectorLayer:
        layer: Optional[QgsMapLayer] = self.layer.currentLayer()
        if not isinstance(layer, QgsVectorLayer):
            sentence, remedy = tr("No layer of areas is chosen."), tr("Add a layer of polygons to the QGIS project.")
            raise OrthomaskError(ErrorCode.AREAS_EMPTY, sentence, remedy)
        return layer

    def _lay_out(self) -> None:
        self._sides = QWidget()
        row = QHBoxLayout(self._sides)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.side, 1)
        row.addWidget(self.unit)
        self._form = form = FoldingForm(self)
        form.add(tr("In"), self.way)
        form.add(tr("Layer"), self.layer)
        form.add("", self.only_selected)
        form.add(tr("Number"), self.count)
        form.add(tr("Size"), self._sides)
        form.add(tr("Distance"), self.distance_m)
        form.add(tr("Weights"), self.weights)
        form.add("", self.density)
        form.add("", self.checked)

    def _connect(self) -> None:
        self.way.currentIndexChanged.connect(self._show_fitting)
        self.weights.layerChanged.connect(self._show_fitting)
        for signal in (
            self.way.currentIndexChanged, self.layer.layerChanged, self.weights.layerChanged,
            self.only_selected.toggled, self.count.valueChanged, self.side.valueChanged,
            self.unit.currentIndexChanged, self.distance_m.valueChanged,
        ):  # fmt: skip
            signal.connect(self._note)
        self._iface.mapCanvas().extentsChanged.connect(self._note_view)

    def release(self) -> None:
        """Stop following the map."""
        self._iface.mapCanvas().extentsChanged.disconnect(self._note_view)

    def _note(self, *_: object) -> None:
        self.changed.emit()

    def _note_view(self) -> None:
        if self.chosen is Where.VISIBLE:
            self.changed.emit()

    def _show_fitting(self, *_: object) -> None:
        """Show only the fields that the choice needs."""
        of_layer = (self.layer, self.only_selected)
        of_sample = (self.count, self._sides, self.distance_m, self.weights, self.density, self.checked)
        hidden = {
            Where.VISIBLE: (*of_layer, *of_sample),
            Where.POLYGONS: of_sample,
            Where.SAMPLED: () if self.weights.currentLayer() is not None else (self.density,),
        }
        self._form.show_all_but(hidden[self.chosen])


def _chooser(kinds: QgsMapLayerProxyModel.Filter) -> QgsMapLayerComboBox:
    chooser = QgsMapLayerComboBox()
    chooser.setFilters(kinds)
    return chooser


def _number(value: int, most: int) -> QSpinBox:
    box = QSpinBox()
    box.setRange(1, most)
    box.setGroupSeparatorShown(True)
    box.setValue(value)
    return box
