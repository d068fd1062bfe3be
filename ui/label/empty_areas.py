"""Areas without labels: is nothing there, or not drawn yet? Only a person can say."""

from __future__ import annotations

from collections import Counter
from typing import Optional

from qgis.core import QgsCoordinateTransform, QgsFeature, QgsFeatureRequest, QgsGeometry, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from ...protocol import AREA_CHECKED, AREA_REASON, AREA_STATE, AREA_TODO, OrthomaskError, Split
from ..layers.vector_snapshot import text_of
from ..toolkit.words import in_digits, tr, tr_n
from .attributes import is_unchecked
from .project import NAME_FIELD, SPLIT_FIELD, LabelProject, edit

MOST = 500
"""More areas than this are not looked at after each edit; the engine looks at all of them before a training."""


def empty_areas(areas: QgsVectorLayer, labels: QgsVectorLayer) -> dict[int, str]:
    """The areas for training, validation or test that hold no label and are not confirmed: their state by ID.

    Squares are not among them: those are checked in the Review panel.
    """
    if areas.featureCount() > MOST:
        return {}
    transform = QgsCoordinateTransform(areas.crs(), labels.crs(), QgsProject.instance())
    splits, found = _splits(areas), {}
    for area in areas.getFeatures():
        state = _text(area, AREA_STATE)
        used = splits[area.id()] not in ("", Split.TODO.value) and not _text(area, AREA_REASON)
        if used and state != AREA_CHECKED and not _holds(area.geometry(), labels, transform):
            found[area.id()] = state
    return found


def count_splits(areas: QgsVectorLayer, labels: Optional[QgsVectorLayer]) -> dict[Split, int]:
    """The number of areas for each purpose, as the engine counts them.

    Areas of layers without a split are for training; those still to do have no purpose yet.
    """
    undone = set() if labels is None else {n for n, state in empty_areas(areas, labels).items() if state == AREA_TODO}
    found = Counter(Split.TODO.value if number in undone else split for number, split in _splits(areas).items())
    return {split: found[split.value] for split in Split if found[split.value]}


def confirm_empty(areas: QgsVectorLayer, numbers: list[int]) -> None:
    """Say that nothing is in these areas: an edit like any other, to be saved or undone.

    A project from before areas had a state gets the attribute; its other areas count as they did.

    Raises:
        OrthomaskError: the layer cannot be edited.
    """
    edit(areas)
    areas.beginEditCommand(tr("Nothing is there"))
    if areas.fields().lookupField(AREA_STATE) < 0:
        areas.addAttribute(QgsVectorLayer(f"NoGeometry?field={AREA_STATE}:string", "", "memory").fields().at(0))
    index = areas.fields().lookupField(AREA_STATE)
    for number in numbers:
        areas.changeAttributeValue(number, index, AREA_CHECKED)
    areas.endEditCommand()


class EmptyAreasRow(QWidget):
    """Asks about the areas without labels, shows them one by one, and takes the answer; hidden if there are none.

    They are not selected: QGIS would paint them over what is to be seen. Where the user selects some, the answer is for
    those.

    Args:
        iface: QGIS, for its map.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the answer cannot be kept."""

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface = iface
        self._project: Optional[LabelProject] = None
        self._empty: list[int] = []
        self._shown: Optional[int] = None
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.next_button = QPushButton(tr("Show next"))
        self.next_button.setToolTip(tr("Zoom to the next of them"))
        self.confirm_button = QPushButton()
        self.confirm_button.setToolTip(tr("Confirm it as empty: it teaches what is background"))
        self.next_button.clicked.connect(self._show_next)
        self.confirm_button.clicked.connect(self._confirm)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.next_button, self.confirm_button):
            layout.addWidget(widget)
        self.hide()

    def show_empty(self, project: Optional[LabelProject], empty: list[int]) -> None:
        """Ask about these areas of a project."""
        self._project, self._empty = project, empty
        words = tr_n(
            "{} area contains no label: is nothing there, or not drawn yet?",
            "{} areas contain no label: is nothing there, or not drawn yet?",
            len(empty),
        )
        self.words.setText(words.format(in_digits(len(empty))))
        self.setVisible(bool(empty))
        self._show_target()

    def _targets(self) -> list[int]:
        """The areas that the answer is for: those that are selected, else the one that is shown."""
        chosen = self._project.areas.selectedFeatureIds() if self._project else []
        return [number for number in self._empty if number in chosen] or [
            number for number in self._empty if number == self._shown
        ]

    def _show_target(self) -> None:
        targets = self._targets()
        self.confirm_button.setEnabled(bool(targets))
        if len(targets) == 1 and self._project is not None:
            name = _text(self._project.areas.getFeature(targets[0]), NAME_FIELD)
            self.confirm_button.setText(tr("Nothing is in {}").format(name))
        elif targets:
            count = tr_n("Nothing is in {} area", "Nothing is in {} areas", len(targets))
            self.confirm_button.setText(count.format(in_digits(len(targets))))
        else:
            self.confirm_button.setText(tr("Nothing is there"))

    def _show_next(self) -> None:
        if self._project is None or not self._empty:
            return
        later = [number for number in self._empty if self._shown is not None and number > self._shown]
        self._shown = (later or self._empty)[0]
        self._project.areas.removeSelection()
        canvas = self._iface.mapCanvas()
        canvas.zoomToFeatureIds(self._project.areas, [self._shown])
        canvas.flashFeatureIds(self._project.areas, [self._shown])
        self._show_target()

    def _confirm(self) -> None:
        """Keep the answer, and show the next area."""
        if self._project is None:
            return
        targets = self._targets()
        try:
            confirm_empty(self._project.areas, targets)
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        self.show_empty(self._project, [number for number in self._empty if number not in targets])
        self._show_next()


def _splits(areas: QgsVectorLayer) -> dict[int, str]:
    """What each area is for, by ID: to do if it is an unchecked square, training without such an attribute."""
    missing = "" if areas.fields().lookupField(SPLIT_FIELD) >= 0 else Split.TRAIN.value
    request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry)
    return {
        area.id(): Split.TODO.value if is_unchecked(area) else _text(area, SPLIT_FIELD) or missing
        for area in areas.getFeatures(request)
    }


def _text(feature: QgsFeature, field: str) -> str:
    index = feature.fieldNameIndex(field)
    return text_of(feature.attribute(index)) if index >= 0 else ""


def _holds(area: QgsGeometry, labels: QgsVectorLayer, transform: QgsCoordinateTransform) -> bool:
    """Whether a label covers part of an area; one that only touches it belongs to a neighbour."""
    place = QgsGeometry(area)
    place.transform(transform)
    near = QgsFeatureRequest().setNoAttributes().setFilterRect(place.boundingBox())
    shapes = (label.geometry() for label in labels.getFeatures(near))
    return any(shape.intersects(place) and not shape.touches(place) for shape in shapes)
