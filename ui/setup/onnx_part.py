"""Offers to install ONNX support when something needs it."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from ...protocol import Cancelled, ErrorCode, OrthomaskError
from ..client import store
from ..client.environment import chosen_python
from ..client.network import of_qgis
from ..installer import part
from ..toolkit.messages import show_error, show_success
from ..toolkit.words import tr
from .task import SetupTask


class OnnxPart(QObject):
    """Asks, installs in the background, and reports in the message bar.

    Args:
        window: the parent of the question.
    """

    installed = pyqtSignal()
    """The engine must start again to see it."""

    def __init__(self, iface: QgisInterface, window: QWidget) -> None:
        super().__init__(window)
        self._iface, self._window = iface, window
        self._task: Optional[SetupTask] = None

    def offer(self) -> None:
        """Ask whether to install it, unless it is being installed already."""
        if self._task is not None:
            return
        made = store.environments()
        if chosen_python() or not made:
            remedy = tr("Install the Python packages onnx and onnxruntime there: {}").format(chosen_python())
            sentence = tr("The Python that you chose for the engine lacks ONNX support.")
            show_error(self._iface.messageBar(), OrthomaskError(ErrorCode.ENGINE_PART, sentence, remedy))
            return
        question = tr("ONNX support is not installed. Install it now, about {} MB?").format(part.DOWNLOAD_MB)
        if QMessageBox.question(self._window, tr("ONNX support"), question) == QMessageBox.StandardButton.Yes:
            network, environment = of_qgis(), made[0]
            self._task = SetupTask(
                tr("Orthomask: ONNX support"), lambda watcher: part.add(environment, network, watcher)
            )
            self._task.answered.connect(self._succeed)
            self._task.failed.connect(self._fail)
            QgsApplication.taskManager().addTask(self._task)

    def release(self) -> None:
        """Stop what runs."""
        if self._task is not None:
            self._task.cancel()

    def _succeed(self) -> None:
        self._task = None
        show_success(self._iface.messageBar(), tr("ONNX support is installed. Import or export again."))
        self.installed.emit()

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        if not isinstance(error, Cancelled):
            show_error(self._iface.messageBar(), error)
