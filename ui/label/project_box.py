"""The current label project: made, opened, drawn in, counted."""

from __future__ import annotations

from collections import Counter
from typing import Optional

from qgis.core import QgsFeatureRequest, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtGui import QColor, QIcon, QPixmap, QShowEvent
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...protocol import ClassInfo, ErrorCode, OrthomaskError
from ..layers.vector_snapshot import text_of
from ..toolkit.icons import icon
from ..toolkit.present import present
from ..toolkit.words import in_digits, tr, tr_n
from .area_drawing import AreaDrawing
from .empty_areas import EmptyAreasRow, count_splits, empty_areas
from .keys import LabelKeys
from .project import AREAS, CLASS_FIELD, LABELS, SPLIT_NAMES, LabelProject, edit, open_projects
from .recovery import Recoveries
from .snapping import LabelSnapping

SWATCH_PX, ROW_PX, SHOWN_ROWS, KEYS = 14, 24, 6, 9
PAUSE_MS = 200
"""Delay of counts, to collect more edits."""


class ProjectBox(QGroupBox):
    """Shows the label project, and starts drawing in it.

    Args:
        iface: QGIS, for its canvas and its Add Polygon tool.
    """

    new_wanted = pyqtSignal()
    open_wanted = pyqtSignal()
    collect_wanted = pyqtSignal()
    chosen = pyqtSignal()
    """The current project changed."""
    edited = pyqtSignal()
    """Labels or areas have been drawn, changed or saved."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing can be drawn."""
    restored = pyqtSignal(str)
    """Unsaved edits are back after a crash: a sentence about them."""

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Label project"), parent)
        self.project: Optional[LabelProject] = None
        self._iface = iface
        self._snapping: Optional[LabelSnapping] = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self.chooser = QComboBox()
        self.new_button, self.open_button = QPushButton(tr("New…")), QPushButton(tr("Open…"))
        self.collect_button = QPushButton(tr("Collect labels and images…"))
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.legend = QListWidget()
        self.legend.setAccessibleName(tr("Classes"))
        self.legend.setToolTip(
            tr("The class of what you draw next, and of selected labels.\nKeys 1 to 9 choose it on the map.")
        )
        self.split_chooser = QComboBox()
        self.split_chooser.setAccessibleName(tr("What the next area is for"))
        for split, name in SPLIT_NAMES.items():
            self.split_chooser.addItem(tr("for {}").format(tr(name)), split)
        self.label_button = QPushButton(icon("polygon"), tr("Draw label"))
        self.area_button = QPushButton(icon("rectangle"), tr("Draw area"))
        self.area_button.setCheckable(True)
        self.area_polygon_button = QToolButton()
        self.area_polygon_button.setIcon(icon("polygon"))
        self._drawing = AreaDrawing(iface.mapCanvas(), self)
        self.save_button = QPushButton(tr("Save"))
        self.empty_areas = EmptyAreasRow(iface)
        for chooser in (self.chooser, self.split_chooser):
            chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._lay_out()
        self._connect()
        self._keys = LabelKeys(iface.mapCanvas(), self._keys_in_use)
        self._keys.pressed.connect(self._take_class)
        self._recoveries = Recoveries(self)
        self._recoveries.restored.connect(self.restored)
        self.find_projects()

    def release(self) -> None:
        """Restore canvas and project; the box cannot be used afterwards."""
        QgsProject.instance().layersAdded.disconnect(self.find_projects)
        QgsProject.instance().layersWillBeRemoved["QStringList"].disconnect(self._forget_removed)
        QgsProject.instance().layersRemoved.disconnect(self.find_projects)
        self._keys.release()
        self._recoveries.release()
        self._drawing.release()
        self._use(None)

    def find_projects(self, *_: object) -> None:
        """Show the label projects that are open in QGIS, and keep the current one if it still is."""
        found = open_projects(QgsProject.instance())
        paths = [project.path for project in found]
        current = self.project.path if self.project else ""
        self.chooser.blockSignals(True)
        self.chooser.clear()
        for project in found:
            self.chooser.addItem(project.name, project)
        self.chooser.setCurrentIndex(paths.index(current) if current in paths else len(found) - 1)
        self.chooser.blockSignals(False)
        self._recoveries.watch(found)
        self._take_chosen()

    def choose(self, path: str) -> None:
        """Make the project in this file the current one."""
        paths = [self.chooser.itemData(index).path for index in range(self.chooser.count())]
        self.chooser.setCurrentIndex(paths.index(path))

    def _lay_out(self) -> None:
        files, labels, areas, layout = QHBoxLayout(), QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        files.addWidget(self.new_button, 1)
        files.addWidget(self.open_button, 1)
        labels.addWidget(self.label_button, 1)
        labels.addWidget(self.save_button, 1)
        areas.addWidget(self.area_button, 1)
        areas.addWidget(self.area_polygon_button)
        layout.addWidget(self.chooser)
        layout.addLayout(files)
        layout.addWidget(self.collect_button)
        layout.addWidget(self.legend)
        layout.addLayout(labels)
        layout.addLayout(areas)
        layout.addWidget(self.split_chooser)
        layout.addWidget(self.words)
        layout.addWidget(self.empty_areas)
        self.label_button.setToolTip(tr("Click corners on the map, right-click to finish; the class is the one above"))
        self.area_button.setToolTip(
            tr("Draw rectangles around places where you label everything: press, drag, release; Esc ends it")
        )
        self.area_polygon_button.setToolTip(tr("Draw an area of any shape: click corners, right-click to finish"))
        self.collect_button.setToolTip(
            tr("Make a label project from OpenStreetMap or a cadastre, with images from a map service")
        )
        self.save_button.setToolTip(tr("Save what you have drawn to the file"))

    def _connect(self) -> None:
        self.new_button.clicked.connect(self.new_wanted)
        self.open_button.clicked.connect(self.open_wanted)
        self.collect_button.clicked.connect(self.collect_wanted)
        self.chooser.currentIndexChanged.connect(self._take_chosen)
        self.legend.currentRowChanged.connect(lambda row: self._take_class(row + 1))
        self.split_chooser.activated.connect(self._take_split)
        self.label_button.clicked.connect(lambda: self._draw(LABELS))
        self.area_button.clicked.connect(self._draw_rectangles)
        self.area_polygon_button.clicked.connect(lambda: self._draw(AREAS))
        self._drawing.tool.activated.connect(lambda: self.area_button.setChecked(True))
        self._drawing.tool.deactivated.connect(lambda: self.area_button.setChecked(False))
        self.save_button.clicked.connect(self._save)
        self.empty_areas.failed.connect(self.failed)
        self._timer.timeout.connect(self._count)
        QgsProject.instance().layersAdded.connect(self.find_projects)
        QgsProject.instance().layersWillBeRemoved["QStringList"].connect(self._forget_removed)
        QgsProject.instance().layersRemoved.connect(self.find_projects)

    def _take_chosen(self, *_: object) -> None:
        chosen = self.chooser.currentData()
        if self.project is None or chosen is None or chosen.labels is not self.project.labels:
            self._use(chosen)

    def _use(self, project: Optional[LabelProject]) -> None:
        """Watch this project's layers instead of the last one's."""
        if self._snapping is not None:
            self._snapping.release()
        if self.project is not None:
            self._watch(self.project, on=False)
            self._drawing.end()
        self.project = project
        self._snapping = LabelSnapping(project) if project else None
        if project is not None:
            self._watch(project, on=True)
        self._show()
        self.chosen.emit()

    def _forget_removed(self, identities: list[str]) -> None:
        """Drop layers while they still exist."""
        self._recoveries.forget(identities)
        if self.project and {self.project.labels.id(), self.project.areas.id()} & set(identities):
            self._use(None)

    def _watch(self, project: LabelProject, *, on: bool) -> None:
        for layer in (project.labels, project.areas):
            for signal in (
                layer.featureAdded, layer.featureDeleted, layer.attributeValueChanged, layer.geometryChanged,
                layer.editingStarted, layer.editingStopped, layer.dataChanged, layer.selectionChanged,
            ):  # fmt: skip
                signal.connect(self._wait) if on else signal.disconnect(self._wait)

    def _wait(self, *_: object) -> None:
        self._timer.start()

    def _show(self) -> None:
        project = self.project
        for widget in (
            self.legend, self.label_button, self.area_button, self.area_polygon_button, self.save_button,
            self.split_chooser,
        ):  # fmt: skip
            widget.setVisible(project is not None)
        self.chooser.setVisible(self.chooser.count() > 0)
        self.legend.blockSignals(True)
        self.legend.clear()
        for info in project.classes if project else ():
            self.legend.addItem(QListWidgetItem(_swatch(info.color), ""))
        if project is not None:
            self.legend.setCurrentRow(_row(project.classes, project.current_class))
            self.split_chooser.setCurrentIndex(list(SPLIT_NAMES).index(project.current_split))
            self._fit_legend()
        self.legend.blockSignals(False)
        self._count()

    def showEvent(self, event: QShowEvent) -> None:
        """Fit only now: QGIS's style sheet sets the font."""
        super().showEvent(event)
        self._fit_legend()

    def _fit_legend(self) -> None:
        """Take the height that the classes need, up to a few."""
        row_px = max(ROW_PX, self.legend.sizeHintForRow(0))
        self.legend.setFixedHeight(min(self.legend.count(), SHOWN_ROWS) * row_px + 6)

    def _count(self) -> None:
        """Show the number of labels and areas, including unsaved ones."""
        project = self.project
        if project is None:
            self.words.setText(tr("Make a label project, or open one, to draw labels."))
            self.empty_areas.show_empty(None, [])
            return
        labels, areas = _counts(project.labels, CLASS_FIELD), count_splits(project.areas, project.labels)
        for row, info in enumerate(project.classes):
            key = f"{row + 1}   " if row < KEYS else "     "
            text = f"{key}{info.name}  ({in_digits(labels[str(info.value)])})"
            present(self.legend.item(row)).setText(text)
        self.empty_areas.show_empty(project, sorted(empty_areas(project.areas, project.labels)))
        told = [f"{in_digits(areas[split])} {tr(name)}" for split, name in SPLIT_NAMES.items() if split in areas]
        count = sum(labels.values())
        words = tr_n("{} label; areas: {}.", "{} labels; areas: {}.", count).format(in_digits(count), ", ".join(told))
        self.words.setText(words if told else tr("Draw an area first: labels are complete only inside areas."))
        self.save_button.setEnabled(project.labels.isModified() or project.areas.isModified())
        self.edited.emit()

    def _keys_in_use(self) -> int:
        project = self.project
        return min(len(project.classes), KEYS) if project is not None and project.labels.isEditable() else 0

    def _take_class(self, number: int) -> None:
        """Make the class in this row the current one."""
        if self.project is not None and number > 0:
            self.project.set_class(self.project.classes[number - 1].value)
            self.legend.blockSignals(True)
            self.legend.setCurrentRow(number - 1)
            self.legend.blockSignals(False)

    def _take_split(self) -> None:
        if self.project is not None:
            self.project.set_split(self.split_chooser.currentData())

    def _draw(self, what: str) -> None:
        """Draw labels or areas with QGIS's own tool."""
        if self._edit(what) is not None:
            self._iface.actionAddFeature().trigger()
            self._iface.mapCanvas().setFocus()

    def _draw_rectangles(self, on: bool) -> None:
        layer = self._edit(AREAS) if on else None
        if layer is None:
            self._drawing.end()
            self.area_button.setChecked(False)
        else:
            self._drawing.begin(layer)

    def _edit(self, what: str) -> Optional[QgsVectorLayer]:
        """Start editing labels or areas, and make them the active layer; None if they cannot be edited."""
        if self.project is None:
            return None
        layer = self.project.labels if what == LABELS else self.project.areas
        try:
            edit(layer)
        except OrthomaskError as error:
            self.failed.emit(error)
            return None
        self._iface.setActiveLayer(layer)
        return layer

    def _save(self) -> None:
        """Save the edits, and stay in edit mode."""
        for layer in (self.project.labels, self.project.areas) if self.project else ():
            if layer.isModified() and not layer.commitChanges(False):
                sentence = tr("What you drew in {} could not be saved.").format(layer.name())
                remedy = tr("Your edits are still there; check whether the file is open elsewhere, and save again.")
                details = "\n".join(layer.commitErrors())
                self.failed.emit(OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, details))
        self._count()


def _counts(layer: QgsVectorLayer, field: str) -> Counter[str]:
    index = layer.fields().lookupField(field)
    request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry).setSubsetOfAttributes([index])
    return Counter(text_of(feature.attribute(index)) for feature in layer.getFeatures(request))


def _row(classes: tuple[ClassInfo, ...], value: int) -> int:
    values = [info.value for info in classes]
    return values.index(value) if value in values else 0


def _swatch(color: str) -> QIcon:
    picture = QPixmap(SWATCH_PX, SWATCH_PX)
    picture.fill(QColor(color))
    return QIcon(picture)
