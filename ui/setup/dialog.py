"""Set up: the window that makes, tests, repairs, updates and removes the engine's environment."""

from __future__ import annotations

import enum
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...protocol import Cancelled, OrthomaskError
from ..client import store
from ..client.environment import chosen_python, configured_python, set_python
from ..client.network import of_qgis
from ..installer import diagnostics, install, managed, planning, selftest
from ..installer.plan import Plan
from ..installer.planning import Offer
from ..toolkit.accessible import name_widgets
from ..toolkit.help import Section, help_button
from ..toolkit.icons import icon
from ..toolkit.run_bar import RunBar
from ..toolkit.words import mark, tr
from .plan_box import PlanBox
from .store_box import StoreBox
from .task import SetupTask

LAMP_PX, LOG_PX, LOG_LINES, WIDTH_PX = 20, 130, 2000, 600


class State(enum.Enum):
    """The engine's state: the lamp's colour, a sentence, and the button's action."""

    MISSING = (
        "light-amber",
        mark("Orthomask's engine is not set up yet. It takes a few minutes, once."),
        mark("Set up"),
    )
    BROKEN = ("light-red", "", mark("Repair"))
    OUTDATED = (
        "light-amber",
        mark("The engine works, but with packages of an earlier version. Update to get those for this version."),
        mark("Update"),
    )
    OWN = ("light-green", mark("The engine runs in the Python that you chose: {}"), mark("Set up instead"))
    CURRENT = ("light-green", mark("The engine is set up and up to date."), mark("Set up again"))

    @property
    def lamp(self) -> str:
        """Name of the icon."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """The state."""
        return tr(self.value[1])

    @property
    def verb(self) -> str:
        """The button's action."""
        return tr(self.value[2])


def state_of(error: Optional[OrthomaskError]) -> State:
    """The engine's state now.

    Args:
        error: why it does not work; None if it works or was never tried.
    """
    if error is not None and configured_python():
        return State.BROKEN
    if chosen_python():
        return State.OWN
    made = store.environments()
    if not made:
        return State.MISSING
    return State.CURRENT if planning.is_current(made[0]) else State.OUTDATED


