"""Saves runs for others, in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Callable, Union

from qgis.core import QgsApplication
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import QObject, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import QPushButton, QWidget

from ...protocol import Cancelled, ExportRunResult, OrthomaskError, PageResult
from ..client.tasks import Client, EngineTask
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.words import in_digits, tr, tr_n
from .sharing_dialog import SharingDialog


class Sharing(QObject):
    """Asks, saves, and reports in a message bar.

    Args:
        client: the engine.
        bar: where it reports.
    """

    changed = pyqtSignal()
    """It has begun or ended."""

    def __init__(self, client: Client, bar: QgsMessageBar, parent: QWidget) -> None:
        super().__init__(parent)
        self._client, self._bar, self._window = client, bar, parent
        self._tasks: list[EngineTask] = []

    @property
    def is_busy(self) -> bool:
        """Whether something is being saved."""
        return bool(self._tasks)

    def save(self, folder: Path) -> None:
        """Ask how to save the run in a folder, and do it."""
        dialog = SharingDialog(folder, self._window)
        if not dialog.exec():
            return
        request = dialog.request()
        task = EngineTask(tr("Orthomask: saving {}").format(Path(request.output_path).name), self._client, request)
        task.answered.connect(lambda result: self._end(task, lambda: self._tell(result)))
        task.failed.connect(lambda error: self._end(task, lambda: self._fail(error)))
        self._tasks.append(task)
        QgsApplication.taskManager().addTask(task)
        self.changed.emit()

    def release(self) -> None:
        """Stop saving."""
        for task in self._tasks:
            task.abandon()

    def _end(self, task: EngineTask, tell: Callable[[], None]) -> None:
        self._tasks.remove(task)
        tell()
        self.changed.emit()

    def _tell(self, result: Union[PageResult, ExportRunResult]) -> None:
        for warning in result.warnings:
            show_warning(self._bar, warning)
        shown = result.shown if isinstance(result, PageResult) else result.objects
        words = tr_n("{} object was saved in “{}”.", "{} objects were saved in “{}”.", shown)
        button = QPushButton(tr("Open") if isinstance(result, PageResult) else tr("Open folder"))
        path = Path(result.path)
        button.clicked.connect(partial(_open, path if isinstance(result, PageResult) else path.parent))
        show_success(self._bar, words.format(in_digits(shown), path.name), button)

    def _fail(self, error: OrthomaskError) -> None:
        if not isinstance(error, Cancelled):
            show_error(self._bar, error)


def _open(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
