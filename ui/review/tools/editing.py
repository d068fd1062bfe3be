"""Tools that change objects which are there: remove, split, merge, square up."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject

from ....protocol import Cancelled, OrthomaskError, SquareRequest, SquareResult
from ...client.tasks import Client
from ...layers.sources import crs_name
from ...toolkit.words import tr, tr_n
from ..context import Context
from . import edits
from .asking import Asking
from .edits import Refused
from .map_tools import LineTool
from .work import Picking, Work, gsd_m, pixel_units


class Removing(Picking):
    """Removes what is clicked."""

    @property
    def advice(self) -> str:
        """What to do."""
        return tr("Click an object to remove it. Esc ends.")

    def picked(self, feature: QgsFeature) -> None:
        """Remove it."""
        self.say("")
        self.change(tr("Remove object"), lambda layer: edits.remove(layer, feature))


class Splitting(Work):
    """Cuts what a line crosses."""

    def __init__(self, canvas: QgsMapCanvas, parent: Optional[QObject] = None) -> None:
        self.line = LineTool(canvas)
        super().__init__(canvas, self.line, parent)
        self.line.drawn.connect(self._cut)

    @property
    def advice(self) -> str:
        """What to do."""
        return tr("Draw a line across an object: press, drag, release, or click both ends. Esc ends.")

    def _cut(self, line: QgsGeometry) -> None:
        def cut(layer: QgsVectorLayer) -> None:
            count = edits.split(layer, self.on_layer(line))
            self.say(tr_n("{} object was split.", "{} objects were split.", count).format(count))

        self.change(tr("Split object"), cut)


class Merging(Picking):
    """Joins two objects that are clicked one after the other."""

    def __init__(self, canvas: QgsMapCanvas, parent: Optional[QObject] = None) -> None:
        super().__init__(canvas, parent)
        self._first: Optional[QgsFeature] = None
        self.pointer.deactivated.connect(self._forget)

    @property
    def advice(self) -> str:
        """What to do."""
        return tr("Click two objects that touch or overlap to merge them. Esc ends.")

    def follow(self, context: Context) -> None:
        """Forget the first object of another layer."""
        if context.target is not self.layer:
            self._forget()
        super().follow(context)

    def show_features(self, features: list[QgsFeature]) -> None:
        """Show the first object, too, once it was clicked."""
        super().show_features([*features, *([self._first] if self._first is not None else [])])

    def picked(self, feature: QgsFeature) -> None:
        """Note the first object; join the second to it."""
        if self._first is None:
            self._first = feature
            self.say(tr("Click the object to merge it with."))
            return
        first, self._first = self._first, None

        def join(layer: QgsVectorLayer) -> None:
            if not edits.still_there(layer, first):
                raise Refused(tr("The first object is gone. Click two objects."))
            edits.merge(
                layer, first, feature, pixel_units(self._context, layer, first.geometry().boundingBox().center())
            )

        self.say("")
        self.change(tr("Merge objects"), join)

    def _forget(self) -> None:
        self._first = None


class Squaring(Picking):
    """Gives what is clicked right angles.

    Args:
        client: the engine, which knows how.
    """

    def __init__(self, canvas: QgsMapCanvas, client: Client, parent: Optional[QObject] = None) -> None:
        super().__init__(canvas, parent)
        self._asking = Asking(client, self)
        self._asking.answered.connect(self._take)
        self._asking.failed.connect(self._explain)
        self._asking.waiting.connect(lambda: self.say(tr("The engine is busy: it squares up when it is free.")))
        self._feature: Optional[QgsFeature] = None

    @property
    def advice(self) -> str:
        """What to do."""
        return tr("Click an object to give it right angles. Esc ends.")

    def release(self) -> None:
        """End for good."""
        self._asking.release()
        super().release()

    def picked(self, feature: QgsFeature) -> None:
        """Ask the engine."""
        layer = self.layer
        if layer is not None:
            self._feature = feature
            question = SquareRequest(feature.geometry().asWkt(), crs_name(layer.crs()), gsd_m(self._context))
            self._asking.ask(question)

    def _take(self, _: SquareRequest, result: SquareResult) -> None:
        feature = self._feature
        if feature is None or not result.is_squared:
            self.say(tr("Right angles do not fit this object: it stays as it is."))
            return

        def square(layer: QgsVectorLayer) -> None:
            if not edits.still_there(layer, feature):
                raise Refused(tr("The object has changed meanwhile. Click it again."))
            edits.replace(layer, feature, QgsGeometry.fromWkt(result.wkt))

        self.say("")
        self.change(tr("Square up"), square)

    def _explain(self, _: SquareRequest, error: OrthomaskError) -> None:
        if not isinstance(error, Cancelled):
            self.failed.emit(error)
