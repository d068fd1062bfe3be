"""The run history as a table for any view: a row for each run, by default newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Callable, NamedTuple, Optional

from qgis.PyQt.QtCore import QAbstractTableModel, QDateTime, QLocale, QModelIndex, QObject, QSortFilterProxyModel, Qt

from ..toolkit.icons import icon
from ..toolkit.words import briefly, in_digits, time_in_words, tr
from .history import PastRun, State, size_in_words

Role = Qt.ItemDataRole
RIGHT = Qt.AlignmentFlag(0x82)  # right and centred; PyQt5 does not join two flags by | to the number that views need
ICONS = {State.FINISHED: "light-green", State.UNFINISHED: "light-amber", State.UNREADABLE: "light-red"}
LEAST = float("-inf")
"""Sorts unknown values before all numbers."""


class Column(NamedTuple):
    """A column: its heading, its text for a run, and its sort key."""

    title: str
    text: Callable[[PastRun], str]
    key: Callable[[PastRun], object]
    number: bool = False


class HistoryTable(QAbstractTableModel):
    """Shows runs. `Role.UserRole` of any cell is its `PastRun`, `SORT_ROLE` its sort key."""

    SORT_ROLE = Role.UserRole + 1

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self.columns = _columns()
        self._runs: list[PastRun] = []
        self._running = ""

    def show_runs(self, runs: Sequence[PastRun], running: str) -> None:
        """Show runs.

        Args:
            running: the folder of the run in progress; empty for none.
        """
        self.beginResetModel()
        self._runs, self._running = list(runs), running
        self.endResetModel()

    def is_running(self, run: PastRun) -> bool:
        """Whether it is in progress."""
        return str(run.folder) == self._running

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008 (Qt's own default)
        """The number of runs."""
        return 0 if parent.isValid() else len(self._runs)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008 (Qt's own default)
        """Always the same."""
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole) -> object:
        """Titles of the columns, right-aligned for numbers."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        if role == Role.TextAlignmentRole and column.number:
            return RIGHT
        return column.title if role == Role.DisplayRole else None

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> object:
        """What a cell shows, and its sort key."""
        run, column = self._runs[index.row()], self.columns[index.column()]
        if role == Role.DisplayRole:
            return column.text(run)
        if role == Role.TextAlignmentRole:
            return RIGHT if column.number else None
        if role == Role.DecorationRole and index.column() == 0:
            return icon("run" if self.is_running(run) else ICONS[run.state])
        if role in (Role.ToolTipRole, Role.AccessibleDescriptionRole):
            return tr("{}: {}").format(self._state(run), run.folder)
        if role == Role.UserRole:
            return run
        return column.key(run) if role == self.SORT_ROLE else None

    def _state(self, run: PastRun) -> str:
        if self.is_running(run):
            return tr("Running")
        return {
            State.FINISHED: tr("Finished"),
            State.UNFINISHED: tr("Unfinished"),
            State.UNREADABLE: tr("Cannot be read"),
        }[run.state]


def sorted_and_filtered(table: HistoryTable, parent: QObject) -> QSortFilterProxyModel:
    """The table as a view can sort it, and filter it by any word."""
    proxy = QSortFilterProxyModel(parent)
    proxy.setSourceModel(table)
    proxy.setSortRole(HistoryTable.SORT_ROLE)
    proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    proxy.setFilterKeyColumn(-1)
    return proxy


def _columns() -> tuple[Column, ...]:
    return (
        Column(tr("Time"), lambda run: _time_in_words(run.time), lambda run: run.time.timestamp()),
        Column(tr("Name"), lambda run: run.naming.name, lambda run: run.naming.name.lower()),
        Column(tr("Model"), lambda run: run.model, lambda run: run.model.lower()),
        Column(tr("Threshold"), _threshold, lambda run: _number(run.threshold), number=True),
        Column(tr("Image"), lambda run: run.image, lambda run: run.image.lower()),
        Column(tr("Region"), lambda run: run.region, lambda run: _number(run.region_m2), number=True),
        Column(tr("Polygons"), _polygons, lambda run: _number(run.polygons), number=True),
        Column(tr("Duration"), _duration, lambda run: _number(run.seconds), number=True),
        Column(tr("Device"), lambda run: run.device, lambda run: run.device.lower()),
        Column(tr("Size"), lambda run: size_in_words(run.size_bytes), lambda run: float(run.size_bytes), number=True),
        Column(tr("Note"), lambda run: " ".join(run.naming.note.split()), lambda run: run.naming.note.lower()),
    )


def _number(value: Optional[float]) -> float:
    return LEAST if value is None else float(value)


def _threshold(run: PastRun) -> str:
    return "" if run.threshold is None else briefly(run.threshold)


def _polygons(run: PastRun) -> str:
    return "" if run.polygons is None else in_digits(run.polygons)


def _duration(run: PastRun) -> str:
    if run.state is State.UNFINISHED:
        return tr("unfinished")
    return "" if run.seconds is None else time_in_words(run.seconds)


def _time_in_words(time: datetime) -> str:
    """Local date and time, in the user's locale."""
    local = QDateTime.fromSecsSinceEpoch(round(time.timestamp()))
    return str(QLocale().toString(local, QLocale.FormatType.ShortFormat))
