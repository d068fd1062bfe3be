"""A label project in QGIS: its two layers in a group, styled, without attribute forms while digitising."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsDefaultValue,
    QgsEditorWidgetSetup,
    QgsFillSymbol,
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProject,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

from ...protocol import COLLECTED_PROJECT, COLLECTION_FILE, ClassInfo, ErrorCode, OrthomaskError, Outline, Split
from ..layers.editing import start_editing
from ..runs.results import STYLES_DIR
from ..toolkit.present import present
from ..toolkit.words import mark, tr
from .attributes import note_origins

LABELS, AREAS, CLASSES = "labels", "areas", "orthomask_classes"
CLASS_FIELD, SPLIT_FIELD, NAME_FIELD = "class", "split", "name"
ROLE = "orthomask/role"
"""Custom property that identifies the two layers when a QGIS project is opened."""
STYLE = "orthomask"

SPLIT_NAMES = {
    Split.TRAIN: mark("training"),
    Split.VALIDATION: mark("validation"),
    Split.TEST: mark("test"),
    Split.TODO: mark("to do"),
}


@dataclass(frozen=True)
class LabelProject:
    """A label project that is open in QGIS.

    Attributes:
        classes: those of the file, in order of value.
    """

    path: str
    classes: tuple[ClassInfo, ...]
    labels: QgsVectorLayer
    areas: QgsVectorLayer

    @property
    def name(self) -> str:
        """What it is called in lists."""
        return name_of(self.path)

    @property
    def current_class(self) -> int:
        """The class value of the labels digitised next."""
        text = self.labels.defaultValueDefinition(self.labels.fields().lookupField(CLASS_FIELD)).expression()
        return int(text) if text.isdigit() else self.classes[0].value

    def set_class(self, value: int) -> None:
        """Set the class of labels digitised next, and of selected labels if they are editable."""
        set_value(self.labels, CLASS_FIELD, value, str(value))

    @property
    def current_split(self) -> Split:
        """The split of the areas drawn next."""
        text = self.areas.defaultValueDefinition(self.areas.fields().lookupField(SPLIT_FIELD)).expression()
        return next((split for split in Split if text == f"'{split.value}'"), Split.TRAIN)

    def set_split(self, split: Split) -> None:
        """Set the split of areas drawn next, and of selected areas if they are editable."""
        set_value(self.areas, SPLIT_FIELD, split.value, f"'{split.value}'")


def set_value(layer: QgsVectorLayer, field: str, value: object, expression: str) -> None:
    """Set an attribute of the selected features, as one undo step, and of those made next."""
    index = layer.fields().lookupField(field)
    layer.setDefaultValueDefinition(index, QgsDefaultValue(expression))
    if not layer.isEditable() or layer.selectedFeatureCount() == 0:
        return
    layer.beginEditCommand(tr("Set {} to {}").format(field, value))
    for identity in layer.selectedFeatureIds():
        layer.changeAttributeValue(identity, index, value)
    layer.endEditCommand()
    layer.triggerRepaint()


def edit(layer: QgsVectorLayer) -> None:
    """Start editing a layer of a label project, unless it is edited already.

    Raises:
        OrthomaskError: its file cannot be written.
    """
    if start_editing(layer):
        return
    sentence = tr("The file of {} cannot be written.").format(Path(file_of(layer)).stem)
    remedy = tr("Copy the label project to a folder of your own, and open it there.")
    raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy)


def open_projects(project: QgsProject) -> list[LabelProject]:
    """The label projects with both layers in the QGIS project, unless their file is gone."""
    found: dict[str, dict[str, QgsVectorLayer]] = {}
    for layer in project.mapLayers().values():
        role = layer.customProperty(ROLE)
        if role in (LABELS, AREAS) and layer.isValid():
            found.setdefault(file_of(layer), {})[role] = layer
    return [
        LabelProject(path, classes, **layers)
        for path, layers in found.items()
        if len(layers) == 2 and (classes := _classes_if_any(path))
    ]


def open_project(project: QgsProject, path: str) -> LabelProject:
    """Add the two layers of the file `path` on top of the layer tree, unless they are there already.

    A style saved in the file is kept; without one, Orthomask's is made and saved there, so that the layers look
    alike in any QGIS.

    Raises:
        OrthomaskError: the file is not a label project.
    """
    for opened in open_projects(project):
        if Path(opened.path).resolve() == Path(path).resolve():
            return opened
    classes = read_classes(path)
    _require_styles(path, classes)
    labels, areas = _open(path, LABELS), _open(path, AREAS)
    note_origins(labels)  # the style in the file may be older
    _add_group(project, name_of(path), [areas, labels])
    return LabelProject(path, classes, labels, areas)


def read_classes(path: str) -> tuple[ClassInfo, ...]:
    """The classes of a label project.

    Raises:
        OrthomaskError: the file cannot be read, or has no classes.
    """
    table = QgsVectorLayer(f"{path}|layername={CLASSES}", CLASSES, "ogr")
    if not table.isValid():
        raise _no_project(path, table.error().message())
    columns = [table.fields().lookupField(field.name) for field in fields(ClassInfo)]
    rows = [[feature.attribute(column) for column in columns] for feature in table.getFeatures()]
    try:
        classes = [ClassInfo(int(value), name, color, Outline(outline)) for value, name, color, outline in rows]
    except (TypeError, ValueError) as error:
        raise _no_project(path, str(error)) from error
    if not classes:
        raise _no_project(path, CLASSES)
    return tuple(sorted(classes, key=lambda info: info.value))


def style_labels(layer: QgsVectorLayer, classes: Sequence[ClassInfo]) -> None:
    """Light fills in the class colours; forms offer classes by name, the first by default."""
    layer.loadNamedStyle(str(STYLES_DIR / "labels.qml"))
    grey = layer.renderer().symbol().clone()
    categories = [QgsRendererCategory(info.value, _colored(grey, info.color), info.name) for info in classes]
    categories.append(QgsRendererCategory(None, grey, tr("no class")))
    layer.setRenderer(QgsCategorizedSymbolRenderer(CLASS_FIELD, categories))
    index = layer.fields().lookupField(CLASS_FIELD)
    choices = [{info.name: str(info.value)} for info in classes]
    layer.setEditorWidgetSetup(index, QgsEditorWidgetSetup("ValueMap", {"map": choices}))
    layer.setDefaultValueDefinition(index, QgsDefaultValue(str(classes[0].value)))
    note_origins(layer)


def style_areas(layer: QgsVectorLayer) -> None:
    """Outlines in the split colours, with names; forms offer splits by name."""
    layer.loadNamedStyle(str(STYLES_DIR / "areas.qml"))


def name_of(path: str) -> str:
    """The file's name without its suffix; of a collection, whose file always has the same name, that of its folder."""
    file = Path(path)
    is_collected = file.name == COLLECTED_PROJECT and file.with_name(COLLECTION_FILE).exists()
    return file.parent.name if is_collected else file.stem


