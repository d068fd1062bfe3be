"""Changes to a polygon layer, each one step of QGIS's undo: add, remove, split, merge, replace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeature,
    QgsGeometry,
    QgsPoint,
    QgsPointXY,
    QgsProject,
    QgsVectorLayer,
    QgsVectorLayerUtils,
    QgsWkbTypes,
)

from ....protocol import LABEL_CHANGED, LABEL_ORIGIN, LABEL_RUN, ErrorCode, Origin, OrthomaskError
from ...layers.editing import start_editing
from ...layers.objects import near
from ...toolkit.words import tr


class Refused(Exception):  # noqa: N818 (it is no error of the program)
    """Nothing was changed: one sentence says why."""


@contextmanager
def step(layer: QgsVectorLayer, name: str) -> Iterator[None]:
    """Edit a layer, in one step of its undo with this name; a step that is refused leaves nothing behind.

    Raises:
        OrthomaskError: the layer cannot be edited.
    """
    start(layer)
    layer.beginEditCommand(name)
    done = False
    try:
        yield
        done = True
    finally:
        (layer.endEditCommand if done else layer.destroyEditCommand)()
    layer.triggerRepaint()


def start(layer: QgsVectorLayer) -> None:
    """Start editing, unless it is edited already.

    Raises:
        OrthomaskError: the layer cannot be edited.
    """
    if start_editing(layer):
        return
    raise OrthomaskError(
        ErrorCode.OUTPUT_UNWRITABLE,
        tr("The layer {} cannot be edited.").format(layer.name()),
        tr("Export it to a GeoPackage of your own, and edit that."),
    )


def moved(
    geometry: QgsGeometry, source: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsGeometry:
    """A geometry from one CRS to another.

    Raises:
        Refused: it has no place there.
    """
    result = QgsGeometry(geometry)
    try:
        result.transform(QgsCoordinateTransform(source, target, QgsProject.instance()))
    except QgsCsException as error:
        raise Refused(tr("This place has no coordinates in the layer's CRS.")) from error
    return result


def still_there(layer: QgsVectorLayer, feature: QgsFeature) -> bool:
    """Whether a polygon is in the layer as it was."""
    return any(
        each.id() == feature.id() and each.geometry().equals(feature.geometry())
        for each in near(layer, feature.geometry().boundingBox())
    )


def add(layer: QgsVectorLayer, geometry: QgsGeometry, attributes: dict[str, Any]) -> QgsFeature:
    """Add a polygon with the layer's default values, except for some attributes that the layer may have.

    Raises:
        Refused: the layer does not take it.
    """
    fields = layer.fields()
    known = {fields.lookupField(name): value for name, value in attributes.items() if fields.lookupField(name) >= 0}
    context = layer.createExpressionContext()
    feature = QgsVectorLayerUtils.createFeature(layer, _fitting(layer, geometry), known, context)
    if not layer.addFeature(feature):
        raise Refused(tr("The layer does not take this object."))
    return feature


def origin(run_id: str) -> dict[str, str]:
    """What a label says of an object that was missed by a run, and added now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {LABEL_ORIGIN: Origin.ADDED.value, LABEL_RUN: run_id, LABEL_CHANGED: now}


def replace(layer: QgsVectorLayer, feature: QgsFeature, geometry: QgsGeometry) -> None:
    """Give a polygon another outline; what its attributes say of it is computed again, as QGIS does.

    Raises:
        Refused: the layer does not take it.
    """
    if not layer.changeGeometry(feature.id(), _fitting(layer, geometry)):
        raise Refused(tr("The layer does not take this object."))


def remove(layer: QgsVectorLayer, feature: QgsFeature) -> None:
    """Remove a polygon.

    Raises:
        Refused: the layer keeps it.
    """
    if not layer.deleteFeature(feature.id()):
        raise Refused(tr("The layer does not let go of this object."))


def split(layer: QgsVectorLayer, line: QgsGeometry) -> int:
    """Cut every object that a line crosses from side to side; the largest part keeps the identity, others are new.

    Returns:
        How many objects were cut.

    Raises:
        Refused: there is none.
    """
    count = 0
    for feature in near(layer, line.boundingBox()):
        parts = _parts(feature.geometry(), line)
        if len(parts) < 2:
            continue
        parts.sort(key=lambda part: -part.area())
        replace(layer, feature, parts[0])
        for part in parts[1:]:
            add(layer, part, _inherited(layer, feature))
        count += 1
    if not count:
        raise Refused(tr("The line crosses no object from side to side."))
    return count


def _parts(geometry: QgsGeometry, line: QgsGeometry) -> list[QgsGeometry]:
    """The pieces that a line cuts a polygon into."""
    if not geometry.intersects(line):
        return [geometry]
    whole = QgsGeometry(geometry)
    ends: list[QgsPoint | QgsPointXY] = [*line.asPolyline()]
    _, others, _ = whole.splitGeometry(ends, False)
    return [QgsGeometry(part) for piece in (whole, *others) for part in piece.asGeometryCollection()]


def _inherited(layer: QgsVectorLayer, feature: QgsFeature) -> dict[str, Any]:
    """The attributes that a part has from its whole: all but those that must be unique."""
    keys = {layer.fields().at(index).name() for index in layer.primaryKeyAttributes()} | {"id"}
    names = [field.name() for field in layer.fields().toList() if field.name() not in keys]
    return {name: feature[name] for name in names}


def merge(layer: QgsVectorLayer, first: QgsFeature, second: QgsFeature, gap: float) -> None:
    """Make two objects one, which keeps the identity and the attributes of the larger.

    Args:
        gap: the widest gap between them that is closed, in units of the layer.

    Raises:
        Refused: they are the same, or farther apart.
    """
    if first.id() == second.id():
        raise Refused(tr("Click a second object."))
    one, other = first.geometry(), second.geometry()
    if one.distance(other) > gap:
        raise Refused(tr("These objects do not touch: move them together first."))
    joined = one.combine(other)
    if len(joined.asGeometryCollection()) > 1:
        joined = _closed(joined, gap)
    if len(joined.asGeometryCollection()) > 1:
        raise Refused(tr("These objects do not touch: move them together first."))
    larger, smaller = (first, second) if one.area() >= other.area() else (second, first)
    replace(layer, larger, joined)
    remove(layer, smaller)


def _closed(geometry: QgsGeometry, gap: float) -> QgsGeometry:
    """A geometry with its narrow gaps filled: widened with square corners, and narrowed again."""
    ends, corners = Qgis.EndCapStyle.Flat, Qgis.JoinStyle.Miter
    wide = geometry.buffer(0.51 * gap, 1, ends, corners, 5.0)
    return wide.buffer(-0.51 * gap, 1, ends, corners, 5.0).combine(geometry)


def _fitting(layer: QgsVectorLayer, geometry: QgsGeometry) -> QgsGeometry:
    """A polygon as the layer's type wants it."""
    fitting = QgsGeometry(geometry)
    if QgsWkbTypes.isMultiType(layer.wkbType()):
        fitting.convertToMultiType()
    else:
        fitting.convertToSingleType()
    return fitting
