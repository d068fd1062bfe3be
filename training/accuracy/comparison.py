"""Compare predictions with the truth piece by piece, using the same code as every other prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from rasterio.io import MemoryFile
from shapely import Geometry

from ...engine import predict
from ...engine.compute.devices import Predictor
from ...engine.images.grid import Lattice, Window, select
from ...engine.images.raster import Reader, open_image, open_reader
from ...engine.progress import Progress
from ...engine.runs.runs import NODATA, classify
from ...protocol import UNKNOWN, ClassValue, EvaluateRequest, Image, LabelledImage, Labels, PredictRequest, Split
from ..chips.pictures import Tile
from ..truth.labels import Grid, Truth, open_truth

PIECE_PX = 4096
"""Larger areas are compared in pieces of at most this side, so that memory does not grow with them. Their edges cut
objects, as area edges do."""
LOCAL_CRS = "+proj=tmerc +datum=WGS84 +units=m"
"""CRS for pictures without georeference: near its origin, distances are true."""


class Comparison(NamedTuple):
    """Prediction and truth in a piece of an area.

    Attributes:
        area: name of the area or picture.
        window: on the image's lattice.
        probabilities: `(K, H, W)` uint8, 0 to `SCALE`, of the foreground classes.
        found: `(H, W)` uint8 predicted class values; 255 where `truth` is.
        truth: `(H, W)` uint8 class values; 255 outside the area, where unknown, and where there is no image.
        objects: `(H, W)` int32 numbers of the true objects, 0 for none.
    """

    area: str
    place: str
    window: Window
    probabilities: np.ndarray
    found: np.ndarray
    truth: np.ndarray
    objects: np.ndarray


class Area(NamedTuple):
    """A part of an image to compare: a polygon in lattice pixels."""

    name: str
    polygon: Geometry


@dataclass(frozen=True)
class Ground:
    """An opened image with its truth.

    Attributes:
        areas: the parts to compare.
        georeferenced: False for a picture without a place on Earth.
    """

    plan: predict.Plan
    reader: Reader
    truth: Truth
    areas: tuple[Area, ...]
    place: str
    georeferenced: bool

    @property
    def lattice(self) -> Lattice:
        """The grid of predictions and truth."""
        return self.plan.lattice

    @property
    def extent(self) -> Window:
        """Bounding box of the areas, in lattice pixels."""
        return select(self.lattice, shapely.union_all([area.polygon for area in self.areas])).extent

    def of(self, split: Split) -> Ground:
        """The same image with the areas of another split; none if all of it is labelled."""
        return replace(self, areas=_wanted(self.truth, split))

    def compare(self, predictor: Predictor, threshold: float, progress: Progress) -> Iterator[Comparison]:
        """Predict the areas and pair them with the truth; skip pieces in which nothing is known."""
        cut = [(area.name, piece) for area in self.areas for piece in pieces(area.polygon)]
        for index, (name, piece) in enumerate(cut):
            part = progress.part(index / len(cut), (index + 1) / len(cut))
            window, probabilities = self._predicted(piece, predictor, part)
            truth, objects = self.truth.mask(window), self.truth.objects(window)
            found = classify(probabilities, threshold)
            unknown = (truth == UNKNOWN) | (found == NODATA)
            found[unknown], truth[unknown], objects[unknown] = UNKNOWN, UNKNOWN, 0
            if not unknown.all():
                yield Comparison(name, self.place, window, probabilities, found, truth, objects)

    def _predicted(self, piece: Geometry, predictor: Predictor, progress: Progress) -> tuple[Window, np.ndarray]:
        selection = select(self.lattice, piece)
        extent = selection.extent
        classes = len(self.plan.bundle.card.classes)
        probabilities = np.full((classes, extent.height, extent.width), NODATA, np.uint8)
        plan = replace(self.plan, selection=selection)
        for strip in predict.blended(plan, self.reader, predictor, progress):
            top = strip.top - extent.y
            probabilities[:, top : top + strip.probabilities.shape[1]] = strip.probabilities
        return extent, probabilities

    def picture(self, window: Window) -> np.ndarray:
        """What the model sees of a window, for display: `(H, W, 3)` uint8 of three bands, or one in grey."""
        pixels, valid = self.reader.read(window)
        shown = slice(3) if len(pixels) >= 3 else [0, 0, 0]
        bands = [(band.percentile_2, band.percentile_98) for band in self.plan.bundle.card.bands]
        low, high = np.array(bands, float)[shown].T[:, :, None, None]
        stretched = (pixels[shown] - low) / np.maximum(high - low, 1e-9)
        return np.where(valid[..., None], np.clip(np.moveaxis(stretched, 0, -1) * 255, 0, 255), 255).astype(np.uint8)


def pieces(polygon: Geometry, side_px: int | None = None) -> Iterator[Geometry]:
    """A polygon in lattice pixels, cut along pixel edges if larger than `side_px`, by default `PIECE_PX`."""
    side = side_px or PIECE_PX
    left, top, right, bottom = polygon.bounds
    for y in np.arange(math.floor(top), bottom, side):
        for x in np.arange(math.floor(left), right, side):
            piece = polygon.intersection(shapely.box(x, y, x + side, y + side))
            if piece.area > 0:
                yield piece


@contextmanager
def open_ground(
    image: LabelledImage, request: EvaluateRequest, *, name: str = "", georeferenced: bool = True, scale: float = 1
) -> Iterator[Ground]:
    """Open an image with its truth. Without areas all of it counts, else the areas of the requested split.

    Args:
        name: of the whole image as an area; empty for the file's.
        scale: pixels are so many times as large as the model's.

    Raises:
        OrthomaskError: the image does not suit the model, or labels or areas are unusable.
    """
    with open_image(image.image) as source:
        plan = predict.plan(source, PredictRequest(image.image, request.model, request.output_dir))
        if scale != 1:
            card, usual = plan.bundle.card, plan.lattice
            lattice = source.lattice(scale * card.gsd_m, usual.window_px, usual.overlap_px)
            plan = replace(plan, lattice=lattice, selection=select(lattice, None))
        lattice, classes = plan.lattice, plan.bundle.card.classes
        grid = Grid(lattice.crs, lattice.transform, lattice.width_px, lattice.height_px)
        stem = PurePath(source.name).stem
        with (
            open_truth(image.labels, image.areas, classes, grid, image.touch) as truth,
            open_reader(source, lattice, plan.numbers) as reader,
        ):
            whole = (Area(name or stem, grid.box),)
            areas = whole if image.areas is None else _wanted(truth, request.split)
            yield Ground(plan, reader, truth, areas, image.place or stem, georeferenced)


def _wanted(truth: Truth, split: Split) -> tuple[Area, ...]:
    areas = (Area(area.name, area.polygon.intersection(truth.grid.box)) for area in truth.areas if area.split is split)
    return tuple(area for area in areas if area.polygon.area > 0)


@contextmanager
def open_tile(tile: Tile, bands: Sequence[str], request: EvaluateRequest, *, scale: float = 1) -> Iterator[Ground]:
    """Open a picture with its mask as if it were georeferenced.

    Args:
        bands: their names; empty where they are not known.
        scale: pixels are so many times as large as the model's.
    """
    file = tile.file or PurePath(tile.name).name  # GDAL detects the copy's format whatever its name
    with MemoryFile(filename=file) as pixels, MemoryFile(filename=file) as mask:
        _write(pixels, tile.pixels, tile.gsd_m, bands)
        _write(mask, tile.mask[None], tile.gsd_m)
        values = tuple(ClassValue(str(value), value) for value in np.unique(tile.mask).tolist())
        image = LabelledImage(Image(pixels.name), (Labels(mask.name, mapping=values),), place=tile.place)
        with open_ground(image, request, name=tile.name, georeferenced=False, scale=scale) as ground:
            yield ground


def _write(memory: MemoryFile, bands: np.ndarray, gsd_m: float, names: Sequence[str] = ()) -> None:
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype.name,
        "crs": LOCAL_CRS,
        "transform": Affine(gsd_m, 0, gsd_m, 0, -gsd_m, 0),  # at 0, 0, pixels of 1 m would mean no georeference
        "photometric": "MINISBLACK",  # else GDAL takes the last of four bands for alpha
    }  # fmt: skip
    with memory.open(**profile) as dataset:
        dataset.write(bands)
        for number, name in enumerate(names, 1):
            dataset.set_band_description(number, name)
