"""A form whose rows come and go."""

from __future__ import annotations

from collections.abc import Collection
from typing import Optional

from qgis.PyQt.QtWidgets import QFormLayout, QLabel, QWidget


class FoldingForm(QFormLayout):
    """A form that takes hidden rows out: Qt 5 would leave gaps for them."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self._all: list[tuple[Optional[QLabel], QWidget]] = []

    def add(self, title: str, widget: QWidget) -> None:
        """Add a row; without a title it takes the whole width."""
        label = QLabel(title) if title else None
        if label is not None:
            label.setBuddy(widget)
        self._all.append((label, widget))
        self._place(label, widget)

    def show_all_but(self, hidden: Collection[QWidget]) -> None:
        """Show the rows of all widgets but these."""
        while self.rowCount():
            self.takeRow(0)
        for label, widget in self._all:
            shown = widget not in hidden
            widget.setVisible(shown)
            if label is not None:
                label.setVisible(shown)
            if shown:
                self._place(label, widget)

    def _place(self, label: Optional[QLabel], widget: QWidget) -> None:
        if label is None:
            self.addRow(widget)
        else:
            self.addRow(label, widget)
