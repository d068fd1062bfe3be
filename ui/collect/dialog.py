"""Collect: a window that makes a label project with images from OpenStreetMap, other layers and map services."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Optional

from qgis.core import QgsApplication, QgsGeometry, QgsProject
from qgis.gui import QgisInterface, QgsGui
from qgis.PyQt.QtCore import Qt, QTimer, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices, QShowEvent
from qgis.PyQt.QtWidgets import QDialog, QFormLayout, QGroupBox, QHBoxLayout, QLabel, QPushButton, QScrollArea, QWidget

from ...protocol import Areas, Cancelled, CollectRequest, CollectResult, ErrorCode, OrthomaskError, Sampled
from ..client.engine_client import EngineClient
from ..client.tasks import EngineTask
from ..evaluate.problem import ProblemBox
from ..layers.picture_words import many_wanted
from ..runs.folder_chooser import FolderChooser, FolderWords
from ..toolkit.accessible import name_widgets
from ..toolkit.help import Section, help_button
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.present import present
from ..toolkit.run_bar import RunBar
from ..toolkit.scrolling import lay_out
from ..toolkit.settings import CONTACT
from ..toolkit.words import in_digits, time_in_words, tr, tr_n
from . import unfinished
from .estimate import gsd_of, in_metres, latitude_of, tiles_of_areas, tiles_of_places
from .frozen import Collection, Collector, Places
from .imagery_box import ImageryBox
from .labels_box import LabelsBox
from .layers import add_collection
from .where_box import Where, WhereBox

WIDTH_CHARS, SCREEN_SHARE, MARGIN_PX, PAUSE_MS = 72, 0.8, 9, 150


class CollectDialog(QDialog):
    """Asks where, which labels and which images; collects without blocking QGIS, also while it is closed.

    Args:
        iface: QGIS.
        client: the engine; collecting takes another one, so that the first stays free.
    """

    collected = pyqtSignal(str, object)
    """A label project was collected and added: its path, and the layer of its sharpest images, if there are any."""
    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setObjectName("OrthomaskCollect")
        self.setWindowTitle(tr("Collect labels and images"))
        self._iface, self._client = iface, client.another()
        self._task: Optional[EngineTask] = None
        self._project_closed = False
        self.where, self.labels, self.imagery = WhereBox(iface), LabelsBox(), ImageryBox()
        self.folder_chooser = FolderChooser(tr("Each collection creates a new folder in this one"))
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.problem, self.run_bar = ProblemBox(), RunBar()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._lay_out()
        self._connect()
        name_widgets(self)
        QgsGui.enableAutoGeometryRestore(self)
        self.look()

    @property
    def busy(self) -> bool:
        """Whether something is being collected."""
        return self._task is not None

    def collect(self) -> None:
        """Collect in the background."""
        self.problem.hide()
        try:
            collection = self._freeze()
        except Cancelled:
            return
        except OrthomaskError as error:
            self.problem.explain(error)
            return
        if collection.request.imagery is not None:
            self.imagery.remember_licence(QgsProject.instance())
        request = unfinished.begin(collection.request, self._place_name())
        title = tr("Orthomask: collecting")
        self._task = EngineTask(title, Collector(self._client), replace(collection, request=request))
        self._task.reported.connect(self.run_bar.report)
        self._task.answered.connect(self._finish)
        self._task.failed.connect(self._fail)
        self._project_closed = False
        self._lock(True)
        self.run_bar.start()
        QgsApplication.taskManager().addTask(self._task)

    def cancel(self) -> None:
        """Cancel; what was fetched is kept for the next try."""
        if self._task is not None:
            self.run_bar.cancel_button.setEnabled(False)
            self.run_bar.status.setText(tr("Cancelling…"))
            self._task.cancel()

    def release(self) -> None:
        """Stop what runs; the window cannot be used afterwards."""
        QgsProject.instance().cleared.disconnect(self._note_closed_project)
        self.where.release()
        if self._task is not None:
            self._task.abandon()
        self._client.close()

    def showEvent(self, event: QShowEvent) -> None:
        """The map may have moved while the window was closed."""
        super().showEvent(event)
        self.look()

    def look(self) -> None:
        """Say what is missing, or how much will be fetched."""
        if self._task is not None:
            return
        self.imagery.show_latitude(latitude_of(*self.where.middle()))
        problem = self.where.problem() or self.labels.problem() or self.imagery.problem()
        self.words.setText(problem or self._estimate_words())
        self.words.setVisible(bool(self.words.text()))
        self.run_bar.enable(not problem, problem or tr("Fetch everything into a new folder and add it to the map"))

    def _freeze(self) -> Collection:
        """The collection as chosen now.

        Raises:
            Cancelled: the user declined that many requests to a service.
            OrthomaskError: something cannot be used.
        """
        places, vectors = self.where.places(), self.labels.vectors()
        sample, imagery = self.where.sample(), self.imagery.imagery()
        if sample is not None and vectors is not None and imagery is not None:  # their places are drawn beforehand
            sample = in_metres(sample, imagery.zooms, latitude_of(*self.where.middle()))
        request = CollectRequest(
            output_dir=self.folder_chooser.folder(),
            areas=None if sample else Areas(_fingerprint(places.geometries), crs=places.crs.authid()),
            sample=sample,
            osm=self.labels.osm(),
            vectors=(vectors.labels,) if vectors else (),
            imagery=imagery,
            contact=CONTACT.get(),
        )
        if imagery is not None:
            tiles = self._tiles(imagery.zooms, sample, places)
            question = tr("Collecting these images takes about {} server requests.").format(in_digits(tiles))
            if not many_wanted(question, tiles, self):
                raise Cancelled
        return Collection(request, places, vectors, QgsProject.instance().transformContext())

    def _place_name(self) -> str:
        layer = self.where.layer.currentLayer()
        return tr("map") if layer is None or self.where.chosen is Where.VISIBLE else str(layer.name())

    def _estimate_words(self) -> str:
        """About how many tiles will be fetched; empty where only the run can say."""
        try:
            imagery, sample = self.imagery.imagery(), self.where.sample()
            if imagery is None or not imagery.zooms or self.where.chosen is Where.POLYGONS:
                return ""
            tiles = self._tiles(imagery.zooms, sample, None if sample else self.where.places())
        except OrthomaskError as error:
            return f"{error.sentence} {error.remedy}"
        return tr("Server requests for images: about {}.").format(in_digits(tiles))

    def _tiles(self, levels: tuple[int, ...], sample: Optional[Sampled], places: Optional[Places]) -> int:
        """About how many tiles areas or drawn places take."""
        if places is not None and sample is None:
            return tiles_of_areas(places.geometries, places.crs, levels)
        if sample is None or not levels:
            return 0
        side_px = sample.size_m / gsd_of(min(levels), latitude_of(*self.where.middle())) or float(sample.size_px)
        return tiles_of_places(sample.count, side_px, levels)

    def _lay_out(self) -> None:
        place = QGroupBox(tr("Result"))
        form = QFormLayout(place)
        form.addRow(tr("Save in"), self.folder_chooser)
        form.addRow(FolderWords(self.folder_chooser, self))
        self.run_bar.set_ready(True, tr("Collect"), "")
        self.run_bar.cancel_button.setToolTip(tr("Stop now; what was fetched is kept for the next try"))
        self.run_bar.run_button.setDefault(True)
        self.run_bar.show_below(self.problem)
        self.run_bar.show_below(self.words)
        foot = QWidget()
        row = QHBoxLayout(foot)
        row.setContentsMargins(MARGIN_PX, 0, MARGIN_PX, MARGIN_PX)
        row.addWidget(help_button(lambda: Section.COLLECT), 0, Qt.AlignmentFlag.AlignBottom)
        row.addWidget(self.run_bar, 1)
        self._boxes = (self.where, self.labels, self.imagery, place)
        lay_out(self, self._boxes, foot)
        inner = present(present(self.findChild(QScrollArea)).widget()).sizeHint().height()
        highest = SCREEN_SHARE * QgsApplication.primaryScreen().availableGeometry().height()
        height = inner + self.run_bar.sizeHint().height() + 6 * MARGIN_PX
        self.resize(WIDTH_CHARS * self.fontMetrics().averageCharWidth(), round(min(height, highest)))

    def _connect(self) -> None:
        for box in (self.where, self.labels, self.imagery):
            box.changed.connect(self._timer.start)
        self._timer.timeout.connect(self.look)
        self.run_bar.run_wanted.connect(self.collect)
        self.run_bar.cancel_wanted.connect(self.cancel)
        QgsProject.instance().cleared.connect(self._note_closed_project)

    def _lock(self, on: bool) -> None:
        """While it runs, what it was asked for stays as it is."""
        for box in self._boxes:
            box.setEnabled(not on)
        self.words.setVisible(not on and bool(self.words.text()))

    def _finish(self, result: CollectResult) -> None:
        self._end()
        unfinished.end()
        count = sum(result.labels.values())
        words = tr_n("{} label; areas: {}, images: {}; in {}.", "{} labels; areas: {}, images: {}; in {}.", count)
        words = words.format(
            in_digits(count), in_digits(result.areas), in_digits(len(result.images)), time_in_words(result.seconds)
        )
        bar = present(self._iface.messageBar())
        if not self._project_closed:  # the layers do not belong in the project open now
            try:
                labelled, mosaics = add_collection(QgsProject.instance(), result)
            except OrthomaskError as error:
                self._explain(error)
                return
            self.collected.emit(labelled.path, mosaics[-1] if mosaics else None)
        for warning in result.warnings:
            show_warning(bar, warning)
        self.run_bar.stop(words)
        button, folder = QPushButton(tr("Open folder")), str(Path(result.project_path).parent)
        button.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(folder)))
        show_success(bar, words, button)

    def _fail(self, error: OrthomaskError) -> None:
        self._end()
        if isinstance(error, Cancelled):
            self.run_bar.stop(tr("Cancelled. Press Collect to go on where it stopped."))
            return
        if error.code is ErrorCode.OUTPUT_EXISTS:  # a layer has changed since: what was begun is another collection
            unfinished.end()
        self._explain(error)

    def _explain(self, error: OrthomaskError) -> None:
        """Show an error where the user looks: in the window, or in the message bar if it is closed."""
        if error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)
        if self.isVisible():
            self.problem.explain(error)
        else:
            show_error(present(self._iface.messageBar()), error)

    def _end(self) -> None:
        self._task = None
        self._lock(False)
        self.run_bar.stop("")
        self.look()

    def _note_closed_project(self) -> None:
        self._project_closed = True


def _fingerprint(shapes: tuple[QgsGeometry, ...]) -> str:
    """What tells these areas from others."""
    digest = hashlib.sha256()
    for shape in shapes:
        digest.update(shape.asWkb().data())
    return digest.hexdigest()
