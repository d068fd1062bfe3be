"""Polygons from a probability raster: traced tile by tile, joined across seams, cleaned, measured, written.

Memory is that of one row of tiles and of the objects that reach into the next one, whatever the raster's size.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.io import DatasetReader
from rasterio.windows import Window
from scipy import ndimage
from shapely import Geometry, Polygon

from ..protocol import (
    ClassInfo,
    ErrorCode,
    Existing,
    OrthomaskError,
    Outline,
    PolygonizeRequest,
    PolygonizeResult,
    PolygonOptions,
    Progress,
    from_json,
)
from . import outlines, regions
from .raster import ellipsoid
from .runs import SCALE, Counted, classify, output_error, refuse_in_use, writing

TILE_PX = 2048
FIELDS = ("id", "class", "class_value", "confidence", "area_m2", "perimeter_m", "outline", "run")


@dataclass
class Part:
    """An object, or the piece of one that has been seen so far: 4-connected pixels of one class.

    Attributes:
        shapes: pixel-edge polygons in raster pixels, one for each tile it lies in.
        pixels: number of pixels.
        probability: sum of their probabilities, 0 to `SCALE` each.
    """

    value: int
    shapes: list[Polygon]
    pixels: int
    probability: float

    @property
    def polygon(self) -> Polygon:
        """The whole object in raster pixels, its seams dissolved."""
        return self.shapes[0] if len(self.shapes) == 1 else _dissolved(self.shapes)

    def absorb(self, other: Part) -> None:
        """Make `other` part of this object."""
        self.shapes += other.shapes
        self.pixels += other.pixels
        self.probability += other.probability


def run(request: PolygonizeRequest, progress: Progress) -> PolygonizeResult:
    """Write the polygons of a run's probability raster at a threshold, without running the model again.

    Raises:
        OrthomaskError: the raster is not one of ours, or the output exists or cannot be written.
    """
    started = time.monotonic()
    source, target = Path(request.probabilities_path), Path(request.output_path)
    record = _record(source)
    if target.exists() and request.existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS, f"“{target}” already exists.", "Choose another name, or overwrite it."
        )
    refuse_in_use(target)
    partial = target.with_name(f".{target.stem}.partial.gpkg")
    provenance = {**record, "threshold": request.threshold, "source": {"path": str(source)}}
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        counted = write(source, request.threshold, request.polygons, provenance, partial, progress)
        with writing(target):
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return PolygonizeResult(str(target), counted.polygons, counted.area_m2, round(time.monotonic() - started, 2))


def write(
    probabilities: Path,
    threshold: float,
    options: PolygonOptions,
    provenance: dict[str, Any],
    target: Path,
    progress: Progress,
) -> Counted:
    """Write the layer `polygons` and the table `orthomask_runs` of a GeoPackage; return count and total area."""
    with rasterio.open(probabilities) as dataset:
        record = json.loads(dataset.tags()["ORTHOMASK"])
        classes = tuple(from_json(ClassInfo, info) for info in record["classes"])
        source_crs = provenance.get("source", {}).get("crs")
        finish = _Finisher(dataset, classes, options, source_crs or dataset.crs.to_wkt(), record["run_id"])
        target.unlink(missing_ok=True)
        finish.write([], target)
        for objects, pending in traced(dataset, threshold, finish.min_pixels, progress):
            finish.write(finish.rows(objects, pending), target)
    _write_provenance(provenance, record["run_id"], target)
    return Counted(finish.count, round(finish.area_m2, 1))


def traced(
    dataset: DatasetReader, threshold: float, min_pixels: float, progress: Progress
) -> Iterator[tuple[list[Part], list[Part]]]:
    """Objects of a probability raster, row by row of tiles: those finished there, and those that still go on.

    Args:
        min_pixels: objects of fewer pixels are left out.
    """
    rows = range(0, dataset.height, TILE_PX)
    seam = _Seam(dataset.width)
    for top in rows:
        for left in range(0, dataset.width, TILE_PX):
            progress.report(top / dataset.height, "Tracing outlines")
            width, height = min(TILE_PX, dataset.width - left), min(TILE_PX, dataset.height - top)
            seam.add(_Tile.read(dataset, Window(left, top, width, height), threshold), min_pixels)
        done, pending = seam.finish_row(last=top == rows[-1])
        yield [part for part in done if part.pixels >= min_pixels], pending


@dataclass(frozen=True)
class _Tile:
    """One tile: class values, 4-connected labels from 1 (0 is background) and the likeliest class's probability."""

    left: int
    top: int
    classes: np.ndarray
    labels: np.ndarray
    probability: np.ndarray

    @classmethod
    def read(cls, dataset: DatasetReader, window: Window, threshold: float) -> _Tile:
        bands = dataset.read(window=window)
        classes = classify(bands, threshold)
        labels, found = np.zeros(classes.shape, np.int32), 0
        for value in range(1, dataset.count + 1):
            part, number = ndimage.label(classes == value)
            labels += np.where(part > 0, part + found, 0).astype(np.int32)
            found += number
        return cls(window.col_off, window.row_off, classes, labels, bands.max(axis=0))

    def parts(self, min_pixels: float) -> dict[int, Part]:
        """The objects by label; those too small that do not reach the tile's edge are left out."""
        flat = self.labels.ravel()
        pixels = np.bincount(flat)
        probability = np.bincount(flat, weights=self.probability.ravel())
        value = np.zeros(pixels.size, np.uint8)
        value[flat] = self.classes.ravel()
        keep = pixels >= min_pixels
        for edge in (self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1]):
            keep[edge] = True
        keep[0] = False
        return {
            label: Part(int(value[label]), [polygon], int(pixels[label]), float(probability[label]))
            for label, polygon in self._polygons(keep)
        }

    def _polygons(self, keep: np.ndarray) -> Iterator[tuple[int, Polygon]]:
        transform = Affine.translation(self.left, self.top)
        for geometry, label in rasterio.features.shapes(self.labels, keep[self.labels], 4, transform):
            rings = geometry["coordinates"]
            yield int(label), Polygon(rings[0], rings[1:])


