"""The panel *Changes*: dates, comparison, results. Assembles the boxes and runs the request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QFileDialog, QPushButton, QToolButton, QVBoxLayout, QWidget

from ...protocol import Cancelled, Change, ChangesRequest, ChangesResult, ErrorCode, OrthomaskError
from ..client.engine_client import EngineClient, Feedback
from ..client.tasks import EngineTask
from ..evaluate.problem import ProblemBox
from ..layers.vector_snapshot import SnapshotClient
from ..runs.folder_chooser import FolderWords
from ..runs.folders import new_folder
from ..toolkit.icons import icon
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.run_bar import RunBar
from ..toolkit.scrolling import lay_out, scroll_to
from ..toolkit.words import time_in_words, tr
from .dates_box import DatesBox
from .layers import add_changes, facts_of, show_kind, zoom_to
from .look_box import LookBox
from .objects import FrozenSurvey
from .opening import read_changes
from .options_box import ChangeOptionsBox
from .outcome_box import OutcomeBox
from .review_box import ChangeReviewBox


class ChangesPanel(QWidget):
    """Compares the objects of two dates or more, and adds what changed as layers.

    Args:
        iface: QGIS.
        client: the engine.
    """

    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface, self._client = iface, client
        self._task: Optional[EngineTask] = None
        self._project_closed = False
        self._dates: list[str] = []
        self._images: list[str] = []
        self._row_images = ("", "")
        self.dates = DatesBox()
        self.options = ChangeOptionsBox()
        self.outcome = OutcomeBox()
        self.look = LookBox(iface)
        self.review = ChangeReviewBox(iface)
        self.problem = ProblemBox()
        self.anyway_button = QPushButton(tr("Go on anyway"))
        self.anyway_button.setToolTip(tr("Compare in spite of this shift: more will be unsure"))
        self.anyway_button.hide()
        self.run_bar = RunBar()
        self.run_bar.cancel_button.setToolTip(tr("Stop now; nothing is written"))
        self.open_button = QToolButton()
        self.open_button.setIcon(icon("open"))
        self.open_button.setToolTip(tr("Open an earlier comparison: a file changes.gpkg"))
        self.open_button.clicked.connect(self._ask_file)
        self.run_bar.add_button(self.open_button)
        self.run_bar.show_below(self.anyway_button)
        self.run_bar.show_below(self.problem)
        place = FolderWords(self.options.folder_chooser, self)
        foot = QWidget()
        bars = QVBoxLayout(foot)
        bars.setContentsMargins(0, 0, 0, 0)
        bars.addWidget(self.review.bar)
        bars.addWidget(self.run_bar)
        lay_out(self, (self.dates, self.options, place, self.outcome, self.review, self.look), foot)
        self._connect()
        self._refresh()

    def release(self) -> None:
        """Stop what runs, and leave canvas and project as they were."""
        QgsProject.instance().cleared.disconnect(self._note_closed_project)
        if self._task is not None:
            self._task.abandon()
        self.dates.release()
        self.outcome.release()
        self.review.release()
        self.look.release()

    def run(self, *, anyway: bool = False) -> None:
        """Compare in the background.

        Args:
            anyway: go on where the shift is too large.
        """
        self.problem.hide()
        self.anyway_button.hide()
        choices = self.dates.choices
        try:
            surveys = [choice.freeze() for choice in choices]
        except OrthomaskError as error:
            self.problem.explain(error)
            return
        self._dates = [choice.date for choice in choices]
        self._images = [choice.image.id() if choice.image is not None else "" for choice in choices]
        self._start(surveys, anyway)

    def open_changes(self, path: str) -> None:
        """Add the layers of an earlier comparison."""
        try:
            result, dates = read_changes(path)
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        self._add(result, dates, [""] * len(dates))

    def cancel(self) -> None:
        """Cancel the comparison, within a second."""
        if self._task is not None:
            self.run_bar.cancel_button.setEnabled(False)
            self.run_bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def _connect(self) -> None:
        self.dates.changed.connect(self._refresh)
        self.dates.failed.connect(lambda error: show_error(self._iface.messageBar(), error))
        self.options.changed.connect(self._refresh)
        self.outcome.changed.connect(self._show_changes)
        self.outcome.kind_wanted.connect(self._show_kind)
        self.review.failed.connect(lambda error: show_error(self._iface.messageBar(), error))
        self.run_bar.run_wanted.connect(self.run)
        self.run_bar.cancel_wanted.connect(self.cancel)
        self.anyway_button.clicked.connect(lambda: self.run(anyway=True))
        QgsProject.instance().cleared.connect(self._note_closed_project)

    def _refresh(self) -> None:
        """Whether the choices can be compared."""
        if self._task is None:
            problem = self.dates.problem
            self.run_bar.enable(not problem, problem or tr("Compare; changes are added as layers"))
        layers = [choice.image for choice in self.dates.choices]
        first, *_, last = [layer.id() if layer is not None else "" for layer in layers]
        if (first, last) != self._row_images:
            self._row_images = first, last
            self.look.choose(first, last)

    def _show_changes(self) -> None:
        """Another comparison is chosen: review it, and look at its dates."""
        layer = self.outcome.layer
        self.review.follow(layer)
        facts = facts_of(layer) if layer is not None else None
        if facts is not None:
            self.look.choose(*facts.images)

    def _show_kind(self, kind: Optional[Change]) -> None:
        """Show and review changes of one kind, or all, and zoom to them."""
        layer = self.outcome.layer
        if layer is None:
            return
        show_kind(layer, kind)
        self.review.follow(layer, kind)
        self._iface.mapCanvas().setFocus()
        zoom_to(self._iface.mapCanvas(), layer, kind)

    def _start(self, surveys: Sequence[FrozenSurvey], anyway: bool) -> None:
        options = self.options
        folder = new_folder(options.folder(), "changes", "-".join(filter(None, self._dates)) or "dates")
        settings: dict[str, Any] = {
            "register": options.register.isChecked(), "limit_m": round(options.limit.value(), 1),
            "anyway": anyway or options.anyway.isChecked(),
        }  # fmt: skip

        def prepare(temporary: Path, feedback: Feedback) -> ChangesRequest:
            written = tuple(survey.write(temporary, feedback) for survey in surveys)
            return ChangesRequest(written, folder, **settings)

        self._project_closed = False
        self.run_bar.start()
        self._task = EngineTask(tr("Orthomask: changes"), SnapshotClient(self._client), prepare)
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(self._finish)
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)

    def _finish(self, result: ChangesResult) -> None:
        self._end(tr("Done in {}.").format(time_in_words(result.seconds)))
        bar = self._iface.messageBar()
        for warning in result.warnings:
            show_warning(bar, warning)
        if self._project_closed:  # the layers do not belong in the project open now
            folder = Path(result.changes_path).parent
            show_success(bar, tr("The project was closed in the meantime; the changes are in {}.").format(folder))
            return
        self._add(result, self._dates, self._images)

    def _add(self, result: ChangesResult, dates: Sequence[str], images: Sequence[str]) -> None:
        layers = add_changes(QgsProject.instance(), result, dates, images)
        self.outcome.choose(layers[0])
        scroll_to(self.outcome)

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, tr("Open an earlier comparison"), self.options.folder(), tr("Changes (*.gpkg)")
        )
        if path:
            self.open_changes(path)

    def _fail(self, error: OrthomaskError) -> None:
        self._end("")
        if isinstance(error, Cancelled):
            self.run_bar.stop(error.sentence)
        elif error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)  # the dock says so, with a button that helps
        else:
            self.problem.explain(error)
            self.anyway_button.setVisible(error.code is ErrorCode.SHIFT)

    def _end(self, status: str) -> None:
        self._task = None
        self._refresh()
        self.run_bar.stop(status)

    def _note_closed_project(self) -> None:
        self._project_closed = True
