"""The objects of a date: of a run or of a polygon layer, in a CRS common to all dates, and where they are complete."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rasterio.errors import RasterioError

from ...protocol import ClassInfo, ErrorCode, Image, OrthomaskError, Outline, Survey, from_json
from ...protocol.words import tr
from ..images import georeference, regions
from ..runs.runs import NODATA
from ..shapes import edits
from ..shapes.measure import measured
from ..shapes.vector_files import batches, choose_layer, crs_of, info_of, layers_of, plain, require_field

POLYGONS, RECORD, CLASS, CONFIDENCE, OUTLINE, ID = (
    "polygons.gpkg", "run.json", "class", "confidence", "outline", "id",
)  # fmt: skip
OUTLINE_PX, LAYER_M = 1.5, 0.5
"""Error of an outline: of a run, in pixels of its model; of any other layer, in metres."""
COVER_PX = 1024
"""The ground that a run covers is known on a grid of about this many cells along the longer side."""
AROUND_M = 5.0
"""How far beyond the hull of its polygons a layer is complete, so that those at the edge lie whole inside."""
UNIT = 0.002
"""Metres of a CRS that differ by less than this share from those on the ground are taken for these."""
BESIDE_M = 200.0
"""Objects are read up to here beyond what the other dates cover."""
MADE = re.compile(r"polygons(-\d+)?\.gpkg")
"""The polygons of a run, and those made later at another threshold."""
ISO = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


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


class Band(NamedTuple):
    """A band of a run's probabilities, and the probability from which a pixel belongs to its class."""

    path: Path
    number: int
    threshold: float


@dataclass(frozen=True)
class Date:
    """Where the objects of a date are, and what is known of them.

    Attributes:
        label: the date, or what the objects are called where it is not known.
        when: ISO 8601; empty if not known.
        layer: with the polygons; empty if a run found none.
        crs: of that layer.
        record: of the run; empty for any other layer.
        closed: names of all classes that it could have found; None if it may have any.
        shared: whether its outlines share borders, as fields do.
        error_m: of outlines.
    """

    survey: Survey
    label: str
    when: str
    path: Path
    layer: str
    crs: pyproj.CRS
    record: dict[str, Any]
    closed: tuple[str, ...] | None
    shared: bool
    error_m: float

    @property
    def folder(self) -> Path | None:
        """Of the run; None for any other layer."""
        return self.path.parent if self.record else None

    @property
    def model(self) -> dict[str, Any]:
        """What the run records of its model."""
        found: dict[str, Any] = self.record.get("model", {})
        return found

    def band(self, name: str) -> Band | None:
        """The probabilities of a class; None where there are none."""
        names = [info["name"].casefold() for info in self.model.get("classes", ())]
        path = self.folder and self.folder / "probabilities.tif"
        if path is None or not path.exists() or not names:
            return None
        number = names.index(name.casefold()) + 1 if name.casefold() in names else 1
        return Band(path, number, float(self.record.get("threshold", 0.5)))

    @property
    def image(self) -> Image | None:
        """What the objects were taken from, if it is still there."""
        image = self.survey.image
        if image is None and self.record:
            try:
                image = from_json(Image, self.record["request"]["image"])
            except (OrthomaskError, KeyError):
                return None
        return image if image and Path(image.path).exists() else None


def open_date(survey: Survey) -> Date:
    """What is known of a date before its objects are read.

    Raises:
        OrthomaskError: there is neither a finished run nor a polygon layer, or it has no CRS.
    """
    path = Path(survey.path)
    if MADE.fullmatch(path.name) and (path.parent / RECORD).exists():
        return _run(survey, path.parent, path.name)
    return _run(survey, path, POLYGONS) if path.is_dir() and path.suffix.lower() != ".gdb" else _layer(survey, path)


def _run(survey: Survey, folder: Path, name: str) -> Date:
    """A run with its polygons, or those in a file made later at another threshold, which lies beside them."""
    record = _record(folder)
    try:
        classes = [from_json(ClassInfo, info) for info in record["model"]["classes"]]
        gsd_m, crs = float(record["model"]["gsd_m"]), pyproj.CRS.from_user_input(record["source"]["crs"])
        when = survey.date or str(record.get("image_date") or "")
    except (KeyError, TypeError, ValueError, OrthomaskError, pyproj.exceptions.CRSError) as error:
        raise _no_run(folder, str(error)) from error
    polygons = folder / name
    layers = layers_of(str(polygons))
    layer = edits.LAYER if edits.LAYER in layers else ""
    return Date(
        survey, when or folder.resolve().name, when if ISO.fullmatch(when) else "", polygons, layer,
        crs_of(str(polygons), layer) if layer else crs, record, tuple(info.name for info in classes),
        any(info.outline is Outline.SHARED for info in classes), OUTLINE_PX * gsd_m,
    )  # fmt: skip


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not isinstance(record, dict) or "run_id" not in record:
            raise ValueError("no run_id")
    except (OSError, ValueError) as error:
        raise _no_run(folder, str(error)) from error
    return record


def _no_run(folder: Path, details: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.LABELS_UNREADABLE,
        tr("The folder “{}” holds no finished run.").format(folder.name or folder),
        tr("Choose the folder of a finished run, or a polygon layer."),
        details,
    )


