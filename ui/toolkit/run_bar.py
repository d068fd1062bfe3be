"""Run, progress with time left, and Cancel: the part of the panel that does not scroll."""

from __future__ import annotations

import time
from typing import Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from .icons import icon
from .words import time_in_words, tr

STEPS = 1000


class RunBar(QWidget):
    """Two buttons and a bar, independent of what runs."""

    run_wanted = pyqtSignal()
    cancel_wanted = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._clock = Clock()
        self.run_button = QPushButton(icon("run"), tr("Run"))
        self.run_button.clicked.connect(self.run_wanted)
        self.cancel_button = QPushButton(tr("Cancel"))
        self.cancel_button.setToolTip(tr("Stop now; you can resume the run later"))
        self.cancel_button.clicked.connect(self.cancel_wanted)
        self.progress = QProgressBar()
        self.progress.setMaximum(STEPS)
        self.progress.setAccessibleName(tr("Progress"))
        self.status = QLabel()
        self.status.setWordWrap(True)
        self._buttons = QHBoxLayout()
        self._buttons.addWidget(self.run_button, 1)
        self._buttons.addWidget(self.cancel_button)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.status)
        self._layout.addWidget(self.progress)
        self._layout.addLayout(self._buttons)
        self.stop("")

    def add_button(self, button: QWidget) -> None:
        """Add a button next to Run."""
        self._buttons.addWidget(button)

    def show_below(self, widget: QWidget) -> None:
        """Add a widget right below the status."""
        self._layout.insertWidget(1, widget)

    def set_ready(self, ready: bool, label: str, reason: str) -> None:
        """Set whether Run is enabled; `reason` says why not, or what it would do. Clears the last run's status."""
        self.run_button.setText(label)
        self.enable(ready, reason)
        self.stop("")

    def enable(self, ready: bool, reason: str) -> None:
        """Set only whether Run is enabled, and why."""
        self.run_button.setEnabled(ready)
        self.run_button.setToolTip(reason)

    def start(self) -> None:
        """Show a new run."""
        self._clock = Clock()
        self.progress.setValue(0)
        self.status.setText(tr("Starting…"))
        self._show_running(True)

    def report(self, fraction: float, message: str) -> None:
        """Show the run's progress and the time left."""
        self.progress.setValue(round(STEPS * fraction))
        left = self._clock.seconds_left(fraction)
        words = "" if left is None else tr(" · {} left").format(time_in_words(left))
        self.status.setText(f"{message}{words}")

    def stop(self, status: str) -> None:
        """Show how the run ended: `status`."""
        self._show_running(False)
        self.status.setText(status)
        self.status.setVisible(bool(status))

    def _show_running(self, running: bool) -> None:
        self.progress.setVisible(running)
        self.cancel_button.setVisible(running)
        self.cancel_button.setEnabled(running)
        self.run_button.setVisible(not running)
        self.status.setVisible(running)


class Clock:
    """Estimates the time left from the speed since the first report, so it is right for resumed runs too."""

    def __init__(self) -> None:
        self._first: Optional[tuple[float, float]] = None

    def seconds_left(self, fraction: float) -> Optional[float]:
        """Seconds until the end at the present speed; None while that is unknown."""
        now = time.monotonic()
        if self._first is None and fraction > 0.02:  # before that, only the model is loaded
            self._first = (now, fraction)
        if self._first is None or fraction - self._first[1] < 0.02:
            return None
        elapsed, done = now - self._first[0], fraction - self._first[1]
        return elapsed / done * (1 - fraction)
