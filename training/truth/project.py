"""Label projects: a GeoPackage with the layers `labels` and `areas`, and a table of classes."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from ...engine.outputs import output_error, refuse_in_use, writing
from ...engine.progress import Progress
from ...engine.shapes.layers import write_layer
from ...engine.shapes.vector_files import CLASS_TABLE, fields_of
from ...protocol import (
    AREA_RANK,
    AREA_REASON,
    AREA_SECONDS,
    AREA_STATE,
    LABEL_CHANGED,
    LABEL_ORIGIN,
    LABEL_RUN,
    ErrorCode,
    Existing,
    OrthomaskError,
    ProjectRequest,
    ProjectResult,
)
from ...protocol.words import tr

NOTHING = np.empty(0, object)
LABEL_FIELDS = {"class": np.int32, LABEL_ORIGIN: object, LABEL_RUN: object, LABEL_CHANGED: object}
AREA_FIELDS = {
    "name": object, "split": object, AREA_STATE: object, AREA_REASON: object, AREA_RANK: np.int32,
    AREA_SECONDS: np.float64,
}  # fmt: skip
SQL_TYPES = {np.int32: "MEDIUMINT", np.float64: "REAL", object: "TEXT"}
GEOMETRY = "MultiPolygon"
"""Lets parts be merged in QGIS; single polygons are accepted as well."""


def run(request: ProjectRequest, progress: Progress) -> ProjectResult:
    """Create an empty label project.

    Raises:
        OrthomaskError: the CRS is not known, or the file exists or cannot be written.
    """
    target = Path(request.output_path)
    crs = _known_crs(request.crs)
    if target.exists() and request.existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )
    progress.report(0, tr("Creating {}").format(target.name))
    refuse_in_use(target)
    partial = target.with_name(f".{target.stem}.partial.gpkg")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
    try:
        labels = {name: np.empty(0, kind) for name, kind in LABEL_FIELDS.items()}
        write_layer(partial, "labels", labels, NOTHING, GEOMETRY, crs)
        write_areas(partial, NOTHING, {name: [] for name in AREA_FIELDS}, crs)
        columns = {
            "value": np.array([info.value for info in request.classes], np.int32),
            "name": np.array([info.name for info in request.classes], object),
            "color": np.array([info.color for info in request.classes], object),
            "outline": np.array([info.outline.value for info in request.classes], object),
        }
        write_layer(partial, CLASS_TABLE, columns)
        with writing(target):
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return ProjectResult(str(target))


def write_areas(target: Path, geometry: np.ndarray, columns: Mapping[str, Sequence[Any]], crs: str) -> None:
    """Append areas, as WKB in `crs`, to the layer `areas` of a GeoPackage; all or none."""
    values = {name: np.array(column, AREA_FIELDS[name]) for name, column in columns.items()}
    write_layer(target, "areas", values, geometry, GEOMETRY, crs)


def complete_areas(target: Path) -> None:
    """Add the attributes that an older version's layer `areas` lacks.

    Raises:
        OrthomaskError: the file cannot be written.
    """
    there = fields_of(str(target), "areas")
    missing = {name: kind for name, kind in AREA_FIELDS.items() if name not in there}
    try:
        with closing(sqlite3.connect(target)) as file, file:
            for name, kind in missing.items():
                file.execute(f'ALTER TABLE areas ADD COLUMN "{name}" {SQL_TYPES[kind]}')
    except sqlite3.OperationalError as error:
        raise output_error(target, OSError(errno.EIO, str(error))) from error


def _known_crs(text: str) -> str:
    try:
        return str(pyproj.CRS.from_user_input(text).to_wkt())
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.LABELS_CRS,
            tr("“{}” is not a known coordinate reference system.").format(text),
            tr("Specify one as EPSG:n, preferably that of the image."),
            str(error),
        ) from error