@dataclass
class _Seam:
    """Joins objects across tiles: what touches the tile above or to the left becomes one object (union-find)."""

    width: int
    parts: dict[int, Part] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.above = np.zeros((2, self.width), np.int64)
        self.below = np.zeros((2, self.width), np.int64)
        self.beside = np.zeros((2, 0), np.int64)

    def add(self, tile: _Tile, min_pixels: float) -> None:
        """Take in the next tile of the row."""
        parts = tile.parts(min_pixels)
        number = np.zeros(int(tile.labels.max()) + 1, np.int64)
        for label, part in parts.items():
            number[label] = identity = next(self.numbers)
            self.parts[identity] = part
            self.parents[identity] = identity
        columns = slice(tile.left, tile.left + tile.labels.shape[1])
        self._join(self.above[:, columns], _edge(number, tile, np.s_[0, :]))
        left_edge = _edge(number, tile, np.s_[:, 0])
        if tile.left:
            self._join(self.beside, left_edge)
        self.beside = _edge(number, tile, np.s_[:, -1])
        self.below[:, columns] = _edge(number, tile, np.s_[-1, :])

    def finish_row(self, last: bool) -> tuple[list[Part], list[Part]]:
        """Objects that are whole after this row of tiles, in the order they began, and those that are not."""
        for identity in list(self.parts):
            root = self._root(identity)
            if root != identity:
                self.parts[root].absorb(self.parts.pop(identity))
        going = set() if last else {self._root(identity) for identity in np.unique(self.below[0]).tolist() if identity}
        done = [self.parts.pop(identity) for identity in sorted(self.parts) if identity not in going]
        roots = np.array([self._root(i) if i else 0 for i in self.below[0].tolist()], np.int64)
        self.above, self.below = np.stack([roots, self.below[1]]), np.zeros_like(self.below)
        self.parents = {identity: identity for identity in self.parts}
        return done, list(self.parts.values())

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        same = (one[0] > 0) & (other[0] > 0) & (one[1] == other[1])
        for pair in np.unique(np.stack([one[0][same], other[0][same]]), axis=1).T.tolist():
            first, second = sorted(map(self._root, pair))
            self.parents[second] = first

    def _root(self, identity: int) -> int:
        while self.parents[identity] != identity:
            self.parents[identity] = self.parents[self.parents[identity]]
            identity = self.parents[identity]
        return identity


