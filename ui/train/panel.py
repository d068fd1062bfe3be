"""The panel *Train*: data, start, options, progress. Assembles the boxes and manages the training."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import QVBoxLayout, QWidget

from ...protocol import (
    OVERLAP_PX,
    CheckTrainingRequest,
    ErrorCode,
    ModelSummary,
    OrthomaskError,
    Split,
    TrainRequest,
    TrainResult,
)
from ..client.engine_client import EngineClient, Feedback
from ..client.stages import picture_warnings
from ..layers.picture_words import are_wanted
from ..models import own_models
from ..models.own_models import SUFFIX
from ..runs import folders as run_folders
from ..runs.folder_chooser import FolderWords
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.present import present
from ..toolkit.scrolling import lay_out
from ..toolkit.words import in_digits, time_in_words, tr
from .bar import TrainingBar
from .check_box import Prepare, TrainingCheckBox
from .data import DATA_DIR, Frozen
from .data_box import DataChoice, TrainingDataBox
from .finished_box import FinishedBox
from .job import TrainingJob
from .options_box import TrainingOptionsBox
from .run import Epoch, RunWatcher, best_epoch, read_base, read_epochs
from .start_box import DEFAULT_NAME, StartBox
from .view import TrainingView


class TrainPanel(QWidget):
    """Trains a model on labels, and offers it when it is done.

    Args:
        iface: QGIS.
        client: the other panels' engine; a training has its own.
    """

    segment_wanted = pyqtSignal(str)
    """Use the model in this file in *Segment*."""
    evaluate_wanted = pyqtSignal(str, str)
    """Evaluate the model with this file and title."""
    models_changed = pyqtSignal()
    """There is a new own model."""
    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface = iface
        self._run_dir = self._model_path = Path()
        self._title = ""
        self._trained_on: Optional[DataChoice] = None
        self.job = TrainingJob(client, self)
        self.watcher = RunWatcher(self)
        self.finished = FinishedBox()
        self.view = TrainingView()
        self.data = TrainingDataBox(Split.TRAIN, iface.mapCanvas(), makes_classes=True)
        self.start = StartBox()
        self.options = TrainingOptionsBox()
        self.check = TrainingCheckBox(client)
        self.bar = TrainingBar()
        self._lay_out()
        self._connect()
        if self.job.request is not None:
            self._watch()
        self._show_state()

    def show_models(self, models: Sequence[ModelSummary]) -> None:
        """Offer these models to start from."""
        self.start.show_models(models)

    def fine_tune(self, path: str) -> None:
        """Choose the model in this file to start from."""
        self.start.choose(path)

    def train(self) -> None:
        """Train in the background."""
        try:
            frozen = self.data.frozen()
            prepare = self._preparation(frozen)
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        if frozen.picture is not None and not are_wanted(frozen.picture, self):
            return
        self.finished.hide()
        self.view.hide()
        self._trained_on = self.data.choice()
        self.job.start(prepare)

    @property
    def trained_on(self) -> DataChoice:
        """The data of the last training; what is chosen now if there was none."""
        return self._trained_on or self.data.choice()

    def release(self) -> None:
        """Pause what runs; it is offered again after a restart of QGIS."""
        self.watcher.stop()
        self.data.release()
        self.check.release()
        self.job.release()

    def _lay_out(self) -> None:
        self.settings = QWidget()
        settings = QVBoxLayout(self.settings)
        settings.setContentsMargins(0, 0, 0, 0)
        place = FolderWords(self.options.advanced.folder_chooser, self)
        for box in (self.data, self.check, self.start, self.options, place):
            settings.addWidget(box)
        lay_out(self, (self.finished, self.view, self.settings), self.bar)

    def _connect(self) -> None:
        self.data.changed.connect(self._look)
        self.check.checked.connect(self._show_readiness)
        self.options.changed.connect(self._look)
        self.start.changed.connect(self._show_start)
        self.start.named.connect(self._show_readiness)
        self.options.advanced.gsd_m.valueChanged.connect(self._show_resolution)
        self.bar.train_wanted.connect(self.train)
        self.bar.pause_wanted.connect(self._pause)
        self.bar.resume_wanted.connect(self.job.resume)
        self.bar.stop_wanted.connect(self._stop)
        self.job.changed.connect(self._show_state)
        self.job.begun.connect(self._watch)
        self.job.reported.connect(self.bar.report)
        self.job.ended.connect(self._finish)
        self.job.failed.connect(self._fail)
        self.watcher.measured.connect(self._show_epochs)
        self.watcher.pictured.connect(self.view.show_picture)
        self.finished.segment_wanted.connect(lambda: self.segment_wanted.emit(str(self._model_path)))
        self.finished.evaluate_wanted.connect(lambda: self.evaluate_wanted.emit(str(self._model_path), self._title))
        self.finished.folder_wanted.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._run_dir))))

    def _preparation(self, frozen: Frozen) -> Callable[[Feedback], TrainRequest]:
        """A function that writes the data into a new run folder and makes the request; for any thread."""
        title = self.start.name.text().strip()
        folder = Path(run_folders.new_folder(self.options.advanced.folder(), frozen.name, title))
        build = self._builder(frozen)

        def prepare(feedback: Feedback) -> TrainRequest:
            try:
                return build(data=frozen.write(folder / DATA_DIR, feedback), output_dir=str(folder))
            except OrthomaskError:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        return prepare

    def _builder(self, frozen: Frozen) -> Callable[..., TrainRequest]:
        """The request as chosen now, but for its data and folder."""
        title, model = self.start.name.text().strip() or DEFAULT_NAME, self.start.model
        return functools.partial(
            TrainRequest,
            model=model.path if model else "",
            name=re.sub(r"[^\w.-]+", "-", title),
            title=title,
            classes=frozen.classes,
            schedule=self.options.schedule(),
            **self.options.advanced.others(),
        )

    def _look(self) -> None:
        """Check the data that are chosen now, while they can be seen."""
        if self.data.problem():
            self.check.forget()
        elif self.settings.isVisible():
            self.check.check(self._freeze_check)
        self._show_readiness()

    def _freeze_check(self) -> Prepare:
        """The data as they are now, as a function that makes the request of their check.

        Raises:
            OrthomaskError: they are not usable.
        """
        frozen = self.data.frozen()
        build = self._builder(frozen)
        return lambda folder, feedback: CheckTrainingRequest(
            build(data=frozen.write(folder, feedback, rendered=False), output_dir=str(folder))
        )

    def _watch(self) -> None:
        """Show the run folder of the running or interrupted training."""
        request = present(self.job.request)
        self._run_dir, self._total = Path(request.output_dir), request.schedule.epochs
        self.view.begin()
        self.watcher.start(self._run_dir)

    def _show_start(self) -> None:
        model = self.start.model
        self.options.suit(fine_tuning=model is not None)
        self.data.read_bands(model.bands if model else ())
        self._show_resolution()
        self._look()

    def _show_resolution(self) -> None:
        """Render a non-file image at the new model's resolution."""
        model = self.start.model
        self.data.render_at(self.options.advanced.gsd_m.value() or (model.gsd_m if model else 0.0), OVERLAP_PX)

    def _show_readiness(self) -> None:
        """Show whether a training can start, unless there is one already."""
        if self.job.request is None and not self.job.running:
            named = bool(self.start.name.text().strip())
            self.bar.show_ready(
                self.data.problem() or self.check.problem or ("" if named else tr("Give the new model a name."))
            )
            self.bar.say(self.check.problem)

    def _show_state(self) -> None:
        """Show the button for the state: Train, Pause or Resume."""
        request = self.job.request
        self.settings.setVisible(request is None and not self.job.running)
        self._show_readiness()
        if self.job.running:
            self.bar.show_running()
        elif request is not None:
            done = len(read_epochs(self._run_dir))
            words = tr("“{}” is interrupted after epoch {} of {}. Resume it, or stop it and keep the best model.")
            self.bar.show_paused(words.format(request.title, done, request.schedule.epochs))

    def _show_epochs(self, epochs: Sequence[Epoch]) -> None:
        self.view.show_epochs(epochs, self._total, read_base(self._run_dir))

    def _pause(self) -> None:
        self.bar.show_ending(tr("Pausing…"))
        self.job.pause()

    def _stop(self) -> None:
        self.bar.show_ending(tr("Stopping…"))
        self.job.stop()

    def _finish(self, request: TrainRequest, result: Optional[TrainResult]) -> None:
        self.watcher.stop()
        for warning in (*picture_warnings(request), *(result.warnings if result else ())):
            show_warning(self._iface.messageBar(), warning)
        bundle = self._run_dir / f"{request.name}{SUFFIX}"
        if not bundle.exists():
            self.bar.say(tr("There is no model yet: the training ended before its first validation."))
            return
        try:
            self._model_path = own_models.adopt(bundle)
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        self._title = request.title
        words = _ending(request, result, read_epochs(self._run_dir), read_base(self._run_dir))
        self.finished.show_words(words)
        show_success(self._iface.messageBar(), words)
        self.models_changed.emit()

    def _fail(self, error: OrthomaskError) -> None:
        self.watcher.stop()
        if error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)  # the dock says so, with a button that helps
        else:
            show_error(self._iface.messageBar(), error)


def _ending(
    request: TrainRequest, result: Optional[TrainResult], epochs: Sequence[Epoch], base: Optional[Epoch]
) -> str:
    """How a training ended, and its best model's scores beside those of the model it started from."""
    reasons = {
        "early": tr("stopped early, as it no longer improved"),
        "diverged": tr("stopped, as the loss was no longer a number; try a lower learning rate"),
    }
    reason = reasons.get(result.stopped, tr("finished in {}").format(time_in_words(result.seconds))) if result else ""
    best = best_epoch(epochs)
    words = tr("“{}”: {}.").format(request.title, reason or tr("stopped"))
    if best is None:
        return words
    scores = tr("Best in epoch {} of {}: IoU {}, F1 {} on the validation areas.")
    iou, f1 = in_digits(best.iou, 3), in_digits(best.f1, 3)
    words = f"{words} {scores.format(best.epoch, request.schedule.epochs, iou, f1)}"
    if base is None:
        return words
    return tr("{} The model it started from: IoU {}, F1 {}.").format(
        words, in_digits(base.iou, 3), in_digits(base.f1, 3)
    )
