"""Where a panel's results go: the settings' folder, unless another is chosen in the panel."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsProject
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QLabel, QWidget

from ..toolkit.folders import choose_folders, why_unwritable
from ..toolkit.settings import FOLDER, news
from ..toolkit.words import tr
from .folders import default_parent


class FolderChooser(QgsFileWidget):
    """Shows the default folder, which follows settings and project, while nothing is chosen.

    Args:
        tip: what is made in the folder.
    """

    changed = pyqtSignal()
    """The folder has changed."""

    def __init__(self, tip: str, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        choose_folders(self, tip)
        self._shown = "", False
        self.fileChanged.connect(self.changed)
        project = QgsProject.instance()
        for moved in (project.readProject, project.projectSaved, project.cleared, news.changed):
            moved.connect(self._follow)
        self._follow()

    def folder(self) -> str:
        """The parent folder of results."""
        return str(self.filePath() or default_parent())

    @property
    def is_makeshift(self) -> bool:
        """Whether results go to the documents, for lack of a saved project or a choice."""
        return not (self.filePath() or FOLDER.get() or QgsProject.instance().absolutePath())

    def _follow(self, *_: object) -> None:
        now = default_parent(), self.is_makeshift  # the project may be saved in the documents
        if now != self._shown:
            self._shown = now
            self.lineEdit().setPlaceholderText(default_parent())
            self.changed.emit()


class FolderWords(QLabel):
    """Says that the folder cannot be written, or where results go if the user has not decided; hidden otherwise."""

    def __init__(self, chooser: FolderChooser, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self._chooser = chooser
        chooser.changed.connect(self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        folder = self._chooser.folder()
        unwritable = why_unwritable(folder)
        makeshift = tr("Results go to {} because the project is not saved yet.").format(folder)
        self.setText(unwritable or makeshift)
        self.setVisible(bool(unwritable) or self._chooser.is_makeshift)
