"""A date: which objects, when, and what they were taken from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional, cast

from qgis.core import QgsMapLayer, QgsMapLayerProxyModel, QgsProject, QgsVectorLayer
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from ...protocol import OrthomaskError
from ..layers.sources import is_file
from ..runs.folders import default_parent
from ..runs.results import read_run
from ..toolkit.field_chooser import FieldChooser
from ..toolkit.icons import icon
from ..toolkit.words import tr
from .objects import Choice, Objects, is_date, is_image_of

RASTERS = QgsMapLayerProxyModel.Filter.RasterLayer
POLYGONS = QgsMapLayerProxyModel.Filter.PolygonLayer


class DateRow(QWidget):
    """Chooses the objects of one date; class and extent are asked for only where no run knows them."""

    changed = pyqtSignal()
    removed = pyqtSignal()
    """The date is not wanted any more."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why a folder cannot be used."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._folders: list[Objects] = []
        self._offered: list[Objects] = []
        self._own_date = self._own_image = ""
        self.title = QLabel()
        self.chooser = QComboBox()
        self.chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.chooser.setToolTip(tr("A run on the map, or any polygon layer, such as a cadastre or OpenStreetMap"))
        self.folder_button = _tool("open", tr("Choose the folder of a run that is not on the map"))
        self.remove_button = _tool("remove", tr("Remove this date"))
        self.date = QLineEdit()
        self.date.setPlaceholderText(tr("unknown"))
        self.date.setToolTip(tr("When the objects were there: a year, a month or a day, such as 2024-05-31"))
        self.image = _layers(RASTERS, tr("none"))
        self.image.setToolTip(tr("What the objects were taken from: to measure the shift, and to look at"))
        self.image_words = QLabel(tr("The shift is not measured on this image, because it is not a file."))
        self.image_words.setWordWrap(True)
        self.class_field = FieldChooser(tr("all of one class"))
        self.complete = _layers(POLYGONS, tr("the hull of its polygons"))
        self.complete.setToolTip(tr("Where the layer has all objects: polygons that cover this ground"))
        self._lay_out()
        self._connect()

    def choose(self, key: str) -> None:
        """Choose what has this key, if it is offered."""
        keys = [each.key for each in self._offered]
        if key in keys:
            self.chooser.setCurrentIndex(keys.index(key))

    def add_folder(self, folder: str) -> None:
        """Offer the run in a folder, and choose it."""
        try:
            found = Objects(read_run(Path(folder)))
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        if found.key not in [each.key for each in self._offered]:
            self._folders.append(found)
            self.offer([each for each in self._offered if each not in self._folders])
        self.choose(found.key)

    def offer(self, objects: Sequence[Objects]) -> None:
        """Offer these, and the folders chosen before; what is chosen stays so while it is there."""
        chosen = self.objects
        there = {each.key for each in objects}
        self._offered = [*objects, *(each for each in self._folders if each.key not in there)]
        keys = [each.key for each in self._offered]
        self.chooser.blockSignals(True)
        self.chooser.clear()
        for each in self._offered:
            self.chooser.addItem(each.title)
        self.chooser.setCurrentIndex(keys.index(chosen.key) if chosen and chosen.key in keys else -1)
        self.chooser.blockSignals(False)
        if self.objects != chosen:
            self._take()

    @property
    def objects(self) -> Optional[Objects]:
        """What is chosen; None for nothing."""
        index = self.chooser.currentIndex()
        return self._offered[index] if 0 <= index < len(self._offered) else None

    @property
    def choice(self) -> Choice:
        """All that is chosen for this date."""
        plain = self.objects is not None and self.objects.is_plain
        return Choice(
            self.objects or Objects(),
            self.date.text().strip(),
            self.class_field.field if plain else "",
            self.image.currentLayer(),
            cast(Optional[QgsVectorLayer], self.complete.currentLayer()) if plain else None,
        )

    @property
    def problem(self) -> str:
        """What is missing or wrong; empty if nothing is."""
        if self.objects is None:
            return tr("Choose the objects of each date first.")
        written = self.date.text().strip()
        if written and not is_date(written):
            return tr("“{}” is not a date: write a year, a month or a day, such as 2024-05-31.").format(written)
        return ""

    @property
    def stops(self) -> tuple[QWidget, ...]:
        """Where Tab leads, in this order."""
        return (
            self.chooser, self.folder_button, self.remove_button, self.date, self.image, self.class_field,
            self.complete,
        )  # fmt: skip

    def show_title(self, title: str, *, removable: bool) -> None:
        """Name the date."""
        self.title.setText(f"<b>{title}</b>")
        self.chooser.setAccessibleName(title)
        self.remove_button.setVisible(removable)

    def release(self) -> None:
        """Nothing refers to layers any more."""
        self._folders, self._offered = [], []

    def _lay_out(self) -> None:
        first = QHBoxLayout()
        first.addWidget(self.chooser, 1)
        first.addWidget(self.folder_button)
        first.addWidget(self.remove_button)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow(self.title)
        self._form.addRow(first)
        self._form.addRow(tr("Date"), self.date)
        self._form.addRow(tr("Image"), self.image)
        self._form.addRow(self.image_words)
        self._form.addRow(tr("Class"), self.class_field)
        self._form.addRow(tr("Complete in"), self.complete)
        self._show_plain()
        self._show_image()

    def _connect(self) -> None:
        self.chooser.currentIndexChanged.connect(self._take)
        self.folder_button.clicked.connect(self._ask_folder)
        self.remove_button.clicked.connect(self.removed)
        self.date.textChanged.connect(self.changed)
        self.image.layerChanged.connect(self._show_image)
        self.class_field.currentIndexChanged.connect(self.changed)
        self.complete.layerChanged.connect(self.changed)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Folder of a run"), default_parent())
        if folder:
            self.add_folder(folder)

    def _take(self, *_: object) -> None:
        """Show what is known of the chosen objects; a date that somebody wrote stays, and an image that was chosen."""
        objects = self.objects
        if self.date.text().strip() in ("", self._own_date):
            self._own_date = objects.date if objects is not None else ""
            self.date.setText(self._own_date)
        self._show_plain()
        shown = self.image.currentLayer()
        if shown is None or shown.id() == self._own_image:
            found = image_layer(objects) if objects is not None else None
            self._own_image = found.id() if found is not None else ""
            self.image.setLayer(found)
        self.changed.emit()

    def _show_image(self, *_: object) -> None:
        image = self.image.currentLayer()
        self.image_words.setVisible(image is not None and not is_file(image))
        self.changed.emit()

    def _show_plain(self) -> None:
        objects = self.objects
        plain = objects is not None and objects.is_plain
        self.class_field.show_fields(objects.layer if objects is not None and plain else None)
        for widget in (self.class_field, self.complete):
            widget.setVisible(plain)
            self._form.labelForField(widget).setVisible(plain)


def image_layer(objects: Objects) -> Optional[QgsMapLayer]:
    """The layer that shows what a run was made from, if it is in the QGIS project."""
    layers = QgsProject.instance().mapLayers().values()
    return next((layer for layer in layers if objects.run is not None and is_image_of(layer, objects.run)), None)


def _tool(picture: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setIcon(icon(picture))
    button.setToolTip(tip)
    return button


def _layers(kinds: QgsMapLayerProxyModel.Filter, nothing: str) -> QgsMapLayerComboBox:
    chooser = QgsMapLayerComboBox()
    chooser.setFilters(kinds)
    chooser.setAllowEmptyLayer(True, nothing)
    chooser.setCurrentIndex(0)
    chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return chooser
