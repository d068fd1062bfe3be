"""The polygons of a run at another threshold: those in view first, then all of them, and the layer that shows them."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Optional

from qgis.core import QgsApplication, QgsCoordinateTransform, QgsCsException, QgsProject, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ....protocol import Cancelled, ErrorCode, Existing, OrthomaskError, PolygonizeRequest, PolygonizeResult, Region
from ...client.engine_client import EngineClient
from ...client.tasks import EngineTask
from ...label.project import file_of
from ...layers.sources import extent_region
from ...runs import generations, results
from ...runs.deletion import refuse_unsaved
from ...runs.generations import Made
from ...runs.results import Run
from ...toolkit.words import tr

ELSEWHERE = {ErrorCode.REGION_OUTSIDE, ErrorCode.REGION_EMPTY, ErrorCode.REGION_CRS}
"""Why there may be nothing to make in view."""
MOST = 0.5
"""If this part of the layer is in view or more, all of it is made at once."""


class Remaking(QObject):
    """Makes the polygons of a run again, keeping what a person changed; the files that layers show stay as they are.

    Once all are made, the layer shows their new GeoPackage. Main thread only.

    Args:
        canvas: whose view comes first.
        client: an engine that nothing else keeps busy.
        layer: the polygons of the run in the project.
    """

    seen = pyqtSignal(object)
    """The polygons in view, as a `QgsVectorLayer` that is not in the project."""
    made = pyqtSignal(int)
    """The layer shows all polygons; their number."""
    reported = pyqtSignal(float)
    """The fraction of all polygons that is made (0 to 1)."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` because of which everything is as before."""

    def __init__(
        self,
        canvas: QgsMapCanvas,
        client: EngineClient,
        run: Run,
        layer: QgsVectorLayer,
        parent: Optional[QObject] = None,
    ) -> None:
        super().__init__(parent)
        self._canvas, self._client, self._run, self._layer = canvas, client, run, layer
        self._task: Optional[EngineTask] = None
        self._views = Path(tempfile.mkdtemp(prefix="orthomask-view-"))
        self._number = 0
        self._edited = False
        self._passing: set[Path] = set()  # made here, and in no saved project: they can be made again
        layer.afterCommitChanges.connect(self._note_edits)
        QgsProject.instance().projectSaved.connect(self._passing.clear)

    def release(self) -> None:
        """Stop what runs."""
        self.stop()
        QgsProject.instance().projectSaved.disconnect(self._passing.clear)
        with suppress(RuntimeError, TypeError):  # QGIS has deleted the layer
            self._layer.afterCommitChanges.disconnect(self._note_edits)
        shutil.rmtree(self._views, ignore_errors=True)

    @property
    def path(self) -> Path:
        """The GeoPackage that the layer shows."""
        return Path(file_of(self._layer))

    @property
    def present(self) -> Made:
        """How its polygons were made."""
        return generations.made(self.path, self._run.record)

    def warm_up(self) -> None:
        """Start the engine, and let it load what it needs."""
        region = self._view()
        if region is not None:
            self._ask(self._request(self.present, self._views / "first.gpkg", region))

    def start(self, wanted: Made) -> None:
        """Make the polygons in this way.

        Raises:
            OrthomaskError: the layer has unsaved edits.
        """
        self.stop()
        refuse_unsaved([self._layer])
        region = self._view()
        if region is None or self._shows_most():
            self._make_all(wanted)
            return
        self._number += 1
        task = self._ask(self._request(wanted, self._views / f"view-{self._number}.gpkg", region))
        task.answered.connect(lambda answer: self._show_view(answer, wanted))
        task.failed.connect(lambda error: self._make_all(wanted) if error.code in ELSEWHERE else self._fail(error))

    def stop(self) -> None:
        """Stop what is being made."""
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _request(self, wanted: Made, path: Path, region: Optional[Region] = None) -> PolygonizeRequest:
        probabilities, existing = (
            self._run.folder / results.PROBABILITIES,
            Existing.OVERWRITE if region else Existing.REFUSE,
        )
        options = (wanted.threshold, existing, wanted.options, region, str(self.path))
        return PolygonizeRequest(str(probabilities), str(path), *options)

    def _ask(self, request: PolygonizeRequest) -> EngineTask:
        task = EngineTask(tr("Orthomask: polygons at another threshold"), self._client, request)
        for ended in (task.answered, task.failed):
            ended.connect(self._forget_task)
        self._task = task
        QgsApplication.taskManager().addTask(task)
        return task

    def _forget_task(self) -> None:
        self._task = None  # QGIS deletes it; an abandoned one never gets here

    def _show_view(self, answer: PolygonizeResult, wanted: Made) -> None:
        polygons = QgsVectorLayer(results.polygons_uri(Path(answer.polygons_path)), "", "ogr")
        polygons.setRenderer(self._layer.renderer().clone())
        self.seen.emit(polygons)
        self._make_all(wanted)

    def _make_all(self, wanted: Made) -> None:
        self._edited = False
        task = self._ask(self._request(wanted, generations.next_path(self._run.folder)))
        task.reported.connect(lambda fraction, _: self.reported.emit(fraction))
        task.answered.connect(lambda answer: self._take(answer, wanted))
        task.failed.connect(self._fail)

    def _take(self, answer: PolygonizeResult, wanted: Made) -> None:
        """Let the layer show the new polygons, unless it was edited meanwhile."""
        path = Path(answer.polygons_path)
        try:
            refuse_unsaved([self._layer])
            if self._edited:
                path.unlink()
                self.start(wanted)
                return
        except OrthomaskError as error:
            path.unlink(missing_ok=True)
            self._fail(error)
            return
        before = self.path
        self._point_to(path, wanted.threshold)
        if before in self._passing:
            with suppress(OSError):  # another program shows it
                before.unlink()
        self._passing.add(path)
        self.made.emit(answer.polygon_count)

    def _point_to(self, path: Path, threshold: float) -> None:
        """Show a GeoPackage in the layer, whose style and filter stay; its name tells the threshold, if it did."""
        layer, before, after = self._layer, self._run.at(self.present.threshold), self._run.at(threshold)
        editing, wanted = layer.isEditable(), layer.subsetString()
        if editing:
            layer.rollBack()  # there is nothing to lose
        own_name = layer.name() == results.layer_name(tr("Polygons"), before)
        name = results.layer_name(tr("Polygons"), after) if own_name else layer.name()
        layer.setDataSource(results.polygons_uri(path), name, "ogr")
        if wanted:
            layer.setSubsetString(wanted)
        layer.setCustomProperty(results.RUN, str(self._run.folder))
        results.describe_polygons(layer, after)
        if editing:
            layer.startEditing()
        layer.triggerRepaint()

    def _view(self) -> Optional[Region]:
        """What the canvas shows; None if nothing can be made for it alone."""
        settings = self._canvas.mapSettings()
        try:
            return extent_region(settings.visibleExtent(), settings.destinationCrs()).request()
        except OrthomaskError:
            return None

    def _shows_most(self) -> bool:
        settings, whole = self._canvas.mapSettings(), self._layer.extent()
        transform = QgsCoordinateTransform(settings.destinationCrs(), self._layer.crs(), QgsProject.instance())
        try:
            shown = transform.transformBoundingBox(settings.visibleExtent()).intersect(whole)
        except QgsCsException:
            return False
        return bool(shown.area() >= MOST * whole.area())

    def _note_edits(self) -> None:
        self._edited = True

    def _fail(self, error: OrthomaskError) -> None:
        if not isinstance(error, Cancelled):
            self.failed.emit(error)
