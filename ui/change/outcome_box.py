"""What changed: shift and error first, then a table by kind, and the report."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsVectorLayer
from qgis.PyQt.QtCore import Qt, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices, QKeyEvent
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QGroupBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...protocol import Change, Tally
from ..toolkit.words import area_in_words, in_digits, tr
from .layers import KINDS, Facts, facts_of, report_of
from .text import flicker_in_words, ground_in_words, measurement_in_words, shift_in_words

FRAME_PX = 4


class OutcomeBox(QGroupBox):
    """The result of a layer of changes; hidden without one."""

    kind_wanted = pyqtSignal(object)
    """Show this `Change` alone; None for all."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Result"), parent)
        self._layer: Optional[QgsVectorLayer] = None
        self.shift, self.words = QLabel(), QLabel()
        for label in (self.shift, self.words):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.table = SummaryTable()
        self.table.kind_wanted.connect(self.kind_wanted)
        self.report_button = QPushButton(tr("Open report"))
        self.report_button.setToolTip(tr("All numbers and their intervals, in the browser"))
        self.report_button.clicked.connect(self._open_report)
        layout = QVBoxLayout(self)
        for widget in (self.shift, self.words, self.table, self.report_button):
            layout.addWidget(widget)
        self.hide()

    def show_layer(self, layer: Optional[QgsVectorLayer]) -> None:
        """Show what was found; None hides the box."""
        facts = facts_of(layer) if layer is not None else None
        self._layer = layer
        self.setVisible(facts is not None)
        if layer is None or facts is None:
            return
        found = facts.result.registrations[facts.step - 1]
        self.shift.setText(f"<b>{shift_in_words(facts.result, facts.step)}</b>")
        self.shift.setToolTip(measurement_in_words(found))
        words = ground_in_words(facts.result, facts.step), flicker_in_words(facts.result), *facts.result.warnings
        self.words.setText("\n".join(filter(None, (measurement_in_words(found), *words))))
        self.table.show_tallies(facts)
        self.report_button.setEnabled(report_of(layer).is_file())

    def _open_report(self) -> None:
        if self._layer is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(report_of(self._layer))))


class SummaryTable(QTableWidget):
    """A row for each kind; a click on it shows that kind alone, another one all."""

    kind_wanted = pyqtSignal(object)

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(0, 4, parent)
        self._kinds: list[Change] = []
        self._chosen: Optional[Change] = None
        self.setHorizontalHeaderLabels([tr("Kind"), tr("Number"), tr("Area"), tr("95% interval")])
        self.setAccessibleName(tr("Changes by kind"))
        self.setToolTip(tr("Click a row to see this kind alone, and again to see all"))
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.cellClicked.connect(self._choose)

    def show_tallies(self, facts: Facts) -> None:
        """Fill the table; nothing is chosen then."""
        tallies = {tally.kind: tally for tally in facts.result.tallies if tally.step == facts.step}
        self._kinds, self._chosen = [kind for kind in KINDS if kind in tallies], None
        self.setRowCount(len(self._kinds))
        for row, kind in enumerate(self._kinds):
            for column, text in enumerate(_cells(tallies[kind])):
                item = QTableWidgetItem(text)
                side = Qt.AlignmentFlag.AlignLeft if column == 0 else Qt.AlignmentFlag.AlignRight
                item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)
        self.clearSelection()
        self.resizeRowsToContents()
        heights = sum(self.rowHeight(row) for row in range(self.rowCount()))
        self.setFixedHeight(heights + self.horizontalHeader().sizeHint().height() + FRAME_PX)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter and the space bar are a click on the current row."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self.currentRow() >= 0:
            self._choose(self.currentRow())
        else:
            super().keyPressEvent(event)

    def _choose(self, row: int, *_: int) -> None:
        kind = self._kinds[row]
        self._chosen = None if kind is self._chosen else kind
        if self._chosen is None:
            self.clearSelection()
        self.kind_wanted.emit(self._chosen)


def _cells(tally: Tally) -> tuple[str, str, str, str]:
    between = ""
    if tally.low is not None and tally.high is not None:
        between = tr("{} to {}").format(in_digits(tally.low), in_digits(tally.high))
    return tr(KINDS[tally.kind]), in_digits(tally.count), area_in_words(tally.area_m2), between
