"""Polygons from a probability raster: objects cleaned, measured and written, thousands at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from ...protocol import (
    SPECK_PX,
    ClassInfo,
    ErrorCode,
    Existing,
    OrthomaskError,
    Outline,
    PolygonizeRequest,
    PolygonizeResult,
    PolygonOptions,
    Region,
    from_json,
    to_json,
)
from ...protocol.words import tr
from ..images import regions
from ..outputs import locked, refuse_in_use, writing
from ..progress import Progress
from ..runs.runs import SCALE, Counted
from . import edits, outlines
from .edges import Kept
from .edits import Columns, Made
from .layers import write_layer
from .measure import measured
from .section import Section
from .tracing import Objects, Part, traced

FIELDS = ("id", "class", "class_value", "confidence", "area_m2", "perimeter_m", "outline", "run")
CACHE_BYTES = 16 << 20
"""GDAL's block cache while the raster is read, each block once."""
DEFAULT_THRESHOLD = 0.5
"""Of runs whose record is gone."""
WRITE_BYTES = 16 << 20
"""Polygons are written when they reach this many bytes: every write flushes the file to disk."""


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
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )
    refuse_in_use(target)
    partial = target.with_name(f".{target.stem}.partial.gpkg")
    asked = {**record.get("request", {}), "threshold": request.threshold, "polygons": to_json(request.polygons)}
    provenance = {"source": {"path": str(source)}, **record, "threshold": request.threshold, "request": asked}
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.stem}.lock"), target):
        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(source) as dataset:
                maker = _Maker(dataset, provenance, request.region)
                made, changes = Made(request.threshold, request.polygons, -1), None
                if request.edited_path:
                    looking, progress = progress.part(0, 0.4), progress.part(0.4, 1)
                    changes = maker.changes(Path(request.edited_path), _whole(record), looking)
                counted = _write(maker, made, provenance, partial, progress, changes)
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
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(probabilities) as dataset:
        return _write(_Maker(dataset, provenance), Made(threshold, options, -1), provenance, target, progress)


def _write(
    maker: _Maker, made: Made, provenance: dict[str, Any], target: Path, progress: Progress,
    changes: edits.Edits | None = None,
) -> Counted:  # fmt: skip
    """The same, with a person's changes to earlier polygons, if there are any."""
    layer = _Layer(target, maker.crs)
    cutter = changes and edits.Cutter(changes.blocking(), maker.crs, maker.min_area_m2(made.options))
    for columns in maker.made(made, progress):
        layer.add(cutter.cut(columns) if cutter else columns)
    layer.write()
    of_model = layer.count
    if changes and len(changes.kept["geometry"]):
        layer.add(changes.kept)
        layer.write()
    if changes and len(changes.removed):
        of_run = {"run": np.full(len(changes.removed), maker.run, object)}
        write_layer(target, edits.REMOVED, of_run, shapely.to_wkb(changes.removed), "Unknown", maker.crs.to_wkt())
    _write_provenance(provenance, maker.run, of_model, target)
    return Counted(layer.count, round(layer.area_m2, 1))


class _Maker:
    """Makes the objects of a probability raster, or of a part of it.

    Args:
        provenance: of its run.
        region: only objects that touch it; None for all.
    """

    def __init__(self, dataset: DatasetReader, provenance: dict[str, Any], region: Region | None = None) -> None:
        self._record = json.loads(dataset.tags()["ORTHOMASK"])
        known = provenance.get("source", {})
        self._near_x = known["center"][0] if "center" in known else None
        self.crs = pyproj.CRS.from_user_input(known.get("crs") or dataset.crs.to_wkt())
        self._dataset, self._section = dataset, Section(dataset, region)
        self.run: str = self._record["run_id"]

    def made(self, made: Made, progress: Progress) -> Iterator[Columns]:
        """The attributes of objects except `id`, and their outlines, some at a time."""
        finisher, section, mask = self._finisher(made.options), self._section, None
        if "region" in self._record:
            region, reach_px = section.here(shapely.from_wkb(self._record["region"])), self._record["reach_px"]
            looking, progress = progress.part(0, 0.2), progress.part(0.2, 1)
            mask = Kept(section, made.threshold, finisher.min_pixels, region, reach_px, looking)
        for objects, pending in traced(section, made.threshold, finisher.min_pixels, progress, mask):
            columns = finisher.finished(objects, pending)
            wanted = section.within is None or shapely.intersects(objects.polygons, section.within)
            yield columns if wanted is True else edits.rows(columns, wanted)

    def changes(self, path: Path, whole: Made, progress: Progress) -> edits.Edits:
        """What a person has changed in the polygons of a GeoPackage of this run.

        Args:
            whole: how the run itself made its polygons.

        Raises:
            OrthomaskError: it has none.
        """

        def remade(made: Made) -> Iterator[np.ndarray]:
            return (columns["geometry"] for columns in self.made(made, progress))

        within = self._section.within
        finisher = self._finisher(PolygonOptions())
        near = None if within is None else finisher.in_source_crs(np.array([within], object))[0]
        return edits.read(path, self.crs, whole, remade, near)

    def min_area_m2(self, options: PolygonOptions) -> float:
        """The area of the smallest object."""
        return self._finisher(options).min_area_m2

    def _finisher(self, options: PolygonOptions) -> _Finisher:
        classes = tuple(from_json(ClassInfo, info) for info in self._record["classes"])
        return _Finisher(self._dataset, self._section.transform, classes, options, self.crs, self.run, self._near_x)


