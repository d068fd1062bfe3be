"""A long job in the background: started, paused, resumed and stopped, and remembered when QGIS is closed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ...protocol import (
    Cancelled,
    ErrorCode,
    Existing,
    LabelledImage,
    OrthomaskError,
    TrainRequest,
    from_json,
    to_json,
)
from ..client.engine_client import EngineClient, Feedback
from ..client.tasks import EngineTask
from ..toolkit.settings import UNFINISHED_TRAINING
from ..toolkit.words import tr
from .run import CHECKPOINT


class LongJob(QObject):
    """A long request in an engine of its own, so that the other panels keep working; one at a time.

    Args:
        client: the other panels' engine; a second one is started like it.
    """

    changed = pyqtSignal()
    """The state in `running` and `request` changed."""
    begun = pyqtSignal()
    """The engine begins or resumes `request`."""
    reported = pyqtSignal(float, str)
    ended = pyqtSignal(object, object)
    """It is over: its request, and its result, or None if the user stopped it."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` that ended or interrupted it."""

    def __init__(self, client: EngineClient, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._client = client.another()
        self._task: Optional[EngineTask] = None
        self._stopping = False
        self.request = self._unfinished()

    @property
    def running(self) -> bool:
        """Whether it is in progress."""
        return self._task is not None

    def start(self, prepare: Callable[[Feedback], Any]) -> None:
        """Begin in a new run folder, which is remembered until the end.

        Args:
            prepare: writes the input and makes the request; called in a task's thread.
        """
        self._run(tr("Orthomask: training labels"), _Preparation(), prepare, self._begin)

    def resume(self) -> None:
        """Begin, or continue where it stopped."""
        if self.request is not None and self._task is None:
            request = replace(self.request, existing=Existing.RESUME)
            self._run(self._title(request), self._client, request, self._finish)
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
            self._halt()

    def release(self) -> None:
        """End the engine; what runs is paused."""
        if self._task is not None:
            self._task.abandon()
        self._client.close()

    def _title(self, request: Any) -> str:
        """What QGIS's task manager shows."""
        raise NotImplementedError

    def _unfinished(self) -> Any:
        """The request that was begun, perhaps before a restart of QGIS, and can go on; None if there is none."""
        raise NotImplementedError

    def _remember(self, request: Any) -> None:
        """Keep the request for `_unfinished`."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drop the request."""
        raise NotImplementedError

    def _halt(self) -> None:
        """Finish what the user has stopped."""
        self._end(None)

    def _run(self, title: str, client: Any, request: object, then: Callable[[Any], None]) -> None:
        self._stopping = False
        self._task = EngineTask(title, client, request)
        self._task.reported.connect(self.reported)
        self._task.answered.connect(then)
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)
        self.changed.emit()

    def _begin(self, request: Any) -> None:
        self._task = None
        self._remember(request)
        self.request = request
        self.resume()

    def _finish(self, result: Any) -> None:
        self._task = None
        self._end(result)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        cancelled = isinstance(error, Cancelled)
        if cancelled and self._stopping and self.request is not None:
            self._halt()
            return
        if not cancelled:
            if not _can_go_on(self.request, error):
                self._forget()
            self.failed.emit(error)
        self.changed.emit()

    def _end(self, result: Any) -> None:
        request = self.request
        self._forget()
        self.changed.emit()
        self.ended.emit(request, result)


class TrainingJob(LongJob):
    """One training at a time."""

    def _title(self, request: TrainRequest) -> str:
        return tr("Orthomask: training of {}").format(request.title)

    def _unfinished(self) -> Optional[TrainRequest]:
        try:
            request = from_json(TrainRequest, json.loads(UNFINISHED_TRAINING.get() or "null"))
        except (OrthomaskError, ValueError):
            return None
        return request if is_complete(request.output_dir, request.data.projects) else None

    def _remember(self, request: TrainRequest) -> None:
        UNFINISHED_TRAINING.set(json.dumps(to_json(request)))

    def _forget(self) -> None:
        UNFINISHED_TRAINING.reset()
        self.request = None


class _Preparation:
    """Prepares the request in a task's thread."""

    def call(self, prepare: Callable[[Feedback], Any], feedback: Feedback) -> Any:
        return prepare(feedback)


def _can_go_on(request: Any, error: OrthomaskError) -> bool:
    """Whether what failed can resume later: it had begun, and its run folder is its own."""
    begun = request is not None and (Path(request.output_dir) / CHECKPOINT).exists()
    return begun and error.code is not ErrorCode.OUTPUT_EXISTS


def is_complete(folder: str, images: Sequence[LabelledImage]) -> bool:
    """Whether the run folder and all that the training reads exist."""
    read = [labels.path for image in images for labels in image.labels]
    read += [image.areas.path for image in images if image.areas is not None]
    read += [image.image.path for image in images if image.image.rendered]
    return Path(folder).is_dir() and all(Path(path).exists() for path in read)
