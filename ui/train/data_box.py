"""Choosing data for training or evaluation: an image with labels and areas, or exported chips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from qgis.core import QgsMapLayer, QgsMapLayerProxyModel, QgsProject, QgsVectorLayer
from qgis.gui import QgsCollapsibleGroupBox, QgsFileWidget, QgsMapCanvas, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QComboBox, QFormLayout, QGroupBox, QLabel, QVBoxLayout, QWidget

from ...protocol import ClassInfo, ClassValue, ErrorCode, OrthomaskError, Split
from ..label.class_table import by_number, class_field_of, matched, values_of
from ..label.empty_areas import count_splits
from ..label.project import CLASS_FIELD, SPLIT_NAMES, LabelProject, open_projects
from ..label.sources import GroundTruth, LabelSource, Rendering, is_areas_layer, is_labels_layer, planned_image
from ..layers.map_view import ImageChooser
from ..layers.picture_words import picture_words
from ..layers.reading_box import ReadingBox
from ..layers.rendering import Picture
from ..layers.sources import require_image
from ..toolkit.accessible import name_widgets
from ..toolkit.field_chooser import FieldChooser, show_whole
from ..toolkit.folders import choose_folders
from ..toolkit.present import present
from ..toolkit.words import in_digits, tr, tr_n
from .data import Frozen, FrozenChips, FrozenLayers, count_labels

LAYERS, CHIPS = "layers", "chips"


class DataChoice(NamedTuple):
    """What is chosen in a `TrainingDataBox`: layers by ID, empty for none, and for the image if it is the map."""

    source: str
    image: str
    labels: str
    class_field: str
    areas: str
    chips: str


class TrainingDataBox(QGroupBox):
    """Chooses layers, checks that they are usable, and freezes them.

    Args:
        needed: the split that is required.
        canvas: its map can be the image.
        makes_classes: number the values of an attribute as classes; otherwise use a model's.
    """

    changed = pyqtSignal()

    def __init__(
        self, needed: Split, canvas: QgsMapCanvas, *, makes_classes: bool, parent: Optional[QWidget] = None
    ) -> None:
        super().__init__(tr("Data"), parent)
        self.needed, self._makes_classes = needed, makes_classes
        self._rendering = Rendering(0.0, 0)
        self._projects: dict[str, LabelProject] = {}
        self.source = QComboBox()
        self.source.setToolTip(tr("A label project from the Label panel, any polygon layers, or exported chips"))
        self.image = ImageChooser(canvas, tr("The orthophoto, map service or map that was labelled"))
        self.labels = _layer_chooser(QgsMapLayerProxyModel.Filter.PolygonLayer, tr("Polygons of the objects to find"))
        self.class_field = FieldChooser(tr("all of one class"))
        self.class_field.setToolTip(tr("The attribute that names the class"))
        self._fields_of = ""
        self.areas = _layer_chooser(
            QgsMapLayerProxyModel.Filter.PolygonLayer, tr("Polygons in which everything is labelled")
        )
        self.areas.setAllowEmptyLayer(True, tr("the whole image is labelled"))
        self.chips = QgsFileWidget()
        choose_folders(self.chips, tr("The folder that contains their manifest.json"))
        self.reading = ReadingBox()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self._lay_out()
        self._connect()
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Offer the label projects that are open now, and count again. A new one is chosen."""
        before, chosen = set(self._projects), self.source.currentData()
        self._projects = {project.path: project for project in open_projects(QgsProject.instance())}
        layers = list(QgsProject.instance().mapLayers().values())
        self.labels.setExceptedLayerList(list(filter(is_areas_layer, layers)))
        self.areas.setExceptedLayerList(list(filter(is_labels_layer, layers)))
        chosen = next((path for path in self._projects if path not in before), chosen)
        self.source.blockSignals(True)
        self.source.clear()
        for path, project in self._projects.items():
            self.source.addItem(tr("{} (label project)").format(project.name), path)
        self.source.addItem(tr("Layers of this project"), LAYERS)
        self.source.addItem(tr("Exported chips"), CHIPS)
        self.source.setCurrentIndex(max(0, self.source.findData(chosen)))
        self.source.blockSignals(False)
        self._show_source()

    def render_at(self, gsd_m: float, margin_px: int) -> None:
        """Render a non-file image at this resolution, with this margin around the areas."""
        if self._rendering != Rendering(gsd_m, margin_px):
            self._rendering = Rendering(gsd_m, margin_px)
            self._look()

    def choice(self) -> DataChoice:
        """What is chosen, to choose it in another box."""
        layers = [chooser.currentLayer() for chooser in (self.image, self.labels, self.areas)]
        ids = [layer.id() if layer is not None else "" for layer in layers]
        return DataChoice(
            self.source.currentData(), ids[0], ids[1], self.class_field.field, ids[2], self.chips.filePath()
        )

    def choose(self, choice: DataChoice) -> None:
        """Choose what was chosen in another box, as far as it is still there."""
        self.chips.setFilePath(choice.chips)
        for chooser, identity in zip(
            (self.image, self.labels, self.areas), (choice.image, choice.labels, choice.areas)
        ):
            layer = QgsProject.instance().mapLayer(identity)
            if layer is not None or chooser is self.areas:
                chooser.setLayer(layer)
        if not choice.image and self.image.count() > 1:  # the map, though there are layers
            self.image.choose_map()
        self.source.setCurrentIndex(max(0, self.source.findData(choice.source)))
        self.class_field.setCurrentIndex(max(0, self.class_field.findData(choice.class_field)))

    def chosen_labels(self) -> tuple[Optional[QgsVectorLayer], str, tuple[ClassInfo, ...]]:
        """Labels, the attribute of their class, and the classes of their label project; no labels for chips."""
        if self.source.currentData() == CHIPS:
            return None, "", ()
        labels, class_field, _ = self._layers()
        return labels, class_field, self._project.classes if self._project else ()

    def splits(self) -> dict[Split, int]:
        """The number of areas for each split; empty without areas."""
        if self.source.currentData() == CHIPS:
            return {}
        labels, _, areas = self._layers()
        return count_splits(areas, labels) if areas is not None else {}

    def read_bands(self, names: Sequence[str]) -> None:
        """Offer a choice for each of these bands of a model; of any three if there are none."""
        self.reading.set_bands(names)

    def problem(self) -> str:
        """Why the chosen data cannot be used, with the remedy; empty if it can."""
        try:
            self._require_usable()
        except OrthomaskError as error:
            return f"{error.sentence} {error.remedy}"
        return ""

    def frozen(self, mapping: tuple[ClassValue, ...] = ()) -> Frozen:
        """Freeze the chosen data as it is now.

        Args:
            mapping: the classes of the attribute's values; empty for those of the label project or the values.

        Raises:
            OrthomaskError: it is not usable.
        """
        self._require_usable()
        if self.source.currentData() == CHIPS:
            return FrozenChips(self.chips.filePath())
        chosen, class_field, areas = self._layers()
        labels = present(chosen)
        classes = self._project.classes if self._project else ()
        source = LabelSource(labels, class_field, by_number(classes) if class_field == CLASS_FIELD else ())
        if class_field and not classes and self._makes_classes:
            numbered, found = matched(values_of(labels, class_field), ())
            source, classes = LabelSource(labels, class_field, tuple(found)), tuple(numbered)
        if mapping:
            source = LabelSource(labels, class_field, mapping)
        image = require_image(self.image.image)
        truth = GroundTruth.of(image, [source], areas, rendering=self._rendering)
        return FrozenLayers(image.name(), truth.read_as_chosen(image, self.reading.names), classes)

    def showEvent(self, event: QShowEvent) -> None:
        """Refresh: labels and areas may have changed while hidden."""
        super().showEvent(event)
        self.refresh()

    def release(self) -> None:
        """Stop listening to the project."""
        QgsProject.instance().layersAdded.disconnect(self.refresh)
        QgsProject.instance().layersWillBeRemoved["QStringList"].disconnect(self._forget)
        QgsProject.instance().layersRemoved.disconnect(self.refresh)

    @property
    def _project(self) -> Optional[LabelProject]:
        return self._projects.get(self.source.currentData())

    def _lay_out(self) -> None:
        self._form = QFormLayout()
        self._form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for chooser in (self.source, self.image, self.labels, self.areas):
            show_whole(chooser)
        layout = QVBoxLayout(self)
        layout.addLayout(self._form)
        for field in (self.source, self.image, self.labels, self.class_field, self.areas, self.chips):
            field.setParent(self)  # before the others: the order of the tab key
            field.hide()
        self.more = QgsCollapsibleGroupBox(tr("Bands and values"))
        QVBoxLayout(self.more).addWidget(self.reading)
        self.more.setCollapsed(True)
        layout.addWidget(self.more)
        layout.addWidget(self.words)

    def _connect(self) -> None:
        self.source.currentIndexChanged.connect(self._show_source)
        self.labels.layerChanged.connect(self._take_fields)
        for signal in (self.image.layerChanged, self.areas.layerChanged, self.class_field.currentIndexChanged):
            signal.connect(self._look)
        self.chips.fileChanged.connect(self._look)
        self.image.layerChanged.connect(self._show_reading)
        self.reading.changed.connect(self._look)
        QgsProject.instance().layersAdded.connect(self.refresh)
        QgsProject.instance().layersWillBeRemoved["QStringList"].connect(self._forget)
        QgsProject.instance().layersRemoved.connect(self.refresh)

    def _forget(self, gone: list[str]) -> None:
        """Drop the label projects whose layers, given by ID, are about to be deleted."""
        self._projects = {
            path: project
            for path, project in self._projects.items()
            if not {project.labels.id(), project.areas.id()} & set(gone)
        }

    def _show_source(self) -> None:
        """Add only the fields that the source needs: hidden ones would leave gaps."""
        while self._form.rowCount():
            row = self._form.takeRow(0)
            row.labelItem.widget().deleteLater()
            row.fieldItem.widget().hide()
        kind = self.source.currentData()
        for words, field, shown in (
            (tr("Labels from"), self.source, True),
            (tr("Image"), self.image, kind != CHIPS),
            (tr("Labels"), self.labels, kind == LAYERS),
            (tr("Class"), self.class_field, kind == LAYERS),
            (tr("Areas"), self.areas, kind == LAYERS),
            (tr("Folder"), self.chips, kind == CHIPS),
        ):
            if shown:
                self._form.addRow(words, field)
                field.show()
        self.more.setVisible(kind != CHIPS)
        self._show_reading()
        name_widgets(self)
        self._take_fields()

    def _show_reading(self, *_: object) -> None:
        self.reading.set_image(self.image.image)

    def _take_fields(self) -> None:
        layer = self.labels.currentLayer()
        name = layer.id() if layer else ""
        usual = class_field_of(layer) if layer else ""
        self.class_field.show_fields(layer, self.class_field.field if name == self._fields_of else usual)
        self._fields_of = name
        self._look()

    def _look(self, *_: object) -> None:
        """Say what there is, or what is missing."""
        self.words.setText(self.problem() or self._counts())
        self.changed.emit()

    def _layers(self) -> tuple[Optional[QgsVectorLayer], str, Optional[QgsVectorLayer]]:
        """Labels, the attribute of their class, and areas."""
        project = self._project
        if project is not None:
            return project.labels, CLASS_FIELD, project.areas
        labels, areas = (_polygons(chooser.currentLayer()) for chooser in (self.labels, self.areas))
        return labels, self.class_field.field, areas

    def _require_usable(self) -> None:
        if self.source.currentData() == CHIPS:
            _require_chips(self.chips.filePath())
            return
        require_image(self.image.image)
        labels, _, areas = self._layers()
        _require_labels(labels)
        if areas is not None and self.needed not in count_splits(areas, labels):
            sentence = tr("There is no area for {}.").format(tr(SPLIT_NAMES[self.needed]))
            remedy = tr(
                "In Label, draw areas in which everything is labelled, set what they are for, and confirm those that "
                "are empty."
            )
            raise OrthomaskError(ErrorCode.AREAS_EMPTY, sentence, remedy)
        planned_image(self.image.image, areas, self._rendering)

    def _counts(self) -> str:
        if self.source.currentData() == CHIPS:
            return tr("Chips with their manifest.")
        labels, _, areas = self._layers()
        count = count_labels(labels) if labels is not None else 0
        found = tr_n("{} label", "{} labels", count).format(in_digits(count))
        planned = planned_image(self.image.image, areas, self._rendering)
        if isinstance(planned, Picture):
            found = f"{picture_words(planned)}\n{found}"
        if areas is None:
            return tr("{} · the image is split automatically").format(found)
        counts = count_splits(areas, labels)
        words = ", ".join(f"{in_digits(count)} {tr(SPLIT_NAMES[split])}" for split, count in counts.items())
        if Split.VALIDATION in counts or self.needed is not Split.TRAIN:
            return tr("{} · areas: {}").format(found, words)
        return tr("{} · areas: {}. None is for validation, so some of those for training are used for it.").format(
            found, words
        )


