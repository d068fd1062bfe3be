"""How far the labels of an image lie beside what it shows: all of them, and in each neighbourhood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import shapely
from rasterio.enums import ColorInterp

from ...engine.images.grid import Window
from ...engine.images.raster import open_image, open_reader
from ...engine.progress import Progress
from ...protocol import SPECK_PX, ErrorCode, Image, OrthomaskError
from ...protocol.words import tr
from ..truth.placing import Grid
from .offset import Offset, Read, estimate, fits

NEIGHBOURHOOD_M = 200.0
"""Side of a neighbourhood, at least: what is seen of a shift on one screen."""
ACROSS = 10
"""Neighbourhoods side by side, at most, so that time is bounded."""
DRAWN = 50
"""Labels looked at in each: of thirty in Banepa, Kampala and Zanzibar the error is under 0.2 m."""
ALONE = 30
"""Labels that a neighbourhood needs for an estimate of its own."""


class Place(NamedTuple):
    """Where labels are displaced, and how far; the polygon is in pixels."""

    polygon: shapely.Polygon
    offset: Offset


@contextmanager
def brightness(image: Image, gsd_m: float, grid: Grid) -> Iterator[Read]:
    """What reads the mean of up to three bands of an image on the grid of a run.

    Raises:
        OrthomaskError: the image cannot be read, or no longer lies where the run was.
    """
    with open_image(image) as source:
        lattice = source.lattice(gsd_m, 0, 0)
        x, y = ~lattice.transform @ (grid.transform.c, grid.transform.f)
        if abs(x - round(x)) > 0.1 or abs(y - round(y)) > 0.1:
            raise OrthomaskError(
                ErrorCode.IMAGE_CHANGED,
                tr("“{}” has changed since the run.").format(source.name),
                tr("Run the model on it again."),
            )
        kinds = enumerate(source.dataset.colorinterp, 1)
        numbers = tuple(number for number, kind in kinds if kind is not ColorInterp.alpha)[:3]
        with open_reader(source, lattice, numbers) as reader:

            def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
                pixels, valid = reader.read(window._replace(x=window.x + round(x), y=window.y + round(y)))
                return pixels.mean(axis=0), valid

            yield read


def shifts(
    labels: np.ndarray, grid: Grid, pixel_m: float, read: Read, progress: Progress
) -> tuple[Place | None, list[Place]]:
    """The displacement of all labels, if sure and large enough to matter, and the neighbourhoods that differ from it.

    Args:
        labels: `(N,)` polygons in pixels of the grid.
    """
    groups = _neighbourhoods(labels, grid, pixel_m)
    maps: list[list[np.ndarray]] = []
    for number, group in enumerate(groups):
        progress.report(number / len(groups), tr("Matching labels with the edges of the image"))
        maps.append([fit for label in group if (fit := fits(label, read)) is not None])
    whole = estimate([fit for group in maps for fit in group])
    found = whole if whole.exceeds(pixel_m) and whole.is_better else None
    usual = (found.x, found.y) if found else (0.0, 0.0)
    local = [
        Place(_around(group), offset)
        for group, fit in zip(groups, maps)
        if len(groups) > 1 and len(fit) >= ALONE
        and (offset := estimate(fit)).exceeds(pixel_m, usual) and offset.is_better
    ]  # fmt: skip
    return (Place(_around(labels), found) if found else None), local


def _neighbourhoods(labels: np.ndarray, grid: Grid, pixel_m: float) -> list[np.ndarray]:
    """Labels drawn at random from each square of the grid that has some, in order of rows."""
    kept = labels[shapely.area(labels) >= SPECK_PX]
    side = max(NEIGHBOURHOOD_M / pixel_m, max(grid.width_px, grid.height_px) / ACROSS)
    left, top, right, bottom = shapely.bounds(kept).T
    squares = np.floor(np.column_stack([(top + bottom) / 2, (left + right) / 2]) / side).astype(int)
    rng = np.random.default_rng(1)
    groups = []
    for square in np.unique(squares, axis=0):
        group = kept[(squares == square).all(axis=1)]
        groups.append(rng.permutation(group)[:DRAWN])
    return groups


def _around(labels: Sequence[shapely.Polygon] | np.ndarray) -> shapely.Polygon:
    return shapely.box(*shapely.total_bounds(labels))