class SetupDialog(QDialog):
    """A separate window that does not block QGIS.

    Args:
        error: why the engine does not work; None if it does.
    """

    engine_changed = pyqtSignal()
    """The engine's Python has changed, or is gone."""
    engine_unwanted = pyqtSignal()
    """The running engine must end: its files will be deleted."""

    def __init__(self, error: Optional[OrthomaskError] = None, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Orthomask: the engine"))
        self._error = error
        self._offer: Optional[Offer] = None
        self._failure: Optional[OrthomaskError] = None
        self._task: Optional[SetupTask] = None
        self.lamp, self.words = QLabel(), QLabel()
        self.words.setWordWrap(True)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.plan_box, self.store_box, self.bar = PlanBox(), StoreBox(), RunBar()
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(LOG_LINES)
        self.log.setMinimumHeight(LOG_PX)
        self.log_box = QgsCollapsibleGroupBox(tr("Log"))
        self.diagnostics_button = QPushButton(tr("Copy diagnostics"))
        self.own_button = QPushButton()
        self.close_button = QPushButton(tr("Close"))
        self._lay_out()
        self._connect()
        self._show_state()
        self._look()
        name_widgets(self)

    @property
    def busy(self) -> bool:
        """Whether something is being set up or removed."""
        return self._task is not None

    def run(self) -> None:
        """Carry out the plan in the background."""
        plan = self.plan_box.plan
        if plan is None or self._task is not None:
            return
        self.log.clear()
        broken = _managed(self._error)
        self._say("light-amber", tr("Setting up. You can keep working in QGIS."))
        self._lock(True)
        self.bar.start()
        self._start(tr("Orthomask: Set up"), lambda task: _installed(plan, broken, task), self._finish)

    def cancel(self) -> None:
        """Cancel it; nothing unfinished remains, and downloads are kept for the next try."""
        if self._task is not None:
            self.bar.cancel_button.setEnabled(False)
            self.bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def release(self) -> None:
        """End what runs, for good."""
        if self._task is not None:
            self._task.abandon()

    def _lay_out(self) -> None:
        head, foot = QHBoxLayout(), QHBoxLayout()
        head.addWidget(self.lamp)
        head.addWidget(self.words, 1)
        for button in (help_button(lambda: Section.SETUP), self.diagnostics_button, self.own_button):
            foot.addWidget(button)
        foot.addStretch()
        foot.addWidget(self.close_button)
        QVBoxLayout(self.log_box).addWidget(self.log)
        self.log_box.setCollapsed(True)
        layout = QVBoxLayout(self)
        layout.addLayout(head)
        for box in (self.plan_box, self.bar, self.log_box, self.store_box):
            layout.addWidget(box)
        layout.addStretch()
        layout.addLayout(foot)
        self.setMinimumWidth(WIDTH_PX)

    def _connect(self) -> None:
        self.plan_box.changed.connect(self._show_state)
        self.plan_box.changed.connect(self._refresh)
        for box in (self.log_box, self.plan_box.packages_box):
            box.collapsedStateChanged.connect(self._fit)
        self.store_box.removal_wanted.connect(self._remove)
        self.bar.run_wanted.connect(self.run)
        self.bar.run_button.setDefault(True)
        self.bar.cancel_wanted.connect(self.cancel)
        self.bar.cancel_button.setToolTip(tr("Stop now; nothing unfinished remains, and downloads are kept"))
        self.diagnostics_button.clicked.connect(self.copy_diagnostics)
        self.diagnostics_button.setToolTip(tr("A report for the bug tracker, without home folders and passwords"))
        self.own_button.clicked.connect(self._choose_python)
        self.own_button.setToolTip(tr("A Python of yours that already has PyTorch and the other packages"))
        self.close_button.clicked.connect(self.close)

    def _look(self) -> None:
        self.bar.set_ready(False, state_of(self._error).verb, "")
        self.bar.status.setText(tr("Looking for Python installations and GPUs…"))
        self.bar.status.show()
        self._start(tr("Orthomask: looking"), lambda _: planning.look(), self._show_offer)

    def _show_offer(self, offer: Offer) -> None:
        self._task, self._offer = None, offer
        self.plan_box.show_offer(offer)

    def _start(self, title: str, work: Callable[[SetupTask], Any], done: Callable[[Any], None]) -> None:
        self._task = SetupTask(title, work)
        self._task.answered.connect(done)
        self._task.failed.connect(self._fail)
        self._task.reported.connect(self.bar.report)
        self._task.logged.connect(self.log.appendPlainText)
        QgsApplication.taskManager().addTask(self._task)

    def _refresh(self) -> None:
        """Say whether the plan can be run, and why not."""
        if self._task is not None:
            return
        problem, verb = self.plan_box.problem, state_of(self._error).verb
        self.bar.set_ready(problem is None and self._offer is not None, verb, "")
        if problem is not None:
            self.bar.stop(f"{problem.sentence} {problem.remedy}")
        self._fit()

    def _show_state(self) -> None:
        state = state_of(self._error)
        words = state.sentence.format(configured_python())
        if state is State.BROKEN and self._error is not None:
            words = self._error.sentence
        self._say(state.lamp, words)
        back = bool(chosen_python() and store.environments())
        self.own_button.setText(tr("Use the newest environment") if back else tr("Use another Python…"))
        self.store_box.show_environments(configured_python())

    def _say(self, lamp: str, words: str) -> None:
        self.lamp.setPixmap(icon(lamp).pixmap(LAMP_PX, LAMP_PX))
        self.words.setText(words)
        self._fit()

    def _fit(self, *_: object) -> None:
        """Fit the height to the content, once Qt has laid it out."""
        QTimer.singleShot(0, self._resize)

    def _resize(self) -> None:
        """`adjustSize` would use at most two thirds of the screen, and squeeze the content."""
        self.resize(self.width(), self.layout().totalHeightForWidth(self.width()))

    def _lock(self, locked: bool) -> None:
        for widget in (self.plan_box, self.store_box, self.own_button):
            widget.setEnabled(not locked)

    def _finish(self, tested: selftest.SelfTest) -> None:
        self._task, self._error, self._failure = None, None, None
        set_python("")
        self._lock(False)
        self._show_state()
        self._refresh()
        self.log_box.setCollapsed(True)
        self._say("light-green", tr("The engine works. {} {}").format(tested.in_words(), tested.reason))
        self.show()
        self.engine_changed.emit()

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self._lock(False)
        self._refresh()
        self.bar.run_button.setText(tr("Try again"))
        if isinstance(error, Cancelled):
            self._say("light-amber", tr("Cancelled. Nothing unfinished remains; downloads are kept for the next try."))
            return
        self._failure = error
        self._say("light-red", f"{error.sentence} {error.remedy}")
        if not self.log.toPlainText():
            self.log.setPlainText(error.details)
        self.log_box.setCollapsed(False)
        self.show()

    def _remove(self, environment: store.Environment) -> None:
        if environment.python == configured_python():
            self.engine_unwanted.emit()
        self._lock(True)
        self._start(tr("Orthomask: removing"), lambda _: _removed(environment), self._show_removed)

    def _show_removed(self, removed: bool) -> None:
        self._task = None
        self._lock(False)
        self._show_state()
        self._refresh()
        if not removed:
            self._say("light-red", tr("Some files are in use. Close other windows of QGIS, then remove it again."))
        self.engine_changed.emit()

    def _choose_python(self) -> None:
        if chosen_python() and store.environments():
            self._use("")
            return
        path, _ = QFileDialog.getOpenFileName(self, tr("A Python that has the engine's packages"))
        if path:
            self._use(path)

    def _use(self, python: str) -> None:
        """Run the engine in this Python; if empty, in the newest environment."""
        set_python(python)
        self._error = None
        self._show_state()
        self._refresh()
        self.engine_changed.emit()

    def copy_diagnostics(self) -> None:
        """Copy the report to the clipboard."""
        log = self.log.toPlainText().splitlines()
        error = self._failure or self._error
        report = diagnostics.markdown(self._offer, configured_python(), of_qgis(), error, log)
        QgsApplication.clipboard().setText(report)
        self.diagnostics_button.setText(tr("Copied"))


def _managed(error: Optional[OrthomaskError]) -> Optional[store.Environment]:
    """The broken environment that a repair replaces: ours, not a Python that the user chose."""
    made = store.environments()
    return made[0] if error is not None and made and not chosen_python() else None


def _installed(plan: Plan, broken: Optional[store.Environment], task: SetupTask) -> selftest.SelfTest:
    _, tested = install.install(plan, task, selftest.run)
    if broken is not None:
        with store.locked(plan.base):
            store.remove(broken.folder)
    return tested


def _removed(environment: store.Environment) -> bool:
    base = environment.folder.parent
    with store.locked(base):
        gone = store.remove(environment.folder)
        if not store.environments(base):
            store.remove(base / managed.FOLDER)  # the Python they were made with
        return gone
