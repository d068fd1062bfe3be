"""All labels of a collection: from OpenStreetMap and other sources, clipped to the areas."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...engine.progress import Progress
from ...engine.waiting import patiently
from ...protocol import (
    OSM_ATTRIBUTION,
    OSM_LICENCE,
    CollectRequest,
    ErrorCode,
    OpenStreetMap,
    OrthomaskError,
    VectorLabels,
)
from ...protocol.words import tr
from . import osm, overpass, privacy, vectors
from .features import WGS84, Features, boxes_of, clipped, joined, moved, settled
from .places import Place
from .project import SourceRow
from .web import Client, Clock

MARGIN = 1e-5
"""Degrees that boxes reach beyond the areas: a metre."""


def require_small(request: CollectRequest, places: Sequence[Place], crs: str) -> None:
    """Raise if an area is too large for an Overpass server."""
    if request.osm is None or request.osm.extract:
        return
    boxes = boxes_of(_polygons(places), crs, WGS84)
    heights, widths = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
    km2 = heights * widths * np.cos(np.radians((boxes[:, 1] + boxes[:, 3]) / 2)) * 111.32**2
    largest = int(np.argmax(np.where(np.isfinite(km2), km2, np.inf)))
    if not km2[largest] <= overpass.MOST_KM2:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” covers {:,.0f} km²: an Overpass server answers up to {:.0f} km² at once.").format(
                places[largest].name, km2[largest], overpass.MOST_KM2
            ),
            tr("Use smaller areas, or an extract of OpenStreetMap (.osm.pbf)."),
        )


def collect(
    request: CollectRequest, places: Sequence[Place], crs: str, cache: Path, clock: Clock, progress: Progress
) -> tuple[Features, list[SourceRow], tuple[str, ...]]:
    """The labels in areas, in the areas' CRS; their sources; and warnings on what was repaired.

    Raises:
        OrthomaskError: a source cannot be read.
    """
    areas, parts, rows, told = _polygons(places), [], [], tuple[str, ...]()
    shares = len(request.vectors) + bool(request.osm)
    if request.osm:
        found, date, told = _from_osm(
            request.osm, request.contact, areas, crs, cache, clock, progress.part(0, 1 / shares)
        )
        parts.append(moved(found, WGS84, crs))
        rows.append(SourceRow("labels", request.osm.extract or request.osm.server, OSM_ATTRIBUTION, OSM_LICENCE, date))
    for number, source in enumerate(map(vectors.with_classes, request.vectors), shares - len(request.vectors)):
        part = progress.part(number / shares, (number + 1) / shares)
        found, own = vectors.collect(source, areas, crs, request.contact, part)
        parts.append(moved(found, own, crs))
        rows.append(_row(source))
    whole, warnings = settled(joined(parts))
    return clipped(whole, areas), rows, told + warnings


def attribution(request: CollectRequest) -> tuple[str, ...]:
    """Lines to show with what is made from the data."""
    lines = [OSM_ATTRIBUTION] if request.osm else []
    lines += [source.attribution for source in request.vectors]
    lines += [request.imagery.attribution or request.imagery.licence] if request.imagery else []
    return tuple(dict.fromkeys(filter(None, lines)))


def licence(request: CollectRequest) -> str:
    """The licences of all data, for the card of a model that learns from them."""
    labels = [OSM_LICENCE] if request.osm else []
    labels += [source.licence for source in request.vectors]
    images = [request.imagery.licence] if request.imagery else []
    named = {"images": images, "labels": labels}
    texts = (f"{what}: {', '.join(dict.fromkeys(filter(None, of)))}" for what, of in named.items() if any(of))
    return "; ".join(texts)


def class_names(osm_source: OpenStreetMap | None, sources: Sequence[VectorLabels], found: Features) -> list[str]:
    """Names of the classes: those that the request names, then those found."""
    named = [rule.class_name for rule in osm_source.rules] if osm_source else []
    for source in map(vectors.with_classes, sources):
        if source.classes or not source.class_field:
            named += list(source.classes.values()) if source.class_field else [source.class_name]
    return [name for name in (*named, *sorted(set(found.classes))) if name]


def _from_osm(
    source: OpenStreetMap, contact: str, areas: np.ndarray, crs: str, cache: Path, clock: Clock, progress: Progress
) -> tuple[Features, str, tuple[str, ...]]:
    boxes = boxes_of(areas, crs, WGS84) + np.array([-MARGIN, -MARGIN, MARGIN, MARGIN])
    if source.extract:
        extract, rules = Path(source.extract), source.rules
        progress.report(0, tr("Reading {}").format(extract.name))
        return patiently(lambda: osm.read(extract, rules, boxes), progress), "", ()
    client = Client(cache, contact, overpass.PAUSE_S, clock, progress, overpass.MOST_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        return overpass.collect(source, boxes, client, Path(folder))


def _row(source: VectorLabels) -> SourceRow:
    name = source.name or privacy.public(source.path)
    return SourceRow("labels", name, source.attribution, source.licence, source.date)


def _polygons(places: Sequence[Place]) -> np.ndarray:
    return np.array([place.polygon for place in places], object)
