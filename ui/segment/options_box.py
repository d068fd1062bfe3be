"""Options that seldom change: results folder, polygon cleaning, image date."""

from __future__ import annotations

from typing import Optional

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QLineEdit, QWidget

from ...protocol import SPECK_PX, PolygonOptions
from ..layers.reading_box import ReadingBox
from ..runs.folder_chooser import FolderChooser
from ..toolkit.words import briefly, tr

MAX_AREA_M2 = 1_000_000.0


class OptionsBox(QgsCollapsibleGroupBox):
    """Collapsed at first; the defaults are sound."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Options"), parent)
        sound = PolygonOptions()
        self.folder_chooser = FolderChooser(tr("Each run creates a new folder in this one"))
        self.min_area = area_box(tr("Smaller polygons are dropped"))
        self.min_hole = area_box(tr("Smaller holes are filled"))
        self.simplify = QCheckBox(tr("Tidy outlines"))
        self.simplify.setChecked(sound.simplify)
        self.simplify.setToolTip(tr("Straight walls and right angles instead of pixel steps"))
        self.whole_objects = QCheckBox(tr("Whole objects at the edge"))
        self.whole_objects.setChecked(True)
        self.whole_objects.setToolTip(
            tr("An object on the region's edge is drawn whole if its middle lies inside, and left out otherwise")
        )
        self.reading = ReadingBox()
        self.image_date = QLineEdit()
        self.image_date.setPlaceholderText(tr("unknown"))
        self.image_date.setToolTip(tr("When the image was taken; stored with the run"))
        self._lay_out()
        self._connect()

    def folder(self) -> str:
        """The parent folder of runs."""
        return self.folder_chooser.folder()

    def polygons(self) -> PolygonOptions:
        """How polygons are cleaned."""
        return PolygonOptions(self.min_area.value() or None, self.min_hole.value() or None, self.simplify.isChecked())

    def show_model(self, gsd_m: float) -> None:
        """Show what a model of this resolution sets."""
        words = tr("automatic: {} m²").format(briefly(SPECK_PX * gsd_m**2, 2))
        for box in (self.min_area, self.min_hole):
            box.setSpecialValueText(words)

    def fill(self, image_date: str, polygons: PolygonOptions, whole_objects: bool) -> None:
        """Show these instead of what was chosen."""
        self.min_area.setValue(polygons.min_area_m2 or 0)
        self.min_hole.setValue(polygons.min_hole_m2 or 0)
        self.simplify.setChecked(polygons.simplify)
        self.whole_objects.setChecked(whole_objects)
        self.image_date.setText(image_date)
        self.changed.emit()

    def _lay_out(self) -> None:
        layout = QFormLayout(self)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.addRow(tr("Save in"), self.folder_chooser)
        layout.addRow(tr("Smallest polygon"), self.min_area)
        layout.addRow(tr("Smallest hole"), self.min_hole)
        layout.addRow(tr("Image date"), self.image_date)
        layout.addRow(self.simplify)
        layout.addRow(self.whole_objects)
        layout.addRow(self.reading)
        self.setCollapsed(True)

    def _connect(self) -> None:
        self.folder_chooser.changed.connect(self.changed)
        self.min_area.valueChanged.connect(self.changed)
        self.min_hole.valueChanged.connect(self.changed)
        self.simplify.toggled.connect(self.changed)
        self.whole_objects.toggled.connect(self.changed)
        self.image_date.editingFinished.connect(self.changed)
        self.reading.changed.connect(self.changed)


def area_box(tip: str) -> QDoubleSpinBox:
    """A spin box for an area; its minimum means the model's default."""
    box = QDoubleSpinBox()
    box.setSpecialValueText(tr("automatic"))
    box.setRange(0, MAX_AREA_M2)
    box.setDecimals(1)
    box.setSuffix(tr(" m²"))
    box.setToolTip(tip)
    return box
