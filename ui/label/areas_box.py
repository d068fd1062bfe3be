"""Sampling areas: how they are placed, how many, how large, and for which splits."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsMapLayerProxyModel, QgsVectorLayer
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from ...protocol import AreasRequest, Cancelled, Sampling
from ..layers.images import frozen, is_rendered, places_of, planned, read_as_chosen
from ..layers.map_view import ImageSource
from ..layers.picture_words import are_wanted
from ..layers.rendering import Picture
from ..layers.sources import extent_region
from ..toolkit.field_chooser import FieldChooser, show_whole
from ..toolkit.words import mark, tr
from .area_sampling import PIXELS_ACROSS, FrozenSampling, frozen_strata, frozen_weights
from .class_table import class_field_of
from .project import CLASS_FIELD, LabelProject
from .sources import FrozenAreas, is_labels_layer

WAYS = {
    Sampling.RANDOM: mark("at random"),
    Sampling.GRID: mark("in a regular grid"),
    Sampling.STRATIFIED: mark("the same number in each class"),
}
KINDS = QgsMapLayerProxyModel.Filter.PolygonLayer | QgsMapLayerProxyModel.Filter.RasterLayer
MAX_COUNT, MAX_M = 10_000, 100_000.0


class AreasBox(QgsCollapsibleGroupBox):
    """Collapsed at first: areas can also be drawn by hand.

    Args:
        iface: QGIS, for its visible map.
    """

    wanted = pyqtSignal()
    """The button was pressed."""

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Make areas"), parent)
        self._iface = iface
        self.way = QComboBox()
        for sampling, name in WAYS.items():
            self.way.addItem(tr(name), sampling)
        self.count = QSpinBox()
        self.count.setRange(1, MAX_COUNT)
        self.count.setValue(10)
        self.side = _metres(50.0, tr("Side length of the square areas, on the ground"))
        self.side.setMinimum(1.0)
        self.distance = _metres(0.0, tr("Minimum distance between areas, including existing ones"))
        self.visible_only = QCheckBox(tr("Only in the visible map"))
        self.visible_only.setToolTip(
            tr("A map service has no extent, so its areas are always placed in the visible map")
        )
        self.weights, self.weight_field = _layer_chooser(), FieldChooser(tr("equal weights"), only_numbers=True)
        self.weights.setToolTip(tr("Raster or polygons whose values weight the sampling, such as population density"))
        self.strata, self.strata_field = _layer_chooser(), FieldChooser(tr("one class for all"))
        self.weight_field.setAccessibleName(tr("Weight attribute"))
        self.strata_field.setAccessibleName(tr("Class attribute"))
        self.strata.setToolTip(tr("Labels or a class map: every class gets the same number of areas"))
        self.shares = tuple(_share() for _ in range(3))
        self.button = QPushButton(tr("Add areas"))
        for chooser in (self.way, self.weights, self.strata):
            show_whole(chooser)
        self._lay_out()
        self._connect()
        self.setCollapsed(True)

    def freeze(self, image: Optional[ImageSource], project: LabelProject) -> FrozenSampling:
        """Freeze what is filled in; of a non-file image, the visible part. Main thread only.

        Raises:
            Cancelled: the user declined that many requests to a service.
            OrthomaskError: a layer cannot be used, or the numbers make no sense.
        """
        by = self.strata.currentLayer() if self.way.currentData() is Sampling.STRATIFIED else None
        strata = frozen_strata(by, self.strata_field.field) if by is not None else None
        path, weights = frozen_weights(self.weights.currentLayer(), self.weight_field.field)
        settings = self._iface.mapCanvas().mapSettings()
        visible = extent_region(settings.visibleExtent(), settings.destinationCrs())
        places = places_of(visible, image.crs()) if image is not None and is_rendered(image) else []
        looked_at = read_as_chosen(planned(image, self.side.value() / PIXELS_ACROSS, places, 0), image)
        if isinstance(looked_at, Picture) and not are_wanted(looked_at, self):
            raise Cancelled
        request = AreasRequest(
            image=looked_at.key if isinstance(looked_at, Picture) else looked_at,
            output_path=project.path,
            sampling=self.way.currentData(),
            count=self.count.value(),
            size_m=self.side.value(),
            min_distance_m=self.distance.value(),
            region=visible.request() if self.visible_only.isChecked() or isinstance(looked_at, Picture) else None,
            weight_path=path,
            strata=strata.labels if strata else None,
            shares=tuple(share.value() / 100 for share in self.shares),
            seed=int(project.areas.featureCount()) + 1,  # the next press gives other places
        )
        return FrozenSampling(request, frozen(looked_at), FrozenAreas.of(project.areas), weights, strata)

    def _lay_out(self) -> None:
        self._form = form = QFormLayout(self)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(tr("Placement"), self.way)
        form.addRow(tr("Classes from"), self.strata)
        form.addRow(tr("by"), self.strata_field)
        form.addRow(tr("Number"), self.count)
        form.addRow(tr("Size"), self.side)
        form.addRow(tr("Distance"), self.distance)
        form.addRow(tr("Weights"), self.weights)
        form.addRow(tr("by"), self.weight_field)
        row = QHBoxLayout()
        for share, name in zip(self.shares, (tr("for training"), tr("for validation"), tr("for test"))):
            share.setToolTip(tr("Share {}; the rest stays to do").format(name))
            row.addWidget(share)
        form.addRow(QLabel(tr("Training, validation, test")))
        form.addRow(row)
        form.addRow(self.visible_only)
        form.addRow(self.button)
        for share, part in zip(self.shares, (70, 15, 15)):
            share.setValue(part)

    def _connect(self) -> None:
        self.way.currentIndexChanged.connect(self._show_fitting)
        self.weights.layerChanged.connect(self._show_weights)
        self.strata.layerChanged.connect(self._show_strata)
        self.collapsedStateChanged.connect(self._show_fitting)  # expanding shows every widget
        self.button.clicked.connect(self.wanted)
        self._show_fitting()

    def _show_weights(self) -> None:
        self.weight_field.show_fields(self.weights.currentLayer())
        self._show_fitting()

    def _show_strata(self) -> None:
        layer = self.strata.currentLayer()
        usual = CLASS_FIELD if layer is not None and is_labels_layer(layer) else class_field_of(layer)
        self.strata_field.show_fields(layer, usual)
        self._show_fitting()

    def _show_fitting(self, *_: object) -> None:
        """Show only the fields that the choice needs."""
        if self.isCollapsed():
            return
        stratified = self.way.currentData() is Sampling.STRATIFIED
        self._show_row(self.strata, stratified)
        self._show_row(self.strata_field, stratified and isinstance(self.strata.currentLayer(), QgsVectorLayer))
        self._show_row(self.weight_field, isinstance(self.weights.currentLayer(), QgsVectorLayer))

    def _show_row(self, widget: QWidget, shown: bool) -> None:
        widget.setVisible(shown)
        self._form.labelForField(widget).setVisible(shown)


def _metres(value: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setMaximum(MAX_M)
    box.setDecimals(1)
    box.setSuffix(tr(" m"))
    box.setToolTip(tip)
    box.setValue(value)
    return box


def _share() -> QSpinBox:
    box = QSpinBox()
    box.setMaximum(100)
    box.setSingleStep(5)
    box.setSuffix(" %")
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)  # three share a row
    return box


def _layer_chooser() -> QgsMapLayerComboBox:
    chooser = QgsMapLayerComboBox()
    chooser.setAllowEmptyLayer(True)
    chooser.setFilters(KINDS)
    chooser.setLayer(None)
    return chooser
