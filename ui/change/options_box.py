"""How dates are compared, and where the results go."""

from __future__ import annotations

from typing import Optional

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QWidget

from ...protocol import ChangesRequest
from ..runs.folder_chooser import FolderChooser
from ..toolkit.words import tr

MOST_M = 100.0


class ChangeOptionsBox(QgsCollapsibleGroupBox):
    """Collapsed at first; the defaults are sound."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Options"), parent)
        self.register = QCheckBox(tr("Measure the shift first"))
        self.register.setChecked(True)
        self.register.setToolTip(tr("Compare objects after the shift between the dates; your layers are not moved"))
        self.limit = QDoubleSpinBox()
        self.limit.setRange(0.1, MOST_M)
        self.limit.setDecimals(1)
        self.limit.setSuffix(tr(" m"))
        self.limit.setValue(ChangesRequest.limit_m)
        self.limit.setToolTip(tr("A larger shift, or one that cannot be measured, stops the comparison"))
        self.anyway = QCheckBox(tr("Go on anyway"))
        self.anyway.setToolTip(tr("Compare beyond the largest shift, too: more will be unsure"))
        self.folder_chooser = FolderChooser(tr("Each comparison creates a new folder in this one"))
        form = QFormLayout(self)
        form.addRow(self.register)
        form.addRow(tr("Largest shift"), self.limit)
        form.addRow(self.anyway)
        form.addRow(tr("Save in"), self.folder_chooser)
        self.register.toggled.connect(self._show_limit)
        self.folder_chooser.changed.connect(self.changed)
        self.setCollapsed(True)

    def folder(self) -> str:
        """The parent folder of comparisons."""
        return self.folder_chooser.folder()

    def _show_limit(self, on: bool) -> None:
        self.limit.setEnabled(on)
        self.anyway.setEnabled(on)
