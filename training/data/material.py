"""Load all labelled data of a training into memory: scenes for training and for validation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio.features
import shapely
from affine import Affine

from ...engine.images.bands import choose, understood
from ...engine.images.grid import Lattice, Window
from ...engine.images.raster import Reader, open_image, open_reader
from ...engine.models.bundle import Bundle
from ...engine.progress import Progress
from ...protocol import UNKNOWN, ClassInfo, ErrorCode, LabelledData, LabelledImage, OrthomaskError, Split, TrainRequest
from ...protocol.ground_truth import require_numbered
from ...protocol.words import tr
from ..chips.manifest import load_manifest
from ..chips.pictures import Tile, read_chips, read_pictures
from ..chips.plan import dealt
from ..truth.borders import W0, border_weights
from ..truth.classes import color, names_classes, resolve_classes
from ..truth.components import components
from ..truth.labels import Grid, Truth, open_truth
from .scenes import Scene, Source, hold_back, make_scene

BLOCKS = 40
"""Approximate number of blocks of an image without areas."""
BLOCK_PX = (64, 2048)
"""Smallest and largest side of a block."""
SHARES = (0.7, 0.15, 0.15)
"""Shares of blocks for training, validation and tests."""
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Material:
    """What there is to learn from.

    Attributes:
        bands: names of the bands of all scenes, in order.
        dtype: numpy name of the images' pixel type.
        gsd_m: resolution to train at.
        test: only if they were asked for.
    """

    sources: tuple[Source, ...]
    validation: tuple[Scene, ...]
    classes: tuple[ClassInfo, ...]
    bands: tuple[str, ...]
    dtype: str
    gsd_m: float
    warnings: tuple[str, ...]
    test: tuple[Scene, ...] = ()


class Piece(NamedTuple):
    """A scene not yet checked against the others."""

    scene: Scene
    split: Split
    dtype: str


class _Group(NamedTuple):
    """The pieces of one image, folder of pictures or set of chips, and how often to draw them."""

    weight: float
    pieces: list[Piece]


def read(request: TrainRequest, parent: Bundle | None, progress: Progress, *, with_test: bool = False) -> Material:
    """Read all data of a training, its test data only if they are asked for.

    Raises:
        OrthomaskError: something is missing or cannot be read, or there is nothing to learn from it.
    """
    reading = Reading(request, parent)
    groups = reading.groups(progress, {Split.TRAIN, Split.VALIDATION} | ({Split.TEST} if with_test else set()))
    dtypes = sorted({piece.dtype for group in groups for piece in group.pieces})
    if len(dtypes) > 1:
        sentence = tr("The images have different pixel types: {}.").format(" and ".join(dtypes))
        raise OrthomaskError(ErrorCode.TRAINING_DATA, sentence, tr("Convert them to one type first."))
    drawn = [(group.weight, _of(group, Split.TRAIN)) for group in groups]
    sources = tuple(Source(weight, scenes) for weight, scenes in drawn if weight and scenes)
    validation = tuple(scene for group in groups for scene in _of(group, Split.VALIDATION))
    _require_objects([scene for source in sources for scene in source.scenes], "training")
    if not validation:
        sources, validation = hold_back(sources, np.random.default_rng(request.schedule.seed))
        reading.warnings.append(tr("No area is for validation, so part of the training areas was held back for it."))
    _require_objects(validation, "validation")
    warnings = tuple(dict.fromkeys([*reading.warnings, *_missing_classes(sources, reading.classes)]))
    test = tuple(scene for group in groups for scene in _of(group, Split.TEST))
    return Material(sources, validation, reading.classes, reading.bands, dtypes[0], reading.gsd_m, warnings, test)


def rooted(data: LabelledData) -> LabelledData:
    """The data with paths relative to `root` made absolute."""
    return replace(
        data,
        projects=tuple(
            replace(
                project,
                image=project.image.at(lambda path: _path(path, data.root)),
                labels=tuple(replace(labels, path=_path(labels.path, data.root)) for labels in project.labels),
                areas=project.areas and replace(project.areas, path=_path(project.areas.path, data.root)),
            )
            for project in data.projects
        ),
    )


def _path(path: str, root: str) -> str:
    """The path below the root if it exists there; else the path itself, absolute or a GDAL name."""
    below = os.path.join(root, path)
    return below if root and os.path.exists(below) else path


class Reading:
    """Reads the data part by part, after settling classes, bands and resolution."""

    def __init__(self, request: TrainRequest, parent: Bundle | None) -> None:
        self._data, self._request = rooted(request.data), request
        self._inherited = parent.card.classes if parent else ()
        self.manifests = [load_manifest(Path(self._data.root, chips.path)) for chips in self._data.chips]
        self.classes = request.classes or self._named_classes()
        self.bands = request.bands or (tuple(band.name for band in parent.card.bands) if parent else ())
        self.bands = self.bands or next((manifest.bands for manifest in self.manifests), ())
        self.gsd_m = request.gsd_m or (parent.card.gsd_m if parent else self._finest())
        self.warnings: list[str] = []

    def _named_classes(self) -> tuple[ClassInfo, ...]:
        """The classes that the labels or chips name; empty if they only have numbers."""
        labels = [each for project in self._data.projects for each in project.labels]
        if any(map(names_classes, labels)):
            return resolve_classes(labels)
        named = next((manifest.classes for manifest in self.manifests), ())
        if named or self._inherited or not self._data.projects:
            return named
        return resolve_classes(labels)

    def _finest(self) -> float:
        """The resolution of the finest image, to three digits."""
        found = [pictures.gsd_m for pictures in self._data.pictures]
        found += [chip.gsd_m for manifest in self.manifests for chip in manifest.chips]
        for project in self._data.projects:
            with open_image(project.image) as source:
                found.append(min(source.gsd_m))
        return float(f"{min(found):.3g}")

    def groups(self, progress: Progress, splits: Set[Split]) -> list[_Group]:
        """All pieces for these splits."""
        data, root = self._data, self._data.root
        reads: list[tuple[float, Iterator[Piece]]] = [
            *(
                (part.weight, map(self._tile_piece, read_pictures(part, root, self.warnings.append)))
                for part in data.pictures
            ),
            *(
                (part.weight, map(partial(self._tile_piece, bands=manifest.bands), read_chips(part, root)))
                for part, manifest in zip(data.chips, self.manifests)
            ),
            *((project.weight, self._project_pieces(project, splits)) for project in data.projects),
        ]
        groups = []
        for number, (weight, pieces) in enumerate(reads):
            groups.append(_Group(weight, []))
            for piece in pieces:
                progress.report(number / len(reads), tr("Reading images: {}").format(len(groups[-1].pieces) + 1))
                if piece.split in splits and piece.scene.known_px:
                    groups[-1].pieces.append(piece)
        self._require_classes(groups)
        return groups

    def _require_classes(self, groups: Sequence[_Group]) -> None:
        """Settle the classes of masks that only have numbers; raise if a number has no class."""
        most = max((int(p.scene.mask[p.scene.mask != UNKNOWN].max()) for g in groups for p in g.pieces), default=0)
        if not self.classes:
            numbered = tuple(ClassInfo(value, f"class {value}", color(value)) for value in range(1, most + 1))
            self.classes = self._inherited if len(self._inherited) >= most else numbered
        if most > len(self.classes):
            raise OrthomaskError(
                ErrorCode.LABELS_CLASSES,
                tr("The labels contain class {}, but there are only {} classes.").format(most, len(self.classes)),
                tr("Define all classes, or map the label values to the existing classes."),
            )
        if self.classes:
            require_numbered(self.classes)

    def _tile_piece(self, tile: Tile, bands: tuple[str, ...] = ()) -> Piece:
        """A picture as a piece; its bands are its export's, else red, green and blue, else unnamed."""
        first = len(tile.pixels) - tile.second_bands
        flags = COLOURS if first == len(COLOURS) and not bands else ("undefined",) * first
        found = understood(bands or tile.bands, (*flags, *("undefined",) * tile.second_bands))
        self.bands = self.bands or tuple(band.name for band in found)
        choice = choose(found, (), self.bands, tile.name)
        self.warnings += filter(None, [choice.assumption])
        pixels = tile.pixels[[number - 1 for number in choice.numbers]]
        valid = (tile.mask != UNKNOWN) | tile.pixels.any(axis=0)
        if pixels.dtype.kind == "f":
            valid &= np.isfinite(pixels).all(axis=0)
            pixels = np.where(valid, pixels, 0)
        objects = components(tile.mask) if self._request.objective.border_weight else None
        scene = make_scene(pixels, valid, tile.mask, tile.gsd_m, tile.place, self._weights(objects))
        return Piece(scene, tile.split, str(tile.pixels.dtype))

    def _project_pieces(self, project: LabelledImage, splits: Set[Split]) -> Iterator[Piece]:
        """The areas of an image for these splits, one by one."""
        with open_image(project.image) as source:
            self.bands = self.bands or source.asked_bands()
            choice = source.choose(self.bands)
            self.warnings += filter(None, [choice.assumption])
            gsd_m = max(min(source.gsd_m), self.gsd_m / 2)
            lattice = source.lattice(gsd_m, 0, 0)
            grid = Grid(lattice.crs, lattice.transform, lattice.width_px, lattice.height_px)
            place = project.place or Path(project.image.path).stem
            with (
                open_truth(project.labels, project.areas, self.classes, grid, project.touch) as truth,
                open_reader(source, lattice, choice.numbers) as reader,
            ):
                rng = np.random.default_rng(self._request.schedule.seed)
                drawn = [(area.polygon, area.split) for area in truth.areas]
                areas = drawn if project.areas else _blocks(truth, rng)
                margin = round(self._request.schedule.chip_px / 2 * self.gsd_m / gsd_m)
                for polygon, split in _disjoint(areas):
                    if split not in splits:
                        continue
                    window = _around(polygon, margin, lattice)
                    scene = self._area_scene(reader, truth, polygon, window, gsd_m, place)
                    yield Piece(scene, split, source.pixel_type(choice.numbers[0]))
                self.warnings += truth.warnings

    def _area_scene(
        self, reader: Reader, truth: Truth, polygon: shapely.Geometry, window: Window, gsd_m: float, place: str
    ) -> Scene:
        pixels, valid = reader.read(window)
        shape, place_of_window = (window.height, window.width), Affine.translation(window.x, window.y)
        outside = rasterio.features.geometry_mask([polygon], shape, place_of_window)
        mask = np.where(outside, UNKNOWN, truth.mask(window))
        objects = truth.objects(window) if self._request.objective.border_weight else None
        return make_scene(pixels, valid, mask, gsd_m, place, self._weights(objects))

    def _weights(self, objects: np.ndarray | None) -> np.ndarray | None:
        """Weights of the pixels in the loss, high between close objects."""
        if objects is None:
            return None
        strength = self._request.objective.border_weight / W0
        return (1 + strength * (border_weights(objects) - 1)).astype(np.float16)


