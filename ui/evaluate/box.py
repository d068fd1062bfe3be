"""Evaluating a model against labels: a window next to the map, scores and layers."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from qgis.core import QgsApplication, QgsMapLayerProxyModel, QgsProject, QgsRasterLayer
from qgis.gui import QgisInterface, QgsGui, QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices, QKeyEvent
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ...protocol import OVERLAP_PX, Cancelled, EvaluateRequest, EvaluateResult, OrthomaskError, Split
from ..client.engine_client import EngineClient, Feedback
from ..client.tasks import EngineTask
from ..label.project import SPLIT_NAMES
from ..layers.picture_words import are_wanted
from ..layers.sources import image_of
from ..layers.vector_snapshot import SnapshotClient
from ..models.own_models import bands_of, classes_of, gsd_of
from ..runs.folder_chooser import FolderChooser, FolderWords
from ..runs.folders import new_folder
from ..toolkit.accessible import name_widgets
from ..toolkit.help import Section, help_button
from ..toolkit.messages import show_warning
from ..toolkit.present import present
from ..toolkit.run_bar import RunBar
from ..toolkit.scrolling import lay_out
from ..toolkit.words import time_in_words, tr
from ..train.data_box import DataChoice, TrainingDataBox
from .classes_box import ClassesBox
from .layers import add_evaluation
from .problem import ProblemBox
from .text import evaluation_html, threshold_origin

SPLITS = (Split.TEST, Split.VALIDATION, Split.TRAIN)
WIDTH_CHARS, SCREEN_SHARE, MARGIN_PX = 72, 0.8, 9


class EvaluateDialog(QDialog):
    """Compares a model's results with labels, without blocking QGIS.

    Args:
        iface: QGIS.
        client: the engine.
        path: the model's file.
        title: what the model is called.
    """

    threshold_wanted = pyqtSignal(str, float)
    """Use the model in this file with this threshold."""

    def __init__(
        self, iface: QgisInterface, client: EngineClient, path: str, title: str, parent: Optional[QWidget] = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("OrthomaskEvaluate")
        self.setWindowTitle(tr("Evaluate {}").format(title))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._iface, self._client, self._path, self._title = iface, client, path, title
        self._task: Optional[EngineTask] = None
        self._project_closed = False
        self.data = TrainingDataBox(SPLITS[0], iface.mapCanvas(), makes_classes=False)
        self.data.render_at(gsd_of(path), OVERLAP_PX)
        self.classes = ClassesBox(classes_of(path))
        self.data.read_bands(bands_of(path))
        self.options = EvaluationOptions()
        self.run_bar = RunBar()
        self.outcome = EvaluationOutcome()
        self.problem = ProblemBox()
        self._lay_out()
        self.run_bar.run_button.setDefault(True)
        self._connect()
        self._look()
        name_widgets(self)
        self._fit_screen()
        QgsGui.enableAutoGeometryRestore(self)

    def begin_with(self, choice: DataChoice) -> None:
        """Choose the data of a training, and its test areas; without any, those for validation."""
        self.data.choose(choice)
        there = self.data.splits()
        self.options.choose(next((split for split in SPLITS[:2] if split in there), SPLITS[0]))
        self._look()
        self._fit_screen()

    def evaluate(self) -> None:
        """Evaluate in the background."""
        self.problem.hide()
        try:
            self.classes.look(*self.data.chosen_labels(), again=True)
            if self.classes.problem():
                self._refresh()
                return
            frozen = self.data.frozen(self.classes.mapping)
            if frozen.picture is not None and not are_wanted(frozen.picture, self):
                return
            folder = new_folder(self.options.folder(), frozen.name, f"evaluation-{self._title}")
            split, threshold, map_path = self.options.split(), self.options.threshold(), self.options.map_path()
            diagnosis = self.options.diagnosis.isChecked()
        except OrthomaskError as error:
            self.problem.explain(error)
            return

        def prepare(temporary: Path, feedback: Feedback) -> EvaluateRequest:
            data = frozen.write(temporary, feedback)
            return EvaluateRequest(self._path, data, folder, split, threshold, map_path, diagnosis=diagnosis)

        title = tr("Orthomask: evaluation of {}").format(self._title)
        self._task = EngineTask(title, SnapshotClient(self._client), prepare)
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(self._finish)
        self._task.failed.connect(self._fail)
        self._project_closed = False
        self.outcome.hide()
        self.run_bar.start()
        QgsApplication.taskManager().addTask(self._task)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape cancels a running evaluation, or else closes the window."""
        if event.key() == Qt.Key.Key_Escape and self._task is not None:
            self._cancel()
        else:
            super().keyPressEvent(event)

    def done(self, status: int) -> None:
        """Cancel the run, and close."""
        if self._task is not None:
            self._task.abandon()
        self.data.release()
        QgsProject.instance().cleared.disconnect(self._note_closed_project)
        super().done(status)

    def _lay_out(self) -> None:
        foot = QWidget()
        row = QHBoxLayout(foot)
        row.setContentsMargins(MARGIN_PX, 0, MARGIN_PX, MARGIN_PX)
        row.addWidget(help_button(lambda: Section.EVALUATE), 0, Qt.AlignmentFlag.AlignBottom)
        row.addWidget(self.run_bar, 1)
        place = FolderWords(self.options.folder_chooser, self)
        lay_out(self, (self.outcome, self.data, self.classes, self.options, place), foot)
        self.run_bar.show_below(self.problem)
        self._scroll = present(self.findChild(QScrollArea))

    def _fit_screen(self) -> None:
        """Open as high as the boxes need, within the screen; later as the user left it."""
        inner = present(self._scroll.widget()).sizeHint().height() + self.run_bar.sizeHint().height() + 3 * MARGIN_PX
        highest = SCREEN_SHARE * QgsApplication.primaryScreen().availableGeometry().height()
        self.resize(WIDTH_CHARS * self.fontMetrics().averageCharWidth(), round(min(inner, highest)))

    def _connect(self) -> None:
        self.data.changed.connect(self._look)
        self.classes.changed.connect(self._refresh)
        self.options.split_chooser.currentIndexChanged.connect(self._need_split)
        self.run_bar.run_wanted.connect(self.evaluate)
        self.run_bar.cancel_wanted.connect(self._cancel)
        self.outcome.best_threshold_wanted.connect(self._want_threshold)
        QgsProject.instance().cleared.connect(self._note_closed_project)

    def _need_split(self) -> None:
        self.data.needed = self.options.split()
        self.data.refresh()

    def _look(self) -> None:
        """Match the classes of the chosen labels with the model's."""
        self.classes.look(*self.data.chosen_labels())
        self._refresh()

    def _want_threshold(self, result: EvaluateResult) -> None:
        self.threshold_wanted.emit(self._path, result.best_threshold)
        if result.tuned_on is Split.TEST:
            show_warning(self._iface.messageBar(), threshold_origin(result))

    def _refresh(self) -> None:
        if self._task is None:
            problem = self.data.problem() or self.classes.problem()
            self.run_bar.set_ready(
                not problem, tr("Evaluate"), problem or tr("Measure the accuracy; errors are added as layers")
            )

    def _cancel(self) -> None:
        self.run_bar.cancel_button.setEnabled(False)
        self.run_bar.status.setText(tr("Cancelling…"))
        if self._task is not None:
            self._task.cancel()

    def _finish(self, result: EvaluateResult) -> None:
        self._task = None
        self.outcome.show_result(result)
        self._scroll.verticalScrollBar().setValue(0)
        if not self._project_closed:  # the layers do not belong in the project open now
            add_evaluation(QgsProject.instance(), result, tr("Errors of {}").format(self._title))
        self._refresh()
        self.run_bar.stop(tr("Done in {}.").format(time_in_words(result.seconds)))

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self._refresh()
        if isinstance(error, Cancelled):
            self.run_bar.stop(error.sentence)
        else:
            self.problem.explain(error)

    def _note_closed_project(self) -> None:
        self._project_closed = True


