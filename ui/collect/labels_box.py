"""Which labels to collect: OpenStreetMap by tags, from a server or a file, any polygon layer, or none."""

from __future__ import annotations

import enum
from typing import Optional

from qgis.core import QgsMapLayerProxyModel, QgsVectorLayer
from qgis.gui import QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from ...protocol import (
    OSM_ATTRIBUTION,
    OSM_LICENCE,
    OVERPASS,
    PRESET_TITLES,
    PRESETS,
    ErrorCode,
    OpenStreetMap,
    OrthomaskError,
)
from ..label.class_table import class_field_of
from ..toolkit.field_chooser import FieldChooser, show_whole
from ..toolkit.settings import OVERPASS_SERVER
from ..toolkit.words import mark, tr
from .frozen import FrozenVectors
from .rows import FoldingForm
from .tag_table import TagTable

OWN = "own"
"""Stands for tags of one's own among the presets."""


class From(enum.Enum):
    """Where labels come from; the value is what the chooser says."""

    SERVER = mark("OpenStreetMap (internet)")
    EXTRACT = mark("OpenStreetMap (file)")
    LAYER = mark("a layer: file, WFS, cadastre …")
    NOTHING = mark("none: images only")


class LabelsBox(QGroupBox):
    """Chooses labels and their classes."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Labels"), parent)
        self.source = QComboBox()
        for source in From:
            self.source.addItem(tr(source.value), source)
        self.extract = QgsFileWidget()
        self.extract.setFilter(tr("OpenStreetMap files (*.pbf *.osm *.osm.bz2)"))
        self.extract.setToolTip(tr("An extract of the region, such as those that Geofabrik offers"))
        self.objects = QComboBox()
        for name, title in PRESET_TITLES.items():
            self.objects.addItem(tr(title), name)
        self.objects.addItem(tr("Tags of your own"), OWN)
        self.tags = TagTable()
        self.add_button, self.remove_button = QPushButton(tr("Add tag")), QPushButton(tr("Remove"))
        self.layer = QgsMapLayerComboBox()
        self.layer.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.layer.setToolTip(tr("Any polygon layer of this QGIS project. A service is read around the areas only."))
        self.class_field, self.class_name = FieldChooser(tr("all of one class")), QLineEdit("object")
        credit = tr("{}, {}: name them wherever you show the labels or what was made from them.")
        self.words = QLabel(credit.format(OSM_ATTRIBUTION, OSM_LICENCE))
        self.words.setWordWrap(True)
        for chooser in (self.source, self.objects, self.layer):
            show_whole(chooser)
        self.tags.show_rules(PRESETS[self.objects.currentData()])
        self._lay_out()
        self._connect()
        self._show_fields()

    @property
    def chosen(self) -> From:
        """Where the labels come from."""
        return From(self.source.currentData())

    def osm(self) -> Optional[OpenStreetMap]:
        """What to take from OpenStreetMap; None for other labels.

        Raises:
            OrthomaskError: a tag is wrong, or no file is chosen.
        """
        if self.chosen not in (From.SERVER, From.EXTRACT):
            return None
        name = self.objects.currentData()
        rules = self.tags.rules() if name == OWN else PRESETS[name]
        if self.chosen is From.SERVER:
            return OpenStreetMap(rules, server=OVERPASS_SERVER.get() or OVERPASS)
        path = str(self.extract.filePath()).strip()
        if not path:
            sentence = tr("No OpenStreetMap file is chosen.")
            remedy = tr("Choose an extract such as nepal.osm.pbf, or take OpenStreetMap from the internet.")
            raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy)
        return OpenStreetMap(rules, extract=path)

    def vectors(self) -> Optional[FrozenVectors]:
        """The chosen layer, frozen; None for other labels. Main thread only.

        Raises:
            OrthomaskError: there is no layer, or it cannot be used.
        """
        if self.chosen is not From.LAYER:
            return None
        layer = self._layer()
        return FrozenVectors.of(layer, self.class_field.field, self.class_name.text().strip())

    def problem(self) -> str:
        """What is still missing, with the remedy; empty if nothing is."""
        try:
            if self.chosen is From.LAYER:
                self._layer()
            self.osm()
        except OrthomaskError as error:
            return f"{error.sentence} {error.remedy}"
        return ""

    def _layer(self) -> QgsVectorLayer:
        layer = self.layer.currentLayer()
        if not isinstance(layer, QgsVectorLayer):
            sentence, remedy = tr("No layer of labels is chosen."), tr("Add a layer of polygons to the QGIS project.")
            raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy)
        return layer

    def _lay_out(self) -> None:
        self._buttons = QWidget()
        row = QHBoxLayout(self._buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.add_button)
        row.addWidget(self.remove_button)
        row.addStretch()
        self._form = form = FoldingForm(self)
        form.add(tr("From"), self.source)
        form.add(tr("File"), self.extract)
        form.add(tr("Objects"), self.objects)
        form.add("", self.tags)
        form.add("", self._buttons)
        form.add(tr("Layer"), self.layer)
        form.add(tr("Class attribute"), self.class_field)
        form.add(tr("Class"), self.class_name)
        form.add("", self.words)

    def _connect(self) -> None:
        self.source.currentIndexChanged.connect(self._show_fitting)
        self.objects.currentIndexChanged.connect(self._show_preset)
        self.layer.layerChanged.connect(self._show_fields)
        self.class_field.currentIndexChanged.connect(self._show_fitting)
        self.add_button.clicked.connect(self.tags.add_row)
        self.remove_button.clicked.connect(self.tags.remove_row)
        for signal in (self.extract.fileChanged, self.tags.changed, self.class_name.textChanged):
            signal.connect(self._note)
        self._show_fitting()

    def _note(self, *_: object) -> None:
        self.changed.emit()

    def _show_preset(self, *_: object) -> None:
        """Show the preset's tags: tags of one's own start from the preset before."""
        name = self.objects.currentData()
        if name != OWN:
            self.tags.show_rules(PRESETS[name])
        self._show_fitting()

    def _show_fields(self, *_: object) -> None:
        layer = self.layer.currentLayer()
        self.class_field.show_fields(layer, class_field_of(layer))
        self._show_fitting()

    def _show_fitting(self, *_: object) -> None:
        """Show only the fields that the choice needs."""
        source = self.chosen
        by_tags, of_layer = source in (From.SERVER, From.EXTRACT), source is From.LAYER
        own = by_tags and self.objects.currentData() == OWN
        rows = (
            (self.extract, source is From.EXTRACT), (self.objects, by_tags), (self.tags, own), (self._buttons, own),
            (self.layer, of_layer), (self.class_field, of_layer), (self.words, by_tags),
            (self.class_name, of_layer and not self.class_field.field),
        )  # fmt: skip
        self._form.show_all_but([widget for widget, shown in rows if not shown])
        self.changed.emit()
