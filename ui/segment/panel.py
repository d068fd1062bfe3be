"""The panel *Segment*: image, region, model, preflight, run. Assembles the boxes and runs the request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from qgis.core import QgsApplication, QgsProject, QgsRasterLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QLabel, QMessageBox, QVBoxLayout, QWidget

from ...protocol import (
    OVERLAP_PX,
    Cancelled,
    CheckRequest,
    ErrorCode,
    ModelsRequest,
    OrthomaskError,
    PredictRequest,
    PredictResult,
)
from ..client.engine_client import EngineClient
from ..client.tasks import EngineTask
from ..layers.images import FrozenImage, frozen, is_rendered, places_of, read_as_chosen
from ..layers.images import planned as planned_image
from ..layers.map_view import ImageChooser, MapView
from ..layers.picture_client import FrozenRun, PictureClient
from ..layers.picture_words import are_wanted, coarse_light, picture_words
from ..layers.reading import reading_of, remember
from ..layers.rendering import Picture
from ..layers.sources import require_image
from ..models.model_box import ModelBox
from ..runs import folders as run_folders
from ..runs import results
from ..runs.folder_chooser import FolderWords
from ..runs.history import PastRun
from ..runs.history_button import HistoryButton
from ..runs.undo_button import UndoButton
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.present import present
from ..toolkit.run_bar import RunBar
from ..toolkit.scrolling import lay_out, scroll_to
from ..toolkit.settings import DEVICE, news
from ..toolkit.words import area_in_words, in_digits, time_in_words, tr, tr_n
from . import repeating
from .live import LivePreview
from .options_box import OptionsBox
from .preflight_box import PreflightBox
from .region_box import RegionBox
from .warnings_button import WarningsButton


class SegmentPanel(QWidget):
    """Runs a model over a region of an image, and adds the results as layers.

    Args:
        iface: QGIS.
        client: the engine.
    """

    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""
    wanted = pyqtSignal()
    """The panel should be shown."""
    ended = pyqtSignal()
    """A run ended, successfully or not."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface = iface
        self._client = client
        self._task: Optional[EngineTask] = None
        self.running_folder = ""
        self.live = LivePreview()
        self._project_closed = False
        self._look: Optional[EngineTask] = None
        self._problem = self._purpose = ""
        self.layer_chooser = ImageChooser(iface.mapCanvas(), tr("The orthophoto, map service or map to segment"))
        self.image_words = QLabel()
        self.region = RegionBox(iface)
        self.model = ModelBox()
        self.preflight = PreflightBox(client)
        self.options = OptionsBox()
        self.run_bar = RunBar()
        self.undo = UndoButton(iface)
        folders, running = (lambda: run_folders.parents(self.options.folder())), (lambda: self.running_folder)
        self.history = HistoryButton(iface, client, folders, running, self.undo, self)
        self._lay_out()
        self._connect()
        self._set_image()

    def release(self) -> None:
        """Stop what runs, and restore the canvas."""
        self._iface.mapCanvas().layersChanged.disconnect(self._follow_map)
        QgsProject.instance().readProject.disconnect(self._refresh)
        QgsProject.instance().cleared.disconnect(self._note_closed_project)
        news.changed.disconnect(self._follow_settings)
        if self._task is not None:
            self._task.abandon()
        self.live.end()
        self.undo.forget()
        self.history.release()
        self.preflight.release()
        self.region.release()

    def run(self) -> None:
        """Run in the background."""
        try:
            image, planned = require_image(self.layer_chooser.image), self._planned()
            request = self._request(planned)
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        if isinstance(planned, Picture) and not are_wanted(planned, self):
            return
        name, model = image.name(), present(self.model.model)
        self.start(FrozenRun(run_folders.begin(request, name, model.name), frozen(planned)), model.title, name)

    def start(self, run: FrozenRun, model: str, image: str) -> None:
        """Run this in the background, whatever is chosen.

        Args:
            model, image: their names.
        """
        self.running_folder = run.request.output_dir
        self._project_closed = False
        self.undo.forget()
        self.preflight.pause()
        self.run_bar.start()
        title = tr("Orthomask: {} in {}").format(model, image)
        watched = self.live.begin(PictureClient(self._client), Path(run.request.output_dir))
        self._task = EngineTask(title, watched, run)
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(self._finish)
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)
        self._refresh()

    def treat_as_nodata(self, value: Optional[float]) -> None:
        """Treat this value of the chosen image as no data from now on; None to use the image's own."""
        layer = self.layer_chooser.image
        if isinstance(layer, QgsRasterLayer):
            remember(layer, replace(reading_of(layer), nodata=value))

    def repeat(self, run: PastRun) -> None:
        """Fill in the choices of a past run, for editing; runs nothing."""
        self.wanted.emit()
        notes = repeating.fill(self._boxes, run, self._may_load)
        self.history.put_away()
        bar = self._iface.messageBar()
        if notes:
            show_warning(bar, " ".join(notes))
        else:
            show_success(
                bar, tr("The panel is filled in from “{}”. Change what you like, then press Run.").format(run.title)
            )

    def resume(self, run: PastRun) -> None:
        """Resume an unfinished run of the history."""
        try:
            if self.running_folder:
                sentence, remedy = tr("Another run is in progress."), tr("Wait until it ends, or cancel it.")
                raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
            frozen_run = repeating.begun(self._boxes, run)
        except OrthomaskError as error:
            self.history.explain(error)
            return
        self.start(frozen_run, run.model, run.image)
        self.wanted.emit()
        self.history.put_away()

    def cancel(self) -> None:
        """Cancel the run, within a second."""
        if self._task is not None:
            self.run_bar.cancel_button.setEnabled(False)
            self.run_bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def _lay_out(self) -> None:
        self.image_words.setWordWrap(True)
        image = QGroupBox(tr("Image"))
        image_layout = QVBoxLayout(image)
        image_layout.addWidget(self.layer_chooser)
        image_layout.addWidget(self.image_words)
        self.run_bar.show_below(self.undo)
        self.warnings = WarningsButton(self.preflight)
        self.run_bar.add_button(self.warnings)
        self.run_bar.add_button(self.history)
        self.place = FolderWords(self.options.folder_chooser, self)
        lay_out(self, (image, self.region, self.model, self.preflight, self.options, self.place), self.run_bar)

    def _connect(self) -> None:
        self.layer_chooser.layerChanged.connect(self._set_image)
        self._iface.mapCanvas().layersChanged.connect(self._follow_map)
        self.region.changed.connect(self._refresh)
        self.region.failed.connect(lambda error: show_error(self._iface.messageBar(), error))
        self.model.changed.connect(self._refresh)
        self.model.file_wanted.connect(self._look_at_model)
        self.model.threshold.valueChanged.connect(self._refresh)
        self.options.changed.connect(self._refresh)
        self.preflight.lights.nodata_wanted.connect(self.treat_as_nodata)
        self.preflight.lights.reading_wanted.connect(self._show_reading)
        self.preflight.checked.connect(self._show_check)
        self.run_bar.run_wanted.connect(self.run)
        self.run_bar.cancel_wanted.connect(self.cancel)
        self.ended.connect(self.history.refresh)
        self.undo.forgotten.connect(self._clear_summary)
        QgsProject.instance().readProject.connect(self._refresh)
        QgsProject.instance().cleared.connect(self._note_closed_project)
        news.changed.connect(self._follow_settings)

    @property
    def _boxes(self) -> repeating.Boxes:
        return repeating.Boxes(self.layer_chooser, self.region, self.model, self.options)

    def _may_load(self, path: str) -> bool:
        question = tr("The image “{}” is not in the project. Add it?").format(path)
        answer = QMessageBox.question(self.history.dialog, tr("Orthomask: run history"), question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _set_image(self) -> None:
        self.region.set_image(self.layer_chooser.image)
        self.options.reading.set_image(self.layer_chooser.image)
        self._refresh()

    def _follow_map(self) -> None:
        """Update if the map is the image: other layers are shown now."""
        if isinstance(self.layer_chooser.image, MapView) or self.layer_chooser.currentLayer() is None:
            self._set_image()

    def _show_check(self) -> None:
        """Show which bands the engine takes, and whether a red light stops the run."""
        if self.preflight.result is not None:
            self.options.reading.show_taken(self.preflight.result.bands)
        if self._task is None:
            problem = self._problem or self.preflight.problem
            self.run_bar.enable(not problem, problem or self._purpose)

    def _show_reading(self, stretch: bool) -> None:
        """Lead to the choice of bands, or of the stretch."""
        self.options.setCollapsed(False)
        scroll_to(self.options.reading.focus_on(stretch))

    def _follow_settings(self, changed: object) -> None:
        if changed is DEVICE:
            self._refresh()

    def _refresh(self, *_: object) -> None:
        """Update the panel for the current choices: whether they can run, and the preflight."""
        model = self.model.model
        self.options.reading.set_bands(model.bands if model else ())
        if model is not None:
            self.options.show_model(model.gsd_m)
        if self._task is not None:
            return
        planned, problem = self._look_at_image()
        self.image_words.setText(problem or _words(planned))
        self.image_words.setVisible(bool(self.image_words.text()))
        self._problem = problem or self._missing()
        request = self._request(planned) if planned is not None and not self._problem else None
        unfinished = request is not None and run_folders.unfinished_folder(request) is not None
        self._purpose = (
            tr("Resume this run where it stopped") if unfinished else tr("Start; results are added as layers")
        )
        self.run_bar.set_ready(not self._problem, tr("Resume") if unfinished else tr("Run"), self._problem)
        self._check(planned)
        self._show_check()

    def _look_at_image(self) -> tuple[Optional[FrozenImage], str]:
        """What the chosen image would be read from, if known yet; or why it cannot be, with the remedy."""
        try:
            image = require_image(self.layer_chooser.image)
            known = not is_rendered(image) or (self.region.region is not None and self.model.model is not None)
            return self._planned() if known else None, ""
        except OrthomaskError as error:
            return None, f"{error.sentence} {error.remedy}"

    def _planned(self) -> FrozenImage:
        """What the chosen image is read from: a file, or a picture of the region at the model's resolution."""
        image, model = require_image(self.layer_chooser.image), self.model.model
        places = places_of(self.region.region, image.crs()) if is_rendered(image) else ()
        planned = planned_image(image, model.gsd_m if model else 0.0, places, OVERLAP_PX)
        return read_as_chosen(planned, image, model.bands if model else ())

    def _missing(self) -> str:
        """What must still be chosen."""
        if self.model.model is None:
            return tr("Choose a model first.")
        return tr("Choose a region first.") if self.region.region is None else ""

    def _check(self, planned: Optional[FrozenImage]) -> None:
        model, region = self.model.model, self.region.region
        if planned is None or model is None:
            self.preflight.explain(tr("Image and model are checked here before anything runs."))
        elif isinstance(planned, Picture):
            sample, windows = planned.sample(), planned.windows(model.gsd_m)
            request = CheckRequest(sample.key, model.path, None, DEVICE.get(), windows)
            self.preflight.check(request, planned, coarse_light(planned, model.gsd_m))
        else:
            place = region.request() if region else None
            whole = self.options.whole_objects.isChecked()
            self.preflight.check(CheckRequest(planned, model.path, place, DEVICE.get(), whole_objects=whole))

    def _request(self, planned: FrozenImage) -> PredictRequest:
        model, region = present(self.model.model), present(self.region.region)  # Run is disabled without them
        request = PredictRequest(
            image=planned.key if isinstance(planned, Picture) else planned,
            model=model.path,
            output_dir=self.options.folder(),
            region=region.request(),
            threshold=round(self.model.threshold.value(), 2),
            device=DEVICE.get(),  # a different device means a different run
        )
        options = self.options
        return replace(
            request, image_date=options.image_date.text(), polygons=options.polygons(),
            whole_objects=options.whole_objects.isChecked(),
        )  # fmt: skip

    def _look_at_model(self, path: str) -> None:
        self._look = EngineTask(tr("Orthomask: model file"), self._client, ModelsRequest(path))
        self._look.answered.connect(lambda found: self.model.add_model(found.models[0]))
        self._look.failed.connect(lambda error: show_error(self._iface.messageBar(), error))
        QgsApplication.taskManager().addTask(self._look)

    def _finish(self, result: PredictResult) -> None:
        self._end()
        run_folders.end()
        count, area = result.polygon_count, area_in_words(result.polygon_area_m2)
        found = tr_n("{} polygon, {}", "{} polygons, {}", count).format(in_digits(count), area)
        words = tr("{} in {}.").format(found, time_in_words(result.seconds))
        self._refresh()
        self.run_bar.stop(words)
        for warning in result.warnings:
            show_warning(self._iface.messageBar(), warning)
        folder = Path(result.polygons_path).parent
        if self._project_closed:  # its results do not belong in the project open now
            words = tr("{} The project was closed in the meantime; the results are in {}.").format(words, folder)
            show_success(self._iface.messageBar(), words)
            return
        try:
            group = results.add_run(QgsProject.instance(), results.read_run(folder))
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        show_success(self._iface.messageBar(), words, self.undo.offer(group))

    def _clear_summary(self) -> None:
        """The layers that it tells of can no longer be undone, or are gone."""
        if self._task is None:
            self.run_bar.stop("")

    def _note_closed_project(self) -> None:
        self._project_closed = True
        self.region.pick(None)  # it belongs to an image of that project

    def _end(self) -> None:
        self._task, self.running_folder = None, ""
        self.live.end()
        self.ended.emit()

    def _fail(self, error: OrthomaskError) -> None:
        self._end()
        if error.code is ErrorCode.OUTPUT_EXISTS:  # image or model changed since: the next run is a new one
            run_folders.end()
        self._refresh()
        if isinstance(error, Cancelled):
            self.run_bar.stop(tr("Cancelled. Resume continues from here."))
        elif error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)  # the dock says so, with a button that helps
        else:
            show_error(self._iface.messageBar(), error)


def _words(planned: Optional[FrozenImage]) -> str:
    return picture_words(planned) if isinstance(planned, Picture) else ""
