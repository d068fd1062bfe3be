"""Labels from any vector file or service that GDAL opens, read around the areas only."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyogrio
import pyproj
import shapely

from ...engine.images.raster import SERVERS
from ...engine.progress import Progress
from ...engine.shapes.layers import read_layer
from ...engine.shapes.vector_files import NOT_READ, choose_layer, crs_of, plain, require_field, unreadable
from ...engine.waiting import patiently
from ...protocol import ErrorCode, OrthomaskError, VectorLabels
from ...protocol.words import tr
from ..truth.classes import PROJECT_FIELD, is_project, project_classes
from . import privacy
from .features import Features, boxes_of, joined
from .services import SERVICE, explained
from .web import agent

MOST = 1_000_000
"""More features in an area are an error."""


def collect(
    source: VectorLabels, areas: np.ndarray, crs: str, contact: str, progress: Progress
) -> tuple[Features, pyproj.CRS]:
    """Polygons of a layer around areas `(N,)` in `crs`, and the layer's own CRS, which they are in.

    Raises:
        OrthomaskError: the layer cannot be read, or has no such attribute, or no CRS.
    """
    path = privacy.filled(source.path, source.access)
    with explained(source.path, source.access), _options(source.access, contact):
        try:
            layer = patiently(lambda: choose_layer(path, source.layer, ""), progress)
            own = crs_of(path, layer, source.crs)
            if source.class_field:
                require_field(path, layer, source.class_field)
            boxes = boxes_of(areas, crs, own)
            if not np.isfinite(boxes).all():
                raise _elsewhere(source, layer)
            parts = []
            for number, group in enumerate(_groups(boxes, bool(SERVICE.search(path)))):
                progress.report(number / len(boxes), tr("Reading {}").format(source.name or layer))
                parts.append(patiently(lambda group=group: _read(source, path, layer, group), progress))  # type: ignore[misc]
        except NOT_READ as error:
            raise unreadable(source.path, error) from error
    return joined(parts), own


def with_classes(source: VectorLabels) -> VectorLabels:
    """The source; of a label project with its classes, unless others are given."""
    if source.class_field or source.subtract or not is_project(source.path):
        return source
    named = {str(info.value): info.name for info in project_classes(source.path)}
    return replace(source, class_field=PROJECT_FIELD, classes=named)


def class_of(source: VectorLabels, text: str) -> str | None:
    """The class of a value; empty to cut its polygon out of the others, None to leave it out."""
    if source.subtract:
        return ""
    if not source.class_field:
        return source.class_name
    return (source.classes.get(text) if source.classes else text) or None


def _groups(boxes: np.ndarray, is_service: bool) -> Iterator[np.ndarray]:
    """Boxes to read at once: all of them from a file, one by one from a service."""
    yield from boxes[:, None] if is_service else [boxes]


def _read(source: VectorLabels, path: str, layer: str, boxes: np.ndarray) -> Features:
    around = {"bbox": tuple(boxes[0])} if len(boxes) == 1 else {"mask": shapely.union_all(shapely.box(*boxes.T))}
    columns = [source.class_field] if source.class_field else []
    meta, wkb, data = read_layer(path, layer, columns=columns, return_fids=True, max_features=MOST, **around)
    if len(wkb) == MOST:
        raise OrthomaskError(
            ErrorCode.LABELS_SIZE,
            tr("“{}” has more than {} objects around the areas.").format(layer, MOST),
            tr("Use fewer or smaller areas."),
        )
    drawn = shapely.from_wkb(wkb, on_invalid="fix")
    values = [plain(value) for value in data[0]] if columns else [""] * len(drawn)
    classes = [class_of(source, text) for text in values]
    name = source.name or os.path.basename(source.path)
    ids = [f"{name}/{number}" for number in (map(_digest, wkb) if SERVICE.search(path) else meta["fids"])]
    flat = shapely.is_missing(drawn) | (shapely.get_dimensions(drawn) < 2)
    every = Features(drawn, [known or "" for known in classes], ids, values)
    return every.taken(np.flatnonzero(~flat & [known is not None for known in classes]))


def _digest(outline: bytes) -> str:
    """What tells an object of a service from others: GDAL may number them anew on each page."""
    return hashlib.sha256(outline).hexdigest()[:16]


@contextmanager
def _options(access: Mapping[str, str], contact: str) -> Iterator[None]:
    """GDAL's options while a layer is read: who asks, patience with servers, and secrets. Warnings are not printed."""
    options = {**SERVERS, "GDAL_HTTP_TIMEOUT": "120", "GDAL_HTTP_USERAGENT": agent(contact), **privacy.options(access)}
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        pyogrio.set_gdal_config_options(before)


def _elsewhere(source: VectorLabels, layer: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.LABELS_OUTSIDE,
        tr("The areas lie where the CRS of “{}” does not reach.").format(source.name or layer),
        tr("Choose areas and labels that belong together."),
    )
