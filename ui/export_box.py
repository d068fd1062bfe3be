"""What is written, and how: a mask or chips, with the options of each."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Optional

from qgis.core import QgsMapLayerProxyModel, QgsVectorLayer
from qgis.gui import QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..protocol import (
    Catalogue,
    ChipFormat,
    ChipsRequest,
    ClassInfo,
    ErrorCode,
    Existing,
    LabelledImage,
    MaskRequest,
    OrthomaskError,
    Touch,
)
from .export_preview import ChipGrid
from .words import tr

Build = Callable[[LabelledImage], object]
"""Makes a request of an image with its labels."""

FORMATS = {
    ChipFormat.GEOTIFF: tr("GeoTIFF"),
    ChipFormat.PNG: tr("PNG with world file"),
    ChipFormat.NPZ: tr("NPZ (NumPy)"),
    ChipFormat.HDF5: tr("HDF5 (img and mask)"),
}
CATALOGUES = {Catalogue.COCO: tr("COCO"), Catalogue.ARCGIS: tr("ArcGIS")}
TOUCHES = {Touch.CENTRE: tr("whose centre is inside"), Touch.ALL: tr("that it touches")}


class ExportBox(QGroupBox):
    """Mask or chips; what does not belong to the choice is hidden."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Export"), parent)
        self.kind = QComboBox()
        self.kind.addItems([tr("Mask on the image's grid"), tr("Chips for training elsewhere")])
        self.areas = QgsMapLayerComboBox()
        self.areas.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.areas.setAllowEmptyLayer(True)
        self.areas.setLayer(None)
        self.areas.setToolTip(tr("Outside them nothing is known (255). Nothing: everything in the image is labelled"))
        self.touch = QComboBox()
        for touch, name in TOUCHES.items():
            self.touch.addItem(name, touch)
        self.touch.setToolTip(tr("The pixels that a polygon covers"))
        self.mask, self.chips = MaskOptions(), ChipOptions()
        self.file_chooser, self.folder_chooser = QgsFileWidget(), QgsFileWidget()
        self.file_chooser.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.file_chooser.setFilter(tr("GeoTIFF (*.tif)"))
        self.file_chooser.setConfirmOverwrite(False)  # the tick below says it
        self.folder_chooser.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.overwrite = QCheckBox(tr("Replace what is there"))
        self.preview = QCheckBox(tr("Preview on the map"))
        self.preview.setToolTip(tr("Outlines of what will be written"))
        self.preview.setChecked(True)
        for chooser in (self.kind, self.areas, self.touch):
            chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._lay_out()
        self._connect()
        self._show_kind()

    @property
    def is_mask(self) -> bool:
        """Whether a mask is chosen, not chips."""
        return self.kind.currentIndex() == 0

    @property
    def areas_layer(self) -> Optional[QgsVectorLayer]:
        """The areas that are chosen; None for the whole image."""
        return self.areas.currentLayer()

    def build(self, classes: tuple[ClassInfo, ...], folder: str, name: str) -> Build:
        """What makes the request that is filled in.

        Args:
            classes: for the raster or the manifest.
            folder: where results go unless the person has chosen.
            name: of the image.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        existing = Existing.OVERWRITE if self.overwrite.isChecked() else Existing.REFUSE
        if self.is_mask:
            path = self.file_chooser.filePath() or str(free_path(Path(folder), f"{name}-mask", ".tif"))
            path = path if path.lower().endswith((".tif", ".tiff")) else f"{path}.tif"
            return self.mask.build(path, classes, existing)
        path = self.folder_chooser.filePath() or str(free_path(Path(folder), f"{name}-chips", ""))
        return self.chips.build(path, classes, existing)

    def show_default(self, folder: str) -> None:
        """Show where results go when nothing is chosen."""
        for chooser in (self.file_chooser, self.folder_chooser):
            chooser.lineEdit().setPlaceholderText(folder)

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
        layout.addWidget(self.mask)
        layout.addWidget(self.chips)
        layout.addLayout(more)
        layout.addWidget(self.overwrite)
        layout.addWidget(self.preview)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._show_kind)
        self.areas.layerChanged.connect(self.changed)
        self.preview.toggled.connect(self.changed)
        self.chips.changed.connect(self.changed)

    def _show_kind(self) -> None:
        self.mask.setVisible(self.is_mask)
        self.chips.setVisible(not self.is_mask)
        for chooser, shown in ((self.file_chooser, self.is_mask), (self.folder_chooser, not self.is_mask)):
            chooser.setVisible(shown)
            self._more.labelForField(chooser).setVisible(shown)
        self.changed.emit()


class MaskOptions(QWidget):
    """What only masks have."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.border = QSpinBox(minimum=0, maximum=32, suffix=tr(" px"))
        self.border.setSpecialValueText(tr("none"))
        self.border.setToolTip(tr("A class of its own between objects that touch, so that they stay apart"))
        self.weights = QCheckBox(tr("Pixel weights too"))
        self.weights.setToolTip(tr("A second raster, high between near objects, beside the mask"))
        form = _form(self)
        form.addRow(tr("Border class"), self.border)
        form.addRow(self.weights)

    def build(self, path: str, classes: tuple[ClassInfo, ...], existing: Existing) -> Build:
        """What makes the request for a mask."""
        weights = str(Path(path).with_name(f"{Path(path).stem}-weights.tif")) if self.weights.isChecked() else ""
        options = {"border_px": self.border.value(), "weights_path": weights, "existing": existing}
        return lambda data: MaskRequest(
            data.image, data.labels, path, areas=data.areas, classes=classes, touch=data.touch, **options
        )


