"""The options for masks, and those for chips."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from ...protocol import (
    Catalogue,
    ChipFormat,
    ChipsRequest,
    ClassInfo,
    ErrorCode,
    Existing,
    LabelledImage,
    MaskRequest,
    OrthomaskError,
)
from ..layers.images import kept_beside
from ..layers.reading_box import ReadingBox
from ..toolkit.field_chooser import show_whole
from ..toolkit.words import mark, tr
from .export_preview import ChipGrid
from .sources import Rendering

Build = Callable[[LabelledImage], object]
"""Makes a request from an image with its labels."""

FORMATS = {
    ChipFormat.GEOTIFF: "GeoTIFF",
    ChipFormat.PNG: mark("PNG with world file"),
    ChipFormat.NPZ: "NPZ (NumPy)",
    ChipFormat.HDF5: mark("HDF5 (img and mask)"),
}
LEFT_OUT = {
    "empty": mark("empty"),
    "faulty": mark("faulty"),
    "constant": mark("constant"),
    "crossing": mark("touching another split"),
}
"""Why chips are left out, by the result's keys."""
CATALOGUES = {Catalogue.COCO: "COCO", Catalogue.ARCGIS: "ArcGIS"}


class MaskOptions(QWidget):
    """The options for masks."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.border = QSpinBox()
        self.border.setMaximum(32)
        self.border.setSuffix(tr(" px"))
        self.border.setSpecialValueText(tr("none"))
        self.border.setToolTip(tr("A separate class between touching objects, so that they stay apart"))
        self.gsd = _line(tr("as in the image"))
        self.gsd.setToolTip(
            tr("Metres per pixel, for an image that is not a file; the rendered image is saved next to the mask")
        )
        self.gsd.textChanged.connect(self.changed)
        self.weights = QCheckBox(tr("Also write pixel weights"))
        self.weights.setToolTip(tr("A second raster next to the mask, high between close objects"))
        form = _form(self)
        form.addRow(tr("Resolution (m)"), self.gsd)
        form.addRow(tr("Border class"), self.border)
        form.addRow(self.weights)

    def rendering(self) -> Rendering:
        """How a non-file image is rendered: the areas, without a margin.

        Raises:
            OrthomaskError: the resolution cannot be read.
        """
        return Rendering(min(numbers_in(self.gsd.text()), default=0.0), 0)

    def build(self, path: str, classes: tuple[ClassInfo, ...], existing: Existing) -> Build:
        """A function that makes the mask request."""
        weights = str(Path(path).with_name(f"{Path(path).stem}-weights.tif")) if self.weights.isChecked() else ""
        options: dict[str, Any] = {"border_px": self.border.value(), "weights_path": weights, "existing": existing}
        return lambda data: MaskRequest(
            kept_beside(data.image, path),
            data.labels,
            path,
            areas=data.areas,
            classes=classes,
            touch=data.touch,
            **options,
        )


class ChipOptions(QWidget):
    """The options for chips."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        sound: dict[str, Any] = {each.name: each.default for each in fields(ChipsRequest)}
        self.format = QComboBox()
        for format_, name in FORMATS.items():
            self.format.addItem(tr(name), format_)
        show_whole(self.format)
        self.side = _pixels(sound["chip_px"], tr("Side length of a chip"))
        self.stride = _pixels(
            sound["stride_px"], tr("Distance from chip to chip; chips overlap if it is less than their size")
        )
        self.gsd = _line(tr("as in the image"))
        self.gsd.setToolTip(tr("Metres per pixel; several values, as in 0.15, 0.3, give a batch for each"))
        self.rotations = _line(tr("no rotation"))
        self.rotations.setToolTip(tr("Degrees; several values, as in 0, 45, give a batch for each"))
        self.empty = _percent(100, tr("Chips without objects to keep, as a share of those with objects"))
        self.unknown = _percent(50, tr("Chips with more unknown or missing pixels are left out"))
        self.unknown.setMaximum(99)
        self.reading = ReadingBox()
        self.catalogues = {catalogue: QCheckBox(name) for catalogue, name in CATALOGUES.items()}
        self._lay_out()
        for signal in (self.side.valueChanged, self.stride.valueChanged, self.gsd.textChanged):
            signal.connect(self.changed)
        self.rotations.textChanged.connect(self.changed)

    def grid(self) -> ChipGrid:
        """The grid of the first batch.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        resolutions, rotations = numbers_in(self.gsd.text()), numbers_in(self.rotations.text())
        return ChipGrid(self.side.value(), self.stride.value(), *resolutions[:1] or (0.0,), *rotations[:1] or (0.0,))

    def rendering(self) -> Rendering:
        """How a non-file image is rendered: at the finest resolution, with a margin of one chip.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        return Rendering(min(numbers_in(self.gsd.text()), default=0.0), self.side.value())

    def build(self, path: str, classes: tuple[ClassInfo, ...], existing: Existing) -> Build:
        """A function that makes the chip request.

        Raises:
            OrthomaskError: a number cannot be read.
        """
        options: dict[str, Any] = {
            "classes": classes,
            "format": self.format.currentData(),
            "catalogues": tuple(catalogue for catalogue, tick in self.catalogues.items() if tick.isChecked()),
            "chip_px": self.side.value(),
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
        form.addRow(tr("Size"), self.side)
        form.addRow(tr("Stride"), self.stride)
        form.addRow(tr("Resolution (m)"), self.gsd)
        form.addRow(tr("Rotation (°)"), self.rotations)
        form.addRow(tr("Keep empty chips"), self.empty)
        form.addRow(tr("Maximum unknown"), self.unknown)
        form.addRow(tr("Catalogues"), ticks)
        form.addRow(self.reading)


def numbers_in(text: str) -> tuple[float, ...]:
    """The numbers in a text, separated by commas, semicolons or spaces.

    Raises:
        OrthomaskError: part of it is not a number.
    """
    words = text.replace(",", " ").replace(";", " ").split()
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        sentence = tr("“{}” is not a list of numbers.").format(text)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Write numbers as in 0.15, 0.3.")) from error


def _form(widget: QWidget) -> QFormLayout:
    form = QFormLayout(widget)
    form.setContentsMargins(0, 0, 0, 0)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form


def _line(nothing: str) -> QLineEdit:
    line = QLineEdit()
    line.setPlaceholderText(nothing)
    return line


def _pixels(value: int, tip: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(16, 8192)
    box.setSingleStep(32)
    box.setSuffix(tr(" px"))
    box.setToolTip(tip)
    box.setValue(value)
    return box


def _percent(value: int, tip: str) -> QSpinBox:
    box = QSpinBox()
    box.setMaximum(100)
    box.setSuffix(" %")
    box.setToolTip(tip)
    box.setValue(value)
    return box