class EvaluationOptions(QGroupBox):
    """Which areas, which threshold, and where to save."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Evaluation"), parent)
        self.split_chooser = QComboBox()
        for split in SPLITS:
            self.split_chooser.addItem(tr(SPLIT_NAMES[split]), split.value)
        self.split_chooser.setToolTip(tr("Only areas that the model has not learnt from show how good it is"))
        self.threshold_box = QDoubleSpinBox()
        self.threshold_box.setRange(0.0, 0.99)
        self.threshold_box.setSingleStep(0.05)
        self.threshold_box.setSpecialValueText(tr("the model's default"))
        self.map_chooser = QgsMapLayerComboBox()
        self.map_chooser.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.map_chooser.setAllowEmptyLayer(True, tr("none: labelled areas only"))
        self.map_chooser.setCurrentIndex(0)
        self.map_chooser.setToolTip(
            tr("Class raster of a run with this model, to estimate the true area of each class in it")
        )
        self.diagnosis = QCheckBox(tr("What the model depends on"))
        self.diagnosis.setToolTip(
            tr(
                "Run it again on a sample with other resolution, brightness, contrast, blur and bands; takes minutes. "
                "The report shows the curves."
            )
        )
        self.folder_chooser = FolderChooser(tr("Each evaluation creates a new folder in this one"))
        form = QFormLayout(self)
        form.addRow(tr("Areas for"), self.split_chooser)
        form.addRow(tr("Threshold"), self.threshold_box)
        form.addRow(tr("Area estimate"), self.map_chooser)
        form.addRow(tr("Diagnosis"), self.diagnosis)
        form.addRow(tr("Save in"), self.folder_chooser)

    def choose(self, split: Split) -> None:
        """Choose which areas count."""
        self.split_chooser.setCurrentIndex(self.split_chooser.findData(split.value))

    def split(self) -> Split:
        """Which areas count."""
        return Split(self.split_chooser.currentData())

    def threshold(self) -> Optional[float]:
        """The probability threshold; None for the model's own."""
        return round(self.threshold_box.value(), 2) or None

    def map_path(self) -> str:
        """The class raster whose areas to estimate; empty for none.

        Raises:
            OrthomaskError: the layer is not a file.
        """
        layer = self.map_chooser.currentLayer()
        return image_of(layer).path if isinstance(layer, QgsRasterLayer) else ""

    def folder(self) -> str:
        """The parent folder of evaluations."""
        return self.folder_chooser.folder()


