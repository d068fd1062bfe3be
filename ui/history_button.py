"""The door to the run history in the panel *Segment*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

from qgis.core import QgsLayerTreeGroup
from qgis.gui import QgisInterface
from qgis.PyQt.QtWidgets import QMessageBox, QToolButton

from ..protocol import OrthomaskError
from . import repeating, run_folders
from .history import PastRun
from .history_dialog import HistoryDialog
from .icons import icon
from .messages import show_error, show_success, show_warning
from .words import tr

if TYPE_CHECKING:
    from .segment_panel import SegmentPanel


class HistoryButton(QToolButton):
    """Opens the history, and does in the panel what is wanted there.

    Args:
        iface: QGIS, in whose message bar it says what it did.
        panel: the panel that the button stands in.
    """

    def __init__(self, iface: QgisInterface, panel: SegmentPanel) -> None:
        super().__init__(panel)
        self._iface, self._panel = iface, panel
        self.dialog: Optional[HistoryDialog] = None
        self.setIcon(icon("history"))
        self.setToolTip(tr("Run history: see, add, repeat or delete earlier runs"))
        self.setAccessibleName(tr("Run history"))
        self.clicked.connect(self.open)
        panel.ended.connect(self._refresh)

    def open(self) -> None:
        """Show the history."""
        if self.dialog is None:
            self.dialog = HistoryDialog(self._folders, lambda: self._panel.running_folder, self._panel)
            self.dialog.added.connect(self._tell_added)
            self.dialog.deleted.connect(self._iface.mapCanvas().refresh)  # of layers that are gone it takes no notice
            self.dialog.repeat_wanted.connect(self._repeat)
            self.dialog.resume_wanted.connect(self._resume)
        self.dialog.show()
        self.dialog.raise_()
        self.dialog.activateWindow()

    def release(self) -> None:
        """Close the history, and stop looking for runs."""
        if self.dialog is not None:
            self.dialog.release()

    def _folders(self) -> list[Path]:
        return run_folders.parents(self._panel.options.folder())

    def _refresh(self) -> None:
        if self.dialog is not None and self.dialog.isVisible():
            self.dialog.refresh()

    def _tell_added(self, group: QgsLayerTreeGroup) -> None:
        words = tr("“{}” is on the map.").format(group.name())
        show_success(self.dialog.bar, words, self._panel.undo.offer(group))

    def _repeat(self, run: PastRun) -> None:
        self._panel.wanted.emit()
        notes = repeating.fill(self._panel, run, self._may_load)
        self.dialog.close()
        bar = self._iface.messageBar()
        if notes:
            show_warning(bar, " ".join(notes))
        else:
            show_success(bar, tr("The panel is filled in from “{}”. Change what you like, then run.").format(run.title))

    def _resume(self, run: PastRun) -> None:
        try:
            repeating.go_on(self._panel, run)
        except OrthomaskError as error:
            show_error(self.dialog.bar, error)
            return
        self._panel.wanted.emit()
        self.dialog.close()

    def _may_load(self, path: str) -> bool:
        question = tr("The image “{}” is not in the project. Add it?").format(path)
        answer = QMessageBox.question(self.dialog, tr("Orthomask: run history"), question)
        return bool(answer == QMessageBox.StandardButton.Yes)
