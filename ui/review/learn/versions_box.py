"""The versions of the label project's model: which is in use, how good each is, and going back."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsApplication
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....protocol import Cancelled, Marks, OrthomaskError, Version, VersionsRequest, VersionsResult
from ...client.engine_client import EngineClient
from ...client.tasks import EngineTask
from ...toolkit.messages import show_success
from ...toolkit.present import present
from ...toolkit.words import in_digits, tr
from ..context import Context
from .rounds import RoundsPlot, rounds_of

SHOWN_ROWS = 6


class VersionsBox(QgsCollapsibleGroupBox):
    """Lists the versions; collapsed until there are any.

    Args:
        iface: QGIS.
        client: the engine.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why something did not work."""
    segment_wanted = pyqtSignal(str)
    """Use the model in this file for the next run: it was put in use."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Versions"), parent)
        self._iface, self._client = iface, client
        self._path = ""
        self._task: Optional[EngineTask] = None
        self.versions = VersionsResult((), -1)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.list = _make_list()
        self.plot = RoundsPlot()
        self.use_button = QPushButton(tr("Use"))
        self.forget_button = QPushButton(tr("Forget"))
        self.forget_button.setToolTip(tr("Remove it from this list; its file is kept"))
        buttons = QHBoxLayout()
        buttons.addWidget(self.use_button, 1)
        buttons.addWidget(self.forget_button)
        content = QWidget()  # opening the box shows all its children, but not theirs
        QVBoxLayout(self).addWidget(content)
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.list):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        layout.addWidget(self.plot)
        self.list.itemSelectionChanged.connect(self._show_buttons)
        self.use_button.clicked.connect(self._use)
        self.forget_button.clicked.connect(self._forget)
        self.show_versions(self.versions)
        self.setCollapsed(True)

    def follow(self, context: Context) -> None:
        """Show the versions of this label project."""
        path = context.project.path if context.project else ""
        if path != self._path:
            self._drop_task()
            self._path = path
            self.show_versions(VersionsResult((), -1))
            self.setCollapsed(True)
            self._look()

    def refresh(self) -> None:
        """Ask for the versions again."""
        self._ask(VersionsRequest(self._path)) if self._path else None

    def show_versions(self, found: VersionsResult) -> None:
        """Show these, and select the one in use."""
        self.versions = found
        there = bool(found.versions)
        self.list.clear()
        for version in found.versions:
            self.list.addTopLevelItem(_item(version, found))
        for widget in (self.list, self.use_button, self.forget_button):
            widget.setVisible(there)
        self._fit()
        self._select(found.current)
        self.words.setText(_words(found, bool(self._path)))
        self.plot.show_rounds(rounds_of(found))
        if there:
            self.setCollapsed(False)

    def release(self) -> None:
        """Stop what runs."""
        self._drop_task()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Ask only now: the engine need not start for what cannot be seen."""
        super().showEvent(event)
        self._fit()  # QGIS's style sheet sets the font only now
        self._look()

    @property
    def chosen(self) -> Optional[Version]:
        """The selected version."""
        items = self.list.selectedItems()
        return items[0].data(0, Qt.ItemDataRole.UserRole) if items else None

    def _look(self) -> None:
        if self.isVisible() and not self.versions.versions and self._task is None:
            self.refresh()

    def _use(self) -> None:
        if self.chosen is not None:
            self._ask(VersionsRequest(self._path, use=str(self.chosen.number)))

    def _forget(self) -> None:
        if self.chosen is not None:
            self._ask(VersionsRequest(self._path, remove=str(self.chosen.number)))

    def _ask(self, request: VersionsRequest) -> None:
        if self._task is not None:
            return
        self._task = EngineTask(tr("Orthomask: versions"), self._client, request)
        self._task.answered.connect(lambda found: self._answer(request, found))
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)
        self._show_buttons()

    def _answer(self, request: VersionsRequest, found: VersionsResult) -> None:
        self._task = None
        self.show_versions(found)
        if request.use:
            used = next(version for version in found.versions if version.number == found.current)
            show_success(self._iface.messageBar(), tr("{} is in use again.").format(_name(used)))
            self.segment_wanted.emit(used.model_path)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self._show_buttons()
        if not isinstance(error, Cancelled):
            self.failed.emit(error)

    def _drop_task(self) -> None:
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _fit(self) -> None:
        """Take the height that the rows need, up to a few."""
        rows, row_px = min(len(self.versions.versions), SHOWN_ROWS), self.list.sizeHintForRow(0)
        self.list.setFixedHeight(self.list.header().sizeHint().height() + rows * row_px + 2 * self.list.frameWidth())

    def _select(self, number: int) -> None:
        for row, version in enumerate(self.versions.versions):
            if version.number == number:
                self.list.setCurrentItem(self.list.topLevelItem(row))
        self._show_buttons()

    def _show_buttons(self) -> None:
        """Say what the selected version can be used for."""
        version, current = self.chosen, self.versions.current
        can = version is not None and self._task is None and version.number != current
        back = version is not None and version.number < current
        self.use_button.setText(tr("Go back to this") if back else tr("Use"))
        self.use_button.setEnabled(can and version is not None and not version.missing)
        self.use_button.setToolTip(_use_tip(version, current))
        self.forget_button.setEnabled(can and version is not None and version.number > 0)


def _make_list() -> QTreeWidget:
    """A table without branches."""
    made = QTreeWidget()
    made.setAccessibleName(tr("Versions"))
    made.setRootIsDecorated(False)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    heads = (
        (tr("Version"), tr("Its number and name; the one in use is in bold type")),
        ("IoU", tr("Here: on the checked validation and test squares")),
        ("F1", tr("Of objects, on the checked validation and test squares")),
        (tr("Home"), tr("IoU on images of the base's own training: what was not forgotten")),
        (tr("min"), tr("Minutes of labelling up to this version")),
    )
    made.setHeaderLabels([name for name, _ in heads])
    head, header = present(made.headerItem()), made.header()
    for column, (_, tip) in enumerate(heads):
        head.setToolTip(column, tip)
        head.setTextAlignment(column, _align(column))
    header.setStretchLastSection(False)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return made


def _item(version: Version, found: VersionsResult) -> QTreeWidgetItem:
    here, home = _scores(version, found)
    cells = [
        _short_name(version),
        in_digits(here.iou, 2) if here else "–",
        in_digits(here.object_f1, 2) if here else "–",
        in_digits(home.iou, 2) if home else "–",
        in_digits(version.minutes) if version.number else "–",
    ]
    item = QTreeWidgetItem(cells)
    item.setData(0, Qt.ItemDataRole.UserRole, version)
    for column in range(len(cells)):
        item.setToolTip(column, _tip(version))
        item.setTextAlignment(column, _align(column))
        font = item.font(column)
        font.setBold(version.number == found.current)
        item.setFont(column, font)
    return item


def _scores(version: Version, found: VersionsResult) -> tuple[Optional[Marks], Optional[Marks]]:
    """A version's scores here and at home; the base's are those before the first learning."""
    if version.here is not None:
        return version.here.after, version.home.after if version.home else None
    first = next((each for each in found.versions if each.here is not None), None)
    if first is None or first.here is None or version.number:
        return None, None
    return first.here.before, first.home.before if first.home else None


def _align(column: int) -> Qt.AlignmentFlag:
    return Qt.AlignmentFlag.AlignLeft if column == 0 else Qt.AlignmentFlag.AlignRight


def _short_name(version: Version) -> str:
    """What fits in the list; titles differ only at their ends."""
    if version.missing:
        return tr("{} · file missing").format(version.number)
    return tr("Version {}").format(version.number) if version.number else tr("Base")


def _name(version: Version) -> str:
    return tr("Base · {}").format(version.title) if version.number == 0 else f"{version.number} · {version.title}"


def _tip(version: Version) -> str:
    if version.missing:
        return tr("Its file is no longer there, or has changed: {}").format(version.model_path)
    if not version.number:
        return f"{_name(version)}\n{version.model_path}"
    words = tr("{}\nLearnt from {} squares; share of newly learnt weights: {}\n{}")
    return words.format(_name(version), in_digits(version.squares), in_digits(version.share, 2), version.model_path)


def _use_tip(version: Optional[Version], current: int) -> str:
    if version is not None and version.missing:
        return tr("Its file is no longer there, or has changed: {}").format(version.model_path)
    if version is not None and version.number == current:
        return tr("This version is in use")
    return tr("Make it the project's model, and choose it in Segment")


def _words(found: VersionsResult, chosen: bool) -> str:
    if not chosen:
        return tr("Choose a label project.")
    if not found.versions:
        return tr("No version yet: learn, then press “Use it”.")
    used = next((version for version in found.versions if version.number == found.current), None)
    return tr("In use: {}").format(_name(used)) if used else ""
