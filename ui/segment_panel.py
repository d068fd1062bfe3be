"""The panel *Segment*: image, region, model, preflight, run. It puts the boxes together and runs the request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from qgis.core import QgsApplication, QgsMapLayerProxyModel, QgsProject, QgsRasterLayer
from qgis.gui import QgisInterface, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QLabel, QVBoxLayout, QWidget

from ..protocol import (
    Cancelled,
    CheckRequest,
    ErrorCode,
    ModelsRequest,
    OrthomaskError,
    PredictRequest,
    PredictResult,
)
from . import results, run_folders
from .engine_client import EngineClient
from .messages import show_error, show_success, show_warning
from .model_box import ModelBox
from .options_box import OptionsBox
from .preflight_box import PreflightBox
from .region_box import RegionBox
from .run_bar import RunBar
from .scrolling import lay_out
from .sources import image_of
from .tasks import EngineTask
from .words import area_in_words, time_in_words, tr


class SegmentPanel(QWidget):
    """Runs a model over a region of an image, and adds the results as layers.

    Args:
        iface: QGIS.
        client: the engine.
    """

    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says that the engine cannot work."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface = iface
        self._client = client
        self._task: Optional[EngineTask] = None
        self._project_closed = False
        self._look: Optional[EngineTask] = None
        self.layer_chooser = QgsMapLayerComboBox()
        self.image_words = QLabel()
        self.region = RegionBox(iface)
        self.model = ModelBox()
        self.preflight = PreflightBox(client)
        self.options = OptionsBox()
        self.run_bar = RunBar()
        self._lay_out()
        self._connect()
        self._set_image()

    def release(self) -> None:
        """Stop what runs, and leave the canvas as it was."""
        QgsProject.instance().readProject.disconnect(self._refresh)
        QgsProject.instance().projectSaved.disconnect(self._refresh)
        QgsProject.instance().cleared.disconnect(self._note_closed_project)
        self.cancel()
        self.preflight.release()
        self.region.release()

    def run(self) -> None:
        """Run what is chosen, in the background."""
        try:
            request = self._request()
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        layer, model = self.layer_chooser.currentLayer(), self.model.model
        request = run_folders.begin(request, layer.name(), model.name)
        self._project_closed = False
        self.preflight.pause()
        self.run_bar.start()
        title = tr("Orthomask: {} in {}").format(model.title, layer.name())
        self._task = EngineTask(title, self._client, request)
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(self._finish)
        self._task.failed.connect(self._fail)
        QgsApplication.taskManager().addTask(self._task)
        self._refresh()

    def cancel(self) -> None:
        """End the run within a second."""
        if self._task is not None:
            self.run_bar.cancel_button.setEnabled(False)
            self.run_bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def _lay_out(self) -> None:
        self.layer_chooser.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.layer_chooser.setToolTip(tr("The orthophoto to look at"))
        self.image_words.setWordWrap(True)
        image = QGroupBox(tr("Image"))
        image_layout = QVBoxLayout(image)
        image_layout.addWidget(self.layer_chooser)
        image_layout.addWidget(self.image_words)
        lay_out(self, (image, self.region, self.model, self.preflight, self.options), self.run_bar)

    def _connect(self) -> None:
        self.layer_chooser.layerChanged.connect(self._set_image)
        self.region.changed.connect(self._refresh)
        self.region.failed.connect(lambda error: show_error(self._iface.messageBar(), error))
        self.model.changed.connect(self._refresh)
        self.model.file_wanted.connect(self._look_at_model)
        self.model.threshold.valueChanged.connect(self._refresh)
        self.options.changed.connect(self._refresh)
        self.run_bar.run_wanted.connect(self.run)
        self.run_bar.cancel_wanted.connect(self.cancel)
        QgsProject.instance().readProject.connect(self._refresh)
        QgsProject.instance().projectSaved.connect(self._refresh)
        QgsProject.instance().cleared.connect(self._note_closed_project)

    def _set_image(self) -> None:
        layer = self.layer_chooser.currentLayer()
        self.region.set_image(layer if isinstance(layer, QgsRasterLayer) else None)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        """Show what the present choice means: can it run, what would it find, where would it go."""
        if self._task is not None:
            return
        self.options.show_default_folder()
        self.image_words.setText(self._image_problem())
        self.image_words.setVisible(bool(self.image_words.text()))
        missing = self.image_words.text() or self._missing()
        unfinished = not missing and run_folders.unfinished_folder(self._request()) is not None
        reason = missing or (tr("Go on where this run stopped") if unfinished else tr("Start; results become layers"))
        self.run_bar.set_ready(not missing, tr("Resume") if unfinished else tr("Run"), reason)
        self._check()

    def _image_problem(self) -> str:
        """Why the chosen layer cannot be used, with the remedy; empty when it can."""
        try:
            image_of(self.layer_chooser.currentLayer())
        except OrthomaskError as error:
            return f"{error.sentence} {error.remedy}"
        return ""

    def _missing(self) -> str:
        """What is still to be chosen."""
        if self.model.model is None:
            return tr("Choose a model first.")
        return tr("Choose a region first.") if self.region.region is None else ""

    def _check(self) -> None:
        if self.image_words.text() or self.model.model is None:
            self.preflight.explain(tr("Image and model are checked here before anything runs."))
            return
        region = self.region.region
        self.preflight.check(
            CheckRequest(
                image=image_of(self.layer_chooser.currentLayer()),
                model=self.model.model.path,
                region=region.request() if region else None,
            )
        )

    def _request(self) -> PredictRequest:
        request = PredictRequest(
            image=image_of(self.layer_chooser.currentLayer()),
            model=self.model.model.path,
            output_dir=self.options.folder(),
            region=self.region.region.request(),
            threshold=round(self.model.threshold.value(), 2),
        )
        return replace(request, image_date=self.options.image_date.text(), polygons=self.options.polygons())

    def _look_at_model(self, path: str) -> None:
        self._look = EngineTask(tr("Orthomask: model file"), self._client, ModelsRequest(path))
        self._look.answered.connect(lambda found: self.model.add_model(found.models[0]))
        self._look.failed.connect(lambda error: show_error(self._iface.messageBar(), error))
        QgsApplication.taskManager().addTask(self._look)

    def _finish(self, result: PredictResult) -> None:
        self._task = None
        run_folders.end()
        found = tr("{} polygons, {}").format(result.polygon_count, area_in_words(result.polygon_area_m2))
        words = tr("{} in {}.").format(found, time_in_words(result.seconds))
        self._refresh()
        self.run_bar.stop(words)
        for warning in result.warnings:
            show_warning(self._iface.messageBar(), warning)
        folder = Path(result.polygons_path).parent
        if self._project_closed:  # its results do not belong into the project that is open now
            words = tr("{} The project was closed meanwhile; the results are in {}.").format(words, folder)
            show_success(self._iface.messageBar(), words)
            return
        try:
            results.add_run(QgsProject.instance(), results.read_run(folder))
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        show_success(self._iface.messageBar(), words)

    def _note_closed_project(self) -> None:
        self._project_closed = True
        self.region.pick(None)  # it lay on an image of that project

    def _fail(self, error: OrthomaskError) -> None:
        self._task = None
        if error.code is ErrorCode.OUTPUT_EXISTS:  # image or model have changed since: the next run is a new one
            run_folders.end()
        self._refresh()
        self.run_bar.stop(_ending(error))
        if isinstance(error, Cancelled):
            return
        show_error(self._iface.messageBar(), error)
        if error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)


def _ending(error: OrthomaskError) -> str:
    return tr("Cancelled. Resume goes on from here.") if isinstance(error, Cancelled) else error.sentence
