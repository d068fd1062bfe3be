"""One button that learns from the checked squares, its progress, and what to do with the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QGroupBox, QLabel, QVBoxLayout, QWidget

from ....protocol import (
    Cancelled,
    CheckLearningResult,
    CompareResult,
    LearnRequest,
    LearnResult,
    OrthomaskError,
    Split,
    VersionsRequest,
    VersionsResult,
)
from ...client.engine_client import EngineClient
from ...client.tasks import EngineTask
from ...label.project import SPLIT_NAMES, LabelProject
from ...runs import folders as run_folders
from ...runs.results import read_run
from ...toolkit.messages import show_success, show_warning
from ...toolkit.present import present
from ...toolkit.words import in_digits, time_in_words, tr
from ...train.bar import TrainingBar
from ...train.data import recorded
from ...train.run import Epoch, RunWatcher, read_base, read_epochs
from ...train.view import TrainingView
from ..context import Context
from .learning import LearningJob, Plan
from .learning_check import LearningCheck
from .map_comparison import ComparisonClient, MapComparison, add_differences, remove_differences
from .result_box import ResultBox, comparison_words

PAUSE_MS = 3000
"""Delay of the check after an edit: the engine shall be free for the quick tools while a square is worked on."""


class LearnBox(QGroupBox):
    """Learns from the checked squares of the label project under review, starting from the run's model.

    Args:
        iface: QGIS.
        client: the other boxes' engine; a learning has its own.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why something did not work."""
    versions_changed = pyqtSignal(object)
    """The `VersionsResult` after a candidate was put in use."""
    segment_wanted = pyqtSignal(str)
    """Use the model in this file for the next run."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Learn"), parent)
        self._iface, self._client = iface, client
        self._context = Context()
        self._watched: Optional[LabelProject] = None
        self._task: Optional[EngineTask] = None
        self._project_closed = False
        self._ready = ""
        self._run_dir = Path()
        self.job = LearningJob(client, self)
        self.check = LearningCheck(client, self)
        self.watcher = RunWatcher(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.view = TrainingView()
        self.view.setTitle("")
        self.view.setFlat(True)
        present(self.view.layout()).setContentsMargins(0, 0, 0, 0)
        self.bar = TrainingBar()
        self.result = ResultBox()
        layout = QVBoxLayout(self)
        for widget in (self.words, self.view, self.bar, self.result):
            layout.addWidget(widget)
        self._connect()
        if self.job.request is not None:
            self._watch_folder()
        self._show_state()

    def follow(self, context: Context) -> None:
        """Show what could be learnt from this run and label project."""
        before, self._context = self._context, context
        if (before.run, before.project) == (context.run, context.project) and context.project is not None:
            return  # only the square in view has changed
        self._watch(context.project)
        self._ready = ""
        self._look()

    def release(self) -> None:
        """Pause what runs; it is offered again after a restart of QGIS."""
        QgsProject.instance().cleared.disconnect(self._note_closed_project)
        QgsProject.instance().layersWillBeRemoved["QStringList"].disconnect(self._forget_removed)
        self._watch(None)
        self._timer.stop()
        self.watcher.stop()
        self.check.release()
        self.job.release()
        if self._task is not None:
            self._task.abandon()

    def showEvent(self, event: QShowEvent) -> None:
        """Look: labels and areas may have changed while hidden."""
        super().showEvent(event)
        self._look()

    def _connect(self) -> None:
        self._timer.timeout.connect(self._look)
        self.check.answered.connect(self._show_check)
        self.bar.train_wanted.connect(self._learn)
        self.bar.pause_wanted.connect(self._pause)
        self.bar.resume_wanted.connect(self.job.resume)
        self.bar.stop_wanted.connect(self._stop)
        self.bar.stop_button.setToolTip(tr("Learn no further, and compare the best so far"))
        self.job.changed.connect(self._show_state)
        self.job.begun.connect(self._watch_folder)
        self.job.reported.connect(self.bar.report)
        self.job.ended.connect(self._finish)
        self.job.failed.connect(self._fail)
        self.watcher.measured.connect(self._show_epochs)
        self.watcher.pictured.connect(self.view.show_picture)
        self.result.use_wanted.connect(self._use)
        self.result.discard_wanted.connect(self._settle)
        self.result.comparison.run_wanted.connect(self._compare)
        self.result.comparison.cancel_wanted.connect(self._cancel)
        QgsProject.instance().cleared.connect(self._note_closed_project)
        QgsProject.instance().layersWillBeRemoved["QStringList"].connect(self._forget_removed)

    def _forget_removed(self, identities: list[str]) -> None:
        """Drop layers while they still exist."""
        context = self._context
        layers = [context.polygons, *((context.project.labels, context.project.areas) if context.project else ())]
        if {layer.id() for layer in layers if layer is not None} & set(identities):
            self.follow(Context())

    def _watch(self, project: Optional[LabelProject]) -> None:
        """Check again after each edit of this project, and of no other."""
        if self._watched is not None:
            self._listen(self._watched, on=False)
        self._watched = project
        if project is not None:
            self._listen(project, on=True)

    def _listen(self, project: LabelProject, *, on: bool) -> None:
        for layer in (project.labels, project.areas):
            for signal in (
                layer.featureAdded, layer.featureDeleted, layer.attributeValueChanged, layer.geometryChanged,
                layer.editingStopped, layer.dataChanged,
            ):  # fmt: skip
                signal.connect(self._wait) if on else signal.disconnect(self._wait)

    def _wait(self, *_: object) -> None:
        self._timer.start()

    def _look(self) -> None:
        """Ask what there is to learn from, while that can be seen."""
        context = self._context
        if context.run is None or context.project is None:
            self.check.forget()
            self._show_ready(tr("Choose a run and a label project to learn from."), "")
        elif self._busy or not self.isVisible():
            return
        else:
            if not self._ready:
                self._show_ready(tr("Looking at the checked squares…"), "")
            self.check.check(context)

    @property
    def _busy(self) -> bool:
        return self.job.running or self.job.request is not None

    def _show_check(self, found: Any) -> None:
        if isinstance(found, OrthomaskError):
            self._show_ready(f"{found.sentence} {found.remedy}", "")
        elif isinstance(found, CheckLearningResult):
            self._show_ready(found.problem or _counts(found), "" if found.problem else _label(found))

    def _show_ready(self, words: str, label: str) -> None:
        """Say what there is to learn from; without a label for the button, why nothing can be learnt."""
        self._ready = label
        self.words.setText(words)
        if not self._busy:
            self.bar.show_ready("" if label else words, label or tr("Learn"))

    def _learn(self) -> None:
        run, project = self._context.run, self._context.project
        if run is None or project is None:
            return
        try:
            plan = Plan.of(run, project)
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        self._settle()
        self.view.begin()
        self.job.learn(plan, project, run)

    def _watch_folder(self) -> None:
        """Show the run folder of what is being learnt, or was interrupted."""
        request: LearnRequest = present(self.job.request)
        self._run_dir = Path(request.output_dir)
        self.view.begin()
        self.watcher.start(self._run_dir)

    def _show_epochs(self, epochs: Sequence[Epoch]) -> None:
        training = recorded(self._run_dir)
        self.view.show_epochs(epochs, training.schedule.epochs if training else 0, read_base(self._run_dir))

    def _show_state(self) -> None:
        """Show the button for the state: Learn, Pause or Resume; and the result of the last learning, if any."""
        request = self.job.request
        self.words.setVisible(not self._busy)
        self.view.setVisible(self._busy)
        if self.job.running:
            self.result.hide()
            self.bar.show_running()
        elif request is not None:
            words = tr("Learning from “{}” is interrupted after epoch {}. Resume it, or stop it and compare the best.")
            self.bar.show_paused(words.format(request.data.place, in_digits(len(read_epochs(self._run_dir)))))
        else:
            self._show_ready(self.words.text(), self._ready)
            self._show_result()

    def _show_result(self) -> None:
        learning = self.job.learning
        if learning is not None and learning.result is not None:
            self.result.show_result(learning.result, Path(learning.project).stem)
        else:
            self.result.hide()

    def _pause(self) -> None:
        self.bar.show_ending(tr("Pausing…"))
        self.job.pause()

    def _stop(self) -> None:
        self.bar.show_ending(tr("Stopping…"))
        self.job.stop()

    def _finish(self, _: LearnRequest, result: Optional[LearnResult]) -> None:
        self.watcher.stop()
        if result is not None:
            show_success(self._iface.messageBar(), result.verdict)
        self._look()

    def _fail(self, error: OrthomaskError) -> None:
        self.watcher.stop()
        self.failed.emit(error)
        self._look()

    def _settle(self) -> None:
        """Forget the result; its files are kept."""
        if self._task is None:
            self.job.settle()
            self.result.hide()

    def _use(self) -> None:
        """Put the candidate in use, in the project that it learnt from."""
        learning = self.job.learning
        if learning is None or learning.result is None or self._task is not None:
            return
        path = learning.result.model_path
        self._ask(tr("Orthomask: versions"), self._client, VersionsRequest(learning.project, use=path), self._used)

    def _used(self, versions: VersionsResult) -> None:
        self._task = None
        self._settle()
        used = next(version for version in versions.versions if version.number == versions.current)
        words = tr("Version {} is now the project's model.").format(used.number)
        show_success(self._iface.messageBar(), words)
        self.versions_changed.emit(versions)
        self.segment_wanted.emit(used.model_path)

    def _compare(self) -> None:
        """Run the candidate over the run's region, and compare the objects."""
        learning = self.job.learning
        if learning is None or learning.result is None or self._task is not None:
            return
        try:
            plan = MapComparison.of(learning, read_run(Path(learning.run)), learning.result.model_path)
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        remove_differences(QgsProject.instance(), plan.path)
        run_folders.remember_parent(plan.run.request.output_dir)
        self._project_closed = False
        self.result.comparison.start()
        task = self._ask(tr("Orthomask: comparison on the map"), ComparisonClient(self._client), plan, self._compared)
        task.reported.connect(self.result.comparison.report)

    def _compared(self, result: CompareResult) -> None:
        self._task = None
        self.result.show_comparison(comparison_words(result))
        for warning in result.warnings:
            show_warning(self._iface.messageBar(), warning)
        if not self._project_closed:  # the layer does not belong in the project open now
            add_differences(QgsProject.instance(), result.path, self._polygons())

    def _polygons(self) -> Optional[QgsVectorLayer]:
        """The polygon layer of the run that was compared, if it is the one under review."""
        context, learning = self._context, self.job.learning
        same = context.run is not None and learning is not None and str(context.run.folder) == learning.run
        return context.polygons if same else None

    def _cancel(self) -> None:
        if self._task is not None:
            self.result.comparison.cancel_button.setEnabled(False)
            self.result.comparison.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def _ask(self, title: str, client: Any, request: object, then: Callable[[Any], None]) -> EngineTask:
        """Ask in the background; until the answer, the result is neither used nor discarded."""
        self._task = task = EngineTask(title, client, request)
        task.answered.connect(then)
        task.answered.connect(self._enable)
        task.failed.connect(self._fail_task)
        self.result.use.setEnabled(False)
        self.result.discard.setEnabled(False)
        QgsApplication.taskManager().addTask(task)
        return task

    def _enable(self, *_: object) -> None:
        self.result.use.setEnabled(True)
        self.result.discard.setEnabled(True)

    def _fail_task(self, error: OrthomaskError) -> None:
        self._task = None
        self._enable()
        if isinstance(error, Cancelled):
            self.result.show_comparison(tr("Cancelled. Comparing again continues from here."))
            return
        self.result.show_comparison("")
        self.failed.emit(error)

    def _note_closed_project(self) -> None:
        self._project_closed = True


def _counts(found: CheckLearningResult) -> str:
    """What the checked squares are for."""
    told = [
        f"{in_digits(found.counts[split.value])} {tr(name)}"
        for split, name in SPLIT_NAMES.items()
        if found.counts.get(split.value) and split is not Split.TODO
    ]
    words = tr("Checked squares: {}.").format(", ".join(told))
    left = found.counts.get(Split.TODO.value, 0)
    return tr("{} Not checked yet: {}.").format(words, in_digits(left)) if left else words


def _label(found: CheckLearningResult) -> str:
    """The button's, with the time that learning takes if that is known."""
    if found.seconds is None:
        return tr("Learn")
    return tr("Learn (about {})").format(time_in_words(found.seconds))
