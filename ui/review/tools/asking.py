"""Questions to the engine that follow the mouse: the newest one counts, and one at a time is asked."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ...client.tasks import Client, EngineTask
from ...toolkit.present import present
from ...toolkit.words import tr

SLOW_MS = 700
"""After this long without an answer, the user is told why."""


class Asking(QObject):
    """Asks the engine the newest question once the one before is answered; answers to older ones are dropped.

    A question that is asked is never cancelled: an engine that is slow to notice would be ended, and a run with it.

    Args:
        client: the engine; it answers one request at a time, so a run makes questions wait.
    """

    answered = pyqtSignal(object, object)
    """The question, and its answer."""
    failed = pyqtSignal(object, object)
    """The question, and the `OrthomaskError`."""
    waiting = pyqtSignal()
    """There is no answer yet."""

    def __init__(self, client: Client, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._client = client
        self._task: Optional[EngineTask] = None
        self._wanted: Any = None
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(SLOW_MS)
        self._slow.timeout.connect(self.waiting)

    def ask(self, question: Any) -> None:
        """Ask a request of the protocol instead of any before; None for nothing."""
        self._wanted = question
        if question is None:
            self._slow.stop()
        elif not self._slow.isActive():
            self._slow.start()
        self._next()

    def release(self) -> None:
        """Drop everything; an answer that is under way is not reported."""
        self.ask(None)
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _next(self) -> None:
        """Ask what is wanted, unless an answer is under way."""
        if self._task is not None or self._wanted is None:
            return
        asked = self._wanted
        self._task = EngineTask(tr("Orthomask: outline"), self._client, asked, hidden=True)
        self._task.answered.connect(lambda answer: self._take(asked, answer, self.answered))
        self._task.failed.connect(lambda error: self._take(asked, error, self.failed))
        present(QgsApplication.taskManager()).addTask(self._task)

    def _take(self, asked: Any, answer: Any, signal: Any) -> None:
        self._task = None
        if asked == self._wanted:
            self._wanted = None
            self._slow.stop()
            signal.emit(asked, answer)
        else:
            self._next()
