"""Where the results of a panel go: the folder of the settings, unless another is chosen there."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsProject
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QLabel, QWidget

from ..toolkit.settings import FOLDER, news
from ..toolkit.words import tr
from .folders import default_parent


class FolderChooser(QgsFileWidget):
    """Shows where results go while nothing is chosen, which follows settings and project.

    Args:
        tip: what is made in the folder.
    """

    changed = pyqtSignal()
    """Results go elsewhere now."""

    def __init__(self, tip: str, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.setToolTip(tip)
        self._shown = "", False
        self.fileChanged.connect(self.changed)
        project = QgsProject.instance()
        for moved in (project.readProject, project.projectSaved, project.cleared, news.changed):
            moved.connect(self._follow)
        self._follow()

    def folder(self) -> str:
        """The folder in which results get theirs."""
        return str(self.filePath() or default_parent())

    @property
    def is_makeshift(self) -> bool:
        """Whether results go among the documents for want of a saved project or a choice."""
        return not (self.filePath() or FOLDER.get() or QgsProject.instance().absolutePath())

    def _follow(self, *_: object) -> None:
        now = default_parent(), self.is_makeshift  # a project may be saved among the documents
        if now != self._shown:
            self._shown = now
            self.lineEdit().setPlaceholderText(default_parent())
            self.lineEdit().setToolTip(default_parent())
            self.changed.emit()


class MakeshiftWords(QLabel):
    """Says where results go when nobody has decided it; hidden otherwise."""

    def __init__(self, chooser: FolderChooser, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self._chooser = chooser
        chooser.changed.connect(self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        words = tr("Results go to {} because the project is not saved yet.")
        self.setText(words.format(self._chooser.folder()))
        self.setVisible(self._chooser.is_makeshift)
