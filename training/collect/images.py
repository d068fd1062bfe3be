"""The images of a collection: a batch for each zoom or resolution, an image for each area."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import shapely

from ...engine.images.raster import open_image
from ...engine.images.regions import reprojected
from ...engine.progress import Progress
from ...protocol import COLLECTED_IMAGES, ZOOMS, ErrorCode, Imagery, OrthomaskError
from ...protocol.words import tr, tr_n
from . import pictures, privacy, rasters
from .grids import MERCATOR, TILE_PX, TileRange, nearest_zoom, pixel_size, tiles_of
from .places import Place
from .services import SERVICE, explained
from .tiles import MOST_BYTES, Tiles
from .web import Client, Clock

MOST_PX = 8192
"""Most pixels along an image."""
FINER = 0.05
"""A resolution that is finer than the raster's by less than this share is the same."""


@dataclass
class Collected:
    """The images, and what there was to fetch."""

    batches: dict[str, dict[int, Path]] = field(default_factory=dict)
    """Of each batch, by the number of the area."""
    tiles: int = 0
    fetched: int = 0
    missing: int = 0
    without: int = 0
    """Areas of a batch without any pixel."""
    notes: list[str] = field(default_factory=list)

    def warnings(self) -> tuple[str, ...]:
        """What is missing."""
        told = list(self.notes)
        if self.missing:
            words = tr_n(
                "{} of {} tiles is missing on the server: nothing is known there.",
                "{} of {} tiles are missing on the server: nothing is known there.",
                self.missing,
            )
            told.append(words.format(self.missing, self.tiles))
        if self.without:
            words = tr_n(
                "{} image is left out: the source has nothing there.",
                "{} images are left out: the source has nothing there.",
                self.without,
            )
            told.append(words.format(self.without))
        return tuple(told)


Cutouts = dict[tuple[str, int], Optional[rasters.Cutout]]
"""What to read of a raster, by batch and number of the area; None where it has nothing."""


class Task(NamedTuple):
    """An image to make: number of its area, bounds in web mercator, tiles."""

    number: int
    bounds: tuple[float, float, float, float]
    tiles: TileRange


def plan(imagery: Imagery, places: Sequence[Place], crs: str) -> dict[str, list[Task]]:
    """The images to make from tiles, batch by batch.

    Raises:
        OrthomaskError: an area is too large, or beyond what web maps show.
    """
    areas = reprojected(np.array([place.polygon for place in places], object), crs, MERCATOR)
    boxes = shapely.bounds(areas)
    if not np.isfinite(boxes).all():
        raise _beyond(places[int(np.argmin(np.isfinite(boxes).all(axis=1)))])
    every: dict[str, list[Task]] = {}
    for number, batch in enumerate(imagery.batches):
        every[batch] = []
        for index, (place, box) in enumerate(zip(places, boxes)):
            middle, gsds = (box[1] + box[3]) / 2, sorted(set(imagery.gsds_m), reverse=True)
            zoom = sorted(set(imagery.zooms))[number] if imagery.zooms else nearest_zoom(gsds[number], middle, ZOOMS[1])
            side_px = max(box[2] - box[0], box[3] - box[1]) / pixel_size(zoom)
            if side_px > MOST_PX + 1:
                raise too_large(place, side_px)
            tiles = tiles_of(tuple(box), zoom)
            if tiles.number < 1:
                raise _beyond(place)
            every[batch].append(Task(index, tuple(box), tiles))
    return every


def require_few(tasks: dict[str, list[Task]], most: int) -> None:
    """Raise if more than `most` tiles are to be fetched."""
    count = sum(task.tiles.number for batch in tasks.values() for task in batch)
    if count > most:
        raise _too_many(count, most)


def from_tiles(
    imagery: Imagery, contact: str, tasks: dict[str, list[Task]], folder: Path, cache: Path, clock: Clock,
    progress: Progress,
) -> Collected:  # fmt: skip
    """Make the images from tiles; those that are there, and whole, are kept.

    Raises:
        OrthomaskError: the server refuses, stays busy or sends something else; images made so far are kept.
    """
    access = imagery.access
    result = Collected(tiles=sum(task.tiles.number for batch in tasks.values() for task in batch))
    client = Client(
        cache, contact, 1 / imagery.per_second, clock, progress, MOST_BYTES, _headers(imagery),
        access.get("GDAL_HTTP_USERPWD", ""),
    )  # fmt: skip
    source, done = Tiles(imagery, client), 0

    def report() -> None:
        nonlocal done
        client.done = done / result.tiles
        progress.report(client.done, tr("Fetching tiles: {:,} of {:,}").format(done + 1, result.tiles))
        done += 1

    with privacy.hidden(access):
        for task, batch, path in _paths(tasks, folder, result):
            record = _record(imagery, task.bounds, f"{batch} {task.tiles.zoom}")
            if pictures.recorded(path) == record:
                done += task.tiles.number
            else:
                made = source.picture(task.tiles, task.bounds, report)
                _keep(path, made, {**record, "missing": made.missing}, imagery, result)
            if path.exists():
                result.batches[batch][task.number] = path
    result.fetched, result.missing = client.asked, source.missing
    return result


