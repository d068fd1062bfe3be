"""Attributes of labels and areas that older label projects lack, and defaults that note who drew a label and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qgis.core import QgsDefaultValue, QgsFeature, QgsFeatureRequest, QgsVectorLayer

from ...protocol import (
    AREA_CHECKED,
    AREA_RANK,
    AREA_REASON,
    AREA_SECONDS,
    AREA_STATE,
    LABEL_CHANGED,
    LABEL_ORIGIN,
    LABEL_RUN,
    ErrorCode,
    Origin,
    OrthomaskError,
)
from ..layers.vector_snapshot import text_of
from ..toolkit.words import tr

LABEL_ATTRIBUTES = {LABEL_ORIGIN: "string", LABEL_RUN: "string", LABEL_CHANGED: "string"}
AREA_ATTRIBUTES = {AREA_STATE: "string", AREA_REASON: "string", AREA_RANK: "integer", AREA_SECONDS: "double"}
UTC_NOW = (
    "with_variable('s', floor(epoch(now()) / 1000), "
    "format_date(make_date(1970, 1, 1) + make_interval(days:=floor(@s / 86400), hours:=12), 'yyyy-MM-dd') || 'T' || "
    "lpad(floor(@s % 86400 / 3600), 2, '0') || ':' || lpad(floor(@s % 3600 / 60), 2, '0') || ':' || "
    "lpad(@s % 60, 2, '0') || 'Z')"
)
"""Now, as ISO 8601 in UTC: QGIS's own functions know only local time; noon is on the same day in every zone."""


def is_unchecked(area: QgsFeature) -> bool:
    """Whether it is a suggested square that nobody has checked: it does not count then, whatever lies in it."""
    reason, state = (area.fieldNameIndex(name) for name in (AREA_REASON, AREA_STATE))
    if reason < 0 or not text_of(area.attribute(reason)):
        return False
    return state < 0 or text_of(area.attribute(state)) != AREA_CHECKED


def note_origins(labels: QgsVectorLayer) -> None:
    """Let new labels be `drawn`, and changes be dated; without the attributes, of an older version, nothing changes."""
    defaults = {
        LABEL_ORIGIN: QgsDefaultValue(f"'{Origin.DRAWN.value}'"),
        LABEL_CHANGED: QgsDefaultValue(UTC_NOW, True),
    }
    for name, default in defaults.items():
        index = labels.fields().lookupField(name)
        if index >= 0:
            labels.setDefaultValueDefinition(index, default)


def complete(layer: QgsVectorLayer, attributes: Mapping[str, str]) -> None:
    """Add the attributes that are missing to the layer's file.

    Raises:
        OrthomaskError: the layer has unsaved edits, whose attributes would change places, or cannot be written.
    """
    missing = {name: kind for name, kind in attributes.items() if layer.fields().lookupField(name) < 0}
    if not missing:
        return
    if layer.isModified():
        sentence = tr("The layer {} of an older version lacks attributes, and has unsaved edits.").format(layer.name())
        raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, tr("Save or discard them, then try again."))
    kinds = "&".join(f"field={name}:{kind}" for name, kind in missing.items())
    fields = QgsVectorLayer(f"NoGeometry?{kinds}", "", "memory").fields().toList()
    require_written(layer, layer.dataProvider().addAttributes(fields))
    layer.updateFields()
    note_origins(layer)


def write_values(layer: QgsVectorLayer, number: int, values: Mapping[str, object]) -> None:
    """Change attributes of a feature in the layer's file; unsaved edits of the layer stay as they are.

    Raises:
        OrthomaskError: it cannot be written.
    """
    changes = {layer.fields().lookupField(name): value for name, value in values.items()}
    require_written(layer, layer.dataProvider().changeAttributeValues({number: changes}))
    _tell(layer)


def require_free(layer: QgsVectorLayer) -> None:
    """Raise if the layer's file cannot be written now: what is written first is what is there.

    Each further feature that GDAL adds to a file that another program is writing waits five seconds in vain. In QGIS's
    mode of transaction groups, nothing is written before the user saves.
    """
    if layer.dataProvider().transaction() is not None:
        sentence = tr("The layers of the label project are being edited in a transaction group.")
        raise OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence, tr("Save or discard the edits, then try again."))
    index = len(layer.fields()) - 1
    everything = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry).setLimit(1)
    for feature in layer.dataProvider().getFeatures(everything):
        change = {feature.id(): {index: feature.attribute(index)}}
        require_written(layer, layer.dataProvider().changeAttributeValues(change))


def write_features(layer: QgsVectorLayer, features: Sequence[QgsFeature]) -> list[int]:
    """Add features to the layer's file, all or none; unsaved edits stay as they are. Returns their IDs.

    Raises:
        OrthomaskError: they cannot be written.
    """
    if not features:
        return []
    done, added = layer.dataProvider().addFeatures(list(features))
    require_written(layer, done)
    layer.updateExtents()
    _tell(layer)
    return [feature.id() for feature in added]


def delete_features(layer: QgsVectorLayer, numbers: Sequence[int]) -> None:
    """Delete features from the layer's file again, as far as that is possible."""
    if numbers:
        layer.dataProvider().deleteFeatures(list(numbers))
        _tell(layer)


def require_written(layer: QgsVectorLayer, done: bool) -> None:
    """Raise if a layer's file could not be written."""
    if done:
        return
    details = "\n".join(layer.dataProvider().errors())
    layer.dataProvider().clearErrors()
    raise OrthomaskError(
        ErrorCode.OUTPUT_UNWRITABLE,
        tr("The file of {} cannot be written.").format(layer.name()),
        tr("Close it in other programs, or copy the label project to a folder of your own and open it there."),
        details,
    )


def _tell(layer: QgsVectorLayer) -> None:
    layer.triggerRepaint()
    layer.dataChanged.emit()
