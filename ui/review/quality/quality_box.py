"""Label quality: labels that are probably missing, wrong, double or shifted, worst first, each one a click away."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsApplication, QgsCoordinateTransform, QgsCsException, QgsGeometry, QgsProject, QgsWkbTypes
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox, QgsRubberBand
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ....protocol import Cancelled, Fault, OrthomaskError
from ...client.engine_client import EngineClient
from ...client.tasks import EngineTask
from ...toolkit.run_bar import RunBar
from ...toolkit.words import in_digits, tr, tr_n
from ..context import Context
from .finding_list import KINDS, FindingList
from .inspecting import Finding, Inspected, Inspector, frozen
from .moving import move, targets

MOST = 500
"""Findings in the list: nobody goes through more, and the worst come first."""
AROUND = 6.0
"""How much larger the map shows than a finding."""
COLOR, FLASH_ALPHA, WIDTH = "#d01c8b", 120, 2


class QualityBox(QgsCollapsibleGroupBox):
    """Collapsed at first. The list's arrow keys, Enter or a click show a finding; Delete dismisses it.

    Args:
        iface: QGIS, for its map.
        client: the engine.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why labels cannot be inspected or moved."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Label quality"), parent)
        self._iface, self._client = iface, client
        self._context = Context()
        self._task: Optional[EngineTask] = None
        self._findings: list[Finding] = []
        self._dismissed: dict[str, list[Finding]] = {}
        self._band: Optional[QgsRubberBand] = None
        self.words = _label()
        self.reason = _label()
        self.list = FindingList()
        self.next_button = QPushButton(tr("Next"))
        self.next_button.setToolTip(tr("Show the next finding"))
        self.dismiss_button = QPushButton(tr("Dismiss"))
        self.dismiss_button.setToolTip(tr("The label is right: leave this out, also when inspecting again (Delete)"))
        self.move_button = QPushButton()
        self.run_bar = RunBar()
        self.run_bar.cancel_button.setToolTip(tr("Stop now"))
        self._lay_out()
        self._connect()
        self._show_findings()
        self.follow(self._context)
        self.setCollapsed(True)

    def follow(self, context: Context) -> None:
        """Inspect the labels of this project with this run from now on; findings of others are dropped."""
        if _key(context) != _key(self._context):
            self._stop()
            self._findings = []
            self._say("")
            self._show_findings()
        self._context = context
        if self._task is None:
            ready = context.run is not None and context.project is not None
            missing = tr("Choose a run and a label project.")
            what = tr("Find labels that are probably missing, wrong, double or shifted, within the areas")
            self.run_bar.set_ready(ready, tr("Inspect labels"), what if ready else missing)
            if not ready:
                self._say(missing)

    def inspect(self) -> None:
        """Inspect in the background."""
        run, project = self._context.run, self._context.project
        if run is None or project is None or self._task is not None:
            return
        try:
            prepare = frozen(run, project)
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        title = tr("Orthomask: inspecting the labels of {}").format(project.name)
        self._task = EngineTask(title, Inspector(self._client), prepare)
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(self._finish)
        self._task.failed.connect(self._fail)
        self.run_bar.start()
        QgsApplication.taskManager().addTask(self._task)

    def release(self) -> None:
        """Stop what runs, and leave the map as it was."""
        self._stop()
        self._unmark()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.next_button)
        row.addWidget(self.dismiss_button)
        layout = QVBoxLayout(self)
        for widget in (self.words, self.list, self.reason):
            layout.addWidget(widget)
        layout.addLayout(row)
        layout.addWidget(self.move_button)
        layout.addWidget(self.run_bar)

    def _connect(self) -> None:
        self.list.chosen.connect(self._show_current)
        self.list.unwanted.connect(self._dismiss)
        self.next_button.clicked.connect(lambda: self.list.choose(self.list.row + 1))
        self.dismiss_button.clicked.connect(self._dismiss)
        self.move_button.clicked.connect(self._move)
        self.run_bar.run_wanted.connect(self.inspect)
        self.run_bar.cancel_wanted.connect(self._cancel)
        self.collapsedStateChanged.connect(self._show_fitting)  # expanding shows every widget

    def _finish(self, inspected: Inspected) -> None:
        self._task = None
        dismissed = self._dismissed.get(_key(self._context)[1], [])
        left = [one for one in inspected.findings if not any(one.is_like(other) for other in dismissed)]
        self._findings = left
        self._show_findings()
        count = tr_n("{} label inspected", "{} labels inspected", inspected.result.labels)
        told = [count.format(in_digits(inspected.result.labels)) + ": " + _counted(left)]
        if len(left) > MOST:
            told.append(tr("The worst {} are listed.").format(in_digits(MOST)))
        self._say(" ".join((*told, *inspected.result.warnings)))
        self.run_bar.stop("")
        self.follow(self._context)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self.run_bar.stop(error.sentence if isinstance(error, Cancelled) else "")
        if not isinstance(error, Cancelled):
            self.failed.emit(error)

    def _cancel(self) -> None:
        self.run_bar.cancel_button.setEnabled(False)
        self.run_bar.status.setText(tr("Cancelling…"))
        if self._task is not None:
            self._task.cancel()

    def _stop(self) -> None:
        """Forget a running inspection."""
        if self._task is not None:
            self._task.abandon()
            self._task = None
            self.run_bar.stop("")

    def _show_findings(self) -> None:
        """Fill the list; nothing in it is shown on the map yet."""
        self.list.show_findings(self._findings[:MOST])
        self._unmark()
        self._show_fitting()

    @property
    def _current(self) -> Optional[Finding]:
        return self._findings[self.list.row] if self.list.row >= 0 else None

    def _show_fitting(self, *_: object) -> None:
        """Show only what there is something for."""
        if self.isCollapsed():
            self._unmark()
            return
        current, some = self._current, bool(self._findings)
        for widget in (self.list, self.next_button, self.dismiss_button):
            widget.setVisible(some)
        self.dismiss_button.setEnabled(current is not None)
        self.reason.setText(current.reason if current else "")
        self.reason.setVisible(current is not None)
        self.words.setVisible(bool(self.words.text()))
        shift = self._shift
        self.move_button.setVisible(shift is not None)
        if shift is not None:
            self.move_button.setText(tr("Move labels by {}").format(shift.way))
            self.move_button.setToolTip(
                tr("Move the selected labels; if none is selected, all that are shifted. One step to undo.")
            )

    @property
    def _shift(self) -> Optional[Finding]:
        """The shift to take back: the current one, else the first, which is of all labels if there is such a one."""
        current = self._current
        if current is not None and current.step is not None:
            return current
        return next((finding for finding in self._findings if finding.step is not None), None)

    def _show_current(self) -> None:
        """Show the current finding on the map."""
        finding, project = self._current, self._context.project
        self._show_fitting()
        if finding is None or project is None:
            self._unmark()
            return
        canvas = self._iface.mapCanvas()
        place = QgsGeometry(finding.geometry)
        crs = canvas.mapSettings().destinationCrs()
        try:
            place.transform(QgsCoordinateTransform(project.labels.crs(), crs, QgsProject.instance()))
        except QgsCsException:
            return
        extent = place.boundingBox()
        extent.scale(1.2 if finding.kind is Fault.SHIFTED else AROUND)
        canvas.setExtent(extent)
        canvas.refresh()
        self._mark(place)
        if finding.kind is not Fault.SHIFTED:  # it would cover all that is to be seen
            canvas.flashGeometries([place], crs, _tinted(FLASH_ALPHA), _tinted(0))

    def _mark(self, place: QgsGeometry) -> None:
        """Outline a place, in the CRS of the map."""
        self._unmark()
        self._band = QgsRubberBand(self._iface.mapCanvas(), QgsWkbTypes.GeometryType.PolygonGeometry)
        self._band.setColor(_tinted(255))
        self._band.setFillColor(_tinted(0))
        self._band.setWidth(WIDTH)
        self._band.setLineStyle(Qt.PenStyle.DashLine)
        self._band.setToGeometry(place)

    def _unmark(self) -> None:
        if self._band is not None:
            self._iface.mapCanvas().scene().removeItem(self._band)
            self._band = None

    def _dismiss(self) -> None:
        """Leave the current finding out, and show the next."""
        finding = self._current
        if finding is None:
            return
        self._dismissed.setdefault(_key(self._context)[1], []).append(finding)
        self._drop([finding])

    def _drop(self, findings: list[Finding]) -> None:
        """Take findings off the list; the one after the first of them is shown."""
        row = self._findings.index(findings[0])
        self._findings = [one for one in self._findings if one not in findings]
        self._show_findings()
        self.list.choose(row)

    def _move(self) -> None:
        """Move labels as one edit; the user saves it, or takes it back."""
        shift, project = self._shift, self._context.project
        if shift is None or shift.step is None or project is None:
            return
        numbers = targets(project.labels, None if shift.everywhere else shift.geometry)
        try:
            move(project.labels, numbers, shift.step, shift.way)
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        words = tr_n("{} label was moved.", "{} labels were moved.", len(numbers)).format(in_digits(len(numbers)))
        self._say(words + " " + tr("Save the edits of the layer, or undo them; then inspect the labels again."))
        self._drop([one for one in self._findings if one is shift or (shift.everywhere and one.step is not None)])

    def _say(self, words: str) -> None:
        self.words.setText(words)
        self.words.setVisible(bool(words) and not self.isCollapsed())


def _tinted(alpha: int) -> QColor:
    color = QColor(COLOR)
    color.setAlpha(alpha)
    return color


def _label() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.hide()
    return label


def _key(context: Context) -> tuple[str, str]:
    """The run and the project of a context."""
    run, project = context.run, context.project
    return str(run.folder) if run else "", project.path if project else ""


def _counted(findings: list[Finding]) -> str:
    """How many there are of each kind."""
    counts = [(tr(name), sum(one.kind is kind for one in findings)) for kind, name in KINDS.items()]
    told = [f"{name} {in_digits(count)}" for name, count in counts if count]
    return (", ".join(told) or tr("nothing found")) + "."
