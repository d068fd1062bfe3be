"""Replay sets: small chips of a model's own training, so that learning from a new place does not make it forget.

A set is two files: `NAME.tif`, a JPEG-compressed sheet whose tiles are the chips, and `NAME.png`, their masks on the
same grid. The sheet's `orthomask_replay` item holds a `Contents` as JSON. Chips of other pictures, without labels, may
follow: what the model says of them is rehearsed, too.

    python -m orthomask.training.loop.replay RECIPE MODEL OUT.tif --data FOLDER --unlabelled PICTURE
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterWindow

from ...engine.models import bundle as bundles
from ...engine.models.bundle import Bundle, Card
from ...engine.outputs import write_atomically
from ...engine.progress import Progress
from ...protocol import UNKNOWN, ErrorCode, OrthomaskError, from_json, to_json
from ...protocol.words import tr
from ..data import material as materials
from ..data.scenes import VALID, Scene, Source, make_scene
from ..fit import recipe as recipes
from ..fit.augment import placement, warp

FOLDER = Path(__file__).resolve().parents[2] / "resources" / "replay"
ITEM = "orthomask_replay"
CHIP_PX = 192
"""Side of a chip: the training chips of `LEARNING` fit in at any angle."""
COUNT = 140
COLUMNS = 12
KEPT_OUT = 4
"""One chip in so many is never learnt from, and shows what was forgotten."""
QUALITY = 65
"""Of JPEG: 220 chips are 1.4 MB."""


@dataclass(frozen=True)
class Contents:
    """What a sheet holds.

    Attributes:
        models: SHA-256 of the bundles whose training the chips are from.
        classes: what the masks' values 1, 2 … mean.
        places: of each chip, in the order of the sheet's tiles.
    """

    models: tuple[str, ...]
    classes: tuple[str, ...]
    gsd_m: float
    places: tuple[str, ...]


@dataclass(frozen=True)
class Replay:
    """The chips of a set: those to rehearse, and labelled ones kept out of it."""

    learnt: tuple[Scene, ...]
    kept_out: tuple[Scene, ...]


def replay_of(bundle: Bundle, folder: Path | None = None) -> Replay | None:
    """The replay set of a model, or of the model it was trained from; None if there is none, or none of its classes.

    Raises:
        OrthomaskError: the set is damaged.
    """
    parent = bundle.card.training.get("parent") or {}
    for path in sorted((folder or FOLDER).glob("*.tif")):
        try:
            replay = _read(path, {bundle.sha256, parent.get("sha256", "")}, bundle.card)
        except (OSError, ValueError, KeyError, rasterio.errors.RasterioError, OrthomaskError) as error:
            raise OrthomaskError(
                ErrorCode.TRAINING_DATA,
                tr("The replay set “{}” is damaged.").format(path.name),
                tr("Install Orthomask again."),
                str(error),
            ) from error
        if replay:
            return replay
    return None


def _read(path: Path, wanted: set[str], card: Card) -> Replay | None:
    """The set of a file, if it is of one of the wanted models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # chips of many places have no place of their own
        with rasterio.open(path) as dataset:
            contents = from_json(Contents, json.loads(dataset.tags()[ITEM]))
            if not wanted & set(contents.models) or not _suits(contents, card):
                return None
            sheet = dataset.read()
        with rasterio.open(path.with_suffix(".png")) as dataset:
            masks = dataset.read(1)
    names = len(contents.places)
    if sheet.shape != (len(card.bands), *masks.shape) or names * CHIP_PX**2 > masks.size:
        raise ValueError(f"{sheet.shape}, {masks.shape}, {names} chips")
    scenes = [
        make_scene(
            sheet[:, rows, columns], np.ones((CHIP_PX, CHIP_PX), bool), masks[rows, columns], contents.gsd_m, place
        )
        for place, (rows, columns) in zip(contents.places, _tiles(names))
    ]
    is_kept_out = [number % KEPT_OUT == 0 and scene.known_px > 0 for number, scene in enumerate(scenes)]
    kept_out = tuple(scene for scene, out in zip(scenes, is_kept_out) if out)
    learnt = tuple(scene for scene, out in zip(scenes, is_kept_out) if not out)
    return Replay(learnt, kept_out)


def _suits(contents: Contents, card: Card) -> bool:
    """Whether a model reads such chips and finds what their masks show: one that was trained further may not."""
    classes = tuple(info.name.casefold() for info in sorted(card.classes, key=lambda info: info.value))
    return card.dtype == "uint8" and classes == tuple(name.casefold() for name in contents.classes)


