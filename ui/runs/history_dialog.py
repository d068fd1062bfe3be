"""The run history in a window next to the map: past runs, how they were made, and actions for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Callable, Optional

from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgsFilterLineEdit, QgsMessageBar
from qgis.PyQt.QtCore import QEvent, QSize, Qt, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices, QShowEvent
from qgis.PyQt.QtWidgets import (
    QApplication,
    QDialog,
    QHBoxLayout,
    QLabel,
    QSplitter,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from ...protocol import Cancelled, ErrorCode, OrthomaskError
from ..client.tasks import Client, EngineTask
from ..toolkit.help import Section, help_button
from ..toolkit.messages import show_error, show_success
from ..toolkit.present import present
from ..toolkit.words import in_digits, tr, tr_n
from . import results
from .deletion_box import delete_runs
from .history import HistoryReader, PastRun, State
from .history_actions import HistoryActions
from .history_view import HistoryView
from .naming import write_naming
from .naming_dialog import NamingDialog, rename
from .sharing import Sharing

SIZE = QSize(1160, 620)
LEAST_BOX_PX = 90


class HistoryDialog(QDialog):
    """Lists the runs in all known folders. It does not block QGIS, and refreshes whenever it is activated.

    Args:
        client: the engine, which saves runs for others.
        folders: where to look for runs.
        running: the folder of the run in progress; empty for none.
    """

    repeat_wanted = pyqtSignal(object)
    """Fill the panel with this `PastRun`'s choices."""
    resume_wanted = pyqtSignal(object)
    """Resume this `PastRun` where it stopped."""
    added = pyqtSignal(object)
    """The group of layers that was added."""
    deleted = pyqtSignal()
    """Layers may have been removed."""

    def __init__(
        self, client: Client, folders: Callable[[], list[Path]], running: Callable[[], str],
        parent: Optional[QWidget] = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.setWindowTitle(tr("Orthomask: run history"))
        self.resize(SIZE)
        self._folders, self._running = folders, running
        self._task: Optional[EngineTask] = None
        self._stale = False
        self.bar = QgsMessageBar()
        self.filter = QgsFilterLineEdit()
        self.filter.setShowSearchIcon(True)
        self.filter.setPlaceholderText(tr("Filter by any word: image, model, device…"))
        self.filter.setAccessibleName(tr("Filter"))
        self.view = HistoryView()
        self.details = QTextBrowser()
        self.details.setAccessibleName(tr("Details"))
        self.status = QLabel()
        self.buttons = HistoryActions()
        self.sharing = Sharing(client, self.bar, self)
        self._lay_out()
        self._connect()
        self._show_chosen()

    def refresh(self) -> None:
        """Look for runs again, in the background. Those shown stay until then."""
        if self._task is not None:
            self._stale = True
            return
        folders = self._folders()
        if not self.view.table.rowCount():
            self.status.setText(tr("Looking for runs…"))
        self._stale = False
        self._task = EngineTask(tr("Orthomask: run history"), HistoryReader(), folders)
        self._task.answered.connect(lambda runs: self._show(runs, len(folders)))
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)

    def release(self) -> None:
        """Stop looking, and close."""
        if self._task is not None:
            self._task.abandon()
        self.sharing.release()
        self.close()

    def add(self) -> None:
        """Add the layers of the chosen run to the project."""
        (run,) = self.view.chosen()
        missing = [name for name in results.LAYERS if not (run.folder / name).exists()]
        if missing:
            sentence = tr("The run is missing {}.").format(", ".join(missing))
            remedy = tr("Put the files back into its folder, or repeat it.")
            show_error(self.bar, OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy, str(run.folder)))
            self.refresh()
            return
        self.added.emit(results.add_run(QgsProject.instance(), present(run.run)))

    def name(self) -> None:
        """Ask for name and note of the chosen run, and keep them in its folder."""
        (chosen,) = self.view.chosen()
        run, dialog = present(chosen.run), NamingDialog(chosen.naming, self)
        if not dialog.exec() or dialog.naming == run.naming:
            return
        try:
            write_naming(run.folder, dialog.naming)
        except OrthomaskError as error:
            show_error(self.bar, error)
        else:
            rename(QgsProject.instance(), run, replace(run, naming=dialog.naming))
        self.refresh()

    def save(self) -> None:
        """Ask how to save the chosen run for others, and do it."""
        (run,) = self.view.chosen()
        self.sharing.save(run.folder)

    def open_folder(self) -> None:
        """Show the folder of the chosen run in the file manager."""
        (run,) = self.view.chosen()
        if not run.folder.is_dir() or not QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.folder))):
            sentence = tr("The folder “{}” cannot be opened.").format(run.folder)
            remedy = tr("Look for it in your file manager; it may have been moved.")
            show_error(self.bar, OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy))
            self.refresh()

    def copy_details(self) -> None:
        """Copy the details of the chosen runs to the clipboard."""
        QApplication.clipboard().setText("\n\n".join(run.text for run in self.view.chosen()))
        show_success(self.bar, tr("The details were copied to the clipboard."))

    def delete(self) -> None:
        """Delete the chosen runs, after asking."""
        chosen, running = [run for run in self.view.chosen() if run.folder.is_dir()], self._running()
        try:
            if any(str(run.folder) == running for run in chosen):
                sentence, remedy = tr("This run is still in progress."), tr("Wait until it ends, or cancel it first.")
                raise OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence, remedy)
            done = delete_runs(chosen, self) if chosen else ""
        except OrthomaskError as error:
            show_error(self.bar, error)
        else:
            if done:
                self.deleted.emit()
                show_success(self.bar, done)
        self.refresh()

    def changeEvent(self, event: QEvent) -> None:
        """Look again when the user returns to the window, perhaps from a file manager."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow() and self._task is None:
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Look when it is opened."""
        super().showEvent(event)
        self.refresh()

    def _lay_out(self) -> None:
        boxes = QSplitter(Qt.Orientation.Vertical)
        boxes.setChildrenCollapsible(False)
        for box, stretch in ((self.view, 3), (self.details, 2)):
            box.setMinimumHeight(LEAST_BOX_PX)
            boxes.addWidget(box)
            boxes.setStretchFactor(boxes.count() - 1, stretch)
        middle, foot, layout = QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        middle.addWidget(boxes, 1)
        middle.addWidget(self.buttons)
        foot.addWidget(self.status, 1)
        foot.addWidget(help_button(lambda: Section.HISTORY))
        layout.addWidget(self.bar)
        layout.addWidget(self.filter)
        layout.addLayout(middle, 1)
        layout.addLayout(foot)
        self.view.setFocus()

    def _connect(self) -> None:
        self.filter.textChanged.connect(self.view.filter)
        self.filter.returnPressed.connect(self.view.setFocus)
        self.view.chosen_changed.connect(self._show_chosen)
        self.view.add_wanted.connect(self.buttons.add.click)  # nothing if the button is disabled
        self.view.name_wanted.connect(self.buttons.name.click)
        self.view.delete_wanted.connect(self.buttons.delete.click)
        buttons = self.buttons
        buttons.add.clicked.connect(self.add)
        buttons.repeat.clicked.connect(lambda: self.repeat_wanted.emit(*self.view.chosen()))
        buttons.resume.clicked.connect(lambda: self.resume_wanted.emit(*self.view.chosen()))
        buttons.name.clicked.connect(self.name)
        buttons.save.clicked.connect(self.save)
        self.sharing.changed.connect(self._show_chosen)
        buttons.folder.clicked.connect(self.open_folder)
        buttons.copy.clicked.connect(self.copy_details)
        buttons.delete.clicked.connect(self.delete)

    def _show(self, runs: Sequence[PastRun], folder_count: int) -> None:
        self._end_look()
        self.view.show_runs(runs, self._running())
        found = tr_n("{} run", "{} runs", len(runs)).format(in_digits(len(runs)))
        looked = tr_n("in {} folder", "in {} folders", folder_count).format(folder_count)
        none = tr("There are no runs yet. They will appear here.")
        self.status.setText(f"{found} {looked}" if runs else none)

    def _fail(self, error: OrthomaskError) -> None:
        self._end_look()
        if not isinstance(error, Cancelled):
            show_error(self.bar, error)

    def _end_look(self) -> None:
        self._task = None
        if self._stale:
            self.refresh()

    def _show_chosen(self) -> None:
        chosen = self.view.chosen()
        self.buttons.suit(chosen, self._running(), saving=self.sharing.is_busy)
        self.details.setHtml("<hr>".join(_html(run) for run in chosen))


def _html(run: PastRun) -> str:
    """The details of a run, as a table."""
    rows = (
        f'<tr><td style="padding-right: 12px"><b>{escape(name)}</b></td><td>{escape(value)}</td></tr>'
        for name, value in run.facts
    )
    title = escape(run.title if run.state is not State.UNFINISHED else tr("{} (unfinished)").format(run.title))
    return f"<h4>{title}</h4><table>{''.join(rows)}</table>"
