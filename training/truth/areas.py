"""Place areas to label on an image: evenly, at random, or by class or weight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely

from ...engine.images.grid import Lattice, Window
from ...engine.images.raster import open_image, open_reader
from ...engine.images.regions import reprojected, to_lattice, transformed
from ...engine.outputs import refuse_in_use, writing
from ...engine.progress import Progress
from ...engine.shapes.vector_files import crs_of, fields_of, layers_of, read_column, require_field
from ...protocol import (
    AREA_CHECKED,
    AREA_STATE,
    AREA_TODO,
    AreasRequest,
    AreasResult,
    ErrorCode,
    OrthomaskError,
    Sampling,
    Split,
)
from ...protocol.words import tr
from .chances import chances
from .labels import Grid, image_grid
from .placement import Site, anywhere, evenly
from .project import write_areas
from .vectors import read_polygons

SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
FULL = 0.95
"""Least share of an area's pixels that are not 0 in all bands: many mosaics have black borders without nodata."""


def run(request: AreasRequest, progress: Progress) -> AreasResult:
    """Add square areas to the layer `areas` of a GeoPackage, which is created if missing.

    An existing file is changed in one transaction: QGIS may have it open, and other layers are unchanged.

    Raises:
        OrthomaskError: the image, region, weights or strata do not fit, no area fits, or the file cannot be written.
    """
    target = Path(request.output_path)
    refuse_in_use(target)
    has_areas = target.exists() and "areas" in layers_of(str(target))
    for field in ("name", "split") if has_areas else ():
        require_field(str(target), "areas", field)
    rng = np.random.default_rng(request.seed)
    progress.report(0, tr("Placing areas"))
    with open_image(replace(request.image, stretch=())) as source:  # whether there is data, of whatever value
        grid = image_grid(source)
        lattice = Lattice(grid.crs, grid.transform, grid.width_px, grid.height_px, 512, 0)
        region, warnings = to_lattice(request.region, lattice) if request.region else (grid.box, ())
        region = region.intersection(grid.box)
        shapely.prepare(region)
        across, down = source.gsd_m
        size = max(1, round(request.size_m / across)), max(1, round(request.size_m / down))
        there = _there(request, grid, source.gsd_m) if has_areas else []
        with open_reader(source, lattice, tuple(range(1, source.dataset.count + 1))) as reader:

            def is_full(window: Window) -> bool:
                progress.check_cancelled()
                pixels, valid = reader.read(window)
                return bool(valid.all() and np.mean(pixels.any(axis=0)) >= FULL)

            site = Site(*size, source.gsd_m, request.min_distance_m, region, is_full, there)
            if request.sampling is Sampling.GRID:
                places = evenly(site, request.count)
            else:
                likely = chances(request, source, grid, region)
                draws = [likely.draw(stratum, rng) for stratum in range(len(likely.maps))]
                places = anywhere(site, request.count, draws)
    if len(places) < request.count:
        warnings += (_too_few(request, len(places)),)
    splits = _dealt(len(places), request.shares, rng)
    state = AREA_CHECKED if request.checked else AREA_TODO
    _append(target, places, splits, state, grid, has_areas)
    return AreasResult(str(target), len(places), warnings)


def _there(request: AreasRequest, grid: Grid, gsd_m: tuple[float, float]) -> list[shapely.Geometry]:
    """The existing areas, in pixels of the image; also those outside it that could be too near."""
    margin = round(request.min_distance_m / min(gsd_m)) + 1
    corner = grid.transform.translation(-margin, -margin)
    wider = Grid(grid.crs, grid.transform @ corner, grid.width_px + 2 * margin, grid.height_px + 2 * margin)
    read = read_polygons(request.output_path, "areas", [], "", wider)
    return list(transformed(read.geometries, corner))


def _too_few(request: AreasRequest, count: int) -> str:
    """A warning that fewer areas fit than requested; an error if none does."""
    if count == 0:
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            tr("No area of {:g} m fits.").format(request.size_m),
            tr("Choose a smaller size or distance, or another region."),
        )
    return tr("Only {} of {} areas fit.").format(count, request.count)


def _dealt(count: int, shares: tuple[float, ...], rng: np.random.Generator) -> list[Split]:
    """A split for each area, in random order; areas beyond the shares are still to do."""
    ends = np.round(np.cumsum(shares) * count).astype(int)
    splits = [Split.TODO] * count
    for split, start, stop in zip(SPLITS, [0, *ends], ends):
        splits[start:stop] = [split] * (stop - start)
    return [splits[index] for index in rng.permutation(count)]


def _append(target: Path, places: list[Window], splits: list[Split], state: str, grid: Grid, has_areas: bool) -> None:
    """Write the areas; a layer from before areas had a state gets none."""
    path = str(target)
    first = len(read_column(path, "areas", "split")) + 1 if has_areas else 1
    names = [f"area {number}" for number in range(first, first + len(places))]
    boxes = [shapely.box(p.x, p.y, p.x + p.width, p.y + p.height) for p in places]
    drawn = transformed(np.array(boxes, object), grid.transform)
    crs = crs_of(path, "areas").to_wkt() if has_areas else grid.crs
    if crs != grid.crs:
        drawn = reprojected(drawn, grid.crs, crs)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    columns = {"name": names, "split": [split.value for split in splits]}
    if not has_areas or AREA_STATE in fields_of(path, "areas"):
        columns[AREA_STATE] = [state] * len(places)
    write_areas(target, shapely.to_wkb(shapely.multipolygons(drawn[:, None])), columns, crs)