def _blocks(truth: Truth, rng: np.random.Generator) -> list[tuple[shapely.Geometry, Split]]:
    """Square blocks over the whole image, dealt to the splits so that each gets its share of the labels."""
    grid = truth.grid
    side = int(np.clip(math.sqrt(grid.width_px * grid.height_px / BLOCKS), *BLOCK_PX))
    blocks = [
        Window(x, y, min(side, grid.width_px - x), min(side, grid.height_px - y))
        for y in range(0, grid.height_px, side)
        for x in range(0, grid.width_px, side)
    ]
    mixed = [blocks[index] for index in rng.permutation(len(blocks))]
    mixed.sort(key=lambda block: not truth.polygons(block))
    splits = dealt(len(mixed), SHARES)
    return [
        (shapely.box(x, y, x + width, y + height), split)
        for (x, y, width, height), split in zip(mixed, splits)
        if split
    ]


def _disjoint(areas: Sequence[tuple[shapely.Geometry, Split]]) -> list[tuple[shapely.Geometry, Split]]:
    """The areas minus overlaps: test comes before validation, validation before training."""
    tests = shapely.union_all([polygon for polygon, split in areas if split is Split.TEST])
    checks = shapely.union_all([polygon for polygon, split in areas if split is Split.VALIDATION])
    nothing = shapely.Polygon()
    without = {Split.TRAIN: shapely.union(tests, checks), Split.VALIDATION: tests, Split.TEST: nothing}
    found = [(polygon.difference(without[split]), split) for polygon, split in areas if split in without]
    return [(polygon, split) for polygon, split in found if not polygon.is_empty]