def file_of(layer: QgsMapLayer) -> str:
    """The file of an OGR layer."""
    return str(layer.source().split("|")[0])


def _classes_if_any(path: str) -> tuple[ClassInfo, ...]:
    try:
        return read_classes(path)
    except OrthomaskError:
        return ()


def _colored(template: QgsFillSymbol, color: str) -> QgsFillSymbol:
    """The symbol in another colour, with its transparency."""
    symbol, fill = present(template.clone()), QColor(color)
    fill.setAlpha(template.color().alpha())
    symbol.setColor(fill)
    symbol.symbolLayer(0).setStrokeColor(QColor(color))
    return symbol


def _open(path: str, name: str) -> QgsVectorLayer:
    return QgsVectorLayer(f"{path}|layername={name}", name, "ogr")


def _require_styles(path: str, classes: Sequence[ClassInfo]) -> None:
    """Ensure that both layers have a style in the file, whose default applies to every layer opened from it.

    Uses separate layers: QGIS closes the file after saving a style, and layers that are open lose it.
    """
    labels, areas = _open(path, LABELS), _open(path, AREAS)
    _require_field(labels, path, CLASS_FIELD)
    _require_field(areas, path, SPLIT_FIELD)
    if not _has_style(labels):
        style_labels(labels, classes)
        _save_style(labels)
    if not _has_style(areas):
        style_areas(areas)
        _save_style(areas)


def _require_field(layer: QgsVectorLayer, path: str, field: str) -> None:
    if not layer.isValid() or layer.fields().lookupField(field) < 0:
        raise _no_project(path, f"{layer.name()}: {field}")


def _no_project(path: str, details: str) -> OrthomaskError:
    sentence = tr("{} is not a label project.").format(Path(path).name)
    remedy = tr("Choose a GeoPackage that was made with “New label project”, or make one.")
    return OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy, details)


def _has_style(layer: QgsVectorLayer) -> bool:
    return bool(layer.listStylesInDatabase()[0] > 0)


def _save_style(layer: QgsVectorLayer) -> None:
    """Save the style in the file's own table `layer_styles`, as its default. A read-only file gets none."""
    layer.saveStyleToDatabase(STYLE, tr("Made by Orthomask"), True, "")


def _add_group(project: QgsProject, name: str, layers: Sequence[QgsVectorLayer]) -> None:
    group = QgsLayerTreeGroup(name)
    for layer in layers:
        layer.setCustomProperty(ROLE, layer.name())
        project.addMapLayer(layer, addToLegend=False)
        group.addLayer(layer)
    project.layerTreeRoot().insertChildNode(0, group)
    for expanded in (False, True):  # QGIS's legend takes notice of a change alone, and shows a new group collapsed
        group.setExpanded(expanded)
