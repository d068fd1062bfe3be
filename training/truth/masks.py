"""Write masks: labels burned onto the exact grid of an image, in strips, so that memory does not grow with it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from ...engine.images.grid import Lattice, Window, select
from ...engine.images.raster import open_image
from ...engine.images.regions import to_lattice
from ...engine.outputs import alone
from ...engine.progress import Progress
from ...engine.runs.cogs import Band, Frame, class_band
from ...engine.runs.pyramids import Pyramid, open_pyramid
from ...protocol import (
    UNKNOWN,
    ClassCount,
    ClassInfo,
    ErrorCode,
    Existing,
    MaskRequest,
    MaskResult,
    OrthomaskError,
    Region,
    Touch,
    to_json,
)
from ...protocol.words import tr
from .borders import REACH_PX, border_weights, borders
from .burning import burn
from .classes import color
from .labels import Grid, Truth, image_grid, open_truth

TILE_PX = 1024
"""Columns for which distances between objects are measured at a time."""


class _Part(NamedTuple):
    """The part to write: the bounding box of the region, and the region itself in grid pixels."""

    extent: Window
    region: shapely.Geometry | None
    warnings: tuple[str, ...]


class _Count:
    """Pixels and objects of each class, summed over strips."""

    def __init__(self, truth: Truth, classes: Sequence[ClassInfo]) -> None:
        self._pixels = dict.fromkeys([*(info.value for info in classes), UNKNOWN], 0)
        self._seen = np.zeros(len(truth.object_values), bool)
        self._values = truth.object_values

    @property
    def unknown_px(self) -> int:
        """Pixels whose class is not known."""
        return self._pixels[UNKNOWN]

    def add(self, mask: np.ndarray, objects: np.ndarray) -> None:
        """Count a strip of the mask, and the numbers of the objects that show in it."""
        for value in self._pixels:
            self._pixels[value] += int(np.count_nonzero(mask == value))
        self._seen[objects] = True

    def of(self, info: ClassInfo) -> ClassCount:
        """The count of one class."""
        objects = int(np.count_nonzero(self._seen & (self._values == info.value)))
        return ClassCount(info.value, info.name, self._pixels[info.value], objects)


def run(request: MaskRequest, progress: Progress) -> MaskResult:
    """Write the mask of an image, and its pixel weights if requested.

    Raises:
        OrthomaskError: image, labels or areas do not fit, or an output exists or cannot be written.
    """
    with ExitStack() as kept:
        for path in filter(None, (request.output_path, request.weights_path)):
            kept.enter_context(alone(Path(path)))
        _refuse_existing(request)
        return _burned(request, progress)


def _burned(request: MaskRequest, progress: Progress) -> MaskResult:
    started = time.monotonic()
    with open_image(request.image) as source:
        grid = image_grid(source)
    part = _part(request.region, grid)
    progress.report(0, tr("Reading labels"))
    with open_truth(request.labels, request.areas, request.classes, grid, request.touch) as truth:
        classes = (*truth.classes, *_border_class(truth.classes, request.border_px))
        count = _Count(truth, classes)
        with ExitStack() as stack:
            mask, weights = _open_outputs(request, _frame(grid, part.extent), classes, stack, progress)
            for strip in _reported(truth, part.extent, progress.part(0, 0.7)):
                _write_strip(truth, strip, part, request.border_px, mask, weights, count)
    return MaskResult(
        request.output_path,
        tuple(count.of(info) for info in classes),
        count.unknown_px,
        round(time.monotonic() - started, 2),
        (*part.warnings, *truth.warnings),
    )


def _write_strip(
    truth: Truth, strip: Window, part: _Part, border_px: int, mask: Pyramid, weights: Pyramid | None, count: _Count
) -> None:
    values = truth.mask(strip)
    if part.region is not None:
        inside = np.zeros((strip.height, truth.grid.width_px), np.uint8)
        burn(truth.grid, [part.region], [1], Touch.CENTRE, strip.y, inside)
        values[inside[:, strip.x : strip.x + strip.width] == 0] = UNKNOWN
    if border_px:
        for tile, around, inner in _tiles(truth, strip, border_px):
            near = borders(around, border_px)[inner] & (values[:, tile] != UNKNOWN)
            values[:, tile][near] = max(info.value for info in truth.classes) + 1
    count.add(values, truth.shown(strip, values != UNKNOWN))
    mask.write(values)
    if weights:
        tiles = [border_weights(around)[inner] for _, around, inner in _tiles(truth, strip, REACH_PX)]
        weights.write(np.hstack(tiles))


def _tiles(truth: Truth, strip: Window, margin_px: int) -> Iterator[tuple[slice, np.ndarray, tuple[slice, slice]]]:
    """Blocks of columns of a strip: the columns, the objects in and around them, and the columns' place in these."""
    grid = truth.grid
    top, bottom = max(0, strip.y - margin_px), min(grid.height_px, strip.y + strip.height + margin_px)
    for start in range(0, strip.width, TILE_PX):
        tile = slice(start, min(start + TILE_PX, strip.width))
        left, right = max(0, strip.x + start - margin_px), min(grid.width_px, strip.x + tile.stop + margin_px)
        around = truth.objects(Window(left, top, right - left, bottom - top))
        first_row, first_column = strip.y - top, strip.x + start - left
        rows = slice(first_row, first_row + strip.height)
        yield tile, around, (rows, slice(first_column, first_column + tile.stop - start))


