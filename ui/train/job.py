"""A training in the background: started, paused, resumed and stopped, and remembered when QGIS is closed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ...protocol import Cancelled, ErrorCode, Existing, OrthomaskError, TrainRequest, TrainResult, from_json, to_json
from ..client.engine_client import EngineClient, Feedback
from ..client.tasks import EngineTask
from ..toolkit.settings import UNFINISHED_TRAINING
from ..toolkit.words import tr
from .run import CHECKPOINT


class TrainingJob(QObject):
    """One training at a time, in its own engine, so that the other panels keep working.

    Args:
        client: the other panels' engine; a second one is started like it.
    """

    changed = pyqtSignal()
    """The state in `running` and `request` changed."""
    begun = pyqtSignal()
    """The engine begins or resumes `request`."""
    reported = pyqtSignal(float, str)
    ended = pyqtSignal(object, object)
    """The training is over: its request, and its `TrainResult`, or None if the user stopped it."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` that ended or interrupted it."""

    def __init__(self, client: EngineClient, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._client = client.another()
        self._task: Optional[EngineTask] = None
        self._stopping = False
        self.request: Optional[TrainRequest] = _unfinished()

    @property
    def running(self) -> bool:
        """Whether it is in progress."""
        return self._task is not None

    def start(self, prepare: Callable[[Feedback], TrainRequest]) -> None:
        """Train into a new run folder, which is remembered until the end.

        Args:
            prepare: writes the training's input and makes its request; called in a task's thread.
        """
        self._run(tr("Orthomask: training labels"), _Preparation(), prepare, self._begin)

    def resume(self) -> None:
        """Begin, or continue where it stopped."""
        if self.request is not None and self._task is None:
            request = replace(self.request, existing=Existing.RESUME)
            title = tr("Orthomask: training of {}").format(request.title)
            self._run(title, self._client, request, self._finish)
            self.begun.emit()

    def pause(self) -> None:
        """Interrupt it; `resume` continues it, even after a restart of QGIS."""
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """End it for good, running or paused; the best model so far stays in the run folder."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
        else:
            self._end(None)

    def release(self) -> None:
        """End the engine; a running training is paused."""
        if self._task is not None:
            self._task.abandon()
        self._client.close()

    def _run(self, title: str, client: Any, request: object, then: Callable[[Any], None]) -> None:
        self._stopping = False
        self._task = EngineTask(title, client, request)
        self._task.reported.connect(self.reported)
        self._task.answered.connect(then)
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)
        self.changed.emit()

    def _begin(self, request: TrainRequest) -> None:
        self._task = None
        UNFINISHED_TRAINING.set(json.dumps(to_json(request)))
        self.request = request
        self.resume()

    def _finish(self, result: TrainResult) -> None:
        self._task = None
        self._end(result)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        cancelled = isinstance(error, Cancelled)
        if cancelled and self._stopping and self.request is not None:
            self._end(None)
            return
        if not cancelled:
            if not _can_go_on(self.request, error):
                self._forget()
            self.failed.emit(error)
        self.changed.emit()

    def _end(self, result: Optional[TrainResult]) -> None:
        request = self.request
        self._forget()
        self.changed.emit()
        self.ended.emit(request, result)

    def _forget(self) -> None:
        UNFINISHED_TRAINING.reset()
        self.request = None


class _Preparation:
    """Prepares the request in a task's thread."""

    def call(self, prepare: Callable[[Feedback], TrainRequest], feedback: Feedback) -> TrainRequest:
        return prepare(feedback)


def _can_go_on(request: Optional[TrainRequest], error: OrthomaskError) -> bool:
    """Whether a failed training can resume later: it had begun, and its run folder is its own."""
    begun = request is not None and (Path(request.output_dir) / CHECKPOINT).exists()
    return begun and error.code is not ErrorCode.OUTPUT_EXISTS


def _unfinished() -> Optional[TrainRequest]:
    """The unfinished training, if its run folder still exists."""
    try:
        request = from_json(TrainRequest, json.loads(UNFINISHED_TRAINING.get() or "null"))
    except (OrthomaskError, ValueError):
        return None
    return request if _is_complete(request) else None


def _is_complete(request: TrainRequest) -> bool:
    """Whether the run folder and all that the training reads exist."""
    projects = request.data.projects
    read = [labels.path for project in projects for labels in project.labels]
    read += [project.areas.path for project in projects if project.areas is not None]
    read += [project.image.path for project in projects if project.image.rendered]
    return Path(request.output_dir).is_dir() and all(Path(path).exists() for path in read)