def _layer(survey: Survey, path: Path) -> Date:
    layer = choose_layer(str(path), survey.layer, edits.LAYER)
    if survey.class_field:
        require_field(str(path), layer, survey.class_field)
    try:
        crs = crs_of(str(path), layer, survey.crs)
    except OrthomaskError as error:
        remedy = tr("Set the CRS of the layer, or specify it, on the command line with --crs.")
        raise OrthomaskError(error.code, error.sentence, remedy, error.details) from error
    when = survey.date if ISO.fullmatch(survey.date) else ""
    return Date(survey, survey.date or path.stem, when, path, layer, crs, {}, None, False, LAYER_M)


def require_order(dates: Sequence[Date]) -> None:
    """Raise unless all known dates are in order, and no run is there twice.

    Raises:
        OrthomaskError: with the two that are not.
    """
    known = [date for date in dates if date.when]
    for earlier, later in itertools.pairwise(known):
        size = min(len(earlier.when), len(later.when))
        if earlier.when[:size] > later.when[:size]:
            raise OrthomaskError(
                ErrorCode.BAD_REQUEST,
                tr("{} comes before {}, but is later.").format(earlier.when, later.when),
                tr("Give the dates in their order, the earliest first."),
            )
    seen: dict[str, Date] = {}
    for date in dates:
        name = str(date.record.get("run_id") or (date.path.resolve(), date.layer))
        if name in seen:
            raise OrthomaskError(
                ErrorCode.BAD_REQUEST,
                tr("“{}” and “{}” are the same run.").format(seen[name].survey.path, date.survey.path),
                tr("Choose those of another date."),
            )
        seen[name] = date


class Frame(NamedTuple):
    """What all dates have in common: the CRS in metres, and bounds of each date in it."""

    crs: pyproj.CRS
    bounds: tuple[shapely.Geometry, ...]

    def around(self, number: int) -> shapely.Geometry:
        """The ground of the other dates."""
        others = [box for index, box in enumerate(self.bounds) if index != number]
        return shapely.buffer(shapely.union_all(others), BESIDE_M)


def frame(dates: Sequence[Date]) -> Frame:
    """The common CRS: that of the first date if its metres are those on the ground, else the UTM zone.

    Raises:
        OrthomaskError: two dates that follow each other do not overlap.
    """
    globe = [_bounds(date) for date in dates]
    known = [box for box in globe if box is not None]
    if not known:
        raise apart()
    shared = functools.reduce(shapely.intersection, known)
    middle = (known[0] if shared.is_empty else shared).centroid
    crs = _metric(dates[0].crs, middle)
    boxes = [
        shapely.Polygon() if box is None else regions.reprojected(shapely.segmentize(box, _step(box)), "EPSG:4326", crs)
        for box in globe
    ]
    for earlier, later in itertools.pairwise(boxes):
        if not earlier.is_empty and not later.is_empty and not earlier.intersects(later):
            raise apart()
    return Frame(crs, tuple(boxes))


def _step(box: shapely.Geometry) -> float:
    left, bottom, right, top = box.bounds
    return float(max(right - left, top - bottom, 1e-9) / 20)


def apart() -> OrthomaskError:
    """The error for dates of different places."""
    return OrthomaskError(
        ErrorCode.REGION_OUTSIDE,
        tr("The dates do not overlap: no ground has data at both."),
        tr("Choose objects of the same place; if they are, check the CRS of both."),
    )


def _metric(crs: pyproj.CRS, place: shapely.Point) -> pyproj.CRS:
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(place.x, place.y)
    if crs.is_projected:
        sizes = georeference.stretch(georeference.ground(crs, Affine.identity(), x, y))
        if all(abs(size - 1) < UNIT for size in sizes):
            return crs.to_2d()
    return georeference.utm(crs.to_2d(), (x, y))


def _bounds(date: Date) -> shapely.Geometry | None:
    """The bounds of a date in degrees; None if it has neither objects nor rasters."""
    raster = _raster(date)
    if raster is not None:
        with _opened(raster) as dataset:
            bounds, crs = dataset.bounds, dataset.crs.to_wkt()
    elif date.layer:
        found = info_of(str(date.path), date.layer, force_total_bounds=True)["total_bounds"]
        bounds, crs = found, date.crs
    if raster is None and (not date.layer or bounds is None or not np.isfinite(bounds).all()):
        return None
    box = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform_bounds(*bounds)
    return shapely.box(*box)


def _raster(date: Date) -> Path | None:
    """The raster of a run that says where it has data."""
    names = ("classes.tif", "probabilities.tif") if date.folder else ()
    return next((date.folder / name for name in names if date.folder and (date.folder / name).exists()), None)


def _opened(path: Path) -> Any:
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> OrthomaskError:
    """The error for a raster of a run that cannot be read."""
    return OrthomaskError(
        ErrorCode.IMAGE_UNREADABLE,
        tr("“{}” is damaged.").format(path),
        tr("Repeat the run, or give its polygons.gpkg without the rasters."),
        str(error),
    )


def covered(date: Date, objects: Objects, crs: pyproj.CRS) -> shapely.Geometry:
    """The ground on which the objects of a date are complete, in `crs`.

    Of a run, where it has data, in cells of a grid; of a layer, its region, or the convex hull of its polygons.

    Raises:
        OrthomaskError: the run's raster is damaged, or the region cannot be read.
    """
    raster = _raster(date)
    if raster is not None:
        return _data(raster, crs)
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
    with _opened(path) as dataset:
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
