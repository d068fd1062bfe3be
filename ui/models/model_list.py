"""The list of models: embedded, own, and from file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QAbstractItemView, QTreeWidget, QTreeWidgetItem, QWidget

from ...protocol import ModelSummary
from ..toolkit.words import tr
from .own_models import Origin, origin_of, titles_of

HEIGHT_PX = 120


class ModelList(QTreeWidget):
    """One branch for each origin; allows multiple selection."""

    chosen = pyqtSignal()
    """The selection changed."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setHeaderHidden(True)
        self.setAccessibleName(tr("Models"))
        self.setRootIsDecorated(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setFixedHeight(HEIGHT_PX)
        self.itemSelectionChanged.connect(self.chosen)

    def show_models(self, models: Sequence[ModelSummary]) -> None:
        """List these models; keep the selection, or else select the first."""
        kept = {model.path for model in self.selected()}
        self.blockSignals(True)
        self.clear()
        named = list(zip(titles_of(models), models))
        branches = {Origin.EMBEDDED: tr("Embedded"), Origin.OWN: tr("Your models"), Origin.FILE: tr("From file")}
        for origin, title in branches.items():
            self._add_branch(title, [(name, model) for name, model in named if origin_of(model.path) is origin])
        self.blockSignals(False)
        self.select([path for path in (model.path for model in models) if path in kept] or [m.path for m in models[:1]])

    def select(self, paths: Sequence[str]) -> None:
        """Select only the models in these files."""
        self.blockSignals(True)
        for item in self._items():
            item.setSelected(item.data(0, Qt.ItemDataRole.UserRole).path in paths)
        self.blockSignals(False)
        self.chosen.emit()

    def selected(self) -> list[ModelSummary]:
        """The selected models, in the order of the list."""
        return [item.data(0, Qt.ItemDataRole.UserRole) for item in self._items() if item.isSelected()]

    def _add_branch(self, title: str, models: Sequence[tuple[str, ModelSummary]]) -> None:
        branch = QTreeWidgetItem(self, [title])
        branch.setFlags(Qt.ItemFlag.ItemIsEnabled)
        branch.setHidden(not models)
        branch.setExpanded(True)
        font = branch.font(0)
        font.setBold(True)
        branch.setFont(0, font)
        for name, model in models:
            item = QTreeWidgetItem(branch, [name])
            item.setData(0, Qt.ItemDataRole.UserRole, model)
            item.setToolTip(0, model.path)

    def _items(self) -> list[QTreeWidgetItem]:
        root: Any = self.invisibleRootItem()
        branches = [root.child(row) for row in range(root.childCount())]
        return [branch.child(row) for branch in branches for row in range(branch.childCount())]
