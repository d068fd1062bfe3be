"""The classes of labels, and the class that each of their values means.

One rule holds for attributes and rasters, in masks, chips, trainings and evaluations:

1. If there is a mapping, it alone counts.
2. In a label project and in a mask of Orthomask, numbers are class values.
3. Elsewhere, whole numbers from 0 to 255 are class values, and anything else is a name, regardless of case.
   But if any number cannot be a class value (300, -1, 1.5, 007), all numbers are codes, that is, names, and the classes
   are numbered in order of the codes. So 3, 300 and 1000 are three classes.
4. If the classes are given, by a model or a request, their names decide: if a class is named with a number other than
   its own value, numbers are codes, and a number that names no class is an error.
5. 0 and `background` are background. `false` is background and `true` the class, if there is nothing else.
   In rasters, black is background, too, and 0 and 255 alone are false and true.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

import pyogrio.raw

from ...engine.shapes.vector_files import (
    CLASS_TABLE,
    choose_layer,
    is_vector,
    layers_of,
    plain,
    raster_path,
    read_column,
)
from ...protocol import BACKGROUND, UNKNOWN, ClassInfo, ErrorCode, Labels, OrthomaskError, Outline
from ...protocol.words import tr
from . import label_rasters
from .label_rasters import RasterValues
from .mask_values import BLACK, is_color

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
"""Colours distinguishable with any kind of colour vision (Okabe and Ito 2008)."""
SHOWN = 10
"""Most values or classes a message names."""
PROJECT_FIELD = "class"
"""The attribute of a label project with class values."""
BACKGROUND_NAME = "background"
TRUTHS = {"true", "false"}


def color(value: int) -> str:
    """The default colour of a class."""
    return PALETTE[(value - 1) % len(PALETTE)]


def resolve_classes(labels: Sequence[Labels], classes: Sequence[ClassInfo] = ()) -> tuple[ClassInfo, ...]:
    """The classes of labels, independent of any image.

    Those given; else the table of the first label project among the labels; else those that the mappings name; else
    the values of the attributes and rasters, by the rule of this module.

    Raises:
        OrthomaskError: labels cannot be read, or define no classes, or too many.
    """
    if classes:
        return tuple(classes)
    for source in labels:
        if is_project(source.path):
            return project_classes(source.path)
    found: dict[int, str] = {}
    columns: list[set[str]] = []
    for source in labels:
        if not source.subtract:
            _collect(source, found, columns)
    names = set().union(*(texts for texts in columns if not _are_values(texts)))
    if any(map(_is_number, names)):
        names = names.union(*columns)
    else:
        values = (int(text) for texts in columns if _are_values(texts) for text in texts)
        found |= {value: f"class {value}" for value in values if value not in found and BACKGROUND < value < UNKNOWN}
    taken = {name.casefold() for name in found.values()} | {str(BACKGROUND), BACKGROUND_NAME}
    for name in in_order(names):
        if name.casefold() not in taken:
            found[max(found, default=0) + 1] = name
            taken.add(name.casefold())
    if not found or max(found) >= UNKNOWN:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The labels define no classes.")
            if not found
            else tr("The labels define {} classes; at most 254 are possible.").format(len(found)),
            tr("Specify which value means which class."),
        )
    colors = {entry.value: entry.source for source in labels for entry in source.mapping if is_color(entry.source)}
    return tuple(ClassInfo(value, found[value], colors.get(value, color(value))) for value in sorted(found))


def in_order(texts: Iterable[str]) -> list[str]:
    """Texts sorted; by value if all are numbers."""
    listed = sorted(texts)
    return sorted(listed, key=float) if all(map(_is_number, listed)) else listed


def is_project(path: str) -> bool:
    """Whether a file is a label project."""
    there = path.lower().endswith(".gpkg") and os.path.exists(path)
    return there and is_vector(path) and CLASS_TABLE in layers_of(path)


def project_classes(path: str) -> tuple[ClassInfo, ...]:
    """The classes of a label project."""
    meta, _, _, data = pyogrio.raw.read(path, layer=CLASS_TABLE)
    columns = dict(zip(meta["fields"], data))
    rows = zip(columns["value"], columns["name"], columns["color"], columns["outline"])
    return tuple(ClassInfo(int(value), str(name), str(tint), Outline(outline)) for value, name, tint, outline in rows)


def named_otherwise(labels: Sequence[Labels], classes: Sequence[ClassInfo]) -> list[str]:
    """A warning for each class whose name in a label project differs from `classes`, which prevail."""
    names = {info.value: info.name for info in classes}
    projects = {
        source.path for source in labels if not source.mapping and class_field(source) and is_project(source.path)
    }
    return [
        tr("Class {} is “{}” in the labels and “{}” in the model.").format(info.value, info.name, names[info.value])
        for path in sorted(projects)
        for info in project_classes(path)
        if names.get(info.value, info.name).casefold() != info.name.casefold()
    ]


def names_classes(labels: Labels) -> bool:
    """Whether labels name their classes, by names, codes or colours; else they hold class values."""
    if labels.mapping or class_field(labels) or is_project(labels.path):
        return True
    if labels.subtract or is_vector(labels.path, labels.layer):
        return False
    raster = raster_values(labels)
    texts = set(raster.texts.values())
    return not raster.classes and not _is_truth(texts) and not _are_values(texts)


def class_field(labels: Labels) -> str:
    """The attribute with the class; empty if the class is constant."""
    usual = PROJECT_FIELD if labels.layer in {"", "labels"} and is_project(labels.path) else ""
    return labels.class_field or usual


def class_values(
    labels: Labels, texts: Iterable[str], classes: Sequence[ClassInfo], *, numbered: bool = False
) -> dict[str, int]:
    """The class of each value of an attribute or raster, by the rule of this module.

    Args:
        numbered: numbers are certainly class values, as in a mask of Orthomask.

    Raises:
        OrthomaskError: a value means no class.
    """
    wanted = set(texts)
    known = _mapped(labels) if labels.mapping else _meant(labels, wanted, classes, numbered)
    strange = in_order(wanted - set(known))
    if strange:
        told = ", ".join(f"“{text}”" if text else tr("an empty value") for text in strange[:SHOWN])
        more = tr(" and {} others").format(len(strange) - SHOWN) if len(strange) > SHOWN else ""
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("No class is assigned to {}{} in “{}”.").format(told, more, os.path.basename(labels.path)),
            tr("Map every value to a class, to 0 for background or to 255 for unknown."),
        )
    require_known({known[text] for text in wanted}, classes)
    return {text: known[text] for text in wanted}


def _mapped(labels: Labels) -> dict[str, int]:
    """The class of each mapped value."""
    known = {BLACK: BACKGROUND} | {plain(entry.source): entry.value for entry in labels.mapping}
    lower = ((plain(entry.source).lower(), entry.value) for entry in labels.mapping)
    return known | {text: value for text, value in lower if is_color(text) or text in TRUTHS}


def _meant(labels: Labels, texts: Iterable[str], classes: Sequence[ClassInfo], numbered: bool) -> dict[str, int]:
    """The class of each text without a mapping; texts without one are omitted."""
    by_name = {info.color.lower(): info.value for info in classes}
    by_name |= {BLACK: BACKGROUND, BACKGROUND_NAME: BACKGROUND, str(BACKGROUND): BACKGROUND}
    by_name |= {info.name.casefold(): info.value for info in classes}
    if _is_truth(texts):
        by_name = {"true": labels.class_value, "false": BACKGROUND} | by_name
    by_number = {str(value): value for value in (BACKGROUND, UNKNOWN, *(info.value for info in classes))}
    if numbered:
        by_name |= by_number
    elif not any(_is_number(info.name) and info.name != str(info.value) for info in classes):
        by_name = by_number | by_name
    return {text: by_name[text.casefold()] for text in texts if text.casefold() in by_name}


def require_known(values: Iterable[int], classes: Sequence[ClassInfo]) -> None:
    """Raise if a class value is not among the classes."""
    strange = sorted(set(values) - {info.value for info in classes} - {BACKGROUND, UNKNOWN})
    if strange:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("There is no class {}.").format(", ".join(map(str, strange))),
            tr("Use the classes {}, or add one.").format(", ".join(f"{info.value} ({info.name})" for info in classes)),
        )


def raster_values(labels: Labels) -> RasterValues:
    """The values in a raster of labels."""
    return label_rasters.scan(raster_path(labels.path, labels.layer), labels.mapping)


def _collect(labels: Labels, found: dict[int, str], columns: list[set[str]]) -> None:
    """Add the classes of one source: to `found` if their numbers are settled, else as values to `columns`."""
    vector = is_vector(labels.path, labels.layer)
    layer = choose_layer(labels.path, labels.layer, "labels") if vector else ""
    if vector and not class_field(labels):
        found.setdefault(labels.class_value, layer)
        return
    if labels.mapping:
        for entry in labels.mapping:
            if BACKGROUND < entry.value < UNKNOWN:
                names = [name for name in (found.get(entry.value), entry.source) if name]
                found[entry.value] = " / ".join(dict.fromkeys(names))
        return
    raster = None if vector else raster_values(labels)
    if raster and raster.classes:
        found |= {info.value: info.name for info in raster.classes if info.value not in found}
        return
    read = raster.texts.values() if raster else read_column(labels.path, layer, class_field(labels)).tolist()
    texts = set(read) - {"", BLACK}
    if _is_truth(texts):
        found.setdefault(labels.class_value, class_field(labels) or f"class {labels.class_value}")
    else:
        columns.append(texts)


def _is_truth(texts: Iterable[str]) -> bool:
    """Whether all texts are `true` or `false`."""
    found = {text.casefold() for text in texts if text}
    return bool(found) and found <= TRUTHS


def _are_values(texts: Iterable[str]) -> bool:
    """Whether all texts are whole numbers from 0 to 255, each written as such."""
    return all(
        text.isascii() and text.isdecimal() and str(int(text)) == text and int(text) <= UNKNOWN for text in texts
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text, re.ASCII) is not None
