"""The window that asks in which format, and where, a run is saved for others."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Optional, Union

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QFormLayout, QLabel, QLineEdit, QWidget

from ...protocol import Existing, ExportRunRequest, PageRequest, RunFormat
from ..toolkit.accessible import name_widgets
from ..toolkit.present import present
from ..toolkit.settings import IMAGE_CREDIT
from ..toolkit.words import mark, tr

WIDTH_PX = 460


class Format(enum.Enum):
    """What a run can be saved as: title, explanation, usual file name, and filter of file names."""

    PAGE = (
        mark("Web page"),
        mark("One HTML file with image, objects and provenance. It can be mailed, and needs no network."),
        "page.html",
        mark("Web page (*.html)"),
    )
    COCO = (
        mark("COCO annotations"),
        mark("Outlines in pixels of the image, for tools that train and evaluate models."),
        "objects-coco.json",
        mark("COCO (*.json)"),
    )
    FIBOA = (
        mark("fiboa fields"),
        mark("Field boundaries as fiboa 0.3, GeoJSON or GeoParquet, in longitude and latitude."),
        "fields-fiboa.geojson",
        mark("fiboa (*.geojson *.parquet)"),
    )

    @property
    def suffix(self) -> str:
        """The ending of its file names."""
        return Path(self.value[2]).suffix


class SharingDialog(QDialog):
    """Asks for format, file and, for a page, whose image it is.

    Args:
        folder: of the run; the file goes there unless another place is chosen.
    """

    def __init__(self, folder: Path, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Orthomask: save a run for others"))
        self._folder = folder
        self.format = QComboBox()
        for each in Format:
            self.format.addItem(tr(each.value[0]), each)
        self.explanation = QLabel()
        self.explanation.setWordWrap(True)
        self.file_chooser = QgsFileWidget()
        self.file_chooser.setToolTip(tr("Where to save"))
        self.file_chooser.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.credit = QLineEdit(IMAGE_CREDIT.get())
        self.credit.setPlaceholderText(tr("such as © City of Utrecht, CC BY 4.0"))
        self.credit.setToolTip(tr("Whose image it is, and its licence; shown on the page"))
        self.replaced = QLabel(tr("This file exists and will be replaced."))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        self._form = QFormLayout(self)
        self._form.addRow(tr("Format"), self.format)
        self._form.addRow("", self.explanation)
        self._form.addRow(tr("File"), self.file_chooser)
        self._form.addRow("", self.replaced)
        self._form.addRow(tr("Image credit"), self.credit)
        self._form.addRow(self.buttons)
        self.setMinimumWidth(WIDTH_PX)
        self.format.currentIndexChanged.connect(self._suit)
        self.file_chooser.fileChanged.connect(self._look)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._suit()
        name_widgets(self)

    @property
    def chosen(self) -> Format:
        """The chosen format."""
        found: Format = self.format.currentData()
        return found

    @property
    def path(self) -> str:
        """The chosen file, its name with the ending of the format; empty if there is none."""
        text = str(self.file_chooser.filePath()).strip()
        fits = text.lower().endswith((self.chosen.suffix, ".htm" if self.chosen is Format.PAGE else ".json"))
        return text if fits or not text else text + self.chosen.suffix

    def request(self) -> Union[PageRequest, ExportRunRequest]:
        """What the engine shall write; a file that was there is replaced, as the window has said."""
        run, path = str(self._folder), self.path
        if self.chosen is Format.PAGE:
            IMAGE_CREDIT.set(self.credit.text().strip())
            return PageRequest(run, path, self.credit.text().strip(), Existing.OVERWRITE)
        kind = RunFormat.COCO if self.chosen is Format.COCO else RunFormat.FIBOA
        return ExportRunRequest(run, path, kind, existing=Existing.OVERWRITE)

    def _suit(self) -> None:
        """Offer what fits the chosen format."""
        _, explanation, name, files = self.chosen.value
        self.explanation.setText(tr(explanation))
        self.file_chooser.setFilter(tr(files))
        self.file_chooser.setFilePath(str(self._folder / name))
        for widget in (self.credit, present(self._form.labelForField(self.credit))):
            widget.setVisible(self.chosen is Format.PAGE)
        self._look()

    def _look(self) -> None:
        """Say whether the file exists; without one there is nothing to save."""
        self.replaced.setVisible(bool(self.path) and Path(self.path).exists())
        present(self.buttons.button(QDialogButtonBox.StandardButton.Save)).setEnabled(bool(self.path))
