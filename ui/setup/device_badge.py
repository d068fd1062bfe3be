"""The badge at the bottom of the dock: the engine's device, and if a GPU is not used, why and what to do."""

from __future__ import annotations

import html
from typing import Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from ...protocol import InfoResult, OrthomaskError
from ..installer import graphics
from ..installer.graphics import Graphics
from ..toolkit.icons import icon
from ..toolkit.settings import DEVICE
from ..toolkit.words import tr
from .gpu_advice import Advice, Cure, advice
from .task import SetupTask

LAMP_PX = 16


class DeviceBadge(QWidget):
    """Kind and name of the device, with a lamp. Looks for GPUs in the background."""

    setup_wanted = pyqtSignal()
    """Set up the engine again to use the GPU."""
    look_wanted = pyqtSignal()
    """The obstacle may be gone: ask the engine again."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.advice: Optional[Advice] = None
        self._info: Optional[InfoResult] = None
        self._task: Optional[SetupTask] = None
        self.lamp, self.words, self.reason, self.cure = QLabel(), QLabel(), QLabel(), QPushButton()
        for label in (self.words, self.reason):
            label.setWordWrap(True)
        self.cure.clicked.connect(self._cure)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        layout.addWidget(self.lamp, 0, 0)
        layout.addWidget(self.words, 0, 1)
        layout.addWidget(self.reason, 1, 1)
        layout.addWidget(self.cure, 2, 1, Qt.AlignmentFlag.AlignLeft)
        self.say("")

    def text(self) -> str:
        """All its text."""
        return f"{self.words.text()} {self.reason.text()}".strip()

    def say(self, text: str) -> None:
        """Show a text in place of a device that is not, or no longer, known."""
        self._info = None
        self.words.setText(text)
        self.setToolTip("")
        self.lamp.hide()
        self._show_advice(None)

    def show_device(self, info: InfoResult) -> None:
        """Show the device; if it is the CPU, look for GPUs."""
        self._info = info
        kind = tr("CPU") if info.device == "cpu" else tr("GPU")
        self.words.setText(f"<b>{kind}</b> {html.escape(info.device_name)}")
        self.setToolTip("\n".join(filter(None, (info.device_reason, info.gpu_details))))
        self._show_lamp("cpu" if info.device == "cpu" else "light-green", kind)
        self._show_advice(None)
        if info.device == "cpu" and self._task is None:
            self._task = SetupTask(tr("Orthomask: looking for GPUs"), lambda _: graphics.look())
            self._task.answered.connect(self._show_graphics)
            self._task.failed.connect(self._forget_task)
            QgsApplication.taskManager().addTask(self._task)

    def release(self) -> None:
        """Drop the result of a search in progress."""
        if self._task is not None:
            self._task.abandon()

    def _show_graphics(self, found: Graphics) -> None:
        self._task = None
        if self._info is not None:
            self._show_advice(advice(self._info, found))

    def _forget_task(self, _: OrthomaskError) -> None:
        """Ignore a failed search: the device is shown anyway."""
        self._task = None

    def _show_advice(self, said: Optional[Advice]) -> None:
        self.advice = said
        self.reason.setText(said.sentence if said else "")
        self.reason.setVisible(said is not None)
        cure = said.cure if said else Cure.NONE
        self.cure.setText(tr(cure.value))
        self.cure.setVisible(cure is not Cure.NONE)
        if said is not None and said.is_warning:
            self._show_lamp("light-amber", tr("A GPU is available but not used"))

    def _show_lamp(self, name: str, meaning: str) -> None:
        self.lamp.setPixmap(icon(name).pixmap(LAMP_PX, LAMP_PX))
        self.lamp.setAccessibleName(meaning)
        self.lamp.setToolTip(meaning)
        self.lamp.show()

    def _cure(self) -> None:
        if self.advice is None:
            return
        if self.advice.cure is Cure.SET_UP:
            self.setup_wanted.emit()
        elif self.advice.cure is Cure.USE_GPU:
            DEVICE.reset()
        else:
            self.look_wanted.emit()
