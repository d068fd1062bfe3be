"""What a person has changed in the polygons of a run, kept when these are made again at another threshold.

Outlines that a person added or corrected stay as they are. What the model had found where a person removed, corrected,
split or merged something stays away: the objects of the present threshold are made once more, and those that are no
longer among the untouched ones are where a person has decided. New objects end at both, and are left out where half of
them or more would be covered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from ...protocol import ErrorCode, OrthomaskError, PolygonOptions, from_json
from ...protocol.words import tr
from ..images import regions
from .layers import layer_info, list_layers, read_layer
from .measure import measured

LAYER, RUNS, REMOVED = "polygons", "orthomask_runs", "orthomask_removed"
"""Layers and tables of a GeoPackage of polygons: the third holds where the model's objects stay away."""
EDITED = "confidence IS NULL OR outline IN ('added', 'corrected')"
UNTOUCHED = "confidence IS NOT NULL AND (outline IS NULL OR outline NOT IN ('added', 'corrected'))"
"""The model is confident of all that it found alone; a tool may add without saying so."""
HALF, TINY = 0.5, float(np.finfo(float).tiny)
TOUCHING = 1e-6
"""Objects that share less than this part of their area only touch."""

Columns = dict[str, np.ndarray]
"""Attributes `(N,)` of polygons, and these themselves as `geometry`."""


class Made(NamedTuple):
    """How the polygons of a GeoPackage were made, and how many were the model's, not a person's; -1 if unknown."""

    threshold: float
    options: PolygonOptions
    objects: int


@dataclass(frozen=True)
class Edits:
    """A person's changes.

    Attributes:
        kept: what was added or corrected, whole.
        removed: polygons where the model's objects stay away.
    """

    kept: Columns
    removed: np.ndarray

    def blocking(self) -> np.ndarray:
        """Where no object of the model may be, as polygons `(N,)` that do not overlap."""
        drawn = shapely.make_valid(self.kept["geometry"])
        everything = shapely.union_all([*drawn, *shapely.make_valid(self.removed)])
        return np.asarray(shapely.get_parts(regions.polygonal(everything)))


class Cutter:
    """Cuts objects back to where nobody has decided otherwise.

    Args:
        blocking: polygons `(N,)` that do not overlap.
        crs: of the polygons.
        min_area_m2: smaller remains are dropped.
    """

    def __init__(self, blocking: np.ndarray, crs: pyproj.CRS, min_area_m2: float) -> None:
        self._blocking, self._tree = blocking, shapely.STRtree(blocking)
        self._crs, self._min_area_m2 = crs, min_area_m2

    def cut(self, columns: Columns) -> Columns:
        """The objects that remain, those that were cut measured anew."""
        polygons = columns["geometry"]
        share = covered(polygons, self._tree)
        columns, share = rows(columns, share < HALF), share[share < HALF]
        touched = np.flatnonzero(share > TOUCHING)
        if not len(touched):
            return columns
        which, parts = self._remains(columns["geometry"][touched])
        cut = {**rows(columns, touched[which]), "geometry": parts}
        areas, perimeters = measured(parts, self._crs)
        cut["area_m2"], cut["perimeter_m"] = np.round(areas, 2), np.round(perimeters, 2)
        whole, cut = rows(columns, share <= TOUCHING), rows(cut, areas >= self._min_area_m2)
        return {name: np.concatenate([whole[name], cut[name]]) for name in columns}

    def _remains(self, polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The polygons that are left of each, and which one each was part of."""
        which, remains = [], []
        for index, polygon in enumerate(polygons):
            near = self._blocking[self._tree.query(polygon, predicate="intersects")]
            for part in shapely.get_parts(regions.polygonal(polygon.difference(shapely.union_all(near)))):
                which.append(index)
                remains.append(part)
        return np.array(which, np.int64), np.array(remains, object)


def read(
    path: Path, crs: pyproj.CRS, whole: Made, remade: Callable[[Made], Iterator[np.ndarray]],
    near: shapely.Geometry | None,
) -> Edits:  # fmt: skip
    """A person's changes to the polygons in a GeoPackage of a run.

    Args:
        crs: of the objects to make.
        whole: how the run itself made its polygons, for a file that does not say.
        remade: makes the objects of the file's own threshold once more, some at a time.
        near: only changes that touch this, in `crs`; None for all.

    Raises:
        OrthomaskError: the file has no polygons of a run.
    """
    try:
        info = layer_info(str(path), LAYER, force_feature_count=True)
        here = pyproj.CRS.from_user_input(info["crs"]) if info["crs"] else crs
        kept, removed = _read(path, LAYER, here, crs, where=EDITED), [np.array([], object)]
        if REMOVED in list_layers(str(path)):
            removed.append(_read(path, REMOVED, here, crs)["geometry"])
        made = _made(path, whole)
        if int(info["features"]) - len(kept["geometry"]) != made.objects:
            tree = shapely.STRtree(shapely.make_valid(_read(path, LAYER, here, crs, where=UNTOUCHED)["geometry"]))
            removed += [polygons[covered(polygons, tree) < HALF] for polygons in remade(made)]
    except (DataSourceError, DataLayerError, KeyError) as error:
        raise OrthomaskError(
            ErrorCode.IMAGE_UNREADABLE,
            tr("“{}” has no polygons of a run.").format(path.name),
            tr("Choose the polygons.gpkg in the folder of a run."),
            str(error),
        ) from error
    gone = np.concatenate(removed)
    if near is not None:
        kept, gone = rows(kept, shapely.intersects(kept["geometry"], near)), gone[shapely.intersects(gone, near)]
    return Edits(kept, gone)


def covered(polygons: np.ndarray, tree: shapely.STRtree) -> np.ndarray:
    """Which part of each polygon `(N,)` lies in those of a tree, which do not overlap: 0 to 1."""
    one, other = tree.query(polygons, predicate="intersects")
    shared = shapely.area(shapely.intersection(polygons[one], tree.geometries[other]))
    return np.asarray(np.bincount(one, shared, len(polygons)) / np.maximum(shapely.area(polygons), TINY))


def rows(columns: Columns, which: np.ndarray) -> Columns:
    """Some of the polygons."""
    return {name: values[which] for name, values in columns.items()}


def threshold(path: Path, otherwise: float) -> float:
    """The threshold at which the polygons in a GeoPackage were made, as its table says."""
    return _made(path, Made(otherwise, PolygonOptions(), -1)).threshold


def _read(path: Path, layer: str, here: pyproj.CRS, crs: pyproj.CRS, **options: Any) -> Columns:
    """Polygons of a layer in `crs`, those without an outline left out."""
    meta, wkb, data = read_layer(str(path), layer, **options)
    drawn = shapely.force_2d(shapely.from_wkb(wkb))
    columns = {**dict(zip(meta["fields"], data)), "geometry": drawn}
    columns = rows(columns, ~(shapely.is_missing(drawn) | shapely.is_empty(drawn)))
    if here != crs:
        columns["geometry"] = np.asarray(regions.reprojected(columns["geometry"], here, crs))
    return columns


def _made(path: Path, whole: Made) -> Made:
    """How the polygons of a file were made, as its table says."""
    try:
        meta, _, data = read_layer(str(path), RUNS, read_geometry=False)
        said = {name: values[-1] for name, values in zip(meta["fields"], data)}
        options = from_json(PolygonOptions, json.loads(said["request"]).get("polygons", {}))
        return Made(float(said["threshold"]), options, int(said.get("objects", whole.objects)))
    except (DataSourceError, DataLayerError, OrthomaskError, KeyError, IndexError, TypeError, ValueError):
        return whole
