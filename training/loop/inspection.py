"""Labels, a run and its image, put on one grid, and what is wrong with the labels there, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import rasterio
import shapely
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from ...engine.images.grid import Window
from ...engine.images.regions import reprojected, transformed
from ...engine.progress import Progress
from ...engine.runs.finished import no_run
from ...engine.shapes.vector_files import choose_layer, crs_of
from ...protocol import (
    BACKGROUND,
    UNKNOWN,
    Areas,
    Cancelled,
    ClassInfo,
    ErrorCode,
    Fault,
    Image,
    LabelledData,
    LabelledImage,
    Labels,
    OrthomaskError,
    PredictRequest,
    Shift,
    Split,
    Touch,
    from_json,
)
from ...protocol.words import tr, tr_n
from ..accuracy.fitting import fit_data, notes
from ..truth.labels import Grid, Truth, open_truth
from ..truth.vectors import read_polygons
from .confidence import contradicted, measure, unlabelled
from .doubles import Double, doubles
from .findings import Finding
from .offset import Offset
from .shifts import Place, brightness, shifts


class Made(NamedTuple):
    """A finished run: its image and polygons, the gsd of its model, and what its raster says of its classes."""

    image: Image
    polygons: Path
    gsd_m: float
    classes: tuple[ClassInfo, ...]


def read_run(folder: Path) -> Made:
    """The run in a folder.

    Raises:
        OrthomaskError: there is no finished run.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        classes = tuple(from_json(ClassInfo, info) for info in record["model"]["classes"])
        image = from_json(PredictRequest, record["request"]).image
        return Made(image, folder / "polygons.gpkg", float(record["model"]["gsd_m"]), classes)
    except (OSError, ValueError, KeyError, TypeError, OrthomaskError) as error:
        raise no_run(folder, error) from error


@contextmanager
def opened(labels: Sequence[Labels], areas: Areas | None, folder: Path) -> Iterator[Inspection]:
    """Labels on the grid of a run.

    Raises:
        OrthomaskError: there is no finished run, no label lies on it and in an area, or their classes are not the
            model's.
    """
    made = read_run(folder)
    fitted = fit(made.image, labels, made.classes)
    try:
        dataset = rasterio.open(folder / "probabilities.tif")
    except RasterioError as error:
        raise no_run(folder, error) from error
    with dataset:
        grid = Grid(dataset.crs.to_wkt(), dataset.transform, dataset.width, dataset.height)
        with open_truth(fitted, areas, made.classes, grid, Touch.CENTRE) as truth:
            told = [note for layer in fitted for note in notes(layer.mapping, made.classes)]
            yield Inspection(made, dataset, grid, truth, fitted, [*told, *truth.warnings])


def fit(image: Image, labels: Sequence[Labels], classes: Sequence[ClassInfo]) -> tuple[Labels, ...]:
    """The labels, with what their values mean to a model of these classes."""
    return fit_data(LabelledData((LabelledImage(image, tuple(labels)),)), classes).projects[0].labels


class Inside(NamedTuple):
    """Where labels are inspected: areas `(M,)` in pixels of the grid, and which of the labels `(N,)` touch one."""

    areas: np.ndarray
    labels: np.ndarray


def inside(truth: Truth) -> Inside:
    """The areas with complete labels, the whole grid without areas, and the labels of a class in them.

    Raises:
        OrthomaskError: there are none.
    """
    areas = np.array([area.polygon for area in truth.areas if area.split is not Split.TODO] or [truth.grid.box], object)
    found = np.zeros(len(truth.drawn), bool)
    found[shapely.STRtree(areas).query(truth.drawn, predicate="intersects")[0]] = True
    values = truth.object_values[1:]
    found &= (values != BACKGROUND) & (values != UNKNOWN)
    if not found.any():
        raise OrthomaskError(
            ErrorCode.LABELS_EMPTY,
            tr("No label lies in the areas.") if truth.areas else tr("There are no labels on the image."),
            tr("Label what is there first, then inspect the labels."),
        )
    return Inside(areas, found)


