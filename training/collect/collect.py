"""Collect labels and images for areas into a folder: sampled places, OpenStreetMap, cadastres, tiles and rasters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...engine.images.raster import open_image
from ...engine.outputs import claimed
from ...engine.progress import Progress
from ...protocol import (
    COLLECTED_PROJECT,
    ZOOMS,
    Areas,
    CollectRequest,
    CollectResult,
    Image,
    Imagery,
    Sampled,
)
from ...protocol.words import tr, tr_n
from ..truth.classes import project_classes
from . import images, labels, places, privacy, project, rasters, recipe, record
from .features import Features
from .grids import MERCATOR, ground_scale, nearest_zoom, pixel_size
from .places import Place
from .project import SourceRow
from .services import explained
from .web import Clock

CACHE = "cache"
"""Folder with the answers of servers."""
STEP = 0.01
"""Corners of squares are multiples of this where no pixels are, in units of web mercator."""
NO_LABELS = Features(np.empty(0, object), [], [], [])


def run(request: CollectRequest, progress: Progress) -> CollectResult:
    """Write a label project with areas and labels, and georeferenced images of each area, batch by batch.

    Raises:
        OrthomaskError: a source cannot be read or refuses, an area is too large, or the folder cannot be written.
            What was finished is kept for `resume`.
    """
    return collected(request, progress, Clock())


def collected(request: CollectRequest, progress: Progress, clock: Clock) -> CollectResult:
    """The same, with a clock that decides how long waiting takes."""
    start, folder = time.monotonic(), Path(request.output_dir).absolute()
    target = folder / COLLECTED_PROJECT
    with claimed(folder):
        warnings: tuple[str, ...] = ()
        resumed, anew = record.is_resumed(folder, request), target.exists()
        if resumed:
            found, crs, counts = project.there(target)
            counts = {name: count for name, count in counts.items() if count or request.osm or request.vectors}
            tasks, cuts = _planned(request, found, crs, progress)
        else:
            found, crs, warnings = _places(request, progress.part(0, 0.05))
            labels.require_small(request, found, crs)
            tasks, cuts = _planned(request, found, crs, progress)
            if anew:
                record.remove(folder, f"{CACHE}/*")
            counts, told = _label(request, found, crs, target, clock, progress.part(0.05, 0.35))
            warnings += told
            if anew:
                record.remove(folder, *record.MADE)
            record.write(folder, request, found, None)
        made = images.Collected()
        if asked := request.imagery:
            part = progress.part(0.35, 0.99)
            if tasks:
                made = images.from_tiles(asked, request.contact, tasks, folder, folder / CACHE, clock, part)
            else:
                made = images.from_raster(asked, request.contact, cuts, found, folder, clock, part)
            project.add_sources(target, [_imagery_row(asked)])
        recipes, told = _recipes(request, folder, found, made, counts)
        result = CollectResult(
            str(target),
            tuple(str(path) for batch in made.batches.values() for path in batch.values()),
            tuple(map(str, recipes)),
            len(found),
            counts,
            made.tiles,
            made.fetched,
            made.missing,
            labels.attribution(request),
            round(time.monotonic() - start, 3),
            warnings + made.warnings() + told,
        )
        record.write(folder, request, found, result)
    return result


def _places(request: CollectRequest, progress: Progress) -> tuple[list[Place], str, tuple[str, ...]]:
    if request.sample:
        found, warnings = places.sampled(request.sample, _sides(request, request.sample, progress), progress)
        return found, MERCATOR, warnings
    return *places.existing(request.areas or Areas("")), ()


def _sides(request: CollectRequest, sample: Sampled, progress: Progress) -> Callable[[float], tuple[float, float]]:
    """Side of the squares at a northing, and what their corners are multiples of, in web mercator."""
    imagery = request.imagery
    if sample.size_m or imagery is None:
        return lambda y: (sample.size_m * ground_scale(y), STEP)
    if imagery.zooms:
        size = pixel_size(min(imagery.zooms))
        return lambda _: (sample.size_px * size, size)
    if imagery.are_tiles:
        coarsest = max(imagery.gsds_m)

        def on_tiles(y: float) -> tuple[float, float]:
            size = pixel_size(nearest_zoom(coarsest, y, ZOOMS[1]))
            return sample.size_px * size, size

        return on_tiles
    gsd_m = max(imagery.gsds_m, default=0.0) or _own_gsd(request, imagery, progress)
    return lambda y: (sample.size_px * gsd_m * ground_scale(y), STEP)


def _own_gsd(request: CollectRequest, imagery: Imagery, progress: Progress) -> float:
    with (
        explained(imagery.url, imagery.access),
        open_image(rasters.image_of(imagery, request.contact), progress) as source,
    ):
        return math.sqrt(math.prod(source.gsd_m))


def _planned(
    request: CollectRequest, found: list[Place], crs: str, progress: Progress
) -> tuple[dict[str, list[images.Task]], images.Cutouts]:
    """The images to make, from tiles or from a raster, before anything is fetched."""
    asked, most = request.imagery, request.most_tiles
    if asked is None:
        return {}, {}
    if not asked.are_tiles:
        return {}, images.cutouts(asked, request.contact, most, found, crs, progress)
    tasks = images.plan(asked, found, crs)
    images.require_few(tasks, most)
    return tasks, {}


def _label(
    request: CollectRequest, found: list[Place], crs: str, target: Path, clock: Clock, progress: Progress
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Write the project with the labels; how many there are of each class, and warnings."""
    drawn, rows, warnings = NO_LABELS, list[SourceRow](), tuple[str, ...]()
    if request.osm or request.vectors:
        drawn, rows, warnings = labels.collect(request, found, crs, target.parent / CACHE, clock, progress)
        if not drawn.classes:
            warnings += (tr("There is no label in any area."),)
    if request.sample and request.sample.weights:
        rows.append(SourceRow("weights", Path(request.sample.weights).name, "", "", ""))
    classes = project.classes_of(labels.class_names(request.osm, request.vectors, drawn))
    project.write(target, found, crs, classes, drawn, rows)
    has_labels = bool(request.osm or request.vectors)
    return {info.name: drawn.classes.count(info.name) for info in classes} if has_labels else {}, warnings


def _imagery_row(imagery: Imagery) -> SourceRow:
    return SourceRow("imagery", privacy.public(imagery.url), imagery.attribution, imagery.licence, imagery.date)


def _recipes(
    request: CollectRequest, folder: Path, found: list[Place], made: images.Collected, counts: dict[str, int]
) -> tuple[list[Path], tuple[str, ...]]:
    """Write a recipe for each batch, if there are labels; and a warning that counts areas that teach nothing."""
    if not request.imagery or not any(counts.values()):
        return [], ()
    target, written = folder / COLLECTED_PROJECT, []
    rights, classes = "; ".join(labels.attribution(request)), project_classes(str(target))
    used, empty = project.taught(target, found)
    for batch, paths in made.batches.items():
        learnt = [path for number, path in paths.items() if used[number]]
        if learnt:
            with open_image(Image(str(learnt[0]))) as source:
                gsd_m = math.sqrt(math.prod(source.gsd_m))
            written.append(folder / f"{batch}.toml")
            recipe.write(written[-1], learnt, classes, labels.licence(request), rights, gsd_m)
    words = tr_n(
        "{} area without labels is in no recipe: if nothing is there, confirm it in the Label panel.",
        "{} areas without labels are in no recipe: if nothing is there, confirm it in the Label panel.",
        empty,
    )
    return written, (words.format(empty),) if empty else ()
