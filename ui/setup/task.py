"""What Set up does in the background: looking, installing, removing."""

from __future__ import annotations

from typing import Any, Callable

from qgis.PyQt.QtCore import pyqtSignal

from ..client.engine_client import EngineClient
from ..client.tasks import EngineTask

Work = Callable[["SetupTask"], Any]


class SetupTask(EngineTask):
    """Runs a function in the background; emits on the main thread.

    Args:
        title: what QGIS's task manager shows.
        work: gets the task, to report progress and to check for cancellation.
    """

    logged = pyqtSignal(str)
    """A line of the log."""

    def __init__(self, title: str, work: Work) -> None:
        super().__init__(title, _here(), work)

    def step(self, fraction: float, message: str) -> None:
        """Report progress (0 to 1), and what is being done."""
        self.setProgress(100 * fraction)
        self.setProgressText(message)

    def log(self, line: str) -> None:
        """Add a line to the log."""
        self.logged.emit(line)


class _Here(EngineClient):
    """Answers in the task's own thread: the request is a function."""

    def call(self, request: Any, feedback: Any = None) -> Any:
        return request(feedback)


def _here() -> EngineClient:
    return _Here(lambda: [])
