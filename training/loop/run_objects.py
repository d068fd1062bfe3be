"""The objects of a run, read from its polygons one piece of ground at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import shapely

from ...engine.images import regions
from ...engine.runs.finished import no_record
from ...engine.shapes.layers import read_layer
from ...engine.shapes.vector_files import NOT_READ, crs_of, info_of, unreadable
from ...protocol import ClassInfo, Region, from_json

POLYGONS, LAYER, RECORD, CLASS = "polygons.gpkg", "polygons", "run.json", "class"

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


class Objects(NamedTuple):
    """Objects of a run, in the CRS of the comparison.

    Attributes:
        outlines: `(N,)` valid polygons and multipolygons.
        classes: `(N,)` names.
    """

    outlines: np.ndarray
    classes: np.ndarray

    def centred_in(self, box: Box) -> np.ndarray:
        """Whether the middle of each object's bounds lies in a box, its left and bottom edges included."""
        left, bottom, right, top = shapely.bounds(self.outlines).reshape(-1, 4).T
        x, y = (left + right) / 2, (bottom + top) / 2
        return np.asarray((x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3]))

    def chosen(self, which: np.ndarray) -> Objects:
        """Some of the objects."""
        return Objects(self.outlines[which], self.classes[which])

    def bounds(self) -> Box | None:
        """Of all together; None if there are none."""
        return around(shapely.bounds(self.outlines).tolist()) if len(self.outlines) else None


@dataclass(frozen=True)
class RunObjects:
    """A finished run.

    Attributes:
        crs: of its polygons.
        region: what was run, in `crs`; None for the whole image.
        bounds: of its polygons; None if it found nothing.
    """

    folder: Path
    crs: pyproj.CRS
    count: int
    bounds: Box | None
    region: shapely.Geometry | None
    classes: tuple[ClassInfo, ...]

    @property
    def path(self) -> str:
        """The file of its polygons."""
        return str(self.folder / POLYGONS)

    def bounds_in(self, crs: pyproj.CRS) -> Box | None:
        """The bounds in another CRS."""
        return None if self.bounds is None else _moved(self.bounds, self.crs, crs)

    def region_in(self, crs: pyproj.CRS) -> shapely.Geometry | None:
        """The region in another CRS."""
        if self.region is None or self.crs.equals(crs, ignore_axis_order=True):
            return self.region
        return regions.reprojected(self.region, self.crs, crs)

    def within(self, box: Box, crs: pyproj.CRS) -> Objects:
        """The objects whose bounds touch a box in a CRS, in that CRS.

        Raises:
            OrthomaskError: the polygons cannot be read.
        """
        try:
            _, wkb, (classes,) = read_layer(self.path, LAYER, columns=[CLASS], bbox=_moved(box, crs, self.crs))
        except NOT_READ as error:
            raise unreadable(self.path, error) from error
        outlines = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
        if not self.crs.equals(crs, ignore_axis_order=True):
            outlines = regions.reprojected(outlines, self.crs, crs)
        odd = ~shapely.is_valid(outlines) & ~shapely.is_missing(outlines)
        outlines[odd] = [regions.mended(outline) for outline in outlines[odd]]
        there = shapely.area(outlines) > 0  # a person may have left an empty one
        return Objects(outlines[there], np.array([str(name or "") for name in classes[there]], object))


def around(boxes: Sequence[Sequence[float]]) -> Box:
    """The box around some."""
    left, bottom, right, top = zip(*boxes)
    return min(left), min(bottom), max(right), max(top)


def open_run(folder: str) -> RunObjects:
    """The run in a folder.

    Raises:
        OrthomaskError: there is none, or its polygons cannot be read.
    """
    path = Path(folder)
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        classes = tuple(from_json(ClassInfo, info) for info in record["model"]["classes"])
        region = (record.get("request") or {}).get("region")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise no_record(folder, error) from error
    file = str(path / POLYGONS)
    info = info_of(file, LAYER, force_feature_count=True, force_total_bounds=True)
    crs = crs_of(file, LAYER)
    count = int(info["features"])
    bounds = around([info["total_bounds"]]) if count else None
    return RunObjects(path, crs, count, bounds, _region(region, crs), classes)


def _region(record: Any, crs: pyproj.CRS) -> shapely.Geometry | None:
    if not record:
        return None
    region = from_json(Region, record)
    return regions.mended(regions.reprojected(shapely.from_wkt(region.wkt), region.crs, crs))


def _moved(box: Box, source: pyproj.CRS, target: pyproj.CRS) -> Box:
    """The bounds of a box in another CRS."""
    if source.equals(target, ignore_axis_order=True):
        return box
    return pyproj.Transformer.from_crs(source, target, always_xy=True).transform_bounds(*box)
