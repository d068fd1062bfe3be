"""Ground truth on the grid of an image: the class of every pixel from labels and areas."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

from ...engine.images.grid import Window
from ...engine.images.raster import Source
from ...engine.shapes.vector_files import choose_layer, is_vector, read_column, require_field
from ...protocol import (
    AREA_CHECKED,
    BACKGROUND,
    UNKNOWN,
    Areas,
    ClassInfo,
    ErrorCode,
    Labels,
    OrthomaskError,
    Split,
    Touch,
)
from ...protocol.words import tr, tr_n
from .area_states import TruthArea, read_areas, settled
from .burning import burn, strip_height
from .classes import (
    PROJECT_FIELD,
    SHOWN,
    TRUTHS,
    class_field,
    class_values,
    is_project,
    named_otherwise,
    raster_values,
    require_known,
    resolve_classes,
)
from .label_rasters import RasterLabels, open_labels
from .mask_values import yes_no_note
from .placing import Grid
from .strips import Strip, code_type, distinct, looked_up, tables
from .vectors import Tally, read_polygons

__all__ = ["Grid", "Truth", "TruthArea", "TruthPolygon", "image_grid", "open_truth", "resolve_classes"]

STRIPS = 3
"""Burned strips kept in memory: one, and its neighbours for margins."""


class TruthPolygon(NamedTuple):
    """A label as drawn, in pixels of the grid: one part of a feature."""

    number: int
    class_value: int
    polygon: shapely.Polygon


class _Layer(NamedTuple):
    """One source of labels: polygons `first` to `last` of all, or a raster."""

    first: int
    last: int
    raster: RasterLabels | None
    subtract: bool


class _Drawn(NamedTuple):
    """All polygons of all sources, in order of precedence, with their class values (0 where they subtract).

    Attributes:
        fids: ids of their features in their layers.
    """

    polygons: list[shapely.Polygon]
    values: list[int]
    fids: list[int]
    layers: list[_Layer]
    tallies: list[Tally]


class Truth:
    """The truth for every pixel of a grid. Made by `open_truth`; one thread at a time may use it.

    All labels that touch the grid are in memory, some 500 bytes each; rasters, including burned ones, only in strips.

    Attributes:
        areas: empty if the whole image is labelled.
        has_rasters: whether a source of labels is a raster, which says of every pixel what is there.
        drawn: `(N,)` the polygons, in pixels of the grid: object number n is the one before `drawn[n]`.
        sources, fids: `(N,)` number of the layer of each, and id of its feature in it.
        object_values: `(N + 1,)` uint8: class value of each drawn object, by its number.
        warnings: what was repaired, left out or is missing, with counts.
    """

    def __init__(
        self,
        grid: Grid,
        classes: tuple[ClassInfo, ...],
        drawn: _Drawn,
        areas: tuple[TruthArea, ...] | None,
        touch: Touch,
        warnings: tuple[str, ...],
    ) -> None:
        self.grid, self.classes, self.areas, self.warnings = grid, classes, areas or (), warnings
        self.drawn, self.fids = np.array(drawn.polygons, object), np.array(drawn.fids, np.int64)
        self.sources = np.repeat(np.arange(len(drawn.layers)), [layer.last - layer.first for layer in drawn.layers])
        self.object_values = np.array([0, *drawn.values], np.uint8)
        self._layers, self._touch, self._limited = drawn.layers, touch, areas is not None
        self._labelled = [area.polygon for area in self.areas if area.split is not Split.TODO]
        self._tree = shapely.STRtree(self.drawn)
        self.has_rasters = any(layer.raster for layer in drawn.layers)
        # a polygon layer is complete: outside its polygons there is background
        self._complete = any(not layer.raster and not layer.subtract for layer in drawn.layers)
        self._height = strip_height(grid)
        self._strip = lru_cache(STRIPS)(self._burned)

    def strips(self, extent: Window) -> Iterator[Window]:
        """The part of each strip of the grid in a window: read in this order, each is burned once."""
        end = extent.y + extent.height
        for index in range(extent.y // self._height, -(-end // self._height)):
            top, bottom = max(extent.y, index * self._height), min(end, (index + 1) * self._height)
            yield Window(extent.x, top, extent.width, bottom - top)

    def mask(self, window: Window) -> np.ndarray:
        """Class values `(H, W)` uint8 of a window inside the grid: 0 background, 255 unknown."""
        result = self._looked_up(window, lambda strip: strip.classes)
        for rows, strip, part in self._parts(window):
            if strip.known is not None:
                result[rows][strip.known[part] == 0] = UNKNOWN
        return result

    def objects(self, window: Window) -> np.ndarray:
        """Numbers `(H, W)` int32 of the label on top in each pixel, 0 for none; the same in every window.

        Where a raster is on top, they are those of its connected parts (4 neighbours) within the window.
        """
        result = self._looked_up(window, lambda strip: strip.objects)
        count = len(self.drawn)
        for value in np.unique(result[result < 0]) if self.has_rasters else ():
            parts, found = ndimage.label(result == value)
            result = np.where(parts > 0, parts + count, result).astype(np.int32)
            count += found
        return result

    def shown(self, window: Window, where: np.ndarray) -> np.ndarray:
        """Numbers of the labels on top in some pixel of a window where `where` `(H, W)` is true."""
        found = [strip.objects[distinct(strip.codes[part], where[rows])] for rows, strip, part in self._parts(window)]
        numbers = np.unique(np.concatenate(found))
        return numbers[numbers > 0]

    def polygons(self, window: Window) -> list[TruthPolygon]:
        """The labels that touch a window, each as drawn, even if others cover it.

        For rasters: the outlines of their connected parts within the window.
        """
        box = shapely.box(window.x, window.y, window.x + window.width, window.y + window.height)
        touching = np.sort(self._tree.query(box, predicate="intersects"))
        classes = ((number, int(self.object_values[number])) for number in touching + 1)
        found = [
            TruthPolygon(int(number), value, self.drawn[number - 1])
            for number, value in classes
            if BACKGROUND < value < UNKNOWN
        ]
        return found + (self._raster_polygons(window) if self.has_rasters else [])

    def _raster_polygons(self, window: Window) -> list[TruthPolygon]:
        objects, classes = self.objects(window), self._looked_up(window, lambda strip: strip.classes)
        of_rasters = objects > len(self.drawn)
        place = Affine.translation(window.x, window.y)
        shapes = rasterio.features.shapes(objects, mask=of_rasters, connectivity=4, transform=place)
        numbers, first = np.unique(objects, return_index=True)
        values = dict(zip(numbers.tolist(), classes.flat[first].tolist()))
        return [TruthPolygon(int(n), values[int(n)], shapely.geometry.shape(outline)) for outline, n in shapes]

    def _looked_up(self, window: Window, table: Callable[[Strip], np.ndarray]) -> np.ndarray:
        """Look up each pixel of a window in a table of its strip."""
        parts = [looked_up(table(strip), strip.codes[part]) for _, strip, part in self._parts(window)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, window: Window) -> Iterator[tuple[slice, Strip, tuple[slice, slice]]]:
        """The strips under a window: rows of the window, the strip, and the place in it."""
        columns = slice(window.x, window.x + window.width)
        for part in self.strips(window):
            index, top = divmod(part.y, self._height)
            rows = slice(part.y - window.y, part.y - window.y + part.height)
            yield rows, self._strip(index), (slice(top, top + part.height), columns)

    def _burned(self, index: int) -> Strip:
        grid, top = self.grid, index * self._height
        rows = min(self._height, grid.height_px - top)
        inside = np.sort(self._tree.query(shapely.box(0, top, grid.width_px, top + rows)))
        codes = np.zeros((rows, grid.width_px), code_type(len(inside)))
        silent = None if self._complete else np.ones(codes.shape, bool)
        for layer in self._layers:
            if layer.raster:
                said, valid = layer.raster.read(Window(0, top, grid.width_px, rows))
                covered = said != BACKGROUND
                codes[covered] = 0 if layer.subtract else said[covered] + codes.dtype.type(len(inside) + 1)
                if silent is not None and not layer.subtract:
                    silent &= ~valid
            else:
                first, last = np.searchsorted(inside, (layer.first, layer.last))
                chosen = self.drawn[inside[first:last]]
                burn(grid, chosen, range(first + 1, last + 1), self._touch, top, codes)
        if silent is not None:
            codes[silent] = len(inside) + 1 + UNKNOWN
        known = None
        if self._limited:
            known = np.zeros(codes.shape, np.uint8)
            burn(grid, self._labelled, [1] * len(self._labelled), Touch.CENTRE, top, known)
        return Strip(codes, *tables(inside + 1, self.object_values), known)


def image_grid(source: Source) -> Grid:
    """The grid of an image's own pixels."""
    dataset = source.dataset
    return Grid(source.crs.to_wkt(), source.transform, dataset.width, dataset.height)


