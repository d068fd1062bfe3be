"""The existing environments: contents, size, and a button that removes them."""

from __future__ import annotations

from typing import Optional

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..client import store
from ..installer.planning import is_current
from ..toolkit.words import in_digits, tr

ROWS_PX = 92


class StoreBox(QGroupBox):
    """Lists the environments of this profile."""

    removal_wanted = pyqtSignal(object)
    """The environment to remove; the user has agreed."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Environments on this computer"), parent)
        self.table = QTreeWidget()
        self.table.setHeaderLabels([tr("Made for"), tr("State"), tr("Size"), tr("Created"), tr("Device")])
        self.table.setRootIsDecorated(False)
        self.table.setFixedHeight(ROWS_PX)
        self.table.itemSelectionChanged.connect(self._refresh)
        self.total = QLabel()
        self.remove_button = QPushButton(tr("Remove…"))
        self.remove_button.clicked.connect(self._remove)
        below = QHBoxLayout()
        below.addWidget(self.total, 1)
        below.addWidget(self.remove_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addLayout(below)

    def show_environments(self, python: str) -> None:
        """List the current ones.

        Args:
            python: the engine's, to mark the environment in use.
        """
        self.table.clear()
        found = store.environments()
        for environment in found:
            self.table.addTopLevelItem(_row(environment, environment.python == python))
        for column in range(self.table.columnCount()):
            self.table.resizeColumnToContents(column)
        total_gb = sum(environment.record.disk_mb for environment in found) / 1000
        self.total.setText(tr("{} GB in all").format(in_digits(total_gb, 1)))
        self.setVisible(bool(found))
        spare = [row for row in range(len(found)) if found[row].python != python]
        if spare:
            self.table.setCurrentItem(self.table.topLevelItem(spare[0]))
        self._refresh()

    def _refresh(self) -> None:
        self.remove_button.setEnabled(bool(self.table.selectedItems()))

    def _remove(self) -> None:
        environment = self.table.selectedItems()[0].data(0, Qt.ItemDataRole.UserRole)
        words = tr("Remove the environment for Orthomask {} ({} GB)? Set up can make it again.")
        question = words.format(environment.record.version, in_digits(environment.record.disk_mb / 1000, 1))
        yes = QMessageBox.StandardButton.Yes
        if QMessageBox.question(self, tr("Remove environment"), question) == yes:
            self.removal_wanted.emit(environment)


def _row(environment: store.Environment, in_use: bool) -> QTreeWidgetItem:
    made = environment.record
    state = tr("in use") if in_use else tr("unused")
    state += "" if is_current(environment) else tr(", outdated")
    cells = [f"Orthomask {made.version}", state, f"{made.disk_mb} MB", made.made.replace("T", " ")[:16], made.device]
    row = QTreeWidgetItem(cells)
    row.setData(0, Qt.ItemDataRole.UserRole, environment)
    row.setToolTip(0, str(environment.folder))
    row.setToolTip(4, tr("{}, Python {}; self-test in {} s").format(made.build, made.python, made.seconds))
    return row
