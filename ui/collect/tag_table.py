"""A table of OpenStreetMap tags and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QHeaderView, QTableWidgetItem, QWidget

from ...protocol import TagRule
from ..label.class_table import FittedTable
from ..toolkit.words import tr


class TagTable(FittedTable):
    """A tag in each row; the first one that an object has says its class, and none cuts it out."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__([tr("Tag"), tr("Class")], parent)
        self.setAccessibleName(tr("Classes by tag"))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.setToolTip(
            tr(
                "building for any value, landuse=farmland for one, landuse=farmland|meadow for several.\n"
                "Objects without a class are cut out of all others."
            )
        )
        self.itemChanged.connect(self.changed)

    def rules(self) -> tuple[TagRule, ...]:
        """The rows that are filled in.

        Raises:
            OrthomaskError: one is no tag.
        """
        return tuple(TagRule(tags, name) for tags, name in self._texts() if tags or name)

    def show_rules(self, rules: Sequence[TagRule]) -> None:
        """Show these rows."""
        self._show([(rule.tags, rule.class_name) for rule in rules])

    def add_row(self) -> None:
        """Add an empty row, and start editing it."""
        self._show([*self._texts(), ("", "")])
        cell = self.cell(self.rowCount() - 1, 0)
        self.setCurrentItem(cell)
        self.editItem(cell)

    def remove_row(self) -> None:
        """Remove the current row, or else the last."""
        row = self.currentRow() if self.currentRow() >= 0 else self.rowCount() - 1
        self._show([texts for number, texts in enumerate(self._texts()) if number != row])

    def _texts(self) -> list[tuple[str, str]]:
        return [(self._text(row, 0), self._text(row, 1)) for row in range(self.rowCount())]

    def _text(self, row: int, column: int) -> str:
        return self.cell(row, column).text().strip()

    def _show(self, rows: Sequence[tuple[str, str]]) -> None:
        self.blockSignals(True)
        self.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                self.setItem(row, column, QTableWidgetItem(text))
        self.blockSignals(False)
        self.fit()
        self.changed.emit()
