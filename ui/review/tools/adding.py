"""Adding a missed object by a click: its outline is shown while the pointer rests, and saved as it is shown."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsExpression, QgsGeometry, QgsPointXY, QgsRectangle, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject, QTimer

from ....protocol import SIZES, Cancelled, GrowRequest, GrowResult, OrthomaskError
from ...client.tasks import Client
from ...label.project import CLASS_FIELD, LabelProject
from ...layers.map_tools import PointTool
from ...layers.objects import near
from ...layers.sources import crs_name
from ...runs.results import Run
from ...toolkit.present import present
from ...toolkit.words import area_in_words, mark, tr
from ..context import Context
from . import edits
from .asking import Asking
from .edits import Refused
from .work import Work, pixel_units

REST_MS = 60
"""How long the pointer rests before anything is asked."""
NOTCHES_TO_DOUBLE = 3.0
NEAR_PX = 200
"""How far around a click other objects are left out, in pixels of the model."""
ADVICE = mark("Rest on a missed object, then click. The wheel resizes it, Ctrl+wheel zooms, Esc ends.")


class Adding(Work):
    """Grows objects of a run under the pointer.

    Args:
        client: the engine.
    """

    def __init__(self, canvas: QgsMapCanvas, client: Client, parent: Optional[QObject] = None) -> None:
        self.pointer = PointTool(canvas, takes_wheel=True)
        super().__init__(canvas, self.pointer, parent)
        self._asking = Asking(client, self)
        self._asking.answered.connect(self._show)
        self._asking.failed.connect(self._explain)
        self._asking.waiting.connect(self._say_waiting)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._grow)
        self._place: Optional[QgsPointXY] = None
        self._size = 1.0
        self._shown: Optional[tuple[QgsGeometry, GrowResult]] = None
        self._is_clicked = False
        self.pointer.hovered.connect(self._hover)
        self.pointer.clicked.connect(self._click)
        self.pointer.turned.connect(self._resize)
        self.pointer.deactivated.connect(self._forget)

    @property
    def advice(self) -> str:
        """What to do."""
        return tr(ADVICE)

    def release(self) -> None:
        """End for good."""
        self._asking.release()
        super().release()

    def _forget(self) -> None:
        """Drop what is shown and asked."""
        self._rest.stop()
        self._asking.ask(None)
        self._shown, self._place, self._size, self._is_clicked = None, None, 1.0, False

    def _hover(self, place: QgsPointXY) -> None:
        """Ask for the object under the pointer, and show the last one as long as the pointer is on it."""
        if self._is_clicked:
            return
        self._place = place
        if self._shown is not None and not self._is_on_shown(place):
            self._shown = None
            self.pointer.show_shape(None)
        self._asking.ask(None)
        self._rest.start()

    def _click(self, place: QgsPointXY) -> None:
        """Save what is shown, or what comes once the engine has answered."""
        self._place = place
        self._rest.stop()
        if self._shown is not None and self._is_on_shown(place):
            self._asking.ask(None)
            self._save(*self._shown)
            return
        self._is_clicked = True
        self._grow()

    def _resize(self, notches: float) -> None:
        low, high = SIZES
        self._size = min(max(self._size * 2 ** (notches / NOTCHES_TO_DOUBLE), low), high)
        if self._place is not None and not self._is_clicked:
            self._rest.start()

    def _is_on_shown(self, place: QgsPointXY) -> bool:
        return bool(present(self._shown)[0].contains(place))

    def _grow(self) -> None:
        """Ask for the object under the pointer."""
        layer, run, place = self.layer, self._context.run, self._place
        if layer is None or run is None or place is None:
            return
        if self.object_at(place) is not None:
            self._refuse(tr("There is an object here already."))
            return
        try:
            there = self.on_layer(QgsGeometry.fromPointXY(place)).asPoint()
        except Refused as refused:
            self._refuse(str(refused))
            return
        request = GrowRequest(
            str(run.folder), there.x(), there.y(), crs_name(layer.crs()), self._size,
            _chosen_class(layer, run, self._context.project), _others(layer, there, self._context),
        )  # fmt: skip
        self._asking.ask(request)

    def _refuse(self, words: str) -> None:
        """Say why nothing is shown here."""
        self._asking.ask(None)
        self._shown, self._is_clicked = None, False
        self.say(words)

    def _show(self, _: GrowRequest, result: GrowResult) -> None:
        try:
            shape = self.on_map(QgsGeometry.fromWkt(result.wkt))
        except Refused as refused:
            self._refuse(str(refused))
            return
        if self._is_clicked:
            self._save(shape, result)
            return
        self._shown = shape, result
        self.pointer.show_shape(shape)
        words = tr("{}, {}. Click to add it.").format(result.class_name, area_in_words(result.area_m2))
        if not result.has_image:
            words += " " + tr("The run's image is gone: the outline follows the probabilities alone.")
        self.said.emit(words)

    def _explain(self, _: GrowRequest, error: OrthomaskError) -> None:
        """Say what is wrong beside the pointer; more than that only after a click."""
        clicked = self._is_clicked
        self._refuse(error.sentence)
        if clicked and not isinstance(error, Cancelled):
            self.failed.emit(error)

    def _say_waiting(self) -> None:
        self.say(tr("The engine is busy: the outline appears when it is free."))

    def _save(self, shape: QgsGeometry, result: GrowResult) -> None:
        self._is_clicked, self._shown, self._size = False, None, 1.0
        self.pointer.show_shape(None)
        run, project = self._context.run, self._context.project

        def add(layer: QgsVectorLayer) -> None:
            of_origin = edits.origin(run.record["run_id"]) if run is not None else {}
            edits.add(layer, QgsGeometry.fromWkt(result.wkt), {**of_origin, **_class_value(layer, result, project)})

        self.said.emit(self.advice)
        self.change(tr("Add object"), add)


def _others(layer: QgsVectorLayer, place: QgsPointXY, context: Context) -> str:
    """The layer's polygons near a place, as WKT."""
    reach = NEAR_PX * pixel_units(context, layer, place)
    box = QgsRectangle(place.x() - reach, place.y() - reach, place.x() + reach, place.y() + reach)
    found = [each.geometry() for each in near(layer, box)]
    return QgsGeometry.collectGeometry(found).asWkt() if found else ""


def _chosen_class(layer: QgsVectorLayer, run: Run, project: Optional[LabelProject]) -> int:
    """The run's class that the layer gives new objects by default; 0 if it has none."""
    index = layer.fields().lookupField(CLASS_FIELD)
    default = QgsExpression(layer.defaultValueDefinition(index).expression()).evaluate() if index >= 0 else None
    if project is not None and layer is project.labels:
        default = next((info.name for info in project.classes if info.value == default), None)
    return next((info.value for info in run.classes if info.name == default), 0)


def _class_value(layer: QgsVectorLayer, result: GrowResult, project: Optional[LabelProject]) -> dict[str, Any]:
    """The attribute `class` of a new object, as the layer writes it; none if it knows no such class."""
    index = layer.fields().lookupField(CLASS_FIELD)
    if index < 0:
        return {}
    if not layer.fields().at(index).isNumeric():
        return {CLASS_FIELD: result.class_name}
    classes = project.classes if project is not None and layer is project.labels else ()
    value = next((info.value for info in classes if info.name == result.class_name), None)
    return {} if value is None else {CLASS_FIELD: value}
