"""A finished run as what leaves it sees it: its record, and its objects as they are now, some at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import shapely

from ...protocol import ClassInfo, ErrorCode, Existing, Image, OrthomaskError, from_json
from ...protocol.run_files import newest
from ...protocol.words import tr
from ..images import regions
from ..images.raster import Source
from ..runs.finished import no_record
from ..shapes import edits
from ..shapes.measure import measured
from ..shapes.vector_files import batches, crs_of, fields_of, info_of

RECORD, NAME_FILE = "run.json", "name.json"
OWN = (RECORD, NAME_FILE)
"""Files of a run that a format could overwrite."""
DEFAULT_THRESHOLD = 0.5
"""Of runs whose record does not say."""
DIGITS = 7
"""Of degrees: a centimetre."""
NO_CLASS = 0
"""Of an object to which a person gave none."""


class Objects(NamedTuple):
    """Some of the objects.

    Attributes:
        ids: `(N,)` unique numbers.
        outlines: `(N,)` valid polygons and multipolygons in the CRS of the run's polygons.
        classes: `(N,)` values of their classes.
        confidence: `(N,)` 0 to 1; NaN where a person drew the outline.
        area_m2, perimeter_m: `(N,)` on the ellipsoid, measured now.
    """

    ids: np.ndarray
    outlines: np.ndarray
    classes: np.ndarray
    confidence: np.ndarray
    area_m2: np.ndarray
    perimeter_m: np.ndarray

    def where(self, which: np.ndarray) -> Objects:
        """Those of a mask or of indices, in its order."""
        return Objects(*(part[which] for part in self))


@dataclass(frozen=True)
class SharedRun:
    """A finished run.

    Attributes:
        polygons: the GeoPackage with its objects as they are now.
        name: what a person named the run; empty if nobody did.
        threshold: at which these polygons were made.
    """

    folder: Path
    record: dict[str, Any]
    classes: tuple[ClassInfo, ...]
    polygons: Path
    layer: str
    crs: pyproj.CRS
    count: int
    name: str
    threshold: float

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.record["run_id"])

    @property
    def image(self) -> Image | None:
        """What it ran on; None if this version cannot read that."""
        try:
            return from_json(Image, self.record["request"]["image"])
        except (OrthomaskError, KeyError, TypeError):
            return None

    @property
    def image_name(self) -> str:
        """The image's file name without its folder, which is nobody else's business; of a service, the layer's name."""
        source = self.record["source"]
        rendered = source.get("rendered")
        path = source.get("path") or (self.image.path if self.image else "")
        return str(rendered["name"] if rendered else re.split(r"[\\/]", str(path))[-1])

    def change(self, source: Source) -> str:
        """That the image is no longer the one of the run, as a sentence; empty if it is, or nobody knows."""
        stamp = str(self.record["source"].get("stamp", ""))
        changed = bool(stamp) and source.stamp() != stamp
        return tr("“{}” has changed since the run began.").format(self.image_name) if changed else ""

    def raster(self, name: str) -> Path:
        """A raster of the run.

        Raises:
            OrthomaskError: it is gone.
        """
        path = self.folder / name
        if not path.exists():
            raise OrthomaskError(
                ErrorCode.IMAGE_UNREADABLE,
                tr("The run is missing {}.").format(name),
                tr("Put the files back into its folder, or repeat it."),
                str(self.folder),
            )
        return path

    def objects(self) -> Iterator[Objects]:
        """All objects, some thousands at a time; those without an outline left out.

        Raises:
            OrthomaskError: the GeoPackage cannot be read.
        """
        fields = [name for name in ("class", "class_value", "confidence") if name in self._fields()]
        values = {info.name: info.value for info in self.classes}
        for fids, wkb, columns in batches(str(self.polygons), self.layer, fields, None):
            data = dict(zip(fields, columns))
            drawn = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
            odd = ~shapely.is_valid(drawn) & ~shapely.is_missing(drawn)
            drawn[odd] = [regions.mended(outline) for outline in drawn[odd]]
            there = shapely.area(drawn) > 0
            names = data.get("class", np.full(len(drawn), "", object))
            classes = np.array([values.get(str(name or ""), NO_CLASS) for name in names], np.int64)
            if "class_value" in data:
                numbers = np.nan_to_num(data["class_value"].astype(float)).astype(np.int64)
                classes = np.where(np.isin(numbers, list(values.values())), numbers, classes)
            sure = data.get("confidence", np.full(len(drawn), np.nan)).astype(float)
            yield Objects(fids[there], drawn[there], classes[there], sure[there], *_measured(drawn[there], self.crs))

    def _fields(self) -> list[str]:
        return fields_of(str(self.polygons), self.layer)


def open_run(run_dir: str) -> SharedRun:
    """The finished run in a folder.

    Raises:
        OrthomaskError: there is none, or its polygons cannot be read.
    """
    folder = Path(run_dir)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        classes = tuple(from_json(ClassInfo, info) for info in record["model"]["classes"])
        record["run_id"], record["source"]["crs"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise no_record(run_dir, error) from error
    polygons = newest(folder)
    info = info_of(str(polygons), edits.LAYER, force_feature_count=True)
    threshold = edits.threshold(polygons, float(record.get("threshold") or DEFAULT_THRESHOLD))
    crs = crs_of(str(polygons), edits.LAYER)
    return SharedRun(
        folder, record, classes, polygons, edits.LAYER, crs, int(info["features"]), _name(folder), threshold
    )


def _measured(outlines: np.ndarray, crs: pyproj.CRS) -> Iterator[np.ndarray]:
    """Areas and perimeters `(N,)` of outlines, all parts together."""
    parts, outline = shapely.get_parts(outlines, return_index=True)
    for measures in measured(parts, crs):
        yield np.bincount(outline, measures, len(outlines))


def _name(folder: Path) -> str:
    """What a person named the run in a folder."""
    try:
        return str(json.loads((folder / NAME_FILE).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def refuse_own(target: Path, shared: SharedRun) -> None:
    """Raise if a file is the run's own record."""
    if target.name.lower() in OWN and target.resolve().parent == shared.folder.resolve():
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” belongs to the run itself.").format(target.name),
            tr("Choose another name."),
        )


def refuse_existing(target: Path, existing: Existing) -> None:
    """Raise if there is a file that must not be replaced."""
    if target.exists() and existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )


def lonlat(outlines: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Outlines in longitude and latitude to the centimetre, shells anticlockwise, as GeoJSON has them (RFC 7946)."""
    if not len(outlines):
        return outlines
    moved = shapely.orient_polygons(regions.reprojected(outlines, crs, "EPSG:4326"))
    places, outline = shapely.get_coordinates(moved, return_index=True)
    turns = np.round(shapely.get_x(shapely.centroid(moved)) / 360)  # images may count longitudes on beyond 180°
    places[:, 0] -= 360 * turns[outline]
    turned: np.ndarray = shapely.set_coordinates(moved, places.round(DIGITS))
    return turned


def geojson(outlines: np.ndarray, crs: pyproj.CRS) -> list[str]:
    """Outlines as GeoJSON geometries."""
    return [str(text) for text in shapely.to_geojson(lonlat(outlines, crs))]
