"""The actions for past runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtWidgets import QPushButton, QVBoxLayout, QWidget

from ..toolkit.icons import icon
from ..toolkit.words import tr
from .history import PastRun, State


class HistoryActions(QWidget):
    """A column of buttons; those that do not fit the selection are disabled."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.add = self._button("add", tr("Add to map"), tr("Add its layers to the project again (Enter)"))
        self.repeat = self._button(
            "history",
            tr("Repeat with other settings"),
            tr("Fill in the Segment panel with the image, region, model and options of this run; then press Run"),
        )
        self.resume = self._button("run", tr("Resume"), tr("Resume this run where it stopped, with its own settings"))
        self.name = self._button("name", tr("Name and note…"), tr("Give this run a name and a note (F2)"))
        self.save = self._button(
            "page", tr("Save as…"), tr("Save it for others: as a web page, COCO annotations or fiboa fields")
        )
        self.folder = self._button("open", tr("Open folder"), tr("Show the files of the run in the file manager"))
        self.copy = self._button("copy", tr("Copy details"), tr("Copy the run's details to the clipboard"))
        self._layout.addStretch()
        self.delete = self._button("delete", tr("Delete…"), tr("Move the run's own files to the trash (Delete)"))
        self.suit((), "")

    def suit(self, chosen: Sequence[PastRun], running: str, *, saving: bool = False) -> None:
        """Enable what fits these runs.

        Args:
            running: the folder of the run in progress; empty for none.
            saving: whether a run is being saved for others.
        """
        one = chosen[0] if len(chosen) == 1 else None
        known = one is not None and one.request is not None
        self.add.setEnabled(one is not None and one.state is State.FINISHED)
        self.repeat.setEnabled(known)
        begun = one is not None and one.state is State.UNFINISHED and str(one.folder) != running
        self.resume.setEnabled(known and begun)
        self.name.setEnabled(one is not None and one.run is not None)
        self.save.setEnabled(one is not None and one.state is State.FINISHED and not saving)
        self.folder.setEnabled(one is not None)
        self.copy.setEnabled(bool(chosen))
        self.delete.setEnabled(bool(chosen))

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(icon(name), text)
        button.setToolTip(tip)
        button.setAutoDefault(False)  # Enter belongs to the table
        self._layout.addWidget(button)
        return button
