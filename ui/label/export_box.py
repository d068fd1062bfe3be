"""What to export, and how: a mask or chips, with their options."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from qgis.core import QgsMapLayerProxyModel, QgsVectorLayer
from qgis.gui import QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from ...protocol import ClassInfo, Existing, Touch
from ..toolkit.field_chooser import show_whole
from ..toolkit.folders import choose_folders, why_unwritable
from ..toolkit.settings import FOLDER, news
from ..toolkit.words import mark, tr
from .export_options import Build, ChipOptions, MaskOptions
from .sources import Rendering

TOUCHES = {Touch.CENTRE: mark("whose centre is inside"), Touch.ALL: mark("that it touches")}


class ExportBox(QGroupBox):
    """Mask or chips; shows only the options of the choice."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Export"), parent)
        self.kind = QComboBox()
        self.kind.addItems([tr("Mask on the image's grid"), tr("Chips for training elsewhere")])
        self.areas = QgsMapLayerComboBox()
        self.areas.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.areas.setAllowEmptyLayer(True)
        self.areas.setLayer(None)
        self.areas.setToolTip(
            tr("Pixels outside the areas are unknown (255). Without areas, the whole image counts as labelled")
        )
        self.touch = QComboBox()
        for touch, name in TOUCHES.items():
            self.touch.addItem(tr(name), touch)
        self.touch.setToolTip(tr("Which pixels a polygon covers"))
        self.masks, self.chips = MaskOptions(), ChipOptions()
        self.file_chooser, self.folder_chooser = QgsFileWidget(), QgsFileWidget()
        self.file_chooser.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.file_chooser.setFilter(tr("GeoTIFF (*.tif)"))
        self.file_chooser.setConfirmOverwrite(False)  # the checkbox below does
        choose_folders(self.folder_chooser, tr("The chips are written into this folder"))
        self.place = QLabel()
        self.place.setWordWrap(True)
        self.overwrite = QCheckBox(tr("Overwrite existing files"))
        self.preview = QCheckBox(tr("Preview on the map"))
        self.preview.setToolTip(tr("Outlines of chips; unknown pixels of a mask are dark"))
        self.preview.setChecked(True)
        for chooser in (self.kind, self.areas, self.touch):
            show_whole(chooser)
        self._lay_out()
        self._connect()
        self._show_kind()

    @property
    def is_mask(self) -> bool:
        """Whether a mask is chosen, not chips."""
        return self.kind.currentIndex() == 0

    @property
    def areas_layer(self) -> Optional[QgsVectorLayer]:
        """The chosen areas; None for the whole image."""
        layer = self.areas.currentLayer()
        return layer if isinstance(layer, QgsVectorLayer) else None

    @property
    def rendering(self) -> Rendering:
        """How a non-file image is rendered.

        Raises:
            OrthomaskError: a resolution cannot be read.
        """
        return self.masks.rendering() if self.is_mask else self.chips.rendering()

    def build(self, classes: tuple[ClassInfo, ...], folder: str, name: str) -> Build:
        """A function that makes the request.

        Args:
            classes: for the raster or the manifest.
            folder: where results go unless the user chose a path.
            name: the image's.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        existing = Existing.OVERWRITE if self.overwrite.isChecked() else Existing.REFUSE
        if self.is_mask:
            path = self.file_chooser.filePath() or str(free_path(Path(folder), f"{name}-mask", ".tif"))
            path = path if path.lower().endswith((".tif", ".tiff")) else f"{path}.tif"
            return self.masks.build(path, classes, existing)
        path = self.folder_chooser.filePath() or str(free_path(Path(folder), f"{name}-chips", ""))
        return self.chips.build(path, classes, existing)

    def show_default(self, folder: str) -> None:
        """Show where results go by default."""
        for chooser in (self.file_chooser, self.folder_chooser):
            chooser.lineEdit().setPlaceholderText(folder)
        self._show_place()

    def _lay_out(self) -> None:
        form, more, layout = QFormLayout(), QFormLayout(), QVBoxLayout(self)
        for part in (form, more):
            part.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(self.kind)
        form.addRow(tr("Areas"), self.areas)
        form.addRow(tr("Pixels"), self.touch)
        more.addRow(tr("Save as"), self.file_chooser)
        more.addRow(tr("Save in"), self.folder_chooser)
        self._more = more
        layout.addLayout(form)
        layout.addWidget(self.masks)
        layout.addWidget(self.chips)
        layout.addLayout(more)
        layout.addWidget(self.place)
        layout.addWidget(self.overwrite)
        layout.addWidget(self.preview)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._show_kind)
        self.areas.layerChanged.connect(self.changed)
        self.preview.toggled.connect(self.changed)
        self.chips.changed.connect(self.changed)
        self.masks.changed.connect(self.changed)
        news.changed.connect(self._follow_settings)
        for chooser in (self.file_chooser, self.folder_chooser):
            chooser.fileChanged.connect(self._show_place)

    def _follow_settings(self, changed: object) -> None:
        if changed is FOLDER:
            self.changed.emit()

    def _show_kind(self) -> None:
        self.masks.setVisible(self.is_mask)
        self.chips.setVisible(not self.is_mask)
        for chooser, shown in ((self.file_chooser, self.is_mask), (self.folder_chooser, not self.is_mask)):
            chooser.setVisible(shown)
            self._more.labelForField(chooser).setVisible(shown)
        self._show_place()
        self.changed.emit()

    def _show_place(self) -> None:
        """Say that the file or folder cannot be written."""
        chooser = self.file_chooser if self.is_mask else self.folder_chooser
        chosen, default = chooser.filePath(), chooser.lineEdit().placeholderText()
        folder = str(Path(chosen).parent) if chosen and self.is_mask else chosen or default
        self.place.setText(why_unwritable(folder) if folder else "")
        self.place.setVisible(bool(self.place.text()))


def free_path(folder: Path, name: str, ending: str) -> Path:
    """An unused path in the folder."""
    path, number = folder / f"{name}{ending}", 2
    while path.exists():
        path, number = folder / f"{name}-{number}{ending}", number + 1
    return path
