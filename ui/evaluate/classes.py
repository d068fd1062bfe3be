"""Which of a model's classes each value of labels is: found by name, completed by the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qgis.core import QgsMapLayer, QgsVectorLayer

from ...protocol import ClassInfo, ClassValue, ErrorCode, OrthomaskError
from ...protocol.matching import finds_any, fitted
from ..label.class_table import MOST_VALUES, values_of
from ..label.sources import LabelSource
from ..layers.vector_snapshot import text_of
from ..toolkit.words import tr


def fitting(
    labels: QgsMapLayer, field: str, own: Sequence[ClassInfo], classes: Sequence[ClassInfo]
) -> tuple[ClassValue, ...]:
    """The class of each value that occurs in an attribute; background for those that the model lacks.

    Args:
        own: the classes of the label project, whose values are their numbers; empty for other layers.

    Raises:
        OrthomaskError: there are too many values.
    """
    names = {str(info.value): info.name for info in own}
    listed = [(value.source, names.get(value.source, value.name)) for value in values_of(labels, field)]
    if isinstance(labels, QgsVectorLayer):
        found = labels.uniqueValues(labels.fields().lookupField(field), 2 * MOST_VALUES)
        texts = {text_of(value) for value in found}
        listed = [(source, name) for source, name in listed if source in texts]
    return fitted(listed, classes)


def fit(source: LabelSource, own: Sequence[ClassInfo], classes: Sequence[ClassInfo]) -> LabelSource:
    """The labels with the class of each value for a model; unchanged if they are all of one class.

    Raises:
        OrthomaskError: no value is a class of the model, or there are too many.
    """
    if not (source.class_field and classes):
        return source
    mapping = fitting(source.layer, source.class_field, own, classes)
    if mapping and not finds_any(mapping):
        raise nothing_fits(source.class_field, classes)
    return replace(source, mapping=mapping)


def nothing_fits(field: str, classes: Sequence[ClassInfo]) -> OrthomaskError:
    """The error that says so."""
    names = ", ".join(f"“{info.name}”" for info in classes)
    sentence = tr("No value of “{}” is a class of the model: {}.").format(field, names)
    return OrthomaskError(ErrorCode.LABELS_CLASSES, sentence, tr("Choose the class of each value under Classes."))
