"""The object at a place of a run, as a click asks for it: grown, outlined as the run's own, named and measured."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio.features
import shapely
from shapely import Geometry, Point

from ...protocol import ClassInfo, ErrorCode, GrowRequest, GrowResult, OrthomaskError, Outline
from ...protocol.words import tr
from ..images import regions
from ..progress import Progress
from ..shapes import contours, outlines
from ..shapes.measure import measured
from .growth import Growth
from .looks import Place, Run, look_at, open_run

SEEN = 0.1
"""Least mean probability of a class to name an object by it, if another one was chosen."""


class Grown(NamedTuple):
    """How objects grow from a place, and how many cells to propose."""

    growth: Growth
    place: Place
    proposed: int


def run(request: GrowRequest, progress: Progress) -> GrowResult:
    """Outline the object at a place of a finished run. Only reads; files stay as they are.

    Where the image or the model of the run is gone, as a temporary picture of a map service is, it grows by the
    probabilities alone.

    Raises:
        OrthomaskError: there is no such run, or it has no data at the place, or an object is there already.
    """
    progress.report(0)
    opened = open_run(request.run_dir)
    crs = regions.named_crs(request.crs) if request.crs else opened.crs
    click = _on_raster(Point(request.x, request.y), crs, opened)
    column, row = int(np.floor(click.x)), int(np.floor(click.y))
    width, height = opened.size
    if not (0 <= column < width and 0 <= row < height):
        raise OrthomaskError(
            ErrorCode.REGION_OUTSIDE, tr("This place is outside the run."), tr("Click where the run has results.")
        )
    grown = _grown(opened, column, row, _taken(request, crs, opened), request.device)
    inside = grown.growth.object(round(grown.proposed * request.size))
    info, confidence = _named(opened, inside, grown, request.class_value)
    drawn, outline = _drawn(inside, grown.place, info.outline if opened.request.polygons.simplify else Outline.PIXELS)
    drawn, outline = _around(click, drawn, outline, inside, grown.place, _taken(request, crs, opened))
    placed = regions.transformed(drawn, opened.transform)
    if crs != pyproj.CRS(opened.raster_crs):
        placed = regions.reprojected(placed, opened.raster_crs, crs, request.x)
    (area,), _ = measured(np.array([placed], object), crs)
    return GrowResult(
        shapely.to_wkt(placed, rounding_precision=9), info.value, info.name, round(confidence, 3),
        round(float(area), 2), outline, len(grown.growth.look.features) > 0,
    )  # fmt: skip


def _on_raster(geometry: Geometry, crs: pyproj.CRS, opened: Run) -> Geometry:
    """A geometry in pixels of the run's rasters."""
    if crs != pyproj.CRS(opened.raster_crs):
        middle = opened.transform @ (opened.size[0] / 2, opened.size[1] / 2)
        geometry = regions.reprojected(geometry, crs, opened.raster_crs, middle[0])
    placed = regions.transformed(geometry, ~opened.transform)
    return placed if np.isfinite(shapely.get_coordinates(placed)).all() else Point(-1, -1)


def _taken(request: GrowRequest, crs: pyproj.CRS, opened: Run) -> Geometry | None:
    """What other objects cover, in pixels of the run's rasters."""
    if not request.taken:
        return None
    try:
        taken = shapely.force_2d(shapely.from_wkt(request.taken))
    except shapely.errors.ShapelyError as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The other objects cannot be read."),
            tr("Give them as one polygon or multipolygon in WKT."),
            str(error),
        ) from error
    return shapely.make_valid(_on_raster(taken, crs, opened))


@functools.lru_cache(maxsize=2)
def _grown(opened: Run, column: int, row: int, taken: Geometry | None, device: str) -> Grown:
    """How objects grow from a pixel: kept while only the size changes.

    Raises:
        OrthomaskError: there is no data, or an object.
    """
    place, look = look_at(opened, column, row, device)
    seed = (row - place.y) // place.cell_px, (column - place.x) // place.cell_px
    if not look.valid[seed]:
        raise OrthomaskError(
            ErrorCode.IMAGE_EMPTY, tr("The run has no data at this place."), tr("Click where the run has results.")
        )
    free = look.valid
    if taken is not None and not taken.is_empty:
        free = free & rasterio.features.geometry_mask([taken], free.shape, place.transform)
    if not free[seed]:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("There is an object here already."),
            tr("Click beside it, or remove or split it first."),
        )
    growth = Growth(look, seed, free)
    return Grown(growth, place, growth.proposed(opened.usual_px / place.cell_px**2))


def _named(opened: Run, inside: np.ndarray, grown: Grown, chosen: int) -> tuple[ClassInfo, float]:
    """The class of an object, and its mean probability: the most probable one, or what was chosen where none is."""
    means = grown.growth.look.probability[:, inside].mean(axis=1)
    best = int(means.argmax())
    if means[best] < SEEN and 0 < chosen <= len(opened.classes):
        best = chosen - 1
    return opened.classes[best], float(means[best])


def _drawn(inside: np.ndarray, place: Place, outline: Outline) -> tuple[Geometry, str]:
    """An outline as the run draws those of the class, in pixels of its rasters, and how it is drawn."""
    polygons = _on_pixels(inside, place)
    if outline is Outline.SQUARED:
        polygons, is_squared = outlines.squared(polygons)
        return polygons[0], "squared" if is_squared[0] else "kept"
    if outline is Outline.SHARED:
        polygons = outlines.share_borders(polygons.tolist())
    return polygons[0], outline.value


def _on_pixels(inside: np.ndarray, place: Place) -> np.ndarray:
    """One polygon `(1,)` along the edges of cells, in pixels of the run's rasters."""
    polygons, _ = contours.outlines(inside.astype(np.int32))
    return np.asarray(regions.transformed(polygons, place.transform))


def _around(
    click: Point, drawn: Geometry, outline: str, inside: np.ndarray, place: Place, taken: Geometry | None
) -> tuple[Geometry, str]:
    """The outline without what others cover, or along the pixels where tidying has lost the click."""
    for shape, how in ((drawn, outline), (_on_pixels(inside, place)[0], Outline.PIXELS.value)):
        left = shape if taken is None or taken.disjoint(shape) else shape.difference(taken)
        parts = [part for part in shapely.get_parts(left) if part.geom_type == "Polygon" and part.contains(click)]
        if parts:
            return parts[0], how
    return _on_pixels(inside, place)[0], Outline.PIXELS.value
