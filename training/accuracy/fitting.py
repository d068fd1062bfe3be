"""Labels of other classes than the model's: which count, which are background, and how that is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...engine.shapes.vector_files import choose_layer, is_vector, read_column
from ...protocol import UNKNOWN, ClassInfo, ClassValue, ErrorCode, LabelledData, Labels, OrthomaskError
from ...protocol.matching import finds_any, fitted, lacking
from ...protocol.words import tr
from ..truth.classes import PROJECT_FIELD, SHOWN, class_field, in_order, is_project, project_classes, raster_values
from ..truth.mask_values import is_color


def fit_data(data: LabelledData, classes: Sequence[ClassInfo]) -> LabelledData:
    """The data, with what each value of its labels means to the model where that is not given."""
    projects = tuple(
        replace(image, labels=tuple(_fit(labels, classes) for labels in image.labels)) for image in data.projects
    )
    return replace(data, projects=projects)


def notes(mapping: Iterable[ClassValue], classes: Sequence[ClassInfo]) -> Iterator[str]:
    """What has to be said about a mapping: classes that count as background, as another, or not at all."""
    entries = tuple(mapping)
    names = lacking(entries)
    if names:
        told = ", ".join(f"“{name}”" for name in names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        yield tr("The model has no class for {}: counted as background.").format(told)
    known = {info.value: info.name for info in classes}
    for entry in entries:
        name = known.get(entry.value, entry.called)
        if entry.called and entry.called.casefold() != name.casefold():
            yield tr("Class {} is “{}” in the labels and “{}” in the model.").format(entry.value, entry.called, name)
    if any(not entry.source for entry in entries):
        yield tr("Labels without a class are not counted, nor is the ground under them.")


def fit_chips(own: Sequence[ClassInfo], classes: Sequence[ClassInfo]) -> tuple[ClassValue, ...]:
    """The model's class for each class of exported chips.

    Raises:
        OrthomaskError: none is a class of the model.
    """
    mapping = fitted([(str(info.value), info.name) for info in own], classes)
    if not finds_any(mapping):
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The model finds no class of the labels: {}.").format(
                ", ".join(f"“{info.name}”" for info in own[:SHOWN])
            ),
            tr("Choose a model of these classes, or other labels."),
        )
    return mapping


def translated(mask: np.ndarray, mapping: Iterable[ClassValue]) -> np.ndarray:
    """A mask `(H, W)` uint8 of the labels' class values as one of the model's."""
    table = np.arange(UNKNOWN + 1, dtype=np.uint8)
    for entry in mapping:
        table[int(entry.source)] = entry.value
    return np.asarray(table[mask])


def _fit(labels: Labels, classes: Sequence[ClassInfo]) -> Labels:
    """Labels with a mapping; unchanged if they need none, or if no value is a class of the model: refused later."""
    if labels.mapping or labels.subtract:
        return labels
    mapping = fitted(_values(labels), classes)
    strange = lacking(mapping) or any(entry.called or not entry.source for entry in mapping)
    return replace(labels, mapping=mapping) if strange and finds_any(mapping) else labels


def _values(labels: Labels) -> list[tuple[str, str]]:
    """The values of an attribute or raster, with their names; empty if everything is of one class, or of colours."""
    field = class_field(labels)
    if not is_vector(labels.path, labels.layer):
        found = raster_values(labels)
        names = {str(info.value): info.name for info in found.classes}
        texts = set(found.texts.values())
        if any(map(is_color, texts)):
            return []
    elif not field:
        return []
    else:
        own = project_classes(labels.path) if field == PROJECT_FIELD and is_project(labels.path) else ()
        names = {str(info.value): info.name for info in own}
        texts = set(read_column(labels.path, choose_layer(labels.path, labels.layer, "labels"), field))
    return [(text, names.get(text, text)) for text in in_order(texts)]
