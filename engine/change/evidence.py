"""What the probabilities and the images of both dates say of a change: what they do not bear out is unsure.

At points evenly spread over the difference (over what was gained, lost, or parts two pieces):

- **the same image**: both runs are of one and the same file, so that only the models or a person differ.
- **missing data**: a fifth of the points or more have no data at one date (`MISSING`).
- **the model's own uncertainty**: at the date that lacks the object, its mean probability there is less than 0.15 under
  the threshold of the run (`CLOSE`); or at the other date less than 0.15 above it; or the two differ by less than 0.3
  (`CONTRAST`). The first does not count for an object that the model had found there, at 80% of its points or more
  (`FOUND`), and that is not among the polygons: a person removed it. Nor does the second for one that a person drew.
- **the same picture**: the images of both dates correlate by 0.8 or more over the difference (`SAME`): whatever the
  models say, nothing is to be seen.
- **shadow**: in one image it is darker than 0.4 of the image's median, and less than 0.6 as bright as in the other one
  (`DARK`, `DARKER`), each relative to its image's median.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window as Block

from ...protocol import Image, OrthomaskError
from ...protocol.words import tr
from ..images.raster import SERVERS, open_image
from ..progress import Progress
from ..runs.runs import NODATA, SCALE
from .dates import Band, Date, damaged
from .kinds import EARLIER, MERGED, NEW, REMOVED, SPLIT, UNCHANGED, UNSURE, Verdicts

MISSING, CLOSE, CONTRAST, FOUND, SAME, DARK, DARKER = 0.2, 0.15, 0.3, 0.8, 0.8, 0.4, 0.6
SIDE = 6
"""Points along each side of the bounds of a difference; those inside it count."""
PICTURE = 12
"""Points along each side of what is compared of the images."""
FLAT = 0.01
"""A picture whose values scatter by less than this part of the image's median has no pattern to compare."""
BLOCK_PX = 1024
"""Rasters are read in blocks of this size, each once for all points in it."""
CHUNK = 20_000
"""So many changes are looked at at a time."""


class Moves(Protocol):
    """What says where places of the earlier date lie at the later one."""

    def at(self, xy: np.ndarray) -> np.ndarray:
        """Metres east and north `(N, 2)` to add to places `(N, 2)` of the earlier date."""


class Step(NamedTuple):
    """Two dates that follow each other.

    Attributes:
        classes: names of the classes by their number.
        of: for each row of the verdicts the number of its class; -1 if not known.
        drawn: for each row whether a person drew the object before, and the one after `(2, R)`.
    """

    before: Date
    after: Date
    crs: pyproj.CRS
    moves: Moves
    classes: tuple[str, ...]
    of: np.ndarray
    drawn: np.ndarray


