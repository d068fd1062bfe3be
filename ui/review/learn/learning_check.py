"""What there is to learn from, asked of the engine while labels and areas change."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ....protocol import Cancelled, OrthomaskError
from ...client.engine_client import EngineClient
from ...client.tasks import EngineTask
from ...layers.vector_snapshot import SnapshotClient
from ...toolkit.words import tr
from ..context import Context
from .learning import Plan

DEBOUNCE_MS = 400


class LearningCheck(QObject):
    """Asks about the run and the label project under review. One check at a time: later changes are checked next.

    Args:
        client: the engine.
    """

    answered = pyqtSignal(object)
    """The `CheckLearningResult`, or the `OrthomaskError` that says why nothing can be learnt."""

    def __init__(self, client: EngineClient, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._client = client
        self._context = Context()
        self._stale = False
        self._task: Optional[EngineTask] = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._start)

    @property
    def waiting(self) -> bool:
        """Whether a check will begin soon."""
        return bool(self._timer.isActive())

    def check(self, context: Context) -> None:
        """Check soon, unless another check replaces it by then."""
        self._context, self._stale = context, True
        self._timer.start()

    def forget(self) -> None:
        """Check nothing more."""
        self._context, self._stale = Context(), False
        self._timer.stop()

    def release(self) -> None:
        """Stop what runs, and start no more."""
        self.forget()
        if self._task is not None:
            self._task.abandon()

    def _start(self) -> None:
        run, project = self._context.run, self._context.project
        if self._task is not None or run is None or project is None:
            return  # the check in progress calls this again
        self._stale = False
        try:
            prepare = Plan.of(run, project).check()
        except OrthomaskError as error:
            self.answered.emit(error)
            return
        self._task = EngineTask(tr("Orthomask: check"), SnapshotClient(self._client), prepare)
        self._task.answered.connect(self._end)
        self._task.failed.connect(self._end)
        QgsApplication.taskManager().addTask(self._task)

    def _end(self, outcome: Any) -> None:
        self._task = None
        if self._stale:
            self._timer.start()
        elif self._context.run is not None and not isinstance(outcome, Cancelled):
            self.answered.emit(outcome)
