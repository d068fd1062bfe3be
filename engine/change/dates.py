"""The dates to compare: runs or polygon layers, and the CRS in metres that they are compared in."""

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
from ..shapes import edits
from ..shapes.vector_files import choose_layer, crs_of, info_of, layers_of, require_field

POLYGONS, RECORD = "polygons.gpkg", "run.json"
OUTLINE_PX, LAYER_M = 1.0, 0.5
"""Error of an outline: of a run, in pixels of its model or of its image, the larger; of any other layer, in metres."""
UNIT = 0.002
"""Metres of a CRS that differ by less than this share from those on the ground are taken for these."""
BESIDE_M = 200.0
"""Objects are read up to here beyond what the other dates cover."""
MADE = re.compile(r"polygons(-\d+)?\.gpkg")
"""The polygons of a run, and those made later at another threshold."""
DEFAULT = 0.5
"""Threshold of runs whose record does not say."""
ISO = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


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
        shared: whether outlines share borders, as fields do; None if only they themselves can tell.
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
    shared: bool | None
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
        return Band(path, number, float(self.record["threshold"]))

    @property
    def image(self) -> Image | None:
        """What the objects were taken from, if it is still there."""
        image = self.survey.image
        if image is None and self.record:
            try:
                image = from_json(Image, self.record["request"]["image"])
            except (OrthomaskError, KeyError):
                return None
        return image if image and all(Path(path).exists() for path in image.paths) else None


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
        gsd_m = max(float(record["model"]["gsd_m"]), *map(float, record["source"]["gsd_m"]))
        crs = pyproj.CRS.from_user_input(record["source"]["crs"])
        when = survey.date or str(record.get("image_date") or "")
    except (KeyError, TypeError, ValueError, OrthomaskError, pyproj.exceptions.CRSError) as error:
        raise _no_run(folder, str(error)) from error
    polygons = folder / name
    layers = layers_of(str(polygons))
    record["threshold"] = edits.threshold(polygons, float(record.get("threshold") or DEFAULT))
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
    return Date(survey, survey.date or path.stem, when, path, layer, crs, {}, None, None, LAYER_M)


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
    found = raster(date)
    if found is not None:
        with opened(found) as dataset:
            bounds, crs = dataset.bounds, dataset.crs.to_wkt()
    elif date.layer:
        bounds, crs = info_of(str(date.path), date.layer, force_total_bounds=True)["total_bounds"], date.crs
    if found is None and (not date.layer or bounds is None or not np.isfinite(bounds).all()):
        return None
    box = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform_bounds(*bounds)
    return shapely.box(*box)


def raster(date: Date) -> Path | None:
    """The raster of a run that says where it has data."""
    names = ("classes.tif", "probabilities.tif") if date.folder else ()
    return next((date.folder / name for name in names if date.folder and (date.folder / name).exists()), None)


def opened(path: Path) -> Any:
    """A raster of a run.

    Raises:
        OrthomaskError: it is damaged.
    """
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
