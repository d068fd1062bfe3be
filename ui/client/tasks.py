"""A call to the engine as a background task of QGIS."""

from __future__ import annotations

import traceback
from functools import partial
from typing import Any, Optional, Protocol

from qgis.core import QgsApplication, QgsTask
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import QTimer, pyqtSignal

from ...protocol import Cancelled, ErrorCode, OrthomaskError
from ..toolkit.present import present
from ..toolkit.words import tr

HIDDEN = getattr(QgsTask.Flag, "Hidden", QgsTask.Flag.CanCancel)
"""Not even shown while it runs; QGIS before 3.26 shows it."""
QUIET = getattr(QgsTask.Flag, "Silent", QgsTask.Flag.CanCancel)
"""The panel reports its results itself; QGIS before 3.26 notifies anyway, see `Hush`."""


class Client(Protocol):
    """The engine, or anything with the same `call`; in the task's thread."""

    def call(self, request: Any, feedback: Any, /) -> Any:
        """Answer the request; the feedback takes progress, and says whether to stop."""


class EngineTask(QgsTask):
    """Runs one request; emits its signals on the main thread.

    Args:
        title: what QGIS's task manager shows.
        client: the engine.
        request: any request of the protocol.
        hidden: for answers to every movement of the mouse.
    """

    answered = pyqtSignal(object)
    """The result, on success."""
    failed = pyqtSignal(object)
    """The `OrthomaskError`, on failure."""
    reported = pyqtSignal(float, str)
    """Fraction done (0 to 1), and what is being done."""

    def __init__(self, title: str, client: Client, request: object, *, hidden: bool = False) -> None:
        super().__init__(title, QgsTask.Flag.CanCancel | QUIET | (HIDDEN if hidden else QUIET))
        self._client = client
        self._request = request
        self._percent = 0.0
        self._result: Any = None
        self._error: Optional[OrthomaskError] = None
        self._abandoned = False

    def run(self) -> bool:
        """Ask the engine; runs in a thread of QGIS's task manager."""
        try:
            self._result = self._client.call(self._request, self)
        except OrthomaskError as error:
            self._error = error
        except Exception:  # noqa: BLE001 (the thread's edge: whatever went wrong is reported by `finished`)
            self._error = defect(traceback.format_exc())
        return self._error is None

    def abandon(self) -> None:
        """Cancel it without reporting its end: the caller is going away."""
        self._abandoned = True
        self.cancel()

    def finished(self, result: bool) -> None:
        """Report back; QGIS calls this on the main thread."""
        if self._abandoned:
            return
        if result:
            self.answered.emit(self._result)
        else:
            self.failed.emit(self._error or Cancelled())  # none: it was cancelled before it began

    def setProgressText(self, text: str) -> None:
        """Report what is being done, with the progress."""
        self.reported.emit(self._percent / 100, text)

    def setProgress(self, percent: float) -> None:
        """Report the progress, also to the task manager."""
        self._percent = percent
        super().setProgress(percent)


class Hush:
    """Takes QGIS's own message about the end of a task of ours out of the message bar, as newer QGIS does by `QUIET`.

    It says that a cancelled task has failed, and covers the panel's message about the results.
    """

    def __init__(self, bar: QgsMessageBar) -> None:
        self._bar = bar
        self._manager = present(QgsApplication.taskManager())
        self._manager.statusChanged.connect(self._hush)

    def release(self) -> None:
        """Leave QGIS's messages alone."""
        self._manager.statusChanged.disconnect(self._hush)

    def _hush(self, number: int, status: int) -> None:
        task = self._manager.task(number)
        if isinstance(task, EngineTask) and status in {QgsTask.TaskStatus.Complete, QgsTask.TaskStatus.Terminated}:
            # QGIS connects to the same signal after the plugins that it starts with, before those enabled later.
            QTimer.singleShot(0, partial(self._remove, task.description()))

    def _remove(self, description: str) -> None:
        for item in self._bar.items():
            if item.text() == description:
                self._bar.popWidget(item)


def defect(details: str) -> OrthomaskError:
    """The error for a bug in Orthomask."""
    sentence = tr("An internal error occurred in Orthomask.")
    remedy = tr("Your data was not changed; please report the details.")
    return OrthomaskError(ErrorCode.INTERNAL, sentence, remedy, details)
