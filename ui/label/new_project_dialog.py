"""What to ask for a new label project: its file, CRS and classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

from qgis.core import QgsCoordinateReferenceSystem
from qgis.gui import QgsFileWidget, QgsProjectionSelectionWidget
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...protocol import ClassInfo, ModelSummary, Outline, ProjectRequest
from ..layers.sources import crs_name
from ..toolkit.accessible import name_widgets
from ..toolkit.help import Section, show_help
from ..toolkit.words import tr
from .class_table import ClassTable, default_color

FIRST_CLASS = ClassInfo(1, "building", "#dc3228", Outline.SQUARED)


class Proposal(NamedTuple):
    """What a new label project starts from."""

    crs: QgsCoordinateReferenceSystem
    classes: tuple[ClassInfo, ...]


class NewProjectDialog(QDialog):
    """Asks for a file, a CRS and classes.

    Args:
        folder: where the file goes unless the user chooses otherwise.
        crs: the proposed CRS.
        models: models whose classes can be used.
    """

    def __init__(
        self,
        folder: str,
        crs: QgsCoordinateReferenceSystem,
        models: Sequence[ModelSummary],
        parent: Optional[QWidget] = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("New label project"))
        self.file_chooser = QgsFileWidget()
        self.file_chooser.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.file_chooser.setFilter(tr("Label projects (*.gpkg)"))
        self.file_chooser.setConfirmOverwrite(False)  # an existing file is never replaced
        self.file_chooser.setDefaultRoot(folder)
        self.file_chooser.setFilePath(f"{folder}/labels.gpkg")
        self.crs_chooser = QgsProjectionSelectionWidget()
        self.crs_chooser.setCrs(crs)
        self.model_chooser = QComboBox()
        self.model_chooser.addItem(tr("my own classes"), (FIRST_CLASS,))
        for model in models:
            self.model_chooser.addItem(tr("the classes of {}").format(model.title), model.classes)
        self.table = ClassTable()
        self.add_button, self.remove_button = QPushButton(tr("Add class")), QPushButton(tr("Remove"))
        buttons = QDialogButtonBox.StandardButton
        self._buttons = QDialogButtonBox(buttons.Ok | buttons.Cancel | buttons.Help)
        self._lay_out()
        self._connect()
        self.table.show_classes((FIRST_CLASS,))
        name_widgets(self)

    def request(self) -> ProjectRequest:
        """The request, as filled in.

        Raises:
            OrthomaskError: something is missing.
        """
        path = self.file_chooser.filePath().strip()
        path = path if path.endswith(".gpkg") else f"{path}.gpkg"
        return ProjectRequest(path, crs_name(self.crs_chooser.crs()), self.table.classes)

    def _lay_out(self) -> None:
        words = QLabel(tr("One GeoPackage for your labels and for the areas in which everything is labelled."))
        words.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.add_button)
        buttons.addWidget(self.remove_button)
        buttons.addStretch()
        form = QFormLayout()
        form.addRow(tr("File"), self.file_chooser)
        form.addRow(tr("CRS"), self.crs_chooser)
        form.addRow(tr("Start with"), self.model_chooser)
        layout = QVBoxLayout(self)
        layout.addWidget(words)
        layout.addLayout(form)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        layout.addWidget(self._buttons)
        self.setMinimumWidth(460)

    def _connect(self) -> None:
        self.model_chooser.currentIndexChanged.connect(
            lambda: self.table.show_classes(self.model_chooser.currentData())
        )
        self.add_button.clicked.connect(self._add)
        self.remove_button.clicked.connect(self._remove)
        self.table.changed.connect(self._allow)
        self.file_chooser.fileChanged.connect(self._allow)
        self.crs_chooser.crsChanged.connect(self._allow)
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        self._buttons.helpRequested.connect(lambda: show_help(Section.LABEL, self))

    def _add(self) -> None:
        number = self.table.rowCount() + 1
        new = ClassInfo(number, tr("class {}").format(number), default_color(number))
        self.table.show_classes((*self.table.classes, new))
        self.table.editItem(self.table.item(number - 1, 1))

    def _remove(self) -> None:
        row = self.table.currentRow() if self.table.currentRow() >= 0 else self.table.rowCount() - 1
        self.table.show_classes([info for info in self.table.classes if info.value != row + 1])

    def _allow(self) -> None:
        """Enable OK once there is a file, a CRS, and classes with distinct names."""
        names = [info.name for info in self.table.classes]
        named = bool(names) and all(names) and len(set(names)) == len(names)
        ready = named and self.crs_chooser.crs().isValid() and bool(self.file_chooser.filePath())
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(ready)
        self.remove_button.setEnabled(len(names) > 1)