@dataclass
class Inspection:
    """Labels on the grid of a run.

    Attributes:
        shift: of all labels, once `findings` has been read to its end.
        warnings: grow while `findings` is read.
    """

    made: Made
    dataset: DatasetReader
    grid: Grid
    truth: Truth
    labels: tuple[Labels, ...]
    warnings: list[str]
    shift: Shift | None = None

    def __post_init__(self) -> None:
        self.areas, self.inside = inside(self.truth)
        self.values = self.truth.object_values[1:]
        self.names = {info.value: info.name for info in self.made.classes} | {BACKGROUND: tr("background")}
        layers = [choose_layer(layer.path, layer.layer, "labels") for layer in self.labels]
        self._layers = layers
        self.crs = crs_of(self.labels[0].path, layers[0], self.labels[0].crs)

    @property
    def count(self) -> int:
        """How many labels are inspected."""
        return int(self.inside.sum())

    def findings(self, progress: Progress) -> Iterator[Finding]:
        """All probable faults."""
        yield from self._displaced(progress.part(0, 0.3))
        yield from self._doubled()
        yield from self._doubted(progress.part(0.3, 1))

    def _displaced(self, progress: Progress) -> Iterator[Finding]:
        """Shifts; whatever keeps the image from being read is a warning, for the rest needs no image."""
        x, y = self.grid.width_px / 2, self.grid.height_px / 2
        pixel_m = float(np.hypot(*self._metres(Offset(1, 0, 0, 0, 0), (x, y))))
        try:
            with brightness(self.made.image, self.made.gsd_m, self.grid) as read:
                labels = self.truth.drawn[self.inside]
                whole, local = shifts(labels, self.grid, pixel_m, read, progress)
        except Cancelled:
            raise
        except OrthomaskError as error:
            self.warnings.append(tr("Whether the labels are shifted was not checked: {}").format(error.sentence))
            return
        for place in [whole] if whole else []:
            self.shift = self._shift(place, pixel_m)
            words = tr("Move the labels {} to match the image ({}, from {} labels)")
            yield self._shifted(place, self.shift, words)
        for place in local:
            words = tr("Here, move the labels {} to match the image ({}, from {} labels)")
            yield self._shifted(place, self._shift(place, pixel_m), words)

    def _shift(self, place: Place, pixel_m: float) -> Shift:
        offset, middle = place.offset, place.polygon.centroid
        east, north = self._metres(offset, (middle.x, middle.y))
        ends = shapely.linestrings([[middle.x, middle.y], [middle.x + offset.x, middle.y + offset.y]])
        before, after = shapely.get_coordinates(self._in_crs(ends, self.crs)).tolist()
        return Shift(
            round(east, 3), round(north, 3), round(offset.margin * pixel_m, 3), offset.labels,
            after[0] - before[0], after[1] - before[1],
        )  # fmt: skip

    def _metres(self, offset: Offset, at: tuple[float, float]) -> tuple[float, float]:
        """An offset in pixels as metres east and north on the ground."""
        ends = shapely.linestrings([at, (at[0] + offset.x, at[1] + offset.y)])
        (x, y), (to_x, to_y) = shapely.get_coordinates(self._in_crs(ends, pyproj.CRS("EPSG:4326"))).tolist()
        azimuth, _, metres = pyproj.Geod(ellps="WGS84").inv(x, y, to_x, to_y)
        return float(metres * np.sin(np.radians(azimuth))), float(metres * np.cos(np.radians(azimuth)))

    def _in_crs(self, geometry: Any, crs: pyproj.CRS) -> Any:
        return reprojected(transformed(geometry, self.grid.transform), self.grid.crs, crs)

    def _shifted(self, place: Place, shift: Shift, words: str) -> Finding:
        reason = words.format(shift.in_words, shift.margin_in_words, shift.labels)
        return Finding(Fault.SHIFTED, 1.0, "", reason, place.polygon, shift=shift)

    def _doubled(self) -> Iterator[Finding]:
        numbers = np.flatnonzero(self.inside)
        kinds = np.column_stack([self.truth.sources, self.values])[numbers]
        for found in doubles(self.truth.drawn[numbers], kinds):
            pair = found._replace(label=int(numbers[found.label]), other=int(numbers[found.other]))
            other = int(self.truth.fids[pair.other])
            yield self._of_label(Fault.DOUBLE, pair.severity, self._double_words(pair), pair.label)._replace(
                other=other
            )

    def _double_words(self, pair: Double) -> str:
        one, other = (self.names[int(self.values[number])] for number in (pair.label, pair.other))
        if pair.is_same:
            same = tr("Two labels have the same outline")
            return same if one == other else tr("Two labels, {} and {}, have the same outline").format(one, other)
        if one == other:
            return tr("{} of it lies in another label").format(_percent(pair.share))
        return tr("{} of it, {}, lies in a label of {}").format(_percent(pair.share), one, other)

    def _doubted(self, progress: Progress) -> Iterator[Finding]:
        """What the model contradicts, and what nobody labelled."""
        left, top, right, bottom = shapely.total_bounds(shapely.intersection(self.areas, self.grid.box))
        x, y = int(left), int(top)
        extent = Window(x, y, int(np.ceil(right)) - x, int(np.ceil(bottom)) - y)
        confidence = measure(self.truth, self.dataset, extent, progress.part(0, 0.3))
        unseen = int(confidence.unseen.sum())
        if unseen:
            words = tr_n(
                "{} label lies where the run found no image, or did not look.",
                "{} labels lie where the run found no image, or did not look.",
                unseen,
            )
            self.warnings.append(words.format(unseen))
        for doubt in contradicted(confidence, self.values):
            own, found = self.names[int(self.values[doubt.label])], self.names[doubt.value]
            words = tr("Labelled {}, but the model finds {}: {} to {}")
            reason = words.format(own, found, _percent(doubt.probability), _percent(doubt.own))
            yield self._of_label(Fault.CONTRADICTED, doubt.probability, reason, doubt.label)
        objects = read_polygons(str(self.made.polygons), "polygons", ["class_value"], "", self.grid)
        known = [number for number, text in enumerate(objects.columns["class_value"]) if text.isdigit()]
        values = [int(text) for text in objects.columns["class_value"][known]]
        for missing in unlabelled(
            objects.geometries[known], values, self.truth, self.areas, self.dataset, confidence.thresholds,
            progress.part(0.3, 1),
        ):  # fmt: skip
            name, sure = self.names[missing.value], _percent(missing.probability)
            reason = tr("The model is {} sure of {} here, and there is no label").format(sure, name)
            yield Finding(Fault.UNLABELLED, missing.probability, name, reason, missing.polygon)

    def _of_label(self, kind: Fault, severity: float, reason: str, number: int) -> Finding:
        name, layer = self.names[int(self.values[number])], self._layers[int(self.truth.sources[number])]
        label = int(self.truth.fids[number])
        return Finding(kind, severity, name, reason, self.truth.drawn[number], layer, label)


def _percent(share: float) -> str:
    """Rounded, but 100% only for all of it."""
    return f"{int(100 * share) if share > 0.99 else round(100 * share)}%"