def cutouts(
    imagery: Imagery, contact: str, most_tiles: int, places: Sequence[Place], crs: str, progress: Progress
) -> Cutouts:
    """What to read of a raster, for each batch and area; None where it has nothing.

    Raises:
        OrthomaskError: it cannot be read, or an area or all of them are too large.
    """
    with explained(imagery.url, imagery.access), open_image(rasters.image_of(imagery, contact), progress) as source:
        found = {
            (batch, number): rasters.cutout(source, place.polygon, crs, gsd)
            for batch, gsd in gsds_of(imagery).items()
            for number, place in enumerate(places)
        }
    _require_bounded(found, places, most_tiles)
    return found


def from_raster(
    imagery: Imagery, contact: str, cuts: Cutouts, places: Sequence[Place], folder: Path, clock: Clock,
    progress: Progress,
) -> Collected:  # fmt: skip
    """Make the images from a raster, at each resolution.

    Raises:
        OrthomaskError: it cannot be read; images made so far are kept.
    """
    gsds = gsds_of(imagery)
    result = Collected({batch: {} for batch in gsds})
    with explained(imagery.url, imagery.access), open_image(rasters.image_of(imagery, contact), progress) as source:
        for done, ((batch, number), cut) in enumerate(cuts.items()):
            progress.report(done / len(cuts), tr("Fetching images: {:,} of {:,}").format(done + 1, len(cuts)))
            path, record = _path(folder, batch, number), _record(imagery, places[number].polygon.bounds, batch)
            if pictures.recorded(path) != record:
                clock.sleep(1 / imagery.per_second if SERVICE.search(imagery.url) else 0, progress)
                made = rasters.picture(source, cut, progress) if cut else pictures.Picture.nothing()
                _keep(path, made, record, imagery, result)
            if path.exists():
                result.batches[batch][number] = path
        own = max(source.gsd_m)
    if any(0 < gsd < own * (1 - FINER) for gsd in gsds.values()):
        words = tr("The raster has {:.2g} m per pixel: images of a finer resolution keep that.")
        result.notes.append(words.format(own))
    return result


def _require_bounded(cuts: Cutouts, places: Sequence[Place], most: int) -> None:
    """Raise if an image is too large, or all of them are as large as too many tiles."""
    sizes = {number: max(cut.height, cut.width) for (_, number), cut in cuts.items() if cut}
    for number, side_px in sizes.items():
        if side_px > MOST_PX:
            raise too_large(places[number], side_px)
    count = sum(math.ceil(cut.height / TILE_PX) * math.ceil(cut.width / TILE_PX) for cut in cuts.values() if cut)
    if count > most:
        raise _too_many(count, most)


def gsds_of(imagery: Imagery) -> dict[str, float]:
    """The resolution of each batch of a raster, metres; 0 for its own. A zoom stands for that at the equator."""
    sizes = [pixel_size(zoom) for zoom in sorted(set(imagery.zooms))] or sorted(set(imagery.gsds_m), reverse=True)
    return dict(zip(imagery.batches, sizes or [0.0]))


def too_large(place: Place, side_px: float) -> OrthomaskError:
    """The error for an area that makes too large an image."""
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("The image of “{}” has {:,.0f} pixels along a side; at most {:,} are possible.").format(
            place.name, side_px, MOST_PX
        ),
        tr("Use smaller areas, or a coarser resolution."),
    )


def _beyond(place: Place) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("“{}” lies beyond what web maps show: 85° north to 85° south.").format(place.name),
        tr("Leave this area out."),
    )


def _paths(tasks: dict[str, list[Task]], folder: Path, result: Collected) -> Iterator[tuple[Task, str, Path]]:
    for batch, ordered in tasks.items():
        result.batches[batch] = {}
        for task in ordered:
            yield task, batch, _path(folder, batch, task.number)


def _too_many(count: int, most: int) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("This takes {:,} tiles; at most {:,} are fetched at once.").format(count, most),
        tr("Use fewer or smaller areas, or a coarser resolution, or raise the limit."),
    )


def _path(folder: Path, batch: str, number: int) -> Path:
    return folder / COLLECTED_IMAGES / batch / f"area_{number + 1:03d}.tif"


def _record(imagery: Imagery, bounds: Sequence[float], batch: str) -> dict[str, object]:
    area = [round(float(value), 3 if abs(value) > 1000 else 8) for value in bounds]
    return {"area": area, "batch": batch, "missing": 0, "source": privacy.public(imagery.url)}


def _keep(path: Path, made: pictures.Picture, record: dict[str, object], imagery: Imagery, result: Collected) -> None:
    """Write a picture; one of nothing is left out."""
    if made.is_empty:
        result.without += 1
        path.unlink(missing_ok=True)
    else:
        rights = " · ".join(filter(None, (imagery.attribution, imagery.licence)))
        pictures.write(path, made, record, rights, imagery.date)


def _headers(imagery: Imagery) -> dict[str, str]:
    """Secret headers for a tile server, from GDAL's options."""
    lines = imagery.access.get("GDAL_HTTP_HEADERS", "").replace("\r", "").split("\n")
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    headers = {name.strip(): value.strip() for name, value in pairs}
    if referer := imagery.access.get("GDAL_HTTP_REFERER"):
        headers["Referer"] = referer
    return headers