def _layer_chooser(kind: QgsMapLayerProxyModel.Filter, tip: str) -> QgsMapLayerComboBox:
    chooser = QgsMapLayerComboBox()
    chooser.setFilters(kind)
    chooser.setToolTip(tip)
    return chooser


def _polygons(layer: Optional[QgsMapLayer]) -> Optional[QgsVectorLayer]:
    return layer if isinstance(layer, QgsVectorLayer) else None


def _require_labels(labels: Optional[QgsVectorLayer]) -> None:
    if labels is None:
        sentence, remedy = (
            tr("No labels are chosen."),
            tr("Make a label project in the Label panel, or choose a layer."),
        )
        raise OrthomaskError(ErrorCode.LABELS_EMPTY, sentence, remedy)
    if count_labels(labels) == 0:
        sentence = tr("The layer {} contains no labels yet.").format(labels.name())
        raise OrthomaskError(ErrorCode.LABELS_EMPTY, sentence, tr("Digitise some in the Label panel."))


def _require_chips(path: str) -> None:
    if not path:
        sentence, remedy = tr("No folder of chips is chosen."), tr("Choose one that was exported from the Label panel.")
        raise OrthomaskError(ErrorCode.CHIPS_EMPTY, sentence, remedy)
    if not (Path(path) / "manifest.json").exists():
        sentence = tr("There are no chips in {}.").format(path)
        raise OrthomaskError(
            ErrorCode.CHIPS_EMPTY, sentence, tr("Choose the folder that contains their manifest.json.")
        )
