"""Which classes labels have, and which class a value in them means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import pyogrio.raw

from ..protocol import BACKGROUND, UNKNOWN, ClassInfo, ErrorCode, Labels, OrthomaskError, Outline
from ..protocol.words import tr
from . import label_rasters
from .vectors import CLASS_TABLE, choose_layer, is_vector, layers_of, plain, read_column

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
"""Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008)."""
SHOWN = 10
"""Values or classes that a message names."""


def color(value: int) -> str:
    """The default colour of a class."""
    return PALETTE[(value - 1) % len(PALETTE)]


def resolve_classes(labels: Sequence[Labels], classes: Sequence[ClassInfo] = ()) -> tuple[ClassInfo, ...]:
    """The classes that labels have, whatever image they lie on.

    Those given; else the table of the first label project among the labels; else those that the mappings name; else
    the values of the attributes and rasters: whole numbers are class values, anything else names, numbered in order.

    Raises:
        OrthomaskError: labels cannot be read, or say nothing of classes.
    """
    if classes:
        return tuple(classes)
    for source in labels:
        if is_project(source.path):
            return project_classes(source.path)
    found: dict[int, str] = {}
    names: list[str] = []
    for source in labels:
        if not source.subtract:
            _collect(source, found, names)
    for name in sorted(set(names) - set(found.values())):
        found[max(found, default=0) + 1] = name
    if not found or max(found) >= UNKNOWN:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The labels name no classes.")
            if not found
            else tr("The labels name {} classes; 254 are possible.").format(len(found)),
            tr("Say which value means which class."),
        )
    colors = {entry.value: entry.source for source in labels for entry in source.mapping if _is_color(entry.source)}
    return tuple(ClassInfo(value, found[value], colors.get(value, color(value))) for value in sorted(found))


def is_project(path: str) -> bool:
    """Whether a file is a label project."""
    return path.lower().endswith(".gpkg") and os.path.exists(path) and CLASS_TABLE in layers_of(path)


def project_classes(path: str) -> tuple[ClassInfo, ...]:
    """The classes of a label project."""
    meta, _, _, data = pyogrio.raw.read(path, layer=CLASS_TABLE)
    columns = dict(zip(meta["fields"], data))
    rows = zip(columns["value"], columns["name"], columns["color"], columns["outline"])
    return tuple(ClassInfo(int(value), str(name), str(tint), Outline(outline)) for value, name, tint, outline in rows)


def named_otherwise(labels: Sequence[Labels], classes: Sequence[ClassInfo]) -> list[str]:
    """A warning for each class that a label project calls by another name than `classes`, which count."""
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


def class_field(labels: Labels) -> str:
    """The attribute that names the class; empty for constant ones."""
    usual = "class" if labels.layer in {"", "labels"} and is_project(labels.path) else ""
    return labels.class_field or usual


def class_values(labels: Labels, texts: Iterable[str], classes: Sequence[ClassInfo]) -> dict[str, int]:
    """The class of each value of an attribute or raster: as mapped, else by number, else by name or colour.

    Raises:
        OrthomaskError: a value means no class.
    """
    known = {plain(entry.source).lower(): entry.value for entry in labels.mapping if _is_color(entry.source)}
    known |= {plain(entry.source): entry.value for entry in labels.mapping}
    if not known:
        known = {info.color.lower(): info.value for info in classes} | {"#000000": BACKGROUND}
        known |= {info.name: info.value for info in classes} | {str(info.value): info.value for info in classes}
        known |= {str(BACKGROUND): BACKGROUND, str(UNKNOWN): UNKNOWN}
    wanted = set(texts)
    strange = sorted(wanted - set(known))
    if strange:
        told = ", ".join(f"“{text}”" if text else tr("an empty value") for text in strange[:SHOWN])
        more = tr(" and {} others").format(len(strange) - SHOWN) if len(strange) > SHOWN else ""
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("No class is known for {}{} in “{}”.").format(told, more, os.path.basename(labels.path)),
            tr("Map every value to a class, to 0 for background or to 255 for unknown."),
        )
    require_known({known[text] for text in wanted}, classes)
    return {text: known[text] for text in wanted}


def require_known(values: Iterable[int], classes: Sequence[ClassInfo]) -> None:
    """Raise where a class value is not among the classes."""
    strange = sorted(set(values) - {info.value for info in classes} - {BACKGROUND, UNKNOWN})
    if strange:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("There is no class {}.").format(", ".join(map(str, strange))),
            tr("Use the classes {}, or add one.").format(", ".join(f"{info.value} ({info.name})" for info in classes)),
        )


def raster_sources(labels: Labels) -> dict[float, str]:
    """The numbers that occur in a raster of labels, and what each is called in a mapping."""
    return label_rasters.sources(labels.path, any(_is_color(entry.source) for entry in labels.mapping))


def _collect(labels: Labels, found: dict[int, str], unnumbered: list[str]) -> None:
    """Add the classes of one source: those with numbers to `found`, those with names only to `unnumbered`."""
    vector = is_vector(labels.path)
    layer = choose_layer(labels.path, labels.layer, "labels") if vector else ""
    if vector and not class_field(labels):
        found.setdefault(labels.class_value, layer)
    elif labels.mapping:
        for entry in labels.mapping:
            if BACKGROUND < entry.value < UNKNOWN:
                names = [name for name in (found.get(entry.value), entry.source) if name]
                found[entry.value] = " / ".join(dict.fromkeys(names))
    elif vector:
        _by_number(set(read_column(labels.path, layer, class_field(labels))), found, unnumbered)
    else:
        _by_number(raster_sources(labels).values(), found, unnumbered)


def _by_number(texts: Iterable[str], found: dict[int, str], names: list[str]) -> None:
    texts = sorted(set(texts) - {""})
    if all(text.isdecimal() and int(text) <= UNKNOWN for text in texts):
        for value in map(int, texts):
            if BACKGROUND < value < UNKNOWN:
                found.setdefault(value, f"class {value}")
    else:
        names.extend(texts)


def _is_color(text: str) -> bool:
    return text.startswith("#") and len(text) == 7
