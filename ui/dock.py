"""The dock: a tab for each panel, the engine's state below them, and a banner when the engine cannot work."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional

from qgis.core import QgsApplication, QgsRasterLayer
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..protocol import Cancelled, InfoRequest, InfoResult, ModelsRequest, ModelsResult, OrthomaskError
from .change.panel import ChangesPanel
from .client.engine_client import EngineClient
from .client.tasks import EngineTask
from .collect.dialog import CollectDialog
from .evaluate.box import EvaluateDialog
from .label.panel import LabelPanel
from .models import own_models
from .models.panel import ModelsPanel
from .review.panel import ReviewPanel
from .segment.panel import SegmentPanel
from .setup.device_badge import DeviceBadge
from .setup.dialog import SetupDialog
from .setup.onnx_part import OnnxPart
from .toolkit.accessible import name_widgets
from .toolkit.help import Section, help_button
from .toolkit.icons import icon
from .toolkit.messages import show_details
from .toolkit.settings import DEVICE, news
from .toolkit.tabs import NamedTabs
from .toolkit.words import tr
from .train.panel import TrainPanel

ICON_PX, SIDE_PX = 16, 9


class Tab(NamedTuple):
    """A panel with a signal `engine_failed` and a method `release`, its section of the guide, its bottom buttons."""

    panel: Any
    section: Section
    main_button: Optional[QPushButton] = None
    stop_button: Optional[QPushButton] = None


class OrthomaskDock(QgsDockWidget):
    """Orthomask's dock widget.

    Args:
        iface: QGIS.
        client: the engine.
    """

    collection: Optional[CollectDialog] = None
    """The window that collects, once it was opened."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__("Orthomask", parent)
        self.setObjectName("OrthomaskDock")
        self._iface, self._client = iface, client
        self._task: Optional[EngineTask] = None
        self.banner = EngineBanner()
        self.banner.setup_wanted.clicked.connect(self.set_up)
        self.setup: Optional[SetupDialog] = None
        self.segment = SegmentPanel(iface, client)
        self.tabs = NamedTabs()
        self.help = help_button(lambda: self._front.section)
        self._tabs: list[Tab] = []
        bar = self.segment.run_bar
        self._add_panel(tr("Segment"), "segment", Tab(self.segment, Section.SEGMENT, bar.run_button, bar.cancel_button))
        self.review = ReviewPanel(iface, client)
        self._add_panel(tr("Review"), "review", Tab(self.review, Section.REVIEW))
        self.label = LabelPanel(iface, client)
        bar = self.label.run_bar
        self._add_panel(tr("Label"), "label", Tab(self.label, Section.LABEL, bar.run_button, bar.cancel_button))
        self.train = TrainPanel(iface, client)
        training = self.train.bar
        self._add_panel(
            tr("Train"), "train", Tab(self.train, Section.TRAIN, training.main_button, training.stop_button)
        )
        self.changes = ChangesPanel(iface, client)
        bar = self.changes.run_bar
        self._add_panel(tr("Changes"), "changes", Tab(self.changes, Section.CHANGES, bar.run_button, bar.cancel_button))
        self.models, self.onnx = ModelsPanel(iface, client), OnnxPart(iface, self)
        self._add_panel(tr("Models"), "models", Tab(self.models, Section.MODELS))
        self._connect_models()
        self._connect_review()
        self._connect_history()
        news.changed.connect(self._follow_settings)
        self.device = DeviceBadge()
        self.device.setup_wanted.connect(self.set_up)
        self.device.look_wanted.connect(self.ask_engine)
        self.engine_button = QToolButton()
        self.engine_button.setText(tr("Engine…"))
        self.engine_button.setToolTip(tr("Set up, update, repair or remove the engine"))
        self.engine_button.clicked.connect(self.set_up)
        foot = QHBoxLayout()
        foot.setContentsMargins(SIDE_PX, 0, SIDE_PX, 0)
        foot.addWidget(self.device, 1)
        foot.addWidget(self.engine_button)
        foot.addWidget(self.help)
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(0, SIDE_PX, 0, SIDE_PX)  # longer translations need the whole width
        layout.addWidget(self.banner)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(foot)
        self.setWidget(body)
        name_widgets(self)

    @property
    def engine_problem(self) -> Optional[OrthomaskError]:
        """Why the engine cannot work; None if it can or was never tried."""
        return None if self.banner.isHidden() else self.banner.error

    def ask_engine(self) -> None:
        """Ask the engine for its models, then for its device, in the background."""
        self.banner.hide()
        self.device.say(tr("Starting the engine…"))
        self._ask(tr("Orthomask: models"), ModelsRequest(folders=(str(own_models.own_folder()),)), self._show_models)

    def segment_with(self, path: str, threshold: Optional[float] = None) -> None:
        """Go to *Segment* with the model in this file, and `threshold` in place of its own if given."""
        self.tabs.setCurrentWidget(self.segment)
        self.segment.model.choose(path, threshold)

    def fine_tune(self, path: str) -> None:
        """Go to *Train*, to start from the model in this file."""
        self.tabs.setCurrentWidget(self.train)
        self.train.fine_tune(path)

    def evaluate(self, path: str, title: str) -> None:
        """Open the window that evaluates the model in this file."""
        dialog = EvaluateDialog(self._iface, self._client, path, title, self)
        dialog.begin_with(self.train.trained_on)
        dialog.threshold_wanted.connect(self.segment_with)
        dialog.show()

    def set_up(self) -> None:
        """Open the window that sets up the engine, or show the open one."""
        if self.setup is None or (not self.setup.isVisible() and not self.setup.busy):
            if self.setup is not None:
                self.setup.deleteLater()
            self.setup = SetupDialog(self.engine_problem, self)
            self.setup.engine_unwanted.connect(self._client.restart)
            self.setup.engine_changed.connect(self._restart_engine)
        self.setup.show()
        self.setup.raise_()

    def collect(self) -> None:
        """Open the window that collects labels and imagery; there is one, which keeps its choices."""
        if self.collection is None:
            self.collection = CollectDialog(self._iface, self._client, self)
            self.collection.collected.connect(self._use_collection)
            self.collection.engine_failed.connect(self.banner.explain)
        self.collection.show()
        self.collection.raise_()

    def draw_region(self) -> None:
        """Go to *Segment* and switch the rectangle tool on or off."""
        self.setUserVisible(True)
        self.tabs.setCurrentWidget(self.segment)
        self.segment.region.rectangle_button.click()

    def run(self) -> None:
        """Press the main button of the panel in front: Run, Export, Train, Pause or Resume."""
        self._press(self._front.main_button)

    def cancel(self) -> None:
        """Press the button next to it: Cancel or Stop."""
        self._press(self._front.stop_button)

    def release(self) -> None:
        """Stop what runs, and leave the canvas as it was."""
        news.changed.disconnect(self._follow_settings)
        if self._task is not None:
            self._task.cancel()
        self.device.release()
        self.onnx.release()
        if self.setup is not None:
            self.setup.release()
            self.setup.close()
        if self.collection is not None:
            self.collection.release()
            self.collection.close()
        for dialog in self.findChildren(EvaluateDialog):
            dialog.close()
        for tab in self._tabs:
            tab.panel.release()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Start the engine when the dock is first opened; retry when it is opened again."""
        super().showEvent(event)
        if self._task is None and self.segment.model.model is None:
            self.ask_engine()

    def _add_panel(self, title: str, picture: str, tab: Tab) -> None:
        tab.panel.engine_failed.connect(self.banner.explain)
        tab.panel.layout().setContentsMargins(SIDE_PX, 0, SIDE_PX, 0)
        self._tabs.append(tab)
        self.tabs.add(tab.panel, title, picture)

    @property
    def _front(self) -> Tab:
        return self._tabs[self.tabs.currentIndex()]

    def _press(self, button: Optional[QPushButton]) -> None:
        """Click the button if it is visible; a hidden dock is only brought into view."""
        if not self.isUserVisible():
            self.setUserVisible(True)
        elif button is not None and button.isVisible():
            button.click()

    def _connect_models(self) -> None:
        for panel in (self.train, self.models):
            panel.segment_wanted.connect(self.segment_with)
            panel.evaluate_wanted.connect(self.evaluate)
            panel.models_changed.connect(self.ask_engine)
        self.models.fine_tune_wanted.connect(self.fine_tune)
        self.models.onnx_wanted.connect(self.onnx.offer)
        self.onnx.installed.connect(self._restart_engine)
        self.segment.wanted.connect(lambda: self.tabs.setCurrentWidget(self.segment))

    def _connect_review(self) -> None:
        self.review.choice.new_wanted.connect(self.label.make_project)
        self.review.choice.open_wanted.connect(self.label.choose_project)
        self.label.collect_wanted.connect(self.collect)
        self.label.opened.connect(self.review.choice.choose_project)
        self.review.segment_wanted.connect(self.segment_with)

    def _connect_history(self) -> None:
        self.segment.history.repeat_wanted.connect(self.segment.repeat)
        self.segment.history.resume_wanted.connect(self.segment.resume)

    def _use_collection(self, path: str, image: Optional[QgsRasterLayer]) -> None:
        """Choose a new label project and its image in the panels that need both."""
        self.label.open_project(path)
        for chooser in (self.label.layer_chooser, self.train.data.image) if image is not None else ():
            chooser.setLayer(image)

    def _ask(self, title: str, request: object, show: Callable[[Any], None]) -> None:
        self._task = EngineTask(title, self._client, request)
        self._task.answered.connect(show)
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)

    def _show_models(self, found: ModelsResult) -> None:
        for panel in (self.segment.model, self.label, self.train, self.models):
            panel.show_models(found.models)
        self._ask(tr("Orthomask: device"), InfoRequest(), self._show_device)

    def _follow_settings(self, changed: object) -> None:
        """Show the chosen device, once the engine has been started."""
        if changed is DEVICE and self.segment.model.model is not None:
            self._ask(tr("Orthomask: device"), InfoRequest(), self._show_device)

    def _show_device(self, info: InfoResult) -> None:
        self._task = None
        self.device.show_device(info)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self.device.say("")
        self.segment.model.explain(tr("The models appear once the engine is running."))
        if not isinstance(error, Cancelled):
            self.banner.explain(error)

    def _restart_engine(self) -> None:
        self._client.restart()
        self.ask_engine()


class EngineBanner(QFrame):
    """Says in one sentence why the engine cannot work, and what to do about it."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.error: Optional[OrthomaskError] = None
        lamp = QLabel()
        lamp.setPixmap(icon("light-red").pixmap(ICON_PX, ICON_PX))
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.setup_wanted = QPushButton(tr("Set up…"))
        self.details_wanted = QPushButton(tr("Details"))
        self.details_wanted.clicked.connect(self._show_details)
        sentence, buttons, layout = QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        sentence.addWidget(lamp)
        sentence.addWidget(self.words, 1)
        buttons.addStretch()
        buttons.addWidget(self.details_wanted)
        buttons.addWidget(self.setup_wanted)
        layout.addLayout(sentence)
        layout.addLayout(buttons)
        self.hide()

    def _show_details(self) -> None:
        if self.error is not None:
            show_details(self.error)

    def explain(self, error: OrthomaskError) -> None:
        """Show the error."""
        self.error = error
        self.words.setText(f"{error.sentence} {error.remedy}")
        self.show()