class _Layer:
    """The new layer `polygons` of a GeoPackage, to which many polygons are written at a time."""

    def __init__(self, target: Path, crs: pyproj.CRS) -> None:
        self.count, self.area_m2 = 0, 0.0
        self._target, self._crs = target, crs.to_wkt()
        self._held: list[dict[str, np.ndarray]] = []
        self._bytes = 0
        target.unlink(missing_ok=True)

    def add(self, columns: Columns) -> None:
        """Add polygons with their attributes; they are numbered in order."""
        number, outlines = len(columns["geometry"]), shapely.to_wkb(columns["geometry"])
        numbers = np.arange(self.count + 1, self.count + number + 1)
        self._held.append({**columns, "id": numbers, "geometry": outlines})
        self.count += number
        self.area_m2 += float(np.nansum(columns["area_m2"]))
        self._bytes += sum(map(len, outlines))
        if self._bytes >= WRITE_BYTES:
            self.write()

    def write(self) -> None:
        """Write what has been added."""
        if not self._held:
            return
        columns = {name: np.concatenate([held[name] for held in self._held]) for name in (*FIELDS, "geometry")}
        geometry = columns.pop("geometry")
        write_layer(self._target, "polygons", columns, geometry, "Polygon", self._crs)
        self._held, self._bytes = [], 0


