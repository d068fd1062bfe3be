"""The dates that are compared, the earliest first."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsMapLayer, QgsProject
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QPushButton, QVBoxLayout, QWidget

from ..toolkit.accessible import name_widgets
from ..toolkit.icons import icon
from ..toolkit.words import in_digits, tr
from .date_row import DateRow
from .objects import Choice, choosable


class DatesBox(QGroupBox):
    """Two dates or more; each offers what is in the QGIS project, or a folder."""

    changed = pyqtSignal()
    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why a folder cannot be used."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Dates"), parent)
        self.rows: list[DateRow] = []
        self.add_button = QPushButton(icon("add"), tr("Add a date"))
        self.add_button.setToolTip(tr("Compare three dates or more: objects keep their number through all of them"))
        self.add_button.clicked.connect(self.add_row)
        self._layout = QVBoxLayout(self)
        self._layout.addWidget(self.add_button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._offer)  # not while QGIS is reading the project
        project = QgsProject.instance()
        project.layersAdded.connect(self._note_added)
        project.layersWillBeRemoved["QStringList"].connect(self._note_removed)
        for _ in range(2):
            self.add_row()

    def release(self) -> None:
        """Stop watching the QGIS project."""
        project = QgsProject.instance()
        project.layersAdded.disconnect(self._note_added)
        project.layersWillBeRemoved["QStringList"].disconnect(self._note_removed)
        self._timer.stop()
        for row in self.rows:
            row.release()

    def add_row(self) -> None:
        """Add a later date."""
        row = DateRow()
        self.rows.append(row)
        self._layout.insertWidget(len(self.rows) - 1, row)
        row.changed.connect(self.changed)
        row.failed.connect(self.failed)
        row.removed.connect(lambda: self._remove(row))
        row.offer(choosable(QgsProject.instance()))
        self._show_titles()
        self._order_tabs()
        name_widgets(row)
        self.changed.emit()

    @property
    def choices(self) -> list[Choice]:
        """What is chosen for each date."""
        return [row.choice for row in self.rows]

    @property
    def problem(self) -> str:
        """What is missing or wrong; empty if nothing is."""
        problems = [row.problem for row in self.rows]
        keys = [row.objects.key for row in self.rows if row.objects is not None]
        if any(problems):
            return next(filter(None, problems))
        if len(set(keys)) < len(keys):
            return tr("The same objects are chosen twice: choose those of another date.")
        dates = [choice.date for choice in self.choices if choice.date]
        if any(later < earlier[: len(later)] for earlier, later in zip(dates, dates[1:])):
            return tr("The dates are not in order: begin with the earliest.")
        return ""

    def _remove(self, row: DateRow) -> None:
        self.rows.remove(row)
        row.release()
        self._layout.removeWidget(row)
        row.hide()
        row.deleteLater()
        self._show_titles()
        self.changed.emit()

    def _order_tabs(self) -> None:
        """Let Tab go from top to bottom: a row is made after what stands below it.

        Qt puts nothing after QGIS's layer choosers: so each is put after one and the same button, the last one first.
        """
        first, *others = [stop for row in self.rows for stop in row.stops][1:]
        for stop in (self.add_button, *reversed(others)):
            self.setTabOrder(first, stop)

    def _show_titles(self) -> None:
        several = len(self.rows) > 2
        for number, row in enumerate(self.rows, start=1):
            title = tr("Earlier objects") if number == 1 else tr("Later objects")
            row.show_title(tr("Date {}").format(in_digits(number)) if several else title, removable=several)

    def _note_added(self, layers: list[QgsMapLayer]) -> None:
        self._timer.start(0)

    def _note_removed(self, identities: list[str]) -> None:
        offered = choosable(QgsProject.instance(), identities)
        for row in self.rows:
            row.offer(offered)

    def _offer(self) -> None:
        offered = choosable(QgsProject.instance())
        for row in self.rows:
            row.offer(offered)