class EvaluationOutcome(QGroupBox):
    """The main scores; hidden until there are some."""

    best_threshold_wanted = pyqtSignal(object)
    """Use the best threshold of this `EvaluateResult`."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Result"), parent)
        self.result: Optional[EvaluateResult] = None
        self.table = QLabel()
        self.table.setWordWrap(True)
        self.table.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.report = QPushButton(tr("Open report"))
        self.report.setToolTip(tr("All numbers, curves and images, in the browser"))
        self.report.clicked.connect(self._open_report)
        self.best = QPushButton(tr("Use best threshold"))
        self.best.clicked.connect(self._want_best)
        buttons = QHBoxLayout()
        buttons.addWidget(self.report)
        buttons.addWidget(self.best)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        self.hide()

    def show_result(self, result: EvaluateResult) -> None:
        """Show the scores."""
        self.result = result
        self.table.setText(evaluation_html(result))
        self.best.setEnabled(result.best_iou > 0)
        goes = tr("Go to Segment with this model and threshold")
        self.best.setToolTip("\n".join((goes, threshold_origin(result))))
        self.show()

    def _want_best(self) -> None:
        if self.result is not None:
            self.best_threshold_wanted.emit(self.result)

    def _open_report(self) -> None:
        if self.result is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(self.result.report_path))
