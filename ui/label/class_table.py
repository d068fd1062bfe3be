"""Classes with names and colours, and the mapping of a layer's values to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Optional, cast

from qgis.core import (
    Qgis,
    QgsCategorizedSymbolRenderer,
    QgsMapLayer,
    QgsPalettedRasterRenderer,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.gui import QgsColorButton
from qgis.PyQt.QtCore import QMetaType, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QShowEvent
from qgis.PyQt.QtWidgets import QAbstractItemView, QComboBox, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from ...protocol import BACKGROUND, UNKNOWN, ClassInfo, ClassValue, ErrorCode, OrthomaskError
from ..layers.vector_snapshot import text_of
from ..toolkit.present import present
from ..toolkit.words import tr

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
"""Colours that remain distinct with any kind of colour vision (Okabe and Ito 2008)."""
MOST_VALUES = UNKNOWN - 1
BACKGROUND_NAME, BLACK = "background", "#000000"
COLOR_BANDS, MOST_COLORS, SAMPLE_PX = 3, 64, 1024
ROW_PX, ROW_MARGIN_PX, SHOWN_ROWS = 26, 10, 5


@dataclass(frozen=True)
class LayerValue:
    """A value in a layer, with its name and colour in the layer's legend; empty if it has none."""

    source: str
    name: str
    color: str = ""


def default_color(value: int) -> str:
    """The default colour of a class."""
    return PALETTE[(value - 1) % len(PALETTE)]


def values_of(layer: QgsMapLayer, field: str) -> list[LayerValue]:
    """The values of an attribute or a raster: those in the legend first, then all others.

    A raster with a palette gives the palette's values, one with three bands its colours, any other none.

    Raises:
        OrthomaskError: there are more values than classes.
    """
    if isinstance(layer, QgsRasterLayer):
        return _colors(layer) if layer.bandCount() >= COLOR_BANDS else _palette_values(layer)
    polygons = cast(QgsVectorLayer, layer)
    found = {value.source: value for value in _legend_values(polygons, field)}
    present = polygons.uniqueValues(polygons.fields().lookupField(field), MOST_VALUES + len(found) + 1)
    names = {"false": BACKGROUND_NAME, "true": field} if _is_truth(polygons, field) else {}
    for text in _in_order({text_of(value) for value in present}):
        found.setdefault(text, LayerValue(text, names.get(text, text)))
    if len(found) > MOST_VALUES:
        sentence = tr("The attribute “{}” has more than {} values.").format(field, MOST_VALUES)
        raise OrthomaskError(ErrorCode.LABELS_CLASSES, sentence, tr("Choose an attribute that identifies classes."))
    return list(found.values())


def class_field_of(layer: Optional[QgsMapLayer]) -> str:
    """The attribute of a categorized style; empty for other styles."""
    if not isinstance(layer, QgsVectorLayer) or not isinstance(layer.renderer(), QgsCategorizedSymbolRenderer):
        return ""
    renderer = layer.renderer()
    field = renderer.classAttribute().strip('"')
    return field if layer.fields().lookupField(field) >= 0 else ""


def matched(values: Sequence[LayerValue], classes: Sequence[ClassInfo]) -> tuple[list[ClassInfo], list[ClassValue]]:
    """The classes, extended by new ones among the values, and the mapping: by name, ignoring case.

    An empty value means unknown: something was drawn there without a class. 0 and values named “background” are
    background.
    """
    known, mapping = list(classes), []
    for value in values:
        same = [info.value for info in known if info.name.casefold() == value.name.casefold()]
        if not value.source:
            mapping.append(ClassValue(value.source, UNKNOWN))
            continue
        if not same and value.name.casefold() in (BACKGROUND_NAME, str(BACKGROUND)):
            same = [BACKGROUND]
        if not same:
            number = len(known) + 1
            known.append(ClassInfo(number, value.name, value.color or default_color(number)))
            same = [number]
        mapping.append(ClassValue(value.source, same[0]))
    return known, mapping


def by_number(classes: Sequence[ClassInfo]) -> tuple[ClassValue, ...]:
    """The mapping of a label project's values to its classes by number; empty without classes."""
    values = [BACKGROUND, *(info.value for info in classes), UNKNOWN] if classes else []
    return tuple(ClassValue(str(value), value) for value in values)


def _is_truth(layer: QgsVectorLayer, field: str) -> bool:
    return bool(layer.fields().field(field).type() == QMetaType.Type.Bool)


def _in_order(texts: Collection[str]) -> list[str]:
    """Sort texts, by size if all are numbers, as the engine numbers classes."""
    try:
        return sorted(sorted(texts), key=lambda text: float(text or "-inf"))
    except ValueError:
        return sorted(texts)


def _legend_values(layer: QgsVectorLayer, field: str) -> list[LayerValue]:
    if class_field_of(layer) != field:
        return []
    values = []
    for category in layer.renderer().categories():
        several = category.value() if isinstance(category.value(), list) else [category.value()]
        color = category.symbol().color().name() if category.symbol() else ""
        texts = [text for text in map(text_of, several) if text]  # an empty one means all others
        values += [LayerValue(text, category.label() or text, color) for text in texts]
    return values


def _palette_values(layer: QgsRasterLayer) -> list[LayerValue]:
    renderer = layer.renderer()
    if not isinstance(renderer, QgsPalettedRasterRenderer):
        return []
    entries = ((text_of(float(entry.value)), entry) for entry in renderer.classes())
    return [LayerValue(text, entry.label or text, QColor(entry.color).name()) for text, entry in entries]


