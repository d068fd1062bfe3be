"""The error that ended an evaluation, where it was started: whole, and with its details."""

from __future__ import annotations

from typing import Optional

from qgis.core import Qgis, QgsMessageLog
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QWidget

from ...protocol import OrthomaskError
from ..toolkit.icons import icon
from ..toolkit.messages import TITLE, show_details
from ..toolkit.words import tr

ICON_PX = 16


class ProblemBox(QFrame):
    """Hidden until there is an error. A message bar would cut it: the window is narrow."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._error: Optional[OrthomaskError] = None
        lamp = QLabel()
        lamp.setPixmap(icon("light-red").pixmap(ICON_PX, ICON_PX))
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.details = QPushButton(tr("Details"))
        self.details.setAutoDefault(False)
        self.details.clicked.connect(self._show_details)
        layout = QHBoxLayout(self)
        layout.addWidget(lamp, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.words, 1)
        layout.addWidget(self.details, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def explain(self, error: OrthomaskError) -> None:
        """Show and log it."""
        self._error = error
        text = f"{error.sentence} {error.remedy}"
        QgsMessageLog.logMessage(f"{text}\n{error.details}".strip(), TITLE, Qgis.MessageLevel.Critical, False)
        self.words.setText(text)
        self.show()

    def _show_details(self) -> None:
        if self._error is not None:
            show_details(self._error)
