"""Where to check: squares where a check helps most, suggested by the engine and added to the label project."""

from __future__ import annotations

from functools import partial
from typing import Optional

from qgis.core import QgsApplication
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QDoubleSpinBox, QFormLayout, QSpinBox, QVBoxLayout, QWidget

from ...protocol import Cancelled, OrthomaskError, SuggestRequest, usual_size_m
from ..client.engine_client import EngineClient
from ..client.tasks import EngineTask
from ..label.project import LabelProject
from ..toolkit.messages import show_warning
from ..toolkit.run_bar import RunBar
from ..toolkit.settings import DEVICE
from ..toolkit.words import in_digits, tr, tr_n
from .context import Context
from .squares import add_squares, squares_of
from .suggesting import FrozenSuggesting, NewSquares, Suggester


class SuggestBox(QgsCollapsibleGroupBox):
    """How many squares, and how large. Collapsed once there are squares to look at.

    Args:
        iface: QGIS, for its message bar.
        client: the engine.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why no squares were suggested."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Where to check"), parent)
        self._iface, self._client = iface, client
        self._context = Context()
        self._task: Optional[EngineTask] = None
        self.count = QSpinBox()
        self.count.setRange(1, 1000)
        self.count.setValue(10)
        self.count.setToolTip(tr("Three of four where the model is unsure; one at random, to estimate accuracy"))
        self.side = QDoubleSpinBox()
        self.side.setRange(1.0, 100_000.0)
        self.side.setDecimals(1)
        self.side.setSuffix(" m")
        self.side.setToolTip(tr("Side length of the squares, on the ground"))
        self.run_bar = RunBar()
        self.run_bar.cancel_button.setToolTip(tr("Stop now; nothing is left behind"))
        form, layout = QFormLayout(), QVBoxLayout(self)
        form.addRow(tr("Number"), self.count)
        form.addRow(tr("Size"), self.side)
        layout.addLayout(form)
        layout.addWidget(self.run_bar)
        self.run_bar.run_wanted.connect(self.suggest)
        self.run_bar.cancel_wanted.connect(self.cancel)
        self._refresh()

    def release(self) -> None:
        """Stop what runs."""
        if self._task is not None:
            self._task.abandon()

    def follow(self, context: Context) -> None:
        """Suggest squares of this run for this label project; a new run brings its usual size."""
        if context.run is not None and context.run != self._context.run:
            self.side.setValue(usual_size_m(float(context.run.record["model"].get("gsd_m", 0.0))))
        if context.project is not None and context.project != self._context.project:
            self.setCollapsed(bool(squares_of(context.project.areas)))
        elif context.target != context.polygons and self._context.target == self._context.polygons:
            self.setCollapsed(True)  # a square has come into view: its list and the tools need the space
        self._context = context
        if self._task is None:
            self._refresh()

    def suggest(self) -> None:
        """Ask the engine, in the background."""
        run, project = self._context.run, self._context.project
        if self._task is not None or run is None or project is None:
            return
        try:
            request = SuggestRequest(
                str(run.folder), project.path, self.count.value(), self.side.value(),
                seed=int(project.areas.featureCount()) + 1,  # the next press draws others
                device=DEVICE.get(),
            )  # fmt: skip
            frozen = FrozenSuggesting.of(request, project.areas)
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        self.run_bar.start()
        self._task = EngineTask(tr("Orthomask: squares to check"), Suggester(self._client), frozen)
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(partial(self._finish, project))
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)

    def cancel(self) -> None:
        """Cancel what runs, within a second."""
        if self._task is not None:
            self.run_bar.cancel_button.setEnabled(False)
            self.run_bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def _refresh(self) -> None:
        context = self._context
        ready = context.run is not None and context.project is not None
        reason = tr("Add squares to the label project, each with its reason")
        missing = tr("Choose a run and a label project first.")
        self.run_bar.set_ready(ready, tr("Suggest squares"), reason if ready else missing)

    def _finish(self, project: LabelProject, new: NewSquares) -> None:
        """Add the squares to the project that they were suggested for, whichever is chosen by now."""
        self._task = None
        self._refresh()
        try:
            add_squares(project.areas, new.squares)
        except RuntimeError:  # its layer has been removed from QGIS
            self.run_bar.stop(tr("The squares were not added: “{}” has been closed.").format(project.name))
            return
        except OrthomaskError as error:
            self._fail(error)
            return
        words = tr_n("{} square added.", "{} squares added.", new.result.count)
        self.run_bar.stop(words.format(in_digits(new.result.count)))
        for warning in new.result.warnings:
            show_warning(self._iface.messageBar(), warning)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self._refresh()
        if isinstance(error, Cancelled):
            self.run_bar.stop(tr("Cancelled."))
        else:
            self.failed.emit(error)
