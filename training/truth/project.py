"""Label projects: a GeoPackage with the layers `labels` and `areas`, and a table of classes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyproj

from ...engine.outputs import refuse_in_use, writing
from ...engine.progress import Progress
from ...engine.shapes.layers import write_layer
from ...protocol import AREA_REASON, AREA_STATE, ErrorCode, Existing, OrthomaskError, ProjectRequest, ProjectResult
from ...protocol.words import tr
from .vector_files import CLASS_TABLE

NOTHING = np.empty(0, object)
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
        write_layer(partial, "labels", {"class": np.empty(0, np.int32)}, NOTHING, GEOMETRY, crs)
        write_areas(partial, NOTHING, {"name": [], "split": [], AREA_STATE: [], AREA_REASON: []}, crs)
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


def write_areas(target: Path, geometry: np.ndarray, columns: dict[str, list[str]], crs: str) -> None:
    """Append areas, as WKB in `crs`, to the layer `areas` of a GeoPackage; all or none."""
    texts = {name: np.array(values, object) for name, values in columns.items()}
    write_layer(target, "areas", texts, geometry, GEOMETRY, crs)


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
