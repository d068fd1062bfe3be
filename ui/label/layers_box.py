"""The layers to make a mask from: their order, and the classes in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from qgis.core import QgsMapLayer, QgsMapLayerProxyModel, QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...protocol import ClassInfo, OrthomaskError
from ..toolkit.field_chooser import FieldChooser
from ..toolkit.present import present
from ..toolkit.words import tr
from .class_table import ClassTable, LayerValue, MappingTable, class_field_of, fill_classes, matched, values_of
from .project import CLASS_FIELD, LabelProject, file_of, open_projects, read_classes
from .sources import LabelSource, is_labels_layer

LIST_PX = 84
KINDS = QgsMapLayerProxyModel.Filter.PolygonLayer | QgsMapLayerProxyModel.Filter.RasterLayer


class LabelLayersBox(QGroupBox):
    """A list of layers with precedence, and below it the classes in the chosen one."""

    changed = pyqtSignal()
    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why an attribute cannot be used."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Labels to export"), parent)
        self._classes: tuple[ClassInfo, ...] = ()
        self.layer_chooser = QgsMapLayerComboBox()
        self.layer_chooser.setFilters(KINDS)
        self.layer_chooser.setAccessibleName(tr("Layer to add"))
        self.add_button = _button("+", tr("Add this layer to the labels"))
        self.list = QListWidget()
        self.list.setFixedHeight(LIST_PX)
        self.list.setAccessibleName(tr("Label layers"))
        self.list.setToolTip(tr("Layers higher up take precedence over those below"))
        self.up_button, self.down_button = _button("▲", tr("Move up")), _button("▼", tr("Move down"))
        self.remove_button = _button("−", tr("Remove from the labels"))
        self.field = FieldChooser(tr("one class for all"))
        self.field.setToolTip(tr("The attribute that names the class"))
        self.class_chooser = QComboBox()
        self.mapping = MappingTable()
        self.subtract = QCheckBox(tr("Subtract it"))
        self.subtract.setToolTip(tr("Polygons of this layer become background, such as a farmyard in farmland"))
        self.only_selected = QCheckBox(tr("Only selected"))
        self.class_table = ClassTable()
        self.words = QLabel(tr("Add a layer of polygons."))
        self.words.setWordWrap(True)
        for chooser in (self.layer_chooser, self.class_chooser):
            chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._lay_out()
        self._connect()
        self._show_chosen()

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes that the layers are mapped to."""
        return self.class_table.classes

    @property
    def sources(self) -> list[LabelSource]:
        """The layers in the engine's order: later ones cover earlier ones."""
        return [self._source(row) for row in reversed(range(self.list.count()))]

    def add(self, layer: QgsMapLayer) -> None:
        """Add a layer, with the classes of its legend or label project.

        It goes above the others, but below what was drawn by hand: that corrects other sources.
        """
        field = CLASS_FIELD if is_labels_layer(layer) else class_field_of(layer)
        try:
            source = self._mapped(LabelSource(layer, field))
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        item = QListWidgetItem(layer.name())
        item.setData(_SOURCE, source)
        row = self._row_for(layer)
        self.list.insertItem(row, item)
        self.list.setCurrentRow(row)
        self._show_chosen()
        self.changed.emit()

    def use_project(self, project: LabelProject) -> bool:
        """Switch to this project's labels, unless layers other than project labels are in use."""
        layers = [source.layer for source in self.sources]
        if project.labels in layers or not all(is_labels_layer(layer) for layer in layers):
            return False
        self.list.clear()
        self.add(project.labels)
        return True

    def show_image(self, image: Optional[QgsMapLayer]) -> None:
        """Do not offer the image itself, nor areas: they hold no labels."""
        areas = [project.areas for project in open_projects(QgsProject.instance())]
        self.layer_chooser.setExceptedLayerList([*areas, *([image] if image is not None else [])])

    def drop(self, identities: list[str]) -> None:
        """Drop layers that are about to be removed."""
        rows = [row for row in range(self.list.count()) if self._source(row).layer.id() in identities]
        for row in reversed(rows):
            self.list.takeItem(row)
        if rows:
            self._after_removal()

    def _lay_out(self) -> None:
        top, middle, form, layout = QHBoxLayout(), QHBoxLayout(), QFormLayout(), QVBoxLayout(self)
        top.addWidget(self.layer_chooser, 1)
        top.addWidget(self.add_button)
        side = QVBoxLayout()
        for button in (self.up_button, self.down_button, self.remove_button):
            side.addWidget(button)
        side.addStretch()
        middle.addWidget(self.list, 1)
        middle.addLayout(side)
        form.addRow(tr("Class from"), self.field)
        form.addRow(tr("Class"), self.class_chooser)
        self._form = form
        layout.addLayout(top)
        layout.addWidget(self.words)
        layout.addLayout(middle)
        layout.addLayout(form)
        layout.addWidget(self.mapping)
        layout.addWidget(self.subtract)
        layout.addWidget(self.only_selected)
        layout.addWidget(self.class_table)

    def _connect(self) -> None:
        self.add_button.clicked.connect(self._add_chosen)
        self.up_button.clicked.connect(lambda: self._move(-1))
        self.down_button.clicked.connect(lambda: self._move(1))
        self.remove_button.clicked.connect(self._remove)
        self.list.currentRowChanged.connect(self._show_chosen)
        self.field.activated.connect(self._take_field)
        self.class_chooser.activated.connect(self._take)
        self.mapping.changed.connect(self._take)
        self.subtract.clicked.connect(self._take)
        self.only_selected.clicked.connect(self._take)
        self.class_table.changed.connect(self._take_classes)
        QgsProject.instance().layersWillBeRemoved["QStringList"].connect(self.drop)

    def release(self) -> None:
        """Stop watching the project."""
        QgsProject.instance().layersWillBeRemoved["QStringList"].disconnect(self.drop)

    def _source(self, row: int) -> LabelSource:
        source: LabelSource = present(self.list.item(row)).data(_SOURCE)
        return source

    def _row_for(self, layer: QgsMapLayer) -> int:
        """Where a new layer goes in the list."""
        drawn = [row for row in range(self.list.count()) if is_labels_layer(self._source(row).layer)]
        return 0 if is_labels_layer(layer) else max(drawn, default=-1) + 1

    def _mapped(self, source: LabelSource) -> LabelSource:
        """The source with its values mapped by name; new names become classes."""
        others = [other for other in self.sources if other.layer != source.layer]
        classes: Sequence[ClassInfo] = self.classes if others else ()
        if not classes and is_labels_layer(source.layer):
            classes = read_classes(file_of(source.layer))
        if source.class_field or isinstance(source.layer, QgsRasterLayer):
            classes, mapping = matched(values_of(source.layer, source.class_field), classes)
        else:
            classes, mapping = classes or matched([LayerValue("1", source.layer.name())], ())[0], []
        self.class_table.show_classes(classes)
        return replace(source, mapping=tuple(mapping))

    def _add_chosen(self) -> None:
        layer = self.layer_chooser.currentLayer()
        if layer is not None:
            self.add(layer)

    def _move(self, step: int) -> None:
        row = self.list.currentRow()
        if 0 <= row + step < self.list.count():
            self.list.insertItem(row + step, self.list.takeItem(row))
            self.list.setCurrentRow(row + step)
            self.changed.emit()

    def _remove(self) -> None:
        self.list.takeItem(self.list.currentRow())
        self._after_removal()

    def _after_removal(self) -> None:
        if self.list.count() == 0:
            self.class_table.show_classes(())
        self._show_chosen()
        self.changed.emit()

    def _show_chosen(self, *_: object) -> None:
        """Show the chosen layer's classes."""
        row = self.list.currentRow()
        source = self._source(row) if row >= 0 else None
        polygons = source is not None and isinstance(source.layer, QgsVectorLayer)
        one_class = source is not None and not source.class_field and not source.subtract
        self.words.setVisible(self.list.count() == 0)
        self._show_row(self.field, polygons)
        self._show_row(self.class_chooser, polygons and one_class)
        self.mapping.setVisible(source is not None and bool(source.mapping) and not source.subtract)
        self.class_table.setVisible(self.list.count() > 0)
        for widget in (self.subtract, self.only_selected):
            widget.setVisible(polygons)
        if source is None:
            return
        self.field.show_fields(source.layer, source.class_field)
        self.subtract.setChecked(source.subtract)
        self.only_selected.setChecked(source.only_selected)
        self._fill_choosers(source)

    def _fill_choosers(self, source: LabelSource) -> None:
        self.mapping.show_mapping(source.mapping, self.classes)
        fill_classes(self.class_chooser, self.classes)
        self.class_chooser.setCurrentIndex(max(0, self.class_chooser.findData(source.class_value)))

    def _show_row(self, widget: QWidget, shown: bool) -> None:
        widget.setVisible(shown)
        self._form.labelForField(widget).setVisible(shown)

    def _take_field(self) -> None:
        source = self._source(self.list.currentRow())
        try:
            self._put(self._mapped(replace(source, class_field=self.field.field)))
        except OrthomaskError as error:
            self.failed.emit(error)
        self._show_chosen()

    def _take(self, *_: object) -> None:
        """Store what is set for the chosen layer."""
        source = self._source(self.list.currentRow())
        value = self.class_chooser.currentData() or 1
        subtract, only_selected = self.subtract.isChecked(), self.only_selected.isChecked()
        mapping = self.mapping.mapping
        self._put(replace(source, mapping=mapping, class_value=value, subtract=subtract, only_selected=only_selected))
        if source.subtract != subtract:
            self._show_chosen()
        if subtract and self.list.count() > 1 and self.list.currentRow() == self.list.count() - 1:
            self._move(-1)  # below all others it would take nothing away

    def _take_classes(self) -> None:
        """Show changed names and colours in the choosers too."""
        if self.list.currentRow() >= 0:
            self._fill_choosers(self._source(self.list.currentRow()))
        self.changed.emit()

    def _put(self, source: LabelSource) -> None:
        present(self.list.currentItem()).setData(_SOURCE, source)
        self.changed.emit()


_SOURCE = Qt.ItemDataRole.UserRole


def _button(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setAutoRaise(True)
    return button
