"""Preflight: lights with reasons, and a run's estimated time and memory, refreshed in the background."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

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
        self._picture: Optional[Picture] = None
        self._light: Optional[Light] = None
        self._rendering_s = 0.0
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

    def check(self, request: CheckRequest, picture: Optional[Picture] = None, light: Optional[Light] = None) -> None:
        """Check this soon, unless another check replaces it by then.

        Args:
            picture: a part of it is rendered, and checked instead of the request's image.
            light: shown instead of the engine's of that name.
        """
        cut_short = self._paused and (self.result is None or self.result.workload is not None)
        if request == self._wanted and not cut_short:
            return
        self._wanted, self._picture, self._light, self._paused = request, picture, light, False
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
        sample = _Sample(asked, self._picture) if self._picture is not None else None
        if sample is not None:
            client, question = SnapshotClient(self._client), sample.request
        self._task = EngineTask(tr("Orthomask: check"), client, question)
        self._task.answered.connect(lambda result: self._end(asked, result, sample.seconds if sample else 0.0))
        self._task.failed.connect(lambda error: self._end(asked, error))
        QgsApplication.taskManager().addTask(self._task)

    def _end(self, asked: CheckRequest, outcome: object, rendering_s: float = 0.0) -> None:
        self._task = None
        if asked != self._wanted:
            self._timer.start()
        elif isinstance(outcome, CheckResult):
            own = (self._light,) if self._light is not None else ()
            others = (light for light in outcome.lights if light.name not in {mine.name for mine in own})
            self.result, self._rendering_s = replace(outcome, lights=(*own, *others)), rendering_s
            self._show(self.result.lights, self._estimate())
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
        self._show(lights, self._estimate())
        self.checked.emit()

    def _end_calibration(self) -> None:
        """Cancel it; the next check that needs it starts it again."""
        if self._calibration is None:
            return
        self._calibration.abandon()
        self._calibration = None
        if self.result is not None:
            self._show(self.result.lights, self._estimate())

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

    def _estimate(self) -> str:
        """A run's time and memory, as far as known: the rest is not guessed."""
        result = self.result
        if result is None or result.level is Level.RED or result.seconds is None:
            return ""
        words = tr("About {} on {}").format(time_in_words(result.seconds + self._rendering_s), result.device)
        if result.memory_mb is not None:
            memory = megabytes_in_words(result.memory_mb)
            words = tr("About {} and {} of memory on {}").format(
                time_in_words(result.seconds + self._rendering_s), memory, result.device
            )
        if not self._rendering_s:
            return words
        return tr("{}, including {} to render the image").format(words, time_in_words(self._rendering_s))


class _Sample:
    """A part of a picture, checked in place of the whole.

    Args:
        asked: the check, whose image it replaces.

    Attributes:
        seconds: that rendering the whole is expected to take; 0 before the part has been rendered.
    """

    def __init__(self, asked: CheckRequest, picture: Picture) -> None:
        self._asked, self._part, self._tiles = asked, picture.sample().frozen(), picture.tiles
        self.seconds = 0.0

    def request(self, folder: Path, feedback: Feedback) -> CheckRequest:
        """Render the part, and make its request; any thread."""
        begun = time.monotonic()
        image = self._part.write(folder, feedback)
        self.seconds = (time.monotonic() - begun) * self._tiles
        return replace(self._asked, image=image)
