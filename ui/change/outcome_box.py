"""What changed: shift and error first, then a table by kind, and the report."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Optional

from qgis.core import QgsMapLayer, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import Qt, QTimer, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices, QKeyEvent
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGroupBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...protocol import Change, Tally
from ..toolkit.present import present
from ..toolkit.words import area_in_words, in_digits, tr
from .layers import KINDS, Facts, change_layers, facts_of, report_of
from .text import flicker_in_words, ground_in_words, measurement_in_words, shift_in_words

NAMES: Any = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
NUMBERS: Any = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class OutcomeBox(QGroupBox):
    """The results that are in the QGIS project, the newest chosen; hidden without any."""

    changed = pyqtSignal()
    """Another layer of changes is chosen, or none any more."""
    kind_wanted = pyqtSignal(object)
    """Show this `Change` alone; None for all."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Result"), parent)
        self._layers: list[QgsVectorLayer] = []
        self.chooser = QComboBox()
        self.chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.chooser.setAccessibleName(tr("Comparison"))
        self.chooser.setToolTip(tr("A comparison whose changes are in the layer tree"))
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
        for widget in (self.chooser, self.shift, self.words, self.table, self.report_button):
            layout.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.find_changes)  # not while QGIS is reading the project
        self.chooser.currentIndexChanged.connect(self._show)
        project = QgsProject.instance()
        project.layersAdded.connect(self._note_added)
        project.layersWillBeRemoved["QStringList"].connect(self.find_changes)
        self.find_changes()

    def release(self) -> None:
        """Stop watching the QGIS project."""
        project = QgsProject.instance()
        project.layersAdded.disconnect(self._note_added)
        project.layersWillBeRemoved["QStringList"].disconnect(self.find_changes)
        self._timer.stop()
        self._layers = []

    @property
    def layer(self) -> Optional[QgsVectorLayer]:
        """The chosen layer of changes; None if there is none."""
        index = self.chooser.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: QgsVectorLayer) -> None:
        """Choose this layer of changes, which has just been added."""
        self.find_changes()
        if layer in self._layers:
            self.chooser.setCurrentIndex(self._layers.index(layer))

    def find_changes(self, removed: Collection[str] = ()) -> None:
        """List what is in the QGIS project, and keep what is chosen if it still is there.

        Args:
            removed: IDs of layers that are about to be removed.
        """
        chosen = self.layer
        self._layers = [layer for layer in change_layers(QgsProject.instance()) if layer.id() not in removed]
        self.chooser.blockSignals(True)
        self.chooser.clear()
        for layer in self._layers:
            self.chooser.addItem(layer.name())
        kept = chosen in self._layers
        self.chooser.setCurrentIndex(self._layers.index(chosen) if chosen in self._layers else len(self._layers) - 1)
        self.chooser.blockSignals(False)
        if not kept:
            self._show()

    def _note_added(self, layers: list[QgsMapLayer]) -> None:
        self._timer.start(0)

    def _show(self, *_: object) -> None:
        """Show what was found."""
        layer = self.layer
        facts = facts_of(layer) if layer is not None else None
        self.setVisible(facts is not None)
        if layer is not None and facts is not None:
            self._show_facts(layer, facts)
        self.changed.emit()

    def _show_facts(self, layer: QgsVectorLayer, facts: Facts) -> None:
        found = facts.result.registrations[facts.step - 1]
        self.shift.setText(f"<b>{shift_in_words(facts.result, facts.step)}</b>")
        self.shift.setToolTip(measurement_in_words(found))
        words = ground_in_words(facts.result, facts.step), flicker_in_words(facts.result), *facts.result.warnings
        self.words.setText("\n".join(filter(None, (measurement_in_words(found), *words))))
        self.table.show_tallies(facts)
        self.report_button.setEnabled(report_of(layer).is_file())

    def _open_report(self) -> None:
        if self.layer is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(report_of(self.layer))))


class SummaryTable(QTableWidget):
    """A row for each kind; a click on it shows that kind alone, another one all."""

    kind_wanted = pyqtSignal(object)

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(0, 4, parent)
        self._kinds: list[Change] = []
        self._chosen: Optional[Change] = None
        self.setHorizontalHeaderLabels([tr("Kind"), tr("Number"), tr("Area"), tr("Interval")])
        present(self.horizontalHeaderItem(3)).setToolTip(
            tr("Interval of the number (95%), from the accuracy of both runs")
        )
        self.setAccessibleName(tr("Changes by kind"))
        self.setToolTip(tr("Click a row to see this kind alone, and again to see all"))
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.cellClicked.connect(self._choose)

    def show_tallies(self, facts: Facts) -> None:
        """Fill the table; nothing is chosen then."""
        tallies = {tally.kind: tally for tally in facts.result.tallies if tally.step == facts.step and tally.count}
        self._kinds, self._chosen = [kind for kind in KINDS if kind in tallies], None
        self.setRowCount(len(self._kinds))
        for row, kind in enumerate(self._kinds):
            for column, text in enumerate(_cells(tallies[kind])):
                item = QTableWidgetItem(text)
                item.setTextAlignment(NAMES if column == 0 else NUMBERS)
                self.setItem(row, column, item)
        self.setColumnHidden(3, all(tally.low is None for tally in tallies.values()))
        self.clearSelection()
        self.resizeRowsToContents()
        heights = sum(self.rowHeight(row) for row in range(self.rowCount()))
        self.setFixedHeight(heights + self.horizontalHeader().sizeHint().height() + 2 * self.frameWidth() + 1)

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
        between = f"{in_digits(tally.low)} – {in_digits(tally.high)}"
    return tr(KINDS[tally.kind]), in_digits(tally.count), area_in_words(tally.area_m2), between
