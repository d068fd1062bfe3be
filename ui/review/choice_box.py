"""What is reviewed: a run that is in the QGIS project, and the label project that its checked squares go to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Optional

from qgis.core import QgsMapLayer, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QFormLayout, QGroupBox, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from ...protocol import OrthomaskError
from ..label.new_project_dialog import Proposal
from ..label.project import LabelProject, file_of, open_projects
from ..runs.generations import POLYGONS
from ..runs.results import RUN, Run, read_run
from ..toolkit.words import tr


class Reviewed(NamedTuple):
    """A finished run with its polygons in the QGIS project."""

    run: Run
    polygons: QgsVectorLayer


def reviewable(project: QgsProject) -> list[Reviewed]:
    """The runs whose polygons are in the QGIS project, oldest first, unless their files are gone."""
    found = []
    for layer in project.mapLayers().values():
        folder = run_folder(layer)
        if folder is not None and isinstance(layer, QgsVectorLayer) and layer.isValid():
            try:
                found.append(Reviewed(read_run(folder), layer))
            except OrthomaskError:
                continue
    return sorted(found, key=lambda reviewed: str(reviewed.run.record["time"]))


def run_folder(layer: QgsMapLayer) -> Optional[Path]:
    """The folder of the run whose polygons the layer shows; None for other layers."""
    marked, file = layer.customProperty(RUN), Path(file_of(layer))
    if marked:
        return Path(str(marked))
    return file.parent if file.name == POLYGONS else None


class ChoiceBox(QGroupBox):
    """Chooses a run, and a label project. New ones are chosen when they are added."""

    changed = pyqtSignal()
    new_wanted = pyqtSignal(object)
    """A new label project is wanted: a `Proposal`, or None."""
    open_wanted = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Run and labels"), parent)
        self.run_chooser, self.project_chooser = QComboBox(), QComboBox()
        self.run_chooser.setToolTip(tr("The run whose objects are checked: its polygons are in the layer tree"))
        self.project_chooser.setToolTip(tr("The label project that gets the checked squares and their objects"))
        for chooser in (self.run_chooser, self.project_chooser):
            chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.new_button, self.open_button = QPushButton(tr("New…")), QPushButton(tr("Open…"))
        buttons, form = QHBoxLayout(), QFormLayout(self)
        buttons.addWidget(self.new_button, 1)
        buttons.addWidget(self.open_button, 1)
        form.addRow(tr("Run"), self.run_chooser)
        form.addRow(tr("Label project"), self.project_chooser)
        form.addRow(buttons)
        self.run_chooser.currentIndexChanged.connect(self.changed)
        self.project_chooser.currentIndexChanged.connect(self.changed)
        self.new_button.clicked.connect(lambda: self.new_wanted.emit(self._proposal()))
        self.open_button.clicked.connect(self.open_wanted)
        project = QgsProject.instance()
        project.layersAdded.connect(self._take_added)
        project.layersWillBeRemoved["QStringList"].connect(self._find)
        self._find()

    def release(self) -> None:
        """Stop watching the QGIS project."""
        project = QgsProject.instance()
        project.layersAdded.disconnect(self._take_added)
        project.layersWillBeRemoved["QStringList"].disconnect(self._find)

    @property
    def reviewed(self) -> Optional[Reviewed]:
        """The chosen run; None if there is none."""
        return self.run_chooser.currentData()  # type: ignore[no-any-return]

    @property
    def project(self) -> Optional[LabelProject]:
        """The chosen label project; None if there is none."""
        return self.project_chooser.currentData()  # type: ignore[no-any-return]

    def choose_project(self, path: str) -> None:
        """Choose the label project in this file, if it is open."""
        paths = [self.project_chooser.itemData(row).path for row in range(self.project_chooser.count())]
        if path in paths:
            self.project_chooser.setCurrentIndex(paths.index(path))

    def _find(self, removed: Collection[str] = (), newest: bool = False) -> None:
        """List what is in the QGIS project, and keep what is chosen if it still is there.

        Args:
            removed: IDs of layers that are about to be removed.
            newest: choose the newest run.
        """
        runs = [each for each in reviewable(QgsProject.instance()) if each.polygons.id() not in removed]
        projects = [
            each
            for each in open_projects(QgsProject.instance())
            if not {each.labels.id(), each.areas.id()} & set(removed)
        ]
        run, project = self.reviewed, self.project
        same_run = next((n for n, each in enumerate(runs) if run and each.polygons == run.polygons), -1)
        same_project = next((n for n, each in enumerate(projects) if project and each.labels == project.labels), -1)
        _fill(self.run_chooser, [(each.run.title, each) for each in runs], -1 if newest else same_run)
        _fill(self.project_chooser, [(each.name, each) for each in projects], same_project)
        if (same_run, same_project) == (-1, -1) or newest or (run, project) != (self.reviewed, self.project):
            self.changed.emit()

    def _take_added(self, layers: list[QgsMapLayer]) -> None:
        self._find(newest=any(run_folder(layer) is not None for layer in layers))

    def _proposal(self) -> Optional[Proposal]:
        reviewed = self.reviewed
        return Proposal(reviewed.polygons.crs(), reviewed.run.classes) if reviewed is not None else None


def _fill(chooser: QComboBox, entries: list[tuple[str, object]], current: int) -> None:
    """Fill a chooser without a signal; the last entry is chosen if `current` is -1."""
    chooser.blockSignals(True)
    chooser.clear()
    for title, value in entries:
        chooser.addItem(title, value)
    chooser.setCurrentIndex(current if current >= 0 else len(entries) - 1)
    chooser.blockSignals(False)
    chooser.setEnabled(bool(entries))