def _around(polygon: shapely.Geometry, margin: int, lattice: Lattice) -> Window:
    """The pixels of a polygon plus a margin, clipped to the image."""
    left, top, right, bottom = polygon.bounds
    x, y = max(0, math.floor(left) - margin), max(0, math.floor(top) - margin)
    stop_x, stop_y = (
        min(lattice.width_px, math.ceil(right) + margin),
        min(lattice.height_px, math.ceil(bottom) + margin),
    )
    return Window(x, y, stop_x - x, stop_y - y)


def _of(group: _Group, split: Split) -> tuple[Scene, ...]:
    return tuple(piece.scene for piece in group.pieces if piece.split is split)


def _require_objects(scenes: Sequence[Scene], purpose: str) -> None:
    """Raise if nothing is labelled, or only background."""
    if not any(scene.known_px for scene in scenes):
        raise OrthomaskError(
            ErrorCode.TRAINING_DATA,
            tr("Nothing is labelled for {}.").format(purpose),
            tr("Draw areas on the image and mark some of them for {}.").format(purpose),
        )
    if not any(scene.found.any() for scene in scenes):
        raise OrthomaskError(
            ErrorCode.TRAINING_DATA,
            tr("The areas for {} contain no object of any class, only background.").format(purpose),
            tr("Draw what is missing there, or add an area for {} that contains objects.").format(purpose),
        )


def _missing_classes(sources: Sequence[Source], classes: Sequence[ClassInfo]) -> list[str]:
    """A warning for each class that cannot be learnt."""
    present = {int(value) for source in sources for scene in source.scenes for value in np.unique(scene.mask)}
    return [
        tr("No training area contains the class “{}”: the model will not learn it.").format(info.name)
        for info in classes
        if info.value not in present
    ]