def _reported(truth: Truth, extent: Window, progress: Progress) -> Iterator[Window]:
    for strip in truth.strips(extent):
        progress.report((strip.y - extent.y) / extent.height, tr("Burning labels"))
        yield strip


def _open_outputs(
    request: MaskRequest, frame: Frame, classes: Sequence[ClassInfo], stack: ExitStack, progress: Progress
) -> tuple[Pyramid, Pyramid | None]:
    record = json.dumps({"image": Path(request.image.path).name, "classes": [to_json(info) for info in classes]})
    band = Band("uint8", UNKNOWN, class_band(classes), "mode")
    mask = stack.enter_context(open_pyramid(Path(request.output_path), frame, band, record, progress.part(0.85, 1)))
    if not request.weights_path:
        return mask, None
    band = Band("float32", None, "<Description>weight</Description>", "average")
    cog = open_pyramid(Path(request.weights_path), frame, band, record, progress.part(0.7, 0.85))
    return mask, stack.enter_context(cog)


def _frame(grid: Grid, extent: Window) -> Frame:
    transform = grid.transform @ grid.transform.translation(extent.x, extent.y)
    return Frame(extent.width, extent.height, grid.crs, transform)


def _part(region: Region | None, grid: Grid) -> _Part:
    lattice = Lattice(grid.crs, grid.transform, grid.width_px, grid.height_px, TILE_PX, 0)
    geometry, warnings = to_lattice(region, lattice) if region else (None, ())
    return _Part(select(lattice, geometry).extent, geometry, warnings)


def _border_class(classes: Sequence[ClassInfo], border_px: int) -> tuple[ClassInfo, ...]:
    value = max(info.value for info in classes) + 1
    return (ClassInfo(value, "border", color(value)),) if border_px else ()


def _refuse_existing(request: MaskRequest) -> None:
    """Raise if an output already exists, or is one of the inputs."""
    inputs = [*request.image.paths, *(labels.path for labels in request.labels)]
    inputs += [request.areas.path] if request.areas else []
    for path in filter(None, (request.output_path, request.weights_path)):
        itself = any(os.path.exists(given) and os.path.realpath(given) == os.path.realpath(path) for given in inputs)
        if itself or (os.path.exists(path) and request.existing is not Existing.OVERWRITE):
            raise OrthomaskError(
                ErrorCode.OUTPUT_EXISTS,
                tr("“{}” is one of the inputs.").format(path) if itself else tr("“{}” already exists.").format(path),
                tr("Choose another name.") if itself else tr("Choose another name, or overwrite it."),
            )
