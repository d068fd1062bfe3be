"""Polygons from a probability raster: objects cleaned, measured and written, a row of tiles at a time."""

from __future__ import annotations

import json
import os
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.io import DatasetReader
from shapely import Geometry, Polygon

from ..protocol import (
    SPECK_PX,
    ClassInfo,
    ErrorCode,
    Existing,
    OrthomaskError,
    Outline,
    PolygonizeRequest,
    PolygonizeResult,
    PolygonOptions,
    from_json,
)
from ..protocol.words import tr
from . import outlines, regions
from .layers import write_layer
from .measure import measured
from .outputs import locked, refuse_in_use, writing
from .progress import Progress
from .runs import SCALE, Counted
from .tracing import Part, traced

FIELDS = ("id", "class", "class_value", "confidence", "area_m2", "perimeter_m", "outline", "run")


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
    provenance = {"source": {"path": str(source)}, **record, "threshold": request.threshold}
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.stem}.lock"), target):
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


class _Finisher:
    """Cleans, measures and writes finished objects."""

    def __init__(
        self, dataset: DatasetReader, classes: tuple[ClassInfo, ...], options: PolygonOptions, crs: str, run: str
    ) -> None:
        self.count, self.area_m2 = 0, 0.0
        self._classes = {info.value: info for info in classes}
        self._options, self._crs, self._run = options, pyproj.CRS.from_user_input(crs), run
        self._transform, self._lattice_crs = dataset.transform, dataset.crs.to_wkt()
        self._context: list[Polygon] = []
        center = shapely.box(-0.5, -0.5, 0.5, 0.5)
        middle = Affine.translation(dataset.width / 2, dataset.height / 2)
        pixel = np.array([regions.transformed(center, middle)])
        self._pixel_m2 = float(measured(self._in_source_crs(pixel), self._crs)[0][0])

    @property
    def min_pixels(self) -> float:
        """The smallest object, in pixels."""
        return max(1.0, self._pixels(self._options.min_area_m2))

    def _pixels(self, area_m2: float | None) -> float:
        return SPECK_PX if area_m2 is None else area_m2 / self._pixel_m2

    def rows(self, objects: list[Part], pending: list[Part]) -> list[tuple[Part, Geometry, str]]:
        """Each object with its outline in raster pixels, and how that was drawn."""
        kinds = {
            kind: [part for part in objects if self._outline(part) is kind]
            for kind in (Outline.PIXELS, Outline.SQUARED, Outline.SHARED)
        }
        pixels = ((self._without_small_holes(part.polygon), "pixels") for part in kinds[Outline.PIXELS])
        shared = ((polygon, "shared") for polygon in self._shared(kinds[Outline.SHARED], pending))
        drawn = chain(pixels, self._squared(kinds[Outline.SQUARED]), shared)
        by_part = dict(zip(map(id, chain(*kinds.values())), drawn))
        return [(part, *by_part[id(part)]) for part in objects]

    def _outline(self, part: Part) -> Outline:
        return self._classes[part.value].outline if self._options.simplify else Outline.PIXELS

    def _squared(self, objects: list[Part]) -> list[tuple[Geometry, str]]:
        """Buildings squared where that does not hurt, else without the staircase of their pixels."""
        polygons = np.array([self._without_small_holes(part.polygon) for part in objects], object)
        drawn, is_squared = outlines.squared(polygons)
        return [(polygon, "squared" if square else "kept") for polygon, square in zip(drawn, is_squared)]

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
        least = self._pixels(self._options.min_hole_m2)
        return Polygon(polygon.exterior, [ring for ring in polygon.interiors if Polygon(ring).area >= least])

    def write(self, rows: list[tuple[Part, Geometry, str]], target: Path) -> None:
        """Append objects to the layer `polygons`; the first call makes it."""
        parts = [part for part, _, _ in rows]
        moved = self._in_source_crs(np.array([geometry for _, geometry, _ in rows], object))
        areas, perimeters = measured(moved, self._crs)
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
        crs = self._crs.to_wkt()
        write_layer(target, "polygons", dict(zip(FIELDS, columns)), shapely.to_wkb(moved), "Polygon", crs)
        self.count += len(rows)
        self.area_m2 += float(areas.sum())

    def _in_source_crs(self, polygons: np.ndarray) -> np.ndarray:
        placed = regions.transformed(polygons, self._transform)
        same = self._crs == pyproj.CRS(self._lattice_crs)
        return np.asarray(placed if same else regions.reprojected(placed, self._lattice_crs, self._crs))


def _record(path: Path) -> dict[str, Any]:
    """What a run wrote into its probability raster, with the provenance beside it where it is still there."""
    try:
        with rasterio.open(path) as dataset:
            record: dict[str, Any] = json.loads(dataset.tags()["ORTHOMASK"])
    except (rasterio.errors.RasterioError, KeyError, ValueError) as error:
        raise OrthomaskError(
            ErrorCode.IMAGE_UNREADABLE,
            tr("“{}” is no probability raster of Orthomask.").format(path.name),
            tr("Choose the probabilities.tif in the folder of a run."),
            str(error),
        ) from error
    try:
        whole: dict[str, Any] = json.loads(path.with_name("run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # gone or damaged: what the raster itself says is enough
        return record
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
    write_layer(target, "orthomask_runs", {name: np.array([value], object) for name, value in values.items()})
