"""The table of past runs: sorted by any column, filtered by any word; Enter adds, F2 names, Delete deletes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import QItemSelectionModel, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent
from qgis.PyQt.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from ..toolkit.words import tr
from .history import PastRun
from .history_table import HistoryTable, sorted_and_filtered

ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
WIDEST_PX = 180


class HistoryView(QTableView):
    """Shows runs; several may be chosen, which stay chosen when others come or go."""

    chosen_changed = pyqtSignal()
    add_wanted = pyqtSignal()
    delete_wanted = pyqtSignal()
    name_wanted = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.table = HistoryTable(self)
        self._proxy = sorted_and_filtered(self.table, self)
        self.setModel(self._proxy)
        self.setAccessibleName(tr("Runs"))
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setHighlightSections(False)
        self.selectionModel().selectionChanged.connect(lambda *_: self.chosen_changed.emit())
        self.doubleClicked.connect(lambda _: self.add_wanted.emit())

    def show_runs(self, runs: Sequence[PastRun], running: str) -> None:
        """Show these instead; keep the choice of runs that are still there, or else choose the first."""
        kept, first = {run.folder for run in self.chosen()}, not self.table.rowCount()
        self.table.show_runs(runs, running)
        self._choose([row for row in range(self._proxy.rowCount()) if self._run(row).folder in kept] or [0])
        if first:
            self._fit_columns()

    def filter(self, text: str) -> None:
        """Show only runs that contain the text in any column."""
        self._proxy.setFilterFixedString(text)
        if not self.chosen():
            self._choose([0])

    def chosen(self) -> list[PastRun]:
        """Chosen runs, in table order."""
        return [self._run(row) for row in sorted(index.row() for index in self.selectionModel().selectedRows())]

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter adds to the map, F2 names, Delete deletes."""
        if event.key() in ENTER:
            self.add_wanted.emit()
        elif event.key() == Qt.Key.Key_Delete:
            self.delete_wanted.emit()
        elif event.key() == Qt.Key.Key_F2:
            self.name_wanted.emit()
        else:
            super().keyPressEvent(event)

    def _run(self, row: int) -> PastRun:
        run: PastRun = self._proxy.index(row, 0).data(Qt.ItemDataRole.UserRole)
        return run

    def _choose(self, rows: Sequence[int]) -> None:
        """Choose these rows, if there are so many."""
        flags = QItemSelectionModel.SelectionFlag
        self.clearSelection()
        for index in (self._proxy.index(row, 0) for row in rows if row < self._proxy.rowCount()):
            self.selectionModel().setCurrentIndex(index, flags.Select | flags.Rows)
        self.chosen_changed.emit()  # the same rows may hold other runs now

    def _fit_columns(self) -> None:
        self.resizeColumnsToContents()
        for column in range(self._proxy.columnCount() - 1):  # the last one takes the rest
            self.setColumnWidth(column, min(self.columnWidth(column), WIDEST_PX))
