"""Before a training: lights that say whether its data can teach, and the time it will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QLabel, QVBoxLayout, QWidget

from ...protocol import Cancelled, CheckTrainingRequest, CheckTrainingResult, Level, Light, OrthomaskError
from ..client.engine_client import EngineClient, Feedback
from ..client.tasks import EngineTask
from ..layers.vector_snapshot import SnapshotClient
from ..segment.lights import LightsView
from ..toolkit.words import mark, time_in_words, tr

DEBOUNCE_MS = 400
ASPECTS = (
    mark("objects"), mark("validation"), mark("areas"), mark("labels"), mark("chips"), mark("memory"), mark("data"),
)  # fmt: skip
"""What the lights are about."""

Prepare = Callable[[Path, Feedback], CheckTrainingRequest]
"""Writes copies of the data into a folder, and makes the request; for any thread."""


class TrainingCheckBox(QGroupBox):
    """Checks what would be trained now. One check at a time: changes made meanwhile are checked next.

    Args:
        client: the engine.
    """

    checked = pyqtSignal()
    """`problem` may have changed."""

    def __init__(self, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Before you train"), parent)
        self._client = client
        self._freeze: Optional[Callable[[], Prepare]] = None
        self._task: Optional[EngineTask] = None
        self._reds: list[str] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._start)
        self.lights = LightsView()
        self.estimate = QLabel()
        self.estimate.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.lights)
        layout.addWidget(self.estimate)
        self.hide()

    @property
    def problem(self) -> str:
        """Why the training would fail; empty if it would not, or that is not known yet."""
        return self._reds[0] if self._reds else ""

    def check(self, freeze: Callable[[], Prepare]) -> None:
        """Check soon, unless another check replaces it by then.

        Args:
            freeze: reads the layers as they are; called on the main thread when the check begins.
        """
        self._freeze = freeze
        self._show((), tr("Looking at the training data…"))
        self._timer.start()

    def forget(self) -> None:
        """Check nothing, and show nothing."""
        self._freeze = None
        self._timer.stop()
        self._show((), "")

    def release(self) -> None:
        """Stop what runs, and start no more."""
        self._timer.stop()
        if self._task is not None:
            self._task.abandon()

    def _start(self) -> None:
        asked = self._freeze
        if self._task is not None or asked is None:
            return  # the check in progress calls this again
        try:
            prepare = asked()
        except OrthomaskError as error:
            self._show((_red(error),), "")
            return
        self._task = EngineTask(tr("Orthomask: check"), SnapshotClient(self._client), prepare)
        self._task.answered.connect(lambda result: self._end(asked, result))
        self._task.failed.connect(lambda error: self._end(asked, error))
        QgsApplication.taskManager().addTask(self._task)

    def _end(self, asked: Callable[[], Prepare], outcome: Any) -> None:
        self._task = None
        if asked is not self._freeze:
            self._timer.start()
        elif isinstance(outcome, CheckTrainingResult):
            self._show(outcome.lights, _estimate(outcome))
        elif isinstance(outcome, Cancelled):
            self.forget()
        else:
            self._show((_red(outcome),), "")

    def _show(self, lights: tuple[Light, ...], estimate: str) -> None:
        self._reds = [light.reason for light in lights if light.level is Level.RED]
        self.lights.show_lights(lights)
        self.estimate.setText(estimate)
        self.estimate.setVisible(bool(estimate))
        self.setVisible(bool(lights or estimate))
        self.checked.emit()


def _red(error: OrthomaskError) -> Light:
    return Light("data", Level.RED, f"{error.sentence} {error.remedy}")


def _estimate(result: CheckTrainingResult) -> str:
    if result.seconds is None:
        return ""
    return tr("About {} on {}").format(time_in_words(result.seconds), result.device)
