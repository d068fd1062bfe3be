"""The list of findings: kind and reason, to be gone through by mouse or keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent
from qgis.PyQt.QtWidgets import QTreeWidget, QTreeWidgetItem, QWidget

from ....protocol import Fault
from ...toolkit.words import mark, tr
from .inspecting import Finding

KINDS = {
    Fault.SHIFTED: mark("Shifted"),
    Fault.UNLABELLED: mark("No label"),
    Fault.CONTRADICTED: mark("Contradicted"),
    Fault.DOUBLE: mark("Double cover"),
}
ROWS = 8


class FindingList(QTreeWidget):
    """Arrow keys choose a finding; a click or Enter asks for it again, Delete to leave it out."""

    chosen = pyqtSignal()
    """Another finding is the current one, or this one was clicked."""
    unwanted = pyqtSignal()
    """Delete was pressed."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels([tr("Finding"), tr("Reason")])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setAccessibleName(tr("Findings, worst first"))
        self.setMinimumHeight(ROWS * self.fontMetrics().lineSpacing())
        self.currentItemChanged.connect(lambda *_: self.chosen.emit())
        self.itemClicked.connect(lambda *_: self.chosen.emit())
        self.itemActivated.connect(lambda *_: self.chosen.emit())

    def show_findings(self, findings: Sequence[Finding]) -> None:
        """Fill the list; none is the current one."""
        self.blockSignals(True)
        self.clear()
        for finding in findings:
            item = QTreeWidgetItem([tr(KINDS[finding.kind]), finding.reason])
            item.setToolTip(1, finding.reason)
            self.addTopLevelItem(item)
        self.resizeColumnToContents(0)
        self.blockSignals(False)

    @property
    def row(self) -> int:
        """Of the current finding; -1 for none."""
        return int(self.indexOfTopLevelItem(self.currentItem())) if self.currentItem() else -1

    def choose(self, row: int) -> None:
        """Make a finding the current one; after the last comes the first."""
        if self.topLevelItemCount():
            self.setCurrentItem(self.topLevelItem(row % self.topLevelItemCount()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete leaves the current finding out."""
        if event.key() == Qt.Key.Key_Delete:
            self.unwanted.emit()
        else:
            super().keyPressEvent(event)