class _Points(NamedTuple):
    """Places `(P, 2)` at the later date, and the change `(P,)` that each belongs to, of so many."""

    xy: np.ndarray
    owner: np.ndarray
    changes: int

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean of values `(P,)` for each change; NaN where there is none."""
        known = np.isfinite(values)
        total = np.bincount(self.owner[known], values[known], self.changes)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / np.bincount(self.owner[known], minlength=self.changes))


def doubt(found: Verdicts, step: Step, progress: Progress) -> None:
    """Call changes unsure that probabilities or images do not bear out; see the rules at the top of this file.

    Raises:
        OrthomaskError: a raster of a run is damaged.
    """
    if _of_one_image(step.before, step.after):
        found.doubt(np.flatnonzero(found.kind != UNCHANGED), tr("Both dates were found in the same image."))
        return
    solid = np.array([each is not None and not each.is_empty for each in found.evidence], bool)
    for look in (_probabilities, _images):
        rows = np.flatnonzero(solid & (found.kind != UNSURE) & (found.kind != UNCHANGED))
        for start in range(0, len(rows), CHUNK):
            progress.report(start / len(rows), tr("Looking at what the models and images say"))
            look(found, rows[start : start + CHUNK], step)


def _of_one_image(before: Date, after: Date) -> bool:
    """Whether both runs had the same image, in the same state."""
    stamps = [date.record.get("source", {}).get("stamp", "") for date in (before, after)]
    return bool(stamps[0]) and stamps[0] == stamps[1]


def _probabilities(found: Verdicts, rows: np.ndarray, step: Step) -> None:
    points = _spread(found.evidence[rows], SIDE)
    sides = [
        _read_bands(date, step, points, rows, earlier) for date, earlier in ((step.before, True), (step.after, False))
    ]
    lacks = found.missing[rows] == EARLIER
    means = [points.mean(side.values - side.threshold) for side in sides]
    absent, present = (np.where(lacks, *pair) for pair in ((means[0], means[1]), (means[1], means[0])))
    share = [points.mean(np.where(np.isnan(side.values), np.nan, side.values >= side.threshold)) for side in sides]
    removed = np.isin(found.kind[rows], (NEW, REMOVED)) & (np.where(lacks, *share) >= FOUND)
    drawn = np.where(lacks, step.drawn[1][rows], step.drawn[0][rows])
    seam = np.isin(found.kind[rows], (SPLIT, MERGED))
    gone = np.maximum(*(points.mean(side.missing) for side in sides)) >= MISSING
    close = (absent > -CLOSE) & ~removed & ~seam
    weak = (present < CLOSE) & ~drawn & ~seam
    flat = (present - absent < CONTRAST) & ~removed & ~drawn
    words = np.select(
        [gone, close, weak, flat],
        [
            tr("No data there at one of the dates."),
            tr("The model was unsure at the date without it: its probability is close to the threshold."),
            tr("The model was unsure at the date with it: its probability is close to the threshold."),
            tr("The probabilities of both dates hardly differ there."),
        ],
        "",
    ).astype(object)
    found.doubt(rows[words != ""], words[words != ""])


class _Read(NamedTuple):
    """Probabilities at points, NaN where there are none; the threshold at each; and where data is missing, 0 or 1."""

    values: np.ndarray
    threshold: np.ndarray
    missing: np.ndarray


def _read_bands(date: Date, step: Step, points: _Points, rows: np.ndarray, earlier: bool) -> _Read:
    """The probabilities of each change's class at its points, at one of the dates."""
    xy = points.xy - step.moves.at(points.xy) if earlier else points.xy
    read = _Read(*(np.full(len(xy), value) for value in (np.nan, 0.5, 0.0)))
    of = step.of[rows][points.owner]
    for number in np.unique(of).tolist():
        band = date.band(step.classes[number] if number >= 0 else "")
        here = np.flatnonzero(of == number)
        if band is None:
            continue
        values = _band(band, xy[here], step.crs)
        known = values != NODATA
        read.values[here[known]] = values[known] / SCALE
        read.threshold[here], read.missing[here] = band.threshold, ~known
    return read


