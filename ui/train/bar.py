"""Train, Pause, Resume and Stop, with progress and time left: the part of the panel that does not scroll."""

from __future__ import annotations

from typing import Any, Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ..toolkit.icons import icon
from ..toolkit.run_bar import STEPS, Clock
from ..toolkit.words import time_in_words, tr


class TrainingBar(QWidget):
    """Buttons and a bar, independent of what runs."""

    train_wanted = pyqtSignal()
    pause_wanted = pyqtSignal()
    resume_wanted = pyqtSignal()
    stop_wanted = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._clock = Clock()
        self._wanted: Any = self.train_wanted
        self.main_button = QPushButton()
        self.main_button.clicked.connect(self._press)
        self.stop_button = QPushButton(tr("Stop"))
        self.stop_button.setToolTip(tr("End the training here and keep the best model so far"))
        self.stop_button.clicked.connect(self.stop_wanted)
        self.progress = QProgressBar()
        self.progress.setMaximum(STEPS)
        self.progress.setAccessibleName(tr("Progress"))
        self.status = QLabel()
        self.status.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.main_button, 1)
        buttons.addWidget(self.stop_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.status)
        layout.addWidget(self.progress)
        layout.addLayout(buttons)
        self.show_ready("")

    def show_ready(self, missing: str, label: str = "") -> None:
        """Show that nothing runs.

        Args:
            missing: what must still be chosen.
            label: of the button; empty for *Train*.
        """
        tip = missing or tr("Start; you can keep using the map and the other panels")
        self._show("run", label or tr("Train"), tip, self.train_wanted)
        self.main_button.setEnabled(not missing)
        self.progress.hide()
        self.stop_button.hide()
        self.say("")

    def show_running(self) -> None:
        """Show a training in progress."""
        self._clock = Clock()
        tip = tr("Interrupt it now and resume later, even after a restart of QGIS")
        self._show("pause", tr("Pause"), tip, self.pause_wanted)
        self.main_button.setEnabled(True)
        self.progress.setValue(0)
        self.progress.show()
        self.stop_button.show()
        self.stop_button.setEnabled(True)
        self.say(tr("Starting…"))

    def show_paused(self, status: str) -> None:
        """Show a paused training; `status` says which."""
        self._show("run", tr("Resume"), tr("Resume the training where it stopped"), self.resume_wanted)
        self.main_button.setEnabled(True)
        self.progress.hide()
        self.stop_button.show()
        self.stop_button.setEnabled(True)
        self.say(status)

    def show_ending(self, status: str) -> None:
        """Show that it will pause or stop, within a second."""
        self.main_button.setEnabled(False)
        self.stop_button.setEnabled(False)
        self.say(status)

    def report(self, fraction: float, message: str) -> None:
        """Show the training's progress and the time left."""
        self.progress.setValue(round(STEPS * fraction))
        left = self._clock.seconds_left(fraction)
        words = "" if left is None else tr(" · {} left").format(time_in_words(left))
        self.say(f"{message}{words}")

    def say(self, status: str) -> None:
        """Show a sentence above the buttons; hide it if empty."""
        self.status.setText(status)
        self.status.setVisible(bool(status))

    def _press(self) -> None:
        self._wanted.emit()

    def _show(self, picture: str, label: str, tip: str, wanted: Any) -> None:
        self.main_button.setIcon(icon(picture))
        self.main_button.setText(label)
        self.main_button.setToolTip(tip)
        self._wanted = wanted