def _edge(number: np.ndarray, tile: _Tile, index: Any) -> np.ndarray:
    """Object numbers and class values along an edge of a tile."""
    return np.stack([number[tile.labels[index]], tile.classes[index].astype(np.int64)])


def _dissolved(shapes: list[Polygon]) -> Polygon:
    """One polygon from pieces that share seams, without the vertices that the seams left on straight edges."""
    whole = shapely.union_all(shapes)
    return whole.simplify(0)


class _Finisher:
    """Cleans, measures and writes finished objects."""

    def __init__(
        self, dataset: DatasetReader, classes: tuple[ClassInfo, ...], options: PolygonOptions, crs: str, run: str
    ) -> None:
        self.count, self.area_m2 = 0, 0.0
        self._classes = {info.value: info for info in classes}
        self._options, self._crs, self._run = options, crs, run
        self._transform, self._lattice_crs = dataset.transform, dataset.crs.to_wkt()
        self._geographic, self._geod = ellipsoid(pyproj.CRS.from_user_input(crs))
        self._context: list[Polygon] = []
        center = shapely.box(-0.5, -0.5, 0.5, 0.5)
        middle = Affine.translation(dataset.width / 2, dataset.height / 2)
        self._pixel_m2 = float(self._measured(np.array([regions.transformed(center, middle)]))[0][0])

    @property
    def min_pixels(self) -> float:
        """The smallest object, in pixels."""
        return max(1.0, self._options.min_area_m2 / self._pixel_m2)

    def rows(self, objects: list[Part], pending: list[Part]) -> list[tuple[Part, Geometry, str]]:
        """Each object with its outline in raster pixels, and how that was drawn."""
        shared = [part for part in objects if self._outline(part) is Outline.SHARED]
        borders = dict(zip(map(id, shared), self._shared(shared, pending)))
        rows = []
        for part in objects:
            if id(part) in borders:
                rows.append((part, borders[id(part)], "shared"))
            else:
                rows.append((part, *self._drawn(part)))
        return rows

    def _outline(self, part: Part) -> Outline:
        return self._classes[part.value].outline if self._options.simplify else Outline.PIXELS

    def _drawn(self, part: Part) -> tuple[Geometry, str]:
        """A building squared where that does not hurt, anything else as it is."""
        polygon = self._without_small_holes(part.polygon)
        if self._outline(part) is Outline.PIXELS:
            return polygon, "pixels"
        square = outlines.squared(polygon)
        return (square, "squared") if square else (outlines.simplified(polygon), "kept")

    def _shared(self, objects: list[Part], pending: list[Part]) -> list[Geometry]:
        """Outlines of fields with common borders. Neighbours that are not written now take part as context.

        A border comes out the same on both sides, since all that touches it takes part both times, and the side that
        is written first comes first both times.
        """
        if not objects:
            return []
        going = [part.polygon for part in pending if self._outline(part) is Outline.SHARED]
        finished = self._context + [part.polygon for part in objects]
        result = outlines.share_borders(finished + going)[len(self._context) : len(finished)]
        touching = np.unique(shapely.STRtree(going).query(finished, predicate="intersects")[0])
        self._context = [finished[index] for index in touching]
        return [self._without_small_holes(polygon) for polygon in result]

    def _without_small_holes(self, polygon: Polygon) -> Polygon:
        if not polygon.interiors:
            return polygon
        least = self._options.min_hole_m2 / self._pixel_m2
        return Polygon(polygon.exterior, [ring for ring in polygon.interiors if Polygon(ring).area >= least])

    def write(self, rows: list[tuple[Part, Geometry, str]], target: Path) -> None:
        """Append objects to the layer `polygons`; the first call makes it."""
        parts = [part for part, _, _ in rows]
        on_lattice = np.array([geometry for _, geometry, _ in rows], object)
        areas, perimeters = self._measured(on_lattice)
        moved = self._in_source_crs(on_lattice)
        infos = [self._classes[part.value] for part in parts]
        columns = (
            np.arange(self.count + 1, self.count + len(rows) + 1),
            np.array([info.name for info in infos], object),
            np.array([info.value for info in infos], np.int32),
            np.array([round(part.probability / part.pixels / SCALE, 3) for part in parts], np.float64),
            np.round(areas, 2),
            np.round(perimeters, 2),
            np.array([outline for _, _, outline in rows], object),
            np.array([self._run] * len(rows), object),
        )
        _write_layer(target, "polygons", shapely.to_wkb(moved), columns, FIELDS, self._crs, append=target.exists())
        self.count += len(rows)
        self.area_m2 += float(areas.sum())

    def _in_source_crs(self, polygons: np.ndarray) -> np.ndarray:
        placed = regions.transformed(polygons, self._transform)
        same = pyproj.CRS(self._crs) == pyproj.CRS(self._lattice_crs)
        return np.asarray(placed if same else regions.reprojected(placed, self._lattice_crs, self._crs))

    def _measured(self, polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Area in m² and perimeter in m of each polygon, on the ellipsoid (Karney 2013)."""
        placed = regions.transformed(polygons, self._transform)
        geographic = regions.reprojected(placed, self._lattice_crs, self._geographic)
        measures = [self._geod.geometry_area_perimeter(shapely.orient_polygons(polygon)) for polygon in geographic]
        return np.array([abs(area) for area, _ in measures]), np.array([length for _, length in measures])


def _record(path: Path) -> dict[str, Any]:
    """What a run wrote into its probability raster, with the provenance beside it where it is still there."""
    try:
        with rasterio.open(path) as dataset:
            record: dict[str, Any] = json.loads(dataset.tags()["ORTHOMASK"])
    except (rasterio.errors.RasterioError, KeyError, ValueError) as error:
        raise OrthomaskError(
            ErrorCode.IMAGE_UNREADABLE,
            f"“{path.name}” is no probability raster of Orthomask.",
            "Choose the probabilities.tif in the folder of a run.",
            str(error),
        ) from error
    beside = path.with_name("run.json")
    whole = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    return {**record, **whole} if whole.get("run_id") == record["run_id"] else record


def _write_provenance(provenance: dict[str, Any], run: str, target: Path) -> None:
    model = provenance.get("model", {})
    values = {
        "run": run,
        "model": model.get("name", ""),
        "model_sha256": model.get("sha256", ""),
        "source": provenance["source"]["path"],
        "image_date": provenance.get("image_date", ""),
        "threshold": str(provenance["threshold"]),
        "request": json.dumps(provenance.get("request", {})),
        "version": provenance.get("versions", {}).get("orthomask", ""),
        "time": provenance.get("time", ""),
    }
    columns = tuple(np.array([value], object) for value in values.values())
    _write_layer(target, "orthomask_runs", None, columns, tuple(values), None, append=True)


def _write_layer(
    target: Path,
    layer: str,
    geometry: np.ndarray | None,
    columns: tuple[np.ndarray, ...],
    fields: tuple[str, ...],
    crs: str | None,
    append: bool,
) -> None:
    kind: dict[str, Any] = {"geometry_type": None if geometry is None else "Polygon", "crs": crs}
    try:
        pyogrio.raw.write(
            target,
            geometry,
            list(columns),
            list(fields),
            layer=layer,
            driver="GPKG",
            append=append,
            dataset_options={"VERSION": "1.2"},  # what the GDAL of QGIS 3.22 knows
            **kind,
        )
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise output_error(target, OSError(errno.EIO, str(error))) from error