def _colors(layer: QgsRasterLayer) -> list[LayerValue]:
    """The colours of a label map, sampled in at most `SAMPLE_PX` rows and columns."""
    provider, extent = layer.dataProvider(), layer.extent()
    width, height = min(layer.width(), SAMPLE_PX), min(layer.height(), SAMPLE_PX)
    blocks: list[Any] = [provider.block(band, extent, width, height) for band in range(1, COLOR_BANDS + 1)]
    pixels = zip(*(bytes(block.data()) for block in blocks))  # data() dies with its block
    colors = sorted({f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in set(pixels)})
    if len(colors) > MOST_COLORS or provider.dataType(1) != Qgis.DataType.Byte:
        sentence = tr("The image {} has too many colours to be a class map.").format(layer.name())
        raise OrthomaskError(ErrorCode.LABELS_CLASSES, sentence, tr("Choose a raster with one colour for each class."))
    names = {BLACK: BACKGROUND_NAME}
    return [LayerValue(color, names.get(color, color), color) for color in colors]


class FittedTable(QTableWidget):
    """Columns, the last stretched; as high as its rows, up to a few."""

    def __init__(self, heads: Sequence[str], parent: Optional[QWidget] = None) -> None:
        super().__init__(0, len(heads), parent)
        self.setHorizontalHeaderLabels(heads)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(len(heads) - 1, QHeaderView.ResizeMode.Stretch)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)

    def showEvent(self, event: QShowEvent) -> None:
        """Fit only now: QGIS's style sheet sets the font."""
        super().showEvent(event)
        self.fit()

    def cell(self, row: int, column: int) -> QTableWidgetItem:
        """The item there; every row is filled."""
        return present(self.item(row, column))

    def fit(self) -> None:
        """Take the height that the rows need."""
        row_px = max(ROW_PX, self.fontMetrics().height() + ROW_MARGIN_PX)
        self.verticalHeader().setDefaultSectionSize(row_px)
        rows = min(max(self.rowCount(), 1), SHOWN_ROWS)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * row_px + 4)


class ClassTable(FittedTable):
    """The classes: colour and name, both editable. The row gives the number."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__([tr("Colour"), tr("Class")], parent)
        self.setAccessibleName(tr("Classes"))
        self.itemChanged.connect(self.changed)

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes shown."""
        names = (self.cell(row, 1) for row in range(self.rowCount()))
        return tuple(
            ClassInfo(row + 1, name.text().strip(), self._color(row), name.data(_OUTLINE))
            for row, name in enumerate(names)
        )

    def show_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Show classes."""
        self.blockSignals(True)
        self.setRowCount(len(classes))
        for row, info in enumerate(classes):
            button = QgsColorButton()
            button.setColor(QColor(info.color))
            button.setAllowOpacity(False)
            button.setAccessibleName(tr("Colour of {}").format(info.name))
            button.colorChanged.connect(self.changed)
            self.setCellWidget(row, 0, button)
            item = QTableWidgetItem(info.name)
            item.setData(_OUTLINE, info.outline)
            self.setItem(row, 1, item)
        self.blockSignals(False)
        self.fit()
        self.changed.emit()

    def _color(self, row: int) -> str:
        button: Any = self.cellWidget(row, 0)
        return str(button.color().name())


class MappingTable(FittedTable):
    """One row for each value of a layer, with its class."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__([tr("Value"), tr("Class")], parent)
        self.setAccessibleName(tr("Classes by value"))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)

    @property
    def mapping(self) -> tuple[ClassValue, ...]:
        """The mapping shown."""
        return tuple(
            ClassValue(self.cell(row, 0).data(_SOURCE), self._chooser(row).currentData())
            for row in range(self.rowCount())
        )

    def _chooser(self, row: int) -> QComboBox:
        chooser: Any = self.cellWidget(row, 1)
        return cast(QComboBox, chooser)

    def show_mapping(self, mapping: Sequence[ClassValue], classes: Sequence[ClassInfo]) -> None:
        """Show it."""
        self.setRowCount(len(mapping))
        for row, entry in enumerate(mapping):
            item = QTableWidgetItem(entry.called or entry.source or tr("(empty)"))
            item.setData(_SOURCE, entry.source)
            self.setItem(row, 0, item)
            chooser = QComboBox()
            chooser.setAccessibleName(tr("Class of {}").format(item.text()))
            fill_classes(chooser, classes, others=True)
            chooser.setCurrentIndex(chooser.findData(entry.value))
            chooser.currentIndexChanged.connect(self.changed)
            self.setCellWidget(row, 1, chooser)
        self.fit()


def fill_classes(chooser: QComboBox, classes: Sequence[ClassInfo], *, others: bool = False) -> None:
    """Offer the classes; with `others`, background and unknown too."""
    chooser.clear()
    chooser.setMinimumContentsLength(6)
    chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    for info in classes:
        chooser.addItem(info.name, info.value)
        chooser.setItemData(chooser.count() - 1, QColor(info.color), Qt.ItemDataRole.DecorationRole)
    if others:
        chooser.addItem(tr("background"), BACKGROUND)
        chooser.addItem(tr("unknown"), UNKNOWN)


_SOURCE = _OUTLINE = Qt.ItemDataRole.UserRole
