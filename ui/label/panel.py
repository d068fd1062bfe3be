"""The panel *Label*: label project, areas, and masks and chips from any layers. Assembles the boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices, QHideEvent, QShowEvent
from qgis.PyQt.QtWidgets import (
    QDialog,
    QFileDialog,
    QGroupBox,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...protocol import Cancelled, ChipsResult, ErrorCode, MaskResult, ModelSummary, OrthomaskError, ProjectResult
from ..client.engine_client import EngineClient
from ..client.tasks import EngineTask
from ..layers.images import FrozenImage, is_rendered
from ..layers.map_view import ImageChooser, ImageSource
from ..layers.picture_words import are_wanted, picture_words
from ..layers.rendering import Picture
from ..layers.sources import image_of, require_image
from ..layers.vector_snapshot import SnapshotClient
from ..runs.folders import default_parent
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.run_bar import RunBar
from ..toolkit.scrolling import lay_out
from ..toolkit.words import in_digits, time_in_words, tr, tr_n
from .area_sampling import AreaSampler, NewAreas, add_areas
from .areas_box import AreasBox
from .export_box import ExportBox
from .export_options import LEFT_OUT
from .export_preview import ExportPreview, chip_outlines, mask_outlines
from .layers_box import LabelLayersBox
from .mask_layer import mask_layer
from .new_project_dialog import NewProjectDialog, Proposal
from .project import SPLIT_NAMES, LabelProject, open_project
from .project_box import ProjectBox
from .sources import GroundTruth, planned_image

PREVIEW_PAUSE_MS = 250


class LabelPanel(QWidget):
    """Draws labels and areas, and writes masks and chips.

    Args:
        iface: QGIS.
        client: the engine.
    """

    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""
    opened = pyqtSignal(str)
    """A label project was made or opened: its path."""
    collect_wanted = pyqtSignal()

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface, self._client = iface, client
        self._task: Optional[EngineTask] = None
        self._finish: Callable[[Any], None]
        self._models: Sequence[ModelSummary] = ()
        self._problem = ""
        self.layer_chooser = ImageChooser(iface.mapCanvas(), tr("The orthophoto, map service or map to label"))
        self.image_words = QLabel()
        self.project = ProjectBox(iface)
        self.areas = AreasBox(iface)
        self.labels = LabelLayersBox()
        self.export = ExportBox()
        self.preview_words = QLabel()
        self.run_bar = RunBar()
        self._preview = ExportPreview(iface.mapCanvas())
        self._preview_timer = QTimer(self)
        self._preview_timer.setSingleShot(True)
        self._preview_timer.setInterval(PREVIEW_PAUSE_MS)
        self._lay_out()
        self._connect()
        self.labels.show_image(self.layer_chooser.currentLayer())
        self._show_reading()
        self._follow_project()

    def show_models(self, models: Sequence[ModelSummary]) -> None:
        """Remember the models whose classes a new project can use."""
        self._models = models

    def release(self) -> None:
        """Stop what runs, and restore the canvas."""
        QgsProject.instance().projectSaved.disconnect(self._refresh)
        if self._task is not None:
            self._task.abandon()
        self._preview_timer.stop()
        self._preview.clear()
        self.labels.release()
        self.project.release()

    def make_project(self, like: Optional[Proposal] = None) -> None:
        """Ask for a new label project's settings, make it, and open it.

        Args:
            like: the CRS and classes to propose; without it, the chosen image's CRS.
        """
        image = self._image()
        crs = image.crs() if image is not None and image.crs().isValid() else QgsProject.instance().crs()
        dialog = NewProjectDialog(default_parent(), like.crs if like else crs, self._models, self)
        if like is not None:
            dialog.table.show_classes(like.classes)
        if dialog.exec() == QDialog.DialogCode.Accepted:
            self._start(tr("Orthomask: new label project"), self._client, dialog.request, self._finish_project)

    def choose_project(self) -> None:
        """Open a label project that the user chooses."""
        filters = tr("Label projects (*.gpkg)")
        path, _ = QFileDialog.getOpenFileName(self, tr("Open label project"), default_parent(), filters)
        if path:
            self.open_project(path)

    def open_project(self, path: str) -> None:
        """Open the label project in this file."""
        try:
            opened = open_project(QgsProject.instance(), path)
        except OrthomaskError as error:
            self._show_error(error)
            return
        self.project.find_projects()
        self.project.choose(opened.path)
        self.opened.emit(opened.path)

    def make_areas(self) -> None:
        """Place areas and add them to the label project."""
        project = self.project.project
        if project is None:
            return
        self._start(
            tr("Orthomask: areas"),
            AreaSampler(self._client),
            lambda: self.areas.freeze(self._image(), project),
            partial(self._finish_areas, project),
        )

    def run(self) -> None:
        """Export in the background."""
        image = self._image()
        title = tr("Orthomask: mask") if self.export.is_mask else tr("Orthomask: chips")
        finish = self._finish_mask if self.export.is_mask else self._finish_chips

        def request() -> object:
            areas, touch = self.export.areas_layer, self.export.touch.currentData()
            bands = self.export.chips.reading.names
            truth = GroundTruth.of(image, self.labels.sources, areas, touch, self.export.rendering)
            truth = truth.read_as_chosen(require_image(image), bands)
            if isinstance(truth.image, Picture) and not are_wanted(truth.image, self):
                raise Cancelled
            name = require_image(image).name()
            return truth.request(self.export.build(self.labels.classes, default_parent(), name))

        self._start(title, SnapshotClient(self._client), request, finish)

    def cancel(self) -> None:
        """Cancel what runs, within a second."""
        if self._task is not None:
            self.run_bar.cancel_button.setEnabled(False)
            self.run_bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def showEvent(self, event: QShowEvent) -> None:
        """The preview comes and goes with the panel."""
        super().showEvent(event)
        self._show_preview()

    def hideEvent(self, event: QHideEvent) -> None:
        """The preview comes and goes with the panel."""
        super().hideEvent(event)
        self._preview.clear()

    def _lay_out(self) -> None:
        for words in (self.image_words, self.preview_words):
            words.setWordWrap(True)
        image = QGroupBox(tr("Image"))
        image_layout = QVBoxLayout(image)
        image_layout.addWidget(self.layer_chooser)
        image_layout.addWidget(self.image_words)
        self.export.layout().addWidget(self.preview_words)
        self.run_bar.cancel_button.setToolTip(tr("Stop now; nothing is left behind"))
        lay_out(self, (image, self.project, self.areas, self.labels, self.export), self.run_bar)

    def _connect(self) -> None:
        self.project.new_wanted.connect(self.make_project)
        self.project.open_wanted.connect(self.choose_project)
        self.project.collect_wanted.connect(self.collect_wanted)
        self.project.chosen.connect(self._follow_project)
        self.project.edited.connect(self._refresh)
        self.project.failed.connect(self._show_error)
        self.project.restored.connect(lambda words: show_warning(self._iface.messageBar(), words))
        self.areas.wanted.connect(self.make_areas)
        self.labels.failed.connect(self._show_error)
        self.labels.changed.connect(self._refresh)
        self.export.changed.connect(self._refresh)
        self.layer_chooser.layerChanged.connect(self.labels.show_image)
        self.layer_chooser.layerChanged.connect(self._refresh)
        self.layer_chooser.layerChanged.connect(self._show_reading)
        self.run_bar.run_wanted.connect(self.run)
        self.run_bar.cancel_wanted.connect(self.cancel)
        self._preview_timer.timeout.connect(self._show_preview)
        QgsProject.instance().projectSaved.connect(self._refresh)

    def _show_reading(self) -> None:
        self.export.chips.reading.set_image(self._image())

    def _image(self) -> Optional[ImageSource]:
        return self.layer_chooser.image

    def _follow_project(self) -> None:
        """Use the label project's labels and areas, unless others have been chosen."""
        project = self.project.project
        self.labels.show_image(self.layer_chooser.currentLayer())
        if project is not None and self.labels.use_project(project):
            self.export.areas.setLayer(project.areas)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        """Update for the current choices."""
        if self._task is not None:
            return
        planned, self._problem = self._look_at_image()
        self.image_words.setText(self._problem or (picture_words(planned) if isinstance(planned, Picture) else ""))
        self.image_words.setVisible(bool(self.image_words.text()))
        self.areas.button.setEnabled(self._image() is not None and self.project.project is not None)
        self.export.show_default(default_parent())
        missing = self._problem or ("" if self.labels.sources else tr("Add a layer of labels first."))
        label = tr("Export mask") if self.export.is_mask else tr("Export chips")
        self.run_bar.set_ready(not missing, label, missing or tr("Export; your layers are not changed"))
        self._preview_timer.start()

    def _look_at_image(self) -> tuple[Optional[FrozenImage], str]:
        """What the chosen image is read from; or why it cannot be, with the remedy."""
        try:
            if not is_rendered(self._image()):
                return image_of(self._image()), ""
            return planned_image(self._image(), self.export.areas_layer, self.export.rendering), ""
        except OrthomaskError as error:
            return None, f"{error.sentence} {error.remedy}"

    def _show_preview(self) -> None:
        """Draw what would be exported, and say how much it is."""
        image, areas, words = self._image(), self.export.areas_layer, ""
        self._preview.clear()
        if image is not None and self.isVisible() and self.export.preview.isChecked() and not self._problem:
            try:
                if self.export.is_mask:
                    outlines = mask_outlines(image, areas)
                else:
                    outlines, complete = chip_outlines(image, areas, self.export.chips.grid())
                    count = tr("{} chips") if complete else tr("More than {} chips")
                    words = tr("{} before empty and faulty ones are left out.").format(
                        count.format(in_digits(len(outlines)))
                    )
                self._preview.show(outlines, image, shaded=self.export.is_mask and areas is not None)
            except OrthomaskError as error:
                words = f"{error.sentence} {error.remedy}"
        self.preview_words.setText(words)
        self.preview_words.setVisible(bool(words))

    def _start(self, title: str, client: Any, freeze: Callable[[], object], finish: Callable[[Any], None]) -> None:
        """Freeze a request and run it in the background, one at a time."""
        if self._task is not None:
            return
        try:
            request = freeze()
        except Cancelled:
            return
        except OrthomaskError as error:
            self._show_error(error)
            return
        self.run_bar.start()
        self._task = EngineTask(title, client, request)
        self._task.reported.connect(self.run_bar.report)
        self._finish = finish
        self._task.answered.connect(self._end)
        self._task.failed.connect(self._fail)
        self.areas.button.setEnabled(False)
        QgsApplication.taskManager().addTask(self._task)

    def _end(self, result: Any) -> None:
        self._task = None
        self._refresh()
        self._finish(result)

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        self._refresh()
        if isinstance(error, Cancelled):
            self.run_bar.stop(tr("Cancelled."))
        elif error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)  # the dock says so, with a button that helps
        else:
            self._show_error(error)

    def _show_error(self, error: OrthomaskError) -> None:
        show_error(self._iface.messageBar(), error)

    def _finish_project(self, result: ProjectResult) -> None:
        self.open_project(result.project_path)

    def _finish_areas(self, project: LabelProject, new: NewAreas) -> None:
        """Add the areas to the project that they were made for, whichever is chosen by now."""
        try:
            add_areas(project.areas, new)
        except RuntimeError:  # its layer has been removed from QGIS
            self.run_bar.stop(tr("The areas were not added: “{}” has been closed.").format(project.name))
            return
        except OrthomaskError as error:
            self._fail(error)
            return
        count = new.result.count
        self._tell(tr_n("{} area added.", "{} areas added.", count).format(in_digits(count)), new.result.warnings)

    def _finish_mask(self, result: MaskResult) -> None:
        layer = QgsProject.instance().addMapLayer(mask_layer(result), addToLegend=False)
        QgsProject.instance().layerTreeRoot().insertLayer(0, layer)  # not among the layers of a label project
        found = ", ".join(f"{in_digits(count.objects)} {count.name}" for count in result.counts)
        self._tell(tr("Mask with {} in {}.").format(found, time_in_words(result.seconds)), result.warnings)

    def _finish_chips(self, result: ChipsResult) -> None:
        told = _listed(result.counts, {split.value: name for split, name in SPLIT_NAMES.items()})
        left_out = _listed(result.left_out, LEFT_OUT)
        total = sum(result.counts.values())
        words = tr_n("{} chip ({}) in {}.", "{} chips ({}) in {}.", total)
        words = words.format(in_digits(total), told, time_in_words(result.seconds))
        if left_out:
            words = tr("{} Left out: {}.").format(words, left_out)
        folder = str(Path(result.manifest_path).parent)
        button = QPushButton(tr("Open folder"))
        button.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(folder)))
        self._tell(words, result.warnings, button)

    def _tell(self, words: str, warnings: Sequence[str], button: Optional[QPushButton] = None) -> None:
        """Report the outcome in the run bar and message bar."""
        self.run_bar.stop(words)
        bar = self._iface.messageBar()
        for warning in warnings:
            show_warning(bar, warning)
        show_success(bar, words, button)


def _listed(counts: Mapping[str, int], names: Mapping[str, str]) -> str:
    """The count of each, without zeros."""
    return ", ".join(f"{in_digits(count)} {tr(names[key])}" for key, count in counts.items() if count)
