"""Objects of a probability raster: 4-connected pixels of one class, traced tile by tile and joined across seams.

Memory is that of one row of tiles and of the objects that reach into the next one, whatever the raster's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import shapely
from rasterio.io import DatasetReader
from rasterio.windows import Window
from scipy import ndimage
from shapely import Polygon

from ..protocol.words import tr
from . import contours
from .progress import Progress
from .runs import classify

TILE_PX = 2048


@dataclass
class Part:
    """An object, or the piece of one that has been seen so far: 4-connected pixels of one class.

    Attributes:
        shapes: pixel-edge polygons in raster pixels, one for each tile it lies in.
        pixels: number of pixels.
        probability: sum of their probabilities, 0 to `SCALE` each.
    """

    value: int
    shapes: list[Polygon]
    pixels: int
    probability: float

    @property
    def polygon(self) -> Polygon:
        """The whole object in raster pixels, its seams dissolved."""
        return self.shapes[0] if len(self.shapes) == 1 else _dissolved(self.shapes)

    def absorb(self, other: Part) -> None:
        """Make `other` part of this object."""
        self.shapes += other.shapes
        self.pixels += other.pixels
        self.probability += other.probability


def traced(
    dataset: DatasetReader, threshold: float, min_pixels: float, progress: Progress
) -> Iterator[tuple[list[Part], list[Part]]]:
    """Objects of a probability raster, row by row of tiles: those finished there, and those that still go on.

    Args:
        min_pixels: objects of fewer pixels are left out.
    """
    rows = range(0, dataset.height, TILE_PX)
    seam = _Seam(dataset.width)
    for top in rows:
        for left in range(0, dataset.width, TILE_PX):
            progress.report(top / dataset.height, tr("Tracing outlines"))
            width, height = min(TILE_PX, dataset.width - left), min(TILE_PX, dataset.height - top)
            seam.add(_Tile.read(dataset, Window(left, top, width, height), threshold), min_pixels)
        done, pending = seam.finish_row(last=top == rows[-1])
        yield [part for part in done if part.pixels >= min_pixels], pending


@dataclass(frozen=True)
class _Tile:
    """One tile: class values, 4-connected labels from 1 (0 is background) and the likeliest class's probability."""

    left: int
    top: int
    classes: np.ndarray
    labels: np.ndarray
    probability: np.ndarray

    @classmethod
    def read(cls, dataset: DatasetReader, window: Window, threshold: float) -> _Tile:
        """Read, classify and label one tile."""
        bands = dataset.read(window=window)
        classes = classify(bands, threshold)
        labels, found = np.zeros(classes.shape, np.int32), 0
        for value in range(1, dataset.count + 1):
            part, number = ndimage.label(classes == value)
            labels += np.where(part > 0, part + found, 0).astype(np.int32)
            found += number
        return cls(window.col_off, window.row_off, classes, labels, bands.max(axis=0))

    def parts(self, min_pixels: float) -> dict[int, Part]:
        """The objects by label; those too small that do not reach the tile's edge are left out."""
        inside = np.flatnonzero(self.labels)
        flat = self.labels.ravel()[inside]
        pixels = np.bincount(flat, minlength=1)
        probability = np.bincount(flat, self.probability.ravel()[inside], minlength=1)
        value = np.zeros(pixels.size, np.uint8)
        value[flat] = self.classes.ravel()[inside]
        keep = pixels >= min_pixels
        for edge in (self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1]):
            keep[edge] = True
        keep[0] = False
        polygons, found = contours.outlines(np.where(keep[self.labels], self.labels, 0), (self.left, self.top))
        return {
            label: Part(int(value[label]), [polygon], int(pixels[label]), float(probability[label]))
            for label, polygon in zip(found.tolist(), polygons)
        }


@dataclass
class _Seam:
    """Joins objects across tiles: what touches the tile above or to the left becomes one object (union-find)."""

    width: int
    parts: dict[int, Part] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.above = np.zeros((2, self.width), np.int64)
        self.below = np.zeros((2, self.width), np.int64)
        self.beside = np.zeros((2, 0), np.int64)

    def add(self, tile: _Tile, min_pixels: float) -> None:
        """Take in the next tile of the row."""
        parts = tile.parts(min_pixels)
        number = np.zeros(int(tile.labels.max()) + 1, np.int64)
        for label, part in parts.items():
            number[label] = identity = next(self.numbers)
            self.parts[identity] = part
            self.parents[identity] = identity
        columns = slice(tile.left, tile.left + tile.labels.shape[1])
        self._join(self.above[:, columns], _edge(number, tile, np.s_[0, :]))
        left_edge = _edge(number, tile, np.s_[:, 0])
        if tile.left:
            self._join(self.beside, left_edge)
        self.beside = _edge(number, tile, np.s_[:, -1])
        self.below[:, columns] = _edge(number, tile, np.s_[-1, :])

    def finish_row(self, last: bool) -> tuple[list[Part], list[Part]]:
        """Objects that are whole after this row of tiles, in the order they began, and those that are not."""
        for identity in list(self.parts):
            root = self._root(identity)
            if root != identity:
                self.parts[root].absorb(self.parts.pop(identity))
        going = set() if last else {self._root(identity) for identity in np.unique(self.below[0]).tolist() if identity}
        done = [self.parts.pop(identity) for identity in sorted(self.parts) if identity not in going]
        roots = np.array([self._root(i) if i else 0 for i in self.below[0].tolist()], np.int64)
        self.above, self.below = np.stack([roots, self.below[1]]), np.zeros_like(self.below)
        self.parents = {identity: identity for identity in self.parts}
        return done, list(self.parts.values())

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        same = (one[0] > 0) & (other[0] > 0) & (one[1] == other[1])
        for pair in np.unique(np.stack([one[0][same], other[0][same]]), axis=1).T.tolist():
            first, second = sorted(map(self._root, pair))
            self.parents[second] = first

    def _root(self, identity: int) -> int:
        while self.parents[identity] != identity:
            self.parents[identity] = self.parents[self.parents[identity]]
            identity = self.parents[identity]
        return identity


def _edge(number: np.ndarray, tile: _Tile, index: Any) -> np.ndarray:
    """Object numbers and class values along an edge of a tile."""
    return np.stack([number[tile.labels[index]], tile.classes[index].astype(np.int64)])


def _dissolved(shapes: list[Polygon]) -> Polygon:
    """One polygon from pieces that share seams, without the vertices that the seams left on straight edges."""
    whole = shapely.union_all(shapes)
    return whole.simplify(0)