@contextmanager
def open_truth(
    labels: Sequence[Labels], areas: Areas | None, classes: Sequence[ClassInfo], grid: Grid, touch: Touch
) -> Iterator[Truth]:
    """Read labels and areas on a grid.

    Args:
        labels: later ones cover earlier ones.
        areas: None if everything is labelled.
        classes: empty for those that the labels name.

    Raises:
        OrthomaskError: something cannot be read or lies off the grid, or a value has no class.
    """
    known = resolve_classes(labels, classes)
    with ExitStack() as stack:
        drawn, told = _Drawn([], [], [], [], []), list[str]()
        for source in labels:
            raster = None if is_vector(source.path, source.layer) else _open_raster(source, known, grid, stack, told)
            first = len(drawn.polygons)
            if raster is None:
                _draw(source, known, grid, drawn)
            drawn.layers.append(_Layer(first, len(drawn.polygons), raster, source.subtract))
        try:
            found, of_areas = read_areas(areas, grid) if areas else (None, ())
        except OrthomaskError:
            _refuse_elsewhere(labels, drawn)  # which is why there are no areas, either
            raise
        if not any(area.state == AREA_CHECKED for area in found or ()):  # else it may be empty
            _refuse_elsewhere(labels, drawn)
        if found and not any(layer.raster for layer in drawn.layers):
            objects = [polygon for polygon, value in zip(drawn.polygons, drawn.values) if value != BACKGROUND]
            found, undrawn = settled(found, objects)
            of_areas += undrawn
        warnings = told + [warning for tally in drawn.tallies for warning in tally.warnings(on_image=bool(found))]
        warnings += [*named_otherwise(labels, known), *of_areas, *_without_labels(known, drawn)]
        yield Truth(grid, known, drawn, found, touch, tuple(dict.fromkeys(warnings)))