class _Finisher:
    """Cleans and measures whole objects."""

    def __init__(
        self, dataset: DatasetReader, transform: Affine, classes: tuple[ClassInfo, ...], options: PolygonOptions,
        crs: pyproj.CRS, run: str, near_x: float | None,
    ) -> None:  # fmt: skip
        """Prepare for a raster.

        Args:
            transform: of the pixels that objects are given in.
            near_x: longitude that the source's are counted around, which may cross or exceed 180°.
        """
        self.crs, self._near_x = crs, near_x
        self._names, self._outlines = np.full((2, 1 + max(info.value for info in classes)), "", object)
        for info in classes:
            outline = info.outline if options.simplify else Outline.PIXELS
            self._names[info.value], self._outlines[info.value] = info.name, outline.value
        self._options, self._run = options, run
        self._transform, self._lattice_crs = dataset.transform, dataset.crs.to_wkt()
        self._context = np.array([], object)
        center = shapely.box(-0.5, -0.5, 0.5, 0.5)
        middle = Affine.translation(dataset.width / 2, dataset.height / 2)
        pixel = np.array([regions.transformed(center, middle)])
        self._pixel_m2 = float(measured(self.in_source_crs(pixel), self.crs)[0][0])
        self._transform = transform

    @property
    def min_pixels(self) -> float:
        """The smallest object, in pixels."""
        return max(1.0, self._pixels(self._options.min_area_m2))

    @property
    def min_area_m2(self) -> float:
        """The same in square metres."""
        return self.min_pixels * self._pixel_m2

    def _pixels(self, area_m2: float | None) -> float:
        return SPECK_PX if area_m2 is None else area_m2 / self._pixel_m2

    def finished(self, objects: Objects, pending: Sequence[Part]) -> Columns:
        """The attributes of objects except `id`, and their outlines in the CRS of the source."""
        polygons, outline = self._drawn(objects, pending)
        moved = self.in_source_crs(polygons)
        areas, perimeters = measured(moved, self.crs)
        return {
            "class": self._names[objects.values],
            "class_value": objects.values.astype(np.int32),
            "confidence": np.round(objects.probabilities / objects.pixels / SCALE, 3),
            "area_m2": np.round(areas, 2),
            "perimeter_m": np.round(perimeters, 2),
            "outline": outline,
            "run": np.full(len(moved), self._run, object),
            "geometry": moved,
        }

    def _drawn(self, objects: Objects, pending: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
        """Outlines in raster pixels, and how each was drawn: buildings are squared where that fits."""
        polygons, outline = objects.polygons.copy(), self._outlines[objects.values]
        shared, squared = (np.flatnonzero(outline == kind.value) for kind in (Outline.SHARED, Outline.SQUARED))
        if len(shared):
            polygons[shared] = self._shared(polygons[shared], pending)
        polygons = self._without_small_holes(polygons)
        polygons[squared], is_squared = outlines.squared(polygons[squared])
        outline[squared] = np.where(is_squared, "squared", "kept")
        return polygons, outline

    def _shared(self, finished: np.ndarray, pending: Sequence[Part]) -> np.ndarray:
        """Outlines of fields with common borders. Neighbours that are not written now take part as context.

        A border comes out the same on both sides, since everything that touches it takes part both times, and the
        side written first comes first both times. Written polygons are kept until all neighbours are.
        """
        going = [part for part in pending if self._outlines[part.value] == Outline.SHARED.value]
        pieces = np.array(list(chain.from_iterable(part.shapes for part in going)), object)
        part_of = np.repeat(np.arange(len(going)), [len(part.shapes) for part in going])
        tree = shapely.STRtree(finished)
        before = self._context[np.unique(tree.query(self._context, predicate="intersects")[0])]
        beside = np.unique(part_of[tree.query(pieces, predicate="intersects")[0]])
        after = [going[index].polygon for index in beside]
        result = outlines.share_borders([*before, *finished, *after])[len(before) : len(before) + len(finished)]
        known = np.concatenate([self._context, finished])
        self._context = known[np.unique(shapely.STRtree(known).query(pieces, predicate="intersects")[1])]
        return result

    def _without_small_holes(self, polygons: np.ndarray) -> np.ndarray:
        rings, polygon = shapely.get_rings(polygons, return_index=True)
        is_outer = np.diff(polygon, prepend=-1) > 0
        is_kept = is_outer | (shapely.area(shapely.polygons(rings)) >= self._pixels(self._options.min_hole_m2))
        return polygons if is_kept.all() else np.asarray(shapely.polygons(rings[is_kept], indices=polygon[is_kept]))

    def in_source_crs(self, polygons: np.ndarray) -> np.ndarray:
        """Polygons in the pixels that objects are given in, moved to the CRS of the source."""
        placed = regions.transformed(polygons, self._transform)
        same = self.crs == pyproj.CRS(self._lattice_crs)
        return np.asarray(placed if same else regions.reprojected(placed, self._lattice_crs, self.crs, self._near_x))


def _record(path: Path) -> dict[str, Any]:
    """What a run recorded in its probability raster, with the provenance next to it if that still exists."""
    try:
        with rasterio.open(path) as dataset:
            record: dict[str, Any] = json.loads(dataset.tags().get("ORTHOMASK", "{}"))
            shows = len(record.get("classes", ()))
            if "run_id" not in record or shows != dataset.count or dataset.colorinterp[0] is ColorInterp.palette:
                raise ValueError("no probabilities, or none of a run")
    except (rasterio.errors.RasterioError, TypeError, ValueError) as error:
        raise OrthomaskError(
            ErrorCode.IMAGE_UNREADABLE,
            tr("“{}” is not an Orthomask probability raster.").format(path.name),
            tr("Choose the probabilities.tif in the folder of a run."),
            str(error),
        ) from error
    try:
        whole: dict[str, Any] = json.loads(path.with_name("run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # gone or damaged: the raster's own record is enough
        return record
    return {**record, **whole} if whole.get("run_id") == record["run_id"] else record


def _whole(record: dict[str, Any]) -> Made:
    """How a run made its own polygons, as far as its record says."""
    try:
        options = from_json(PolygonOptions, record["request"]["polygons"])
        return Made(float(record["threshold"]), options, int(record["result"]["polygon_count"]))
    except (OrthomaskError, KeyError, TypeError, ValueError):
        return Made(DEFAULT_THRESHOLD, PolygonOptions(), -1)


def _write_provenance(provenance: dict[str, Any], run: str, of_model: int, target: Path) -> None:
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
    columns = {name: np.array([value], object) for name, value in values.items()}
    write_layer(target, edits.RUNS, {**columns, "objects": np.array([of_model])})