class ChipOptions(QWidget):
    """What only chips have."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        sound = ChipsRequest.__dataclass_fields__
        self.format = QComboBox()
        for format_, name in FORMATS.items():
            self.format.addItem(name, format_)
        self.format.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.size = _pixels(sound["chip_px"].default, tr("Side of a chip"))
        self.stride = _pixels(sound["stride_px"].default, tr("From chip to chip; less than the size lets them overlap"))
        self.gsd = QLineEdit(placeholderText=tr("the image's own"))
        self.gsd.setToolTip(tr("Metres per pixel; several, as in 0.15, 0.3, make a batch for each"))
        self.rotations = QLineEdit(placeholderText=tr("not turned"))
        self.rotations.setToolTip(tr("Degrees; several, as in 0, 45, make a batch for each"))
        self.empty = _percent(100, tr("Chips without any object that are kept, as a share of those with objects"))
        self.unknown = _percent(50, tr("Chips with more unknown or missing pixels are left out"))
        self.unknown.setMaximum(99)
        self.catalogues = {catalogue: QCheckBox(name) for catalogue, name in CATALOGUES.items()}
        self._lay_out()
        for signal in (self.size.valueChanged, self.stride.valueChanged, self.gsd.textChanged):
            signal.connect(self.changed)
        self.rotations.textChanged.connect(self.changed)

    def grid(self) -> ChipGrid:
        """The grid of the first batch.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        resolutions, rotations = numbers_in(self.gsd.text()), numbers_in(self.rotations.text())
        return ChipGrid(self.size.value(), self.stride.value(), *resolutions[:1] or (0.0,), *rotations[:1] or (0.0,))

    def build(self, path: str, classes: tuple[ClassInfo, ...], existing: Existing) -> Build:
        """What makes the request for chips.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        options = {
            "classes": classes,
            "format": self.format.currentData(),
            "catalogues": tuple(catalogue for catalogue, tick in self.catalogues.items() if tick.isChecked()),
            "chip_px": self.size.value(),
            "stride_px": self.stride.value(),
            "gsd_m": numbers_in(self.gsd.text()),
            "rotations": numbers_in(self.rotations.text()) or (0.0,),
            "empty_share": self.empty.value() / 100,
            "max_unknown_share": self.unknown.value() / 100,
            "existing": existing,
        }
        return lambda data: ChipsRequest((data,), path, **options)

    def _lay_out(self) -> None:
        form, ticks = _form(self), QHBoxLayout()
        for tick in self.catalogues.values():
            ticks.addWidget(tick)
        ticks.addStretch()
        form.addRow(tr("Format"), self.format)
        form.addRow(tr("Size"), self.size)
        form.addRow(tr("Stride"), self.stride)
        form.addRow(tr("Resolution (m)"), self.gsd)
        form.addRow(tr("Turned (°)"), self.rotations)
        form.addRow(tr("Keep empty ones"), self.empty)
        form.addRow(tr("Most unknown"), self.unknown)
        form.addRow(tr("Catalogues"), ticks)


def numbers_in(text: str) -> tuple[float, ...]:
    """The numbers in a text, separated by commas, semicolons or blanks.

    Raises:
        OrthomaskError: something in it is no number.
    """
    words = text.replace(",", " ").replace(";", " ").split()
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        sentence = tr("“{}” are no numbers.").format(text)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Write them as in 0.15, 0.3.")) from error


def free_path(folder: Path, name: str, ending: str) -> Path:
    """A path in the folder that is not taken."""
    path, number = folder / f"{name}{ending}", 2
    while path.exists():
        path, number = folder / f"{name}-{number}{ending}", number + 1
    return path


def _form(widget: QWidget) -> QFormLayout:
    form = QFormLayout(widget)
    form.setContentsMargins(0, 0, 0, 0)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form


def _pixels(value: int, tip: str) -> QSpinBox:
    box = QSpinBox(minimum=16, maximum=8192, singleStep=32, suffix=tr(" px"), toolTip=tip)
    box.setValue(value)
    return box


def _percent(value: int, tip: str) -> QSpinBox:
    box = QSpinBox(maximum=100, suffix=" %", toolTip=tip)
    box.setValue(value)
    return box
