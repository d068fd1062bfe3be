"""Shows errors to the user: sentence and remedy in the message bar, the rest behind a button and in the log."""

from __future__ import annotations

import html
from typing import Optional

from qgis.core import Qgis, QgsMessageLog
from qgis.gui import QgsMessageBar, QgsMessageViewer
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from ...protocol import OrthomaskError
from .present import present
from .words import tr

TITLE = "Orthomask"
LINES = 2


def show_error(bar: QgsMessageBar, error: OrthomaskError) -> None:
    """Show the error until the user closes it. Main thread only."""
    text = f"{error.sentence} {error.remedy}"
    QgsMessageLog.logMessage(f"{text}\n{error.details}".strip(), TITLE, Qgis.MessageLevel.Critical, False)
    message = QWidget()
    words = QLabel(f"<b>{TITLE}:</b> {html.escape(text)}")
    words.setWordWrap(True)  # the bar's own text shows only one and a half lines
    words.setMaximumHeight(LINES * words.fontMetrics().lineSpacing())
    words.setToolTip(text)
    button = QPushButton(tr("Details"))
    button.clicked.connect(lambda: show_details(error))
    layout = QHBoxLayout(message)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(words, 1)
    layout.addWidget(button)
    bar.pushWidget(message, Qgis.MessageLevel.Critical)


def show_details(error: OrthomaskError) -> None:
    """Open a window with all details of the error, to read and copy."""
    viewer = QgsMessageViewer()
    viewer.setTitle(tr("Orthomask: details"))
    details = error.details.strip() or tr("There are no further details.")
    viewer.setMessageAsPlainText(f"{error.sentence}\n{error.remedy}\n\n[{error.code.value}]\n{details}")
    viewer.showMessage()


def show_warning(bar: QgsMessageBar, text: str) -> None:
    """Show something that the user should know about a successful run."""
    bar.pushMessage(TITLE, text, Qgis.MessageLevel.Warning, 0)


def show_success(bar: QgsMessageBar, text: str, button: Optional[QPushButton] = None) -> None:
    """Report a successful run; the message disappears by itself."""
    message = present(bar.createMessage(TITLE, text))
    if button is not None:
        message.layout().addWidget(button)
    bar.pushWidget(message, Qgis.MessageLevel.Success, 10)
