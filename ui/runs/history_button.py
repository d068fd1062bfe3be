"""The button that opens the run history."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Callable, Optional

from qgis.core import QgsLayerTreeGroup
from qgis.gui import QgisInterface, QgsMessageBar
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QToolButton, QWidget

from ...protocol import OrthomaskError
from ..client.tasks import Client
from ..toolkit.icons import icon
from ..toolkit.messages import show_error, show_success
from ..toolkit.words import tr
from .history_dialog import HistoryDialog
from .undo_button import UndoButton


class HistoryButton(QToolButton):
    """Opens the history, and signals runs to repeat or resume.

    Args:
        iface: QGIS, whose map is redrawn when layers are removed.
        client: the engine.
        folders: where to look for runs.
        running: the folder of the run in progress; empty for none.
        undo: offers to remove the layers that the history adds.
    """

    repeat_wanted = pyqtSignal(object)
    """Fill the panel with this `PastRun`'s choices."""
    resume_wanted = pyqtSignal(object)
    """Resume this `PastRun` where it stopped."""

    def __init__(
        self,
        iface: QgisInterface,
        client: Client,
        folders: Callable[[], list[Path]],
        running: Callable[[], str],
        undo: UndoButton,
        parent: Optional[QWidget] = None,
    ) -> None:
        super().__init__(parent)
        self._iface, self._client = iface, client
        self._folders, self._running, self._undo = folders, running, undo
        self.dialog: Optional[HistoryDialog] = None
        self.setIcon(icon("history"))
        self.setToolTip(tr("Run history: see, add, repeat or delete earlier runs"))
        self.setAccessibleName(tr("Run history"))
        self.clicked.connect(self.open)

    def open(self) -> None:
        """Show the history."""
        if self.dialog is None:
            self.dialog = HistoryDialog(self._client, self._folders, self._running, self.parentWidget())
            self.dialog.added.connect(partial(self._tell_added, self.dialog.bar))
            self.dialog.deleted.connect(self._iface.mapCanvas().refresh)  # it ignores removed layers
            self.dialog.repeat_wanted.connect(self.repeat_wanted)
            self.dialog.resume_wanted.connect(self.resume_wanted)
        self.dialog.show()
        self.dialog.raise_()
        self.dialog.activateWindow()

    def refresh(self) -> None:
        """Look for runs again, if the history is open."""
        if self.dialog is not None and self.dialog.isVisible():
            self.dialog.refresh()

    def explain(self, error: OrthomaskError) -> None:
        """Say in the history why a run is not resumed."""
        if self.dialog is not None:
            show_error(self.dialog.bar, error)

    def put_away(self) -> None:
        """Close the history, if it is open."""
        if self.dialog is not None:
            self.dialog.close()

    def release(self) -> None:
        """Close the history, and stop looking for runs."""
        if self.dialog is not None:
            self.dialog.release()

    def _tell_added(self, bar: QgsMessageBar, group: QgsLayerTreeGroup) -> None:
        words = tr("“{}” is on the map.").format(group.name())
        show_success(bar, words, self._undo.offer(group))