def _band(band: Band, xy: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Stored values `(P,)` of a band of probabilities at places; `NODATA` outside."""
    try:
        with rasterio.open(band.path) as dataset:
            return _sampled(dataset, (band.number,), dataset.transform, dataset.crs.to_wkt(), xy, crs, NODATA)[:, 0]
    except RasterioError as error:
        raise damaged(band.path, error) from error


def _spread(geometries: np.ndarray, side: int) -> _Points:
    """Points evenly spread over the bounds of geometries `(R,)`, those inside; at least one for each."""
    xy, owner = _grids(geometries, side, 0.0)
    inside = shapely.contains_xy(geometries[owner], xy[:, 0], xy[:, 1])
    lone = np.setdiff1d(np.arange(len(geometries)), owner[inside])
    some = shapely.get_coordinates(shapely.point_on_surface(geometries[lone])).reshape(-1, 2)
    return _Points(np.concatenate([xy[inside], some]), np.concatenate([owner[inside], lone]), len(geometries))


def _grids(geometries: np.ndarray, side: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a grid of `side` times `side` over the bounds of each geometry, wider by a margin in m."""
    left, bottom, right, top = shapely.bounds(geometries).reshape(-1, 4).T
    at = (np.arange(side) + 0.5) / side
    x = (left - margin)[:, None] + at * (right - left + 2 * margin)[:, None]
    y = (bottom - margin)[:, None] + at * (top - bottom + 2 * margin)[:, None]
    shape = len(geometries), side, side
    xy = np.stack([np.broadcast_to(x[:, None, :], shape), np.broadcast_to(y[:, :, None], shape)], axis=-1)
    return xy.reshape(-1, 2), np.repeat(np.arange(len(geometries)), side * side)


def _sampled(
    dataset: Any, bands: tuple[int, ...], transform: Affine, crs: str, xy: np.ndarray, own: pyproj.CRS, empty: float
) -> np.ndarray:
    """Values `(P, bands)` of a raster at places in a CRS, `empty` outside, read block by block."""
    places = np.stack(pyproj.Transformer.from_crs(own, crs, always_xy=True).transform(*xy.T), axis=1)
    a, b, c, d, e, f = (~transform)[:6]
    with np.errstate(invalid="ignore"):
        cells = np.floor(places @ np.array([[a, d], [b, e]]) + [c, f])
        inside = (cells >= 0).all(axis=1) & (cells[:, 0] < dataset.width) & (cells[:, 1] < dataset.height)
    values = np.full((len(xy), len(bands)), empty, float)
    numbers = np.flatnonzero(inside)
    column, row = cells[numbers].astype(int).T
    across = -(-dataset.width // BLOCK_PX)
    block = row // BLOCK_PX * across + column // BLOCK_PX
    order = np.argsort(block, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(block[order])) + 1) if len(order) else ():
        x, y = (int(block[part[0]]) % across) * BLOCK_PX, (int(block[part[0]]) // across) * BLOCK_PX
        window = Block(x, y, min(BLOCK_PX, dataset.width - x), min(BLOCK_PX, dataset.height - y))
        pixels = dataset.read(list(bands), window=window)
        values[numbers[part]] = pixels[:, row[part] - y, column[part] - x].T
    return values


def _images(found: Verdicts, rows: np.ndarray, step: Step) -> None:
    images = [image for image in (step.before.image, step.after.image) if image is not None]
    if len(images) < 2 or not len(rows):
        return
    xy, _owner = _grids(found.evidence[rows], PICTURE, 0.0)
    inside = _spread(found.evidence[rows], SIDE)
    pictures, brightness = [], []
    for image, earlier in zip(images, (True, False)):
        seen = [places - step.moves.at(places) if earlier else places for places in (xy, inside.xy)]
        grey = _grey(image, np.concatenate(seen), step.crs)
        if grey is None:
            return
        pictures.append(grey[: len(xy)].reshape(len(rows), -1))
        brightness.append(inside.mean(grey[len(xy) :]))
    with np.errstate(invalid="ignore"):
        dark = np.minimum(*brightness) < DARK
        dark &= np.minimum(*brightness) < DARKER * np.maximum(*brightness)
    same = _correlation(*pictures) >= SAME
    words = np.select(
        [same, dark],
        [tr("The images of both dates look the same there."), tr("It lies in shadow at one of the dates.")],
        "",
    ).astype(object)
    found.doubt(rows[words != ""], words[words != ""])


def _grey(image: Image, xy: np.ndarray, crs: pyproj.CRS) -> np.ndarray | None:
    """Mean of the bands at places, in medians of the image; NaN without data; None if it cannot be read."""
    try:
        with open_image(image) as source, rasterio.Env(**{**SERVERS, **image.access}):
            bands = tuple(band.number for band in source.named_bands if not band.is_mask)[:3]
            size = min(1.0, 512 / max(source.dataset.width, source.dataset.height))
            shape = (len(bands), *(max(1, round(side * size)) for side in source.dataset.shape))
            seen = source.dataset.read(bands, out_shape=shape, masked=True)
            median = float(np.median(seen.compressed())) if seen.count() else 0.0
            values = _sampled(source.dataset, bands, source.transform, source.crs.to_wkt(), xy, crs, np.nan)
            nodata = source.dataset.nodata
            values[(values == nodata).all(axis=1)] = np.nan
    except (OrthomaskError, RasterioError):
        return None
    return np.asarray(values.mean(axis=1) / max(median, 1e-6))


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's correlation of pictures `(R, P)`; 0 where one has no pattern, or no data."""
    one, other = (side - side.mean(axis=1, keepdims=True) for side in (one, other))
    spread = np.sqrt((one**2).mean(axis=1)), np.sqrt((other**2).mean(axis=1))
    shared = (one * other).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = shared / (spread[0] * spread[1])
    return np.where((np.minimum(*spread) > FLAT) & np.isfinite(found), found, 0.0)
