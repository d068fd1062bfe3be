"""The objects of a date, read in the common CRS and valid, and where they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from rasterio.errors import RasterioError

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..images import regions
from ..runs.runs import NODATA
from ..shapes.measure import measured
from ..shapes.vector_files import batches, info_of, plain
from .dates import Date, damaged, opened, raster

CLASS, CONFIDENCE, OUTLINE, ID = "class", "confidence", "outline", "id"
COVER_PX = 1024
"""The ground that a run covers is known on a grid of about this many cells along the longer side."""
SAMPLE = 2_000
"""So many objects show whether those of a layer share borders."""
AROUND_M = 5.0
"""How far beyond the hull of its polygons a layer is complete, so that those at the edge lie whole inside."""


class Objects(NamedTuple):
    """Objects of a date, in the common CRS.

    Attributes:
        outlines: `(N,)` valid polygons and multipolygons.
        areas_m2: `(N,)` on the ellipsoid.
        classes: `(N,)` names; empty where the layer does not say.
        ids: `(N,)` in the source, as text.
        confidence: `(N,)` 0 to 1; NaN where not known.
        drawn: `(N,)` whether a person added or corrected it.
    """

    outlines: np.ndarray
    areas_m2: np.ndarray
    classes: np.ndarray
    ids: np.ndarray
    confidence: np.ndarray
    drawn: np.ndarray

    def chosen(self, which: np.ndarray) -> Objects:
        """Some of the objects."""
        return Objects(*(values[which] for values in self))


def covered(date: Date, objects: Objects, crs: pyproj.CRS) -> shapely.Geometry:
    """The ground on which the objects of a date are complete, in `crs`.

    Of a run, where it has data, in cells of a grid; of a layer, its region, or the convex hull of its polygons.

    Raises:
        OrthomaskError: the run's raster is damaged, or the region cannot be read.
    """
    found = raster(date)
    if found is not None:
        return _data(found, crs)
    if date.survey.region:
        try:
            region = shapely.make_valid(shapely.from_wkt(date.survey.region))
        except shapely.errors.ShapelyError as error:
            raise OrthomaskError(
                ErrorCode.REGION_UNREADABLE, tr("The region cannot be read."), tr("Draw it again."), str(error)
            ) from error
        return regions.polygonal(regions.reprojected(region, date.crs, crs))
    corners = shapely.get_coordinates(objects.outlines)
    hull = shapely.convex_hull(shapely.multipoints(corners)) if len(corners) else shapely.Polygon()
    return shapely.buffer(hull, AROUND_M)


def _data(path: Path, crs: pyproj.CRS) -> shapely.Geometry:
    """Where a raster has data, in cells of `COVER_PX`."""
    with opened(path) as dataset:
        step = max(1.0, max(dataset.width, dataset.height) / COVER_PX)
        shape = max(1, round(dataset.height / step)), max(1, round(dataset.width / step))
        try:
            there = dataset.read(1, out_shape=shape) != NODATA
        except RasterioError as error:
            raise damaged(path, error) from error
        transform = dataset.transform @ Affine.scale(dataset.width / shape[1], dataset.height / shape[0])
        found = rasterio.features.shapes(there.astype(np.uint8), there, transform=transform)
        cells = shapely.union_all([shapely.geometry.shape(cell) for cell, _ in found])
        source = dataset.crs.to_wkt()
    if pyproj.CRS(source).equals(crs, ignore_axis_order=True):
        return cells
    return regions.polygonal(shapely.make_valid(regions.reprojected(cells, source, crs)))


def read(date: Date, crs: pyproj.CRS, near: shapely.Geometry) -> tuple[Objects, tuple[str, ...]]:
    """The objects of a date near a geometry in `crs`, and a warning for each kind that was repaired or left out.

    Raises:
        OrthomaskError: the layer cannot be read, or has no polygons.
    """
    if not date.layer:
        return _gathered([], crs), ()
    fields = _fields(date)
    count = {"mended": 0, "flat": 0, "empty": 0, "read": 0}
    parts = [
        _part(fids, wkb, dict(zip(fields.values(), data)), date, crs, count)
        for fids, wkb, data in batches(str(date.path), date.layer, list(fields), _box(near, crs, date.crs))
    ]
    if not date.record and count["read"] and count["read"] == count["flat"] + count["empty"]:
        raise OrthomaskError(
            ErrorCode.LABELS_EMPTY,
            tr("The layer “{}” contains no polygons.").format(date.layer),
            tr("Choose a layer of polygons; buffer points and lines first."),
        )
    return _gathered(parts, crs), _told(date, count)


def _told(date: Date, count: dict[str, int]) -> tuple[str, ...]:
    words = (
        ("mended", tr("{} of {} features in “{}” were not valid and have been repaired.")),
        ("flat", tr("{} of {} features in “{}” are points or lines and were left out.")),
        ("empty", tr("{} of {} features in “{}” have no area and were left out.")),
    )
    return tuple(text.format(count[kind], count["read"], date.label) for kind, text in words if count[kind])


def _fields(date: Date) -> dict[str, str]:
    """The attributes to read, and what they are to us."""
    there = set(map(str, info_of(str(date.path), date.layer)["fields"]))
    if date.record:
        return {name: name for name in (ID, CLASS, CONFIDENCE, OUTLINE) if name in there}
    return {date.survey.class_field: CLASS} if date.survey.class_field else {}


def _box(near: shapely.Geometry, crs: pyproj.CRS, target: pyproj.CRS) -> tuple[float, ...] | None:
    """Bounds in the CRS of a layer; None to read all of it."""
    if near.is_empty:
        return None
    box = pyproj.Transformer.from_crs(crs, target, always_xy=True).transform_bounds(*near.bounds)
    return box if np.isfinite(box).all() and box[0] < box[2] else None


def _part(
    fids: np.ndarray, wkb: np.ndarray, data: dict[str, np.ndarray], date: Date, crs: pyproj.CRS, count: dict[str, int]
) -> dict[str, np.ndarray]:
    """Some objects in `crs`, valid; `count` counts the rest."""
    drawn = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
    empty = shapely.is_missing(drawn) | shapely.is_empty(drawn)
    flat = ~empty & (shapely.get_dimensions(drawn) < 2)
    count["read"] += len(drawn)
    count["flat"] += int(flat.sum())
    chosen = np.flatnonzero(~empty & ~flat)
    outlines = drawn[chosen]
    if not date.crs.equals(crs, ignore_axis_order=True):
        outlines = np.asarray(regions.reprojected(outlines, date.crs, crs))
    odd = ~shapely.is_valid(outlines) | (shapely.get_type_id(outlines) == shapely.GeometryType.GEOMETRYCOLLECTION)
    outlines[odd] = [regions.mended(outline) for outline in outlines[odd]]
    solid = shapely.area(outlines) > 0
    count["mended"] += int((odd & solid).sum())
    count["empty"] += int(empty.sum() + (~solid).sum())
    chosen = chosen[solid]
    given = {name: values[chosen] for name, values in data.items()}
    confidence = given.get(CONFIDENCE, np.full(len(chosen), np.nan)).astype(float)
    edited = np.isin(given.get(OUTLINE, np.full(len(chosen), "", object)).astype(str), ("added", "corrected"))
    ids = given.get(ID, fids[chosen])
    return {
        "outlines": outlines[solid],
        "classes": np.array([plain(value) for value in given.get(CLASS, np.full(len(chosen), "", object))], object),
        "ids": np.array([plain(value) or plain(fid) for value, fid in zip(ids, fids[chosen])], object),
        "confidence": np.where(edited, np.nan, confidence),
        "drawn": edited | (np.isnan(confidence) & bool(date.record)),
    }


def _gathered(parts: Sequence[dict[str, np.ndarray]], crs: pyproj.CRS) -> Objects:
    kinds = {"outlines": object, "classes": object, "ids": object, "confidence": float, "drawn": bool}
    columns = {
        name: np.concatenate([part[name] for part in parts] or [np.empty(0, kind)]).astype(kind)
        for name, kind in kinds.items()
    }
    pieces, owners = shapely.get_parts(columns["outlines"], return_index=True)
    areas = np.bincount(owners, measured(pieces, crs)[0], len(columns["outlines"])) if len(pieces) else np.empty(0)
    return Objects(areas_m2=areas, **columns)


def comparable(dates: Sequence[Date], objects: Sequence[Objects]) -> tuple[list[Objects], tuple[str, ...]]:
    """The objects of each date whose class every date could have, and a warning that names the others.

    A run knows the classes of its model; a layer may have any, and one without an attribute of classes has them all.

    Raises:
        OrthomaskError: no class is left.
    """
    closed = [{name.casefold() for name in date.closed} for date in dates if date.closed is not None]
    if not closed:
        return list(objects), ()
    common = set.intersection(*closed)
    kept, lost = [], set()
    for each in objects:
        known = np.array([name == "" or name.casefold() in common for name in each.classes], bool)
        lost |= set(each.classes[~known])
        kept.append(each.chosen(known))
    if not common or (lost and not any(len(each.ids) for each in kept)):
        names = sorted({name for date in dates for name in date.closed or ()} | lost)
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The dates have no class in common: {}.").format(", ".join(names)),
            tr("Choose objects of the same class, or a layer without its attribute of classes."),
        )
    words = tr("Not every date knows the class {}: its objects are not compared.")
    return kept, tuple(words.format(f"“{name}”") for name in sorted(lost))


def share_borders(date: Date, objects: Objects) -> bool:
    """Whether neighbours have common borders, as fields do: by the model, else if half of a sample touches others."""
    if date.shared is not None:
        return date.shared
    step = max(1, len(objects.ids) // SAMPLE)
    sample = objects.outlines[::step]
    touching = shapely.STRtree(objects.outlines).query(sample, predicate="touches")[0]
    return len(sample) > 0 and len(np.unique(touching)) >= len(sample) / 2