def _tiles(count: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the first `count` tiles of a sheet."""
    for number in range(count):
        row, column = (place * CHIP_PX for place in divmod(number, COLUMNS))
        yield slice(row, row + CHIP_PX), slice(column, column + CHIP_PX)


class Drawn(NamedTuple):
    """A chip: pixels `(bands, H, W)`, mask `(H, W)`, and its place."""

    pixels: np.ndarray
    mask: np.ndarray
    place: str


def write(path: Path, card: Card, models: Sequence[str], chips: Sequence[Drawn]) -> None:
    """Write chips as a set."""
    shape = (math.ceil(len(chips) / COLUMNS) * CHIP_PX, COLUMNS * CHIP_PX)
    sheet, masks = np.zeros((len(card.bands), *shape), np.uint8), np.full(shape, UNKNOWN, np.uint8)
    for chip, (rows, columns) in zip(chips, _tiles(len(chips))):
        sheet[:, rows, columns], masks[rows, columns] = chip.pixels, chip.mask
    classes = tuple(info.name for info in card.classes)
    contents = Contents(tuple(models), classes, card.gsd_m, tuple(chip.place for chip in chips))
    tiled = {"tiled": True, "blockxsize": CHIP_PX, "blockysize": CHIP_PX}
    jpeg = {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": QUALITY}
    write_atomically(path, _encoded(sheet, {ITEM: json.dumps(to_json(contents))}, driver="GTiff", **tiled, **jpeg))
    write_atomically(path.with_suffix(".png"), _encoded(masks[None], {}, driver="PNG", zlevel=9))


def drawn(sources: Sequence[Source], gsd_m: float, rng: np.random.Generator) -> list[Drawn]:
    """Labelled chips in proportion to the sources' weights, in any order."""
    total = sum(source.weight for source in sources)
    chips = [
        _chip(source, gsd_m, rng) for source in sources for _ in range(max(1, round(COUNT * source.weight / total)))
    ]
    return [chips[number] for number in rng.permutation(len(chips))]


def _chip(source: Source, gsd_m: float, rng: np.random.Generator) -> Drawn:
    """A random part of a source's scenes, upright."""
    known = np.array([scene.known_px for scene in source.scenes], float)
    scene = source.scenes[rng.choice(len(known), p=known / known.sum())]
    ratio = gsd_m / scene.gsd_m
    half = np.full(2, CHIP_PX * ratio / 2)
    centre = rng.uniform(half, np.maximum(half, np.array(scene.mask.shape[::-1]) - half))
    chip = warp(scene, placement(centre, ratio, 0.0, 1.0, CHIP_PX), CHIP_PX)
    mask = np.where(chip.pixels[-1] == VALID, chip.mask, UNKNOWN)
    return Drawn(chip.pixels[:-1].round().clip(0, 255), mask, scene.place)


def unlabelled(picture: Path, bands: int, rng: np.random.Generator) -> Drawn:
    """A random part of a picture at its own resolution, without labels."""
    with rasterio.open(picture) as dataset:
        x, y = (int(rng.integers(size - CHIP_PX)) for size in (dataset.width, dataset.height))
        pixels = dataset.read(list(range(1, bands + 1)), window=RasterWindow(x, y, CHIP_PX, CHIP_PX))
    return Drawn(pixels, np.full((CHIP_PX, CHIP_PX), UNKNOWN, np.uint8), picture.stem)


def _encoded(pixels: np.ndarray, tags: dict[str, str], **profile: object) -> bytes:
    bands, height, width = pixels.shape
    with MemoryFile() as memory:
        with memory.open(count=bands, height=height, width=width, dtype="uint8", **profile) as dataset:
            dataset.write(pixels)
            dataset.update_tags(**tags)
        return bytes(memory.read())


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", default="", type=click.Path(), help="Folder that the recipe's paths start at.")
@click.option("--unlabelled", "pictures", multiple=True, type=click.Path(path_type=Path, exists=True),
              help="Pictures to take a chip from each")  # fmt: skip
def main(recipe: Path, model: str, out: Path, data: str, pictures: tuple[Path, ...]) -> None:
    """Write the replay set OUT of MODEL, which was trained by RECIPE."""
    bundle, rng = bundles.load(model), np.random.default_rng(1)
    material = materials.read(recipes.load(recipe, str(out.parent), data), bundle, Progress())
    chips = drawn(material.sources, bundle.card.gsd_m, rng)
    chips += [unlabelled(picture, len(bundle.card.bands), rng) for picture in pictures]
    write(out, bundle.card, [bundle.sha256], chips)


if __name__ == "__main__":
    main()
