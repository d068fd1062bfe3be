"""The label project of a collection: areas, labels with where they are from, and the sources with their licences."""

from __future__ import annotations

import datetime
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from ...engine.outputs import refuse_in_use, writing
from ...engine.progress import Progress
from ...engine.shapes.layers import read_layer, write_layer
from ...engine.shapes.vector_files import layers_of, read_column
from ...protocol import (
    AREA_CHECKED,
    LABEL_CHANGED,
    LABEL_ORIGIN,
    LABEL_RUN,
    SOURCES_TABLE,
    Areas,
    ClassInfo,
    Origin,
    Outline,
    ProjectRequest,
    Split,
)
from ..truth import project
from ..truth.classes import color, project_classes
from .features import Features
from .places import Place, existing

OUTLINES = {"building": Outline.SQUARED, "field": Outline.SHARED}
PLAIN = ("object",)
"""The class where there are no labels: a project has at least one."""


class SourceRow(NamedTuple):
    """A row of `SOURCES_TABLE`."""

    kind: str
    source: str
    attribution: str
    licence: str
    date: str


def classes_of(names: Sequence[str]) -> tuple[ClassInfo, ...]:
    """Classes 1, 2, 3 … with these names, each once."""
    found = list(dict.fromkeys(names)) or list(PLAIN)
    return tuple(
        ClassInfo(value, name, color(value), OUTLINES.get(name.casefold(), Outline.PIXELS))
        for value, name in enumerate(found, 1)
    )


def write(
    target: Path, places: Sequence[Place], crs: str, classes: Sequence[ClassInfo], labels: Features,
    sources: Sequence[SourceRow],
) -> None:  # fmt: skip
    """Write the project, whole or not at all.

    Args:
        labels: in `crs`.

    Raises:
        OrthomaskError: it cannot be written, or is open elsewhere.
    """
    refuse_in_use(target)
    partial = target.with_name(f".{target.stem}.partial.gpkg")
    with writing(target):
        partial.unlink(missing_ok=True)
    try:
        project.run(ProjectRequest(str(partial), crs, tuple(classes)), Progress())
        columns = {
            "name": [p.name for p in places],
            "split": [p.split for p in places],
            "state": [p.state for p in places],
        }
        project.write_areas(partial, _multipolygons([place.polygon for place in places]), columns, crs)
        with closing(sqlite3.connect(partial)) as file, file:
            for name in ("source", "tags"):
                file.execute(f'ALTER TABLE labels ADD COLUMN "{name}" TEXT')
        if len(labels.classes):
            write_layer(
                partial, "labels", _columns(labels, classes), _multipolygons(list(labels.geometries)), project.GEOMETRY,
                crs,
            )  # fmt: skip
        add_sources(partial, sources)
        with writing(target):
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def add_sources(target: Path, sources: Sequence[SourceRow]) -> None:
    """Add the sources that are not in the table yet."""
    there = set()
    if SOURCES_TABLE in layers_of(str(target)):
        there = set(zip(*(read_column(str(target), SOURCES_TABLE, name) for name in SourceRow._fields)))
    new = [row for row in sources if tuple(row) not in there]
    if new:
        columns = {name: np.array([row[i] for row in new], object) for i, name in enumerate(SourceRow._fields)}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        write_layer(target, SOURCES_TABLE, {**columns, "collected_at": np.array([now] * len(new), object)})


def there(target: Path) -> tuple[list[Place], str, dict[str, int]]:
    """Areas of a project, their CRS, and how many labels there are of each class."""
    places, crs = existing(Areas(str(target), "areas"))
    numbers = read_column(str(target), "labels", "class").tolist()
    return places, crs, {info.name: numbers.count(str(info.value)) for info in project_classes(str(target))}


def taught(target: Path, places: Sequence[Place]) -> tuple[list[bool], int]:
    """Whether each area can be learnt from: it is not to do, and it holds labels, or somebody checked that it has none.

    Returns:
        Also how many are left out because they are empty, and not checked.
    """
    _, wkb, _ = read_layer(str(target), "labels", columns=[])
    tree = shapely.STRtree(shapely.from_wkb(wkb))
    used, empty = [], 0
    for place in places:
        near = tree.query(place.polygon, predicate="intersects")
        is_empty = place.state != AREA_CHECKED and bool(shapely.touches(place.polygon, tree.geometries[near]).all())
        used.append(place.split != Split.TODO.value and not is_empty)
        empty += place.split != Split.TODO.value and is_empty
    return used, empty


def _columns(labels: Features, classes: Sequence[ClassInfo]) -> dict[str, np.ndarray]:
    values = {info.name: info.value for info in classes}
    count = len(labels.classes)
    return {
        "class": np.array([values[name] for name in labels.classes], np.int32),
        LABEL_ORIGIN: np.array([Origin.COLLECTED.value] * count, object),
        LABEL_RUN: np.array([None] * count, object),
        LABEL_CHANGED: np.array([None] * count, object),
        "source": np.array(labels.sources, object),
        "tags": np.array(labels.tags, object),
    }


def _multipolygons(geometries: Sequence[shapely.Geometry]) -> np.ndarray:
    whole = [shapely.multipolygons(shapely.get_parts(geometry)) for geometry in geometries]
    return np.asarray(shapely.to_wkb(np.array(whole, object)))