def _draw(labels: Labels, classes: Sequence[ClassInfo], grid: Grid, drawn: _Drawn) -> None:
    """Add the polygons of a layer, each part of a feature separately."""
    layer = choose_layer(labels.path, labels.layer, "labels")
    field = "" if labels.subtract and not labels.class_field else class_field(labels)
    if field:
        require_field(labels.path, layer, field)
    read = read_polygons(labels.path, layer, [field] if field else [], labels.crs, grid)
    parts, feature = shapely.get_parts(read.geometries, return_index=True)
    drawn.polygons.extend(parts)
    drawn.fids.extend(read.fids[feature].tolist())
    drawn.tallies.append(read.tally)
    if labels.subtract:
        drawn.values.extend([BACKGROUND] * len(parts))
    elif field:
        numbered = field == PROJECT_FIELD and is_project(labels.path)
        values = class_values(labels, read_column(labels.path, layer, field), classes, numbered=numbered)
        drawn.values.extend(values[text] for text in read.columns[field][feature])
    else:
        require_known([labels.class_value], classes)
        drawn.values.extend([labels.class_value] * len(parts))


def _open_raster(
    labels: Labels, classes: Sequence[ClassInfo], grid: Grid, stack: ExitStack, told: list[str]
) -> RasterLabels:
    """Open a raster of labels; its warnings are added to `told`."""
    found, name = raster_values(labels), os.path.basename(labels.path)
    known = class_values(labels, found.texts.values(), classes, numbered=bool(found.classes))
    if not labels.mapping and TRUTHS.issuperset(found.texts.values()):
        told.append(yes_no_note(name, labels.class_value))
    told += [found.note] if found.note else []
    by_number = {value: known[text] for value, text in found.texts.items()}
    return stack.enter_context(open_labels(labels, grid, by_number, found.true))


def _refuse_elsewhere(labels: Sequence[Labels], drawn: _Drawn) -> None:
    """Raise if there are labels, but none on the grid."""
    some = any(layer.raster or (layer.last > layer.first and not layer.subtract) for layer in drawn.layers)
    if not some and any(tally.features for tally in drawn.tallies):
        raise OrthomaskError(
            ErrorCode.LABELS_OUTSIDE,
            tr("The labels of “{}” lie outside the image.").format(os.path.basename(labels[0].path)),
            tr("Check that image and labels belong together, and check the CRS of both."),
        )


def _without_labels(classes: Sequence[ClassInfo], drawn: _Drawn) -> tuple[str, ...]:
    """A warning that names the classes without a label on the grid."""
    there = set(drawn.values).union(*(layer.raster.classes.tolist() for layer in drawn.layers if layer.raster))
    missing = [f"“{info.name}”" for info in classes if info.value not in there]
    told = ", ".join(missing[:SHOWN]) + (" …" if len(missing) > SHOWN else "")
    words = tr_n("No label belongs to the class {}.", "No label belongs to the classes {}.", len(missing))
    return (words.format(told),) if missing else ()
