"""The panel *Review*: assembles its boxes, and tells them what is under review."""

from __future__ import annotations

from typing import Any, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QLabel, QWidget

from ...protocol import Cancelled, ErrorCode, OrthomaskError
from ..client.engine_client import EngineClient
from ..explain.box import WhyBox
from ..toolkit.messages import show_error
from ..toolkit.scrolling import lay_out
from ..toolkit.words import tr
from .choice_box import ChoiceBox
from .context import Context
from .learn.learn_box import LearnBox
from .learn.versions_box import VersionsBox
from .quality.quality_box import QualityBox
from .remake.threshold_box import ThresholdBox
from .squares_box import SquaresBox
from .suggest_box import SuggestBox
from .tools.tools_box import ToolsBox


class ReviewPanel(QWidget):
    """Checks a run square by square, and learns from what was checked.

    Args:
        iface: QGIS.
        client: the engine.
    """

    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""
    segment_wanted = pyqtSignal(str)
    """Use the model in this file for the next run."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface = iface
        self._boxes: list[Any] = []
        self.choice = ChoiceBox()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.threshold = self._add(ThresholdBox(iface, client))
        self.suggest = self._add(SuggestBox(iface, client))
        self.squares = self._add(SquaresBox(iface, client))
        self.tools = self._add(ToolsBox(iface, client))
        self.why = self._add(WhyBox(iface, client))
        self.quality = self._add(QualityBox(iface, client))
        self.learn = self._add(LearnBox(iface, client))
        self.versions = self._add(VersionsBox(iface, client))
        lay_out(self, (self.choice, self.words, *self._boxes), self.squares.bar)
        self.squares.target_changed.connect(self._follow)
        self.choice.changed.connect(self._follow)
        self.learn.versions_changed.connect(self.versions.show_versions)
        for box in (self.learn, self.versions):
            box.segment_wanted.connect(self.segment_wanted)
        self._follow()

    def release(self) -> None:
        """Stop what runs, and leave canvas and project as they were."""
        self.choice.release()
        for box in self._boxes:
            if hasattr(box, "release"):
                box.release()

    def _add(self, box: Any) -> Any:
        """Take a box: a widget with a method `follow`, a signal `failed`, and perhaps a method `release`."""
        box.failed.connect(self._fail)
        self._boxes.append(box)
        return box

    @property
    def context(self) -> Context:
        """What is under review now."""
        reviewed, project = self.choice.reviewed, self.choice.project
        if reviewed is None:
            return Context(project=project)
        return Context(reviewed.run, reviewed.polygons, project, self.squares.drafts or reviewed.polygons)

    def _follow(self) -> None:
        context = self.context
        self.words.setText(_missing(context))
        self.words.setVisible(bool(self.words.text()))
        for box in self._boxes:
            box.follow(context)

    def _fail(self, error: OrthomaskError) -> None:
        if error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)  # the dock says so, with a button that helps
        elif not isinstance(error, Cancelled):
            show_error(self._iface.messageBar(), error)


def _missing(context: Context) -> str:
    """What must be there before anything can be reviewed."""
    if context.run is None:
        return tr("Run a model in Segment first, or add a run from its history.")
    if context.project is None:
        return tr("Make a label project, or open one: it keeps what you check.")
    return ""
