"""Preflight: lights with reasons, and a run's estimated time and memory, refreshed in the background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QGroupBox, QLabel, QVBoxLayout, QWidget

from ...protocol import (
    CalibrateRequest,
    CalibrateResult,
    Cancelled,
    CheckRequest,
    CheckResult,
    Level,
    Light,
    OrthomaskError,
)
from ..client.engine_client import EngineClient, Feedback
from ..client.tasks import EngineTask
from ..layers.rendering import Picture
from ..layers.vector_snapshot import SnapshotClient
from ..toolkit.words import megabytes_in_words, time_in_words, tr
from .lights import LightsView

DEBOUNCE_MS = 400


class PreflightBox(QGroupBox):
    """Checks what would run now. One check at a time: changes made meanwhile are checked next.

    Args:
        client: the engine.
    """

    checked = pyqtSignal()
    """There is a new `result`, or none, or `problem` has changed."""

    def __init__(self, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Before you run"), parent)
        self.result: Optional[CheckResult] = None
        self._client = client
        self._wanted: Optional[CheckRequest] = None
        self._sample: Optional[Picture] = None
        self._paused = False
        self._task: Optional[EngineTask] = None
        self._calibration: Optional[EngineTask] = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._start)
        self.estimate = QLabel()
        self.estimate.setWordWrap(True)
        self.lights = LightsView()
        self.overruled = QCheckBox(tr("Run all the same"))
        self.overruled.setToolTip(tr("Run in spite of the red light; expect a bad result"))
        self.overruled.toggled.connect(self.checked)
        layout = QVBoxLayout(self)
        for widget in (self.lights, self.overruled, self.estimate):
            layout.addWidget(widget)

    @property
    def problem(self) -> str:
        """Why nothing should run; empty if it can, or is not known yet, or the user overrules it."""
        if self.result is None or self.result.level is not Level.RED:
            return ""
        if any(light.refuses for light in self.result.lights):
            return tr("The red light says why this cannot run.")
        return "" if self.overruled.isChecked() else tr("A red light: tick “Run all the same” to run in spite of it.")

    def check(self, request: CheckRequest, sample: Optional[Picture] = None) -> None:
        """Check this soon, unless another check replaces it by then.

        Args:
            sample: a part of a picture, to render and check instead of the request's image.
        """
        cut_short = self._paused and (self.result is None or self.result.workload is not None)
        if request == self._wanted and not cut_short:
            return
        self._wanted, self._sample, self._paused = request, sample, False
        self._forget(tr("Checking image and model…"))
        self._timer.start()

    def explain(self, text: str) -> None:
        """Say what is needed before there is anything to check."""
        self._wanted = None
        self._timer.stop()
        self._forget(text)

    def pause(self) -> None:
        """Start no more checks: a run is about to begin, and the engine does one job at a time."""
        self._timer.stop()
        self._paused = True
        self._end_calibration()

    def release(self) -> None:
        """Stop what runs, and start no more."""
        self._timer.stop()
        self._end_calibration()
        if self._task is not None:
            self._task.abandon()

    def _start(self) -> None:
        if self._task is not None or self._wanted is None or self._paused:
            return  # the check in progress calls this again
        asked = self._wanted
        client: Any = self._client
        question: Any = asked
        if self._sample is not None:
            client, question = SnapshotClient(self._client), _sampled(asked, self._sample.frozen())
        self._task = EngineTask(tr("Orthomask: check"), client, question)
        self._task.answered.connect(lambda result: self._end(asked, result))
        self._task.failed.connect(lambda error: self._end(asked, error))
        QgsApplication.taskManager().addTask(self._task)

    def _end(self, asked: CheckRequest, outcome: object) -> None:
        self._task = None
        if asked != self._wanted:
            self._timer.start()
        elif isinstance(outcome, CheckResult):
            self.result = outcome
            self._show(outcome.lights, _estimate(outcome))
            self.checked.emit()
            self._calibrate(asked, outcome)
        elif isinstance(outcome, Cancelled):
            self.explain("")
        elif isinstance(outcome, OrthomaskError):
            self._wanted = None  # the problem may be fixed by the next time
            reason = f"{outcome.sentence} {outcome.remedy}"
            self._show((Light("", Level.RED, reason),), "")
            self.checked.emit()

    def _calibrate(self, asked: CheckRequest, answer: CheckResult) -> None:
        """Measure what is still unknown, once the lights are shown."""
        if answer.workload is None or answer.level is Level.RED or self._paused:
            return
        request = CalibrateRequest(asked.model, answer.workload, asked.device)
        self._calibration = EngineTask(tr("Orthomask: measuring the speed"), self._client, request)
        self._calibration.answered.connect(self._show_calibrated)
        self._calibration.failed.connect(lambda _: self._show_calibrated(CalibrateResult(answer.seconds)))
        QgsApplication.taskManager().addTask(self._calibration)
        self.estimate.setText(tr("Measuring how fast this computer is…"))
        self.estimate.show()

    def _show_calibrated(self, found: CalibrateResult) -> None:
        self._calibration = None
        if self.result is None:
            return
        others = tuple(light for light in self.result.lights if light.name != "memory")
        lights = (*others, found.light) if found.light else others
        self.result = replace(
            self.result, lights=lights, seconds=found.seconds, memory_mb=found.memory_mb, workload=None
        )
        self._show(lights, _estimate(self.result))
        self.checked.emit()

    def _end_calibration(self) -> None:
        """Cancel it; the next check that needs it starts it again."""
        if self._calibration is None:
            return
        self._calibration.abandon()
        self._calibration = None
        if self.result is not None:
            self._show(self.result.lights, _estimate(self.result))

    def _forget(self, text: str) -> None:
        self._end_calibration()
        self.result = None
        self.overruled.setChecked(False)
        self._show((), text)
        self.checked.emit()

    def _show(self, lights: tuple[Light, ...], estimate: str) -> None:
        self.lights.show_lights(lights, self._wanted.image.nodata if self._wanted is not None else None)
        reds = [light for light in lights if light.level is Level.RED]
        self.overruled.setVisible(bool(reds) and self.result is not None and not any(red.refuses for red in reds))
        self.estimate.setText(estimate)
        self.estimate.setVisible(bool(estimate))


def _sampled(request: CheckRequest, sample: Picture) -> Callable[[Path, Feedback], CheckRequest]:
    """A function that renders the sample and makes its request; for any thread."""
    return lambda folder, feedback: replace(request, image=sample.write(folder, feedback))


def _estimate(result: CheckResult) -> str:
    """A run's time and memory, as far as known: the rest is not guessed."""
    if result.level is Level.RED or result.seconds is None:
        return ""
    time = time_in_words(result.seconds)
    if result.memory_mb is None:
        return tr("About {} on {}").format(time, result.device)
    return tr("About {} and {} of memory on {}").format(time, megabytes_in_words(result.memory_mb), result.device)
