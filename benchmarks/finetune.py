"""Learning from a few checked squares of a place that the embedded model never saw, and what it forgets at home.

    .venv/engine/bin/python benchmarks/finetune.py zanzibar --data ../shared/data
    .venv/engine/bin/python benchmarks/finetune.py rotterdam_sn6 --data ../shared/data --squares 5

The base is the embedded model of version 0.5. Four fifths of the squares are for training, the others choose the share.
Scores are for everything else of the place, and for home: Austin and Chicago, which the base never learnt from.
Each table row is one seed of squares; the last one their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine

from orthomask.engine.compute.devices import choose, keep_pages
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    AREA_CHECKED,
    UNKNOWN,
    Areas,
    ClassValue,
    Existing,
    Image,
    LabelledImage,
    Labels,
    LearnRequest,
    Marks,
    Pictures,
)
from orthomask.training.chips.pictures import Tile, read_pictures
from orthomask.training.data.scenes import Scene, make_scene
from orthomask.training.loop import compare, learn

CACHE = Path(__file__).resolve().parent.parent / ".venv" / "benchmarks"
CRS = "EPSG:32631"
GAP_PX = 64
"""Ground without image between two pictures."""
MARGIN_M = 15.0
"""Pixels this close to a square are not scored."""
LEAST_M2 = 15.0
"""A square holds at least so much of a building."""
MAPPING = (ClassValue("0", 0), ClassValue("255", 1), ClassValue("128", UNKNOWN))


class Place(NamedTuple):
    """A folder of labelled pictures, and the side of a square; 0 for whole pictures."""

    gsd_m: float
    side_m: float


PLACES = {"zanzibar": Place(0.1485, 40), "banepa_north": Place(0.1323, 40), "rotterdam_sn6": Place(0.5, 0)}


class Square(NamedTuple):
    """A square of a picture, in its pixels."""

    tile: int
    x: int
    y: int
    width: int
    height: int


class Ground:
    """The pictures of a place side by side, as one image with labels."""

    def __init__(self, data: Path, name: str) -> None:
        self.place = PLACES[name]
        folder = f"buildings/more/{name}"
        pictures = Pictures(f"{folder}/images", f"{folder}/masks", self.place.gsd_m, MAPPING, place=name)
        self.tiles = list(read_pictures(pictures, str(data)))
        self._folder = CACHE / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._corners = self._written()

    @property
    def image(self) -> Path:
        return self._folder / "image.tif"

    @property
    def labels(self) -> Path:
        return self._folder / "labels.tif"

    def _written(self) -> list[int]:
        """Write image and labels; return the first column of each picture."""
        widths = [tile.mask.shape[1] + GAP_PX for tile in self.tiles]
        height = max(tile.mask.shape[0] for tile in self.tiles)
        corners = np.cumsum([0, *widths[:-1]]).tolist()
        pixels, mask = np.zeros((4, height, sum(widths)), np.uint8), np.full((height, sum(widths)), UNKNOWN, np.uint8)
        for tile, left in zip(self.tiles, corners):
            rows, columns = tile.mask.shape
            pixels[:3, :rows, left : left + columns], pixels[3, :rows, left : left + columns] = tile.pixels, 255
            mask[:rows, left : left + columns] = tile.mask
        grid = {"crs": CRS, "transform": self.transform, "driver": "GTiff", "compress": "deflate", "dtype": "uint8",
                "height": height, "width": sum(widths)}  # fmt: skip
        colours = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
        with rasterio.open(self.image, "w", count=4, **grid) as dataset:
            dataset.write(pixels)
            dataset.colorinterp = colours
        with rasterio.open(self.labels, "w", count=1, nodata=UNKNOWN, **grid) as dataset:
            dataset.write(mask, 1)
        return [int(corner) for corner in corners]

    @property
    def transform(self) -> Affine:
        """North-up, with true metres: on UTM's central meridian a metre is 0.9996 of one."""
        return Affine(self.place.gsd_m, 0, 500_000, 0, -self.place.gsd_m, 4_000_000)

    def squares(self, count: int, seed: int) -> list[Square]:
        """Random squares that hold a building, apart from each other; the first ones are those of a smaller count."""
        rng, side = np.random.default_rng(seed), round(self.place.side_m / self.place.gsd_m)
        if not side:
            built = [n for n, tile in enumerate(self.tiles) if (tile.mask == 1).mean() > 0.01]
            chosen = rng.permutation(built)[:count].tolist()
            return [Square(n, 0, 0, *self.tiles[n].mask.shape[::-1]) for n in chosen]
        found: list[Square] = []
        while len(found) < count:
            number = int(rng.integers(len(self.tiles)))
            mask = self.tiles[number].mask
            y, x = (int(rng.integers(size - side)) for size in mask.shape)
            apart = all(n != number or max(abs(x - a), abs(y - b)) >= side + 10 for n, a, b, _, _ in found)
            if apart and (mask[y : y + side, x : x + side] == 1).sum() * self.place.gsd_m**2 >= LEAST_M2:
                found.append(Square(number, x, y, side, side))
        return found

    def write_areas(self, squares: Sequence[Square]) -> Path:
        """Write squares as checked areas; one in five is for validation."""
        path = self._folder / "areas.gpkg"
        boxes = [
            shapely.box(*(self.transform @ (left, y + h)), *(self.transform @ (left + w, y)))
            for left, (_, _, y, w, h) in ((self._corners[s.tile] + s.x, s) for s in squares)
        ]
        splits = np.array(["validation" if number % 5 == 4 else "train" for number in range(len(squares))], object)
        states = np.full(len(squares), AREA_CHECKED, object)
        path.unlink(missing_ok=True)
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array(boxes, object)), [splits, states], ["split", "state"], layer="areas",
            geometry_type="Polygon", crs=CRS, driver="GPKG",
        )  # fmt: skip
        return path

    def rest(self, squares: Sequence[Square]) -> list[Scene]:
        """Everything that is not near a square."""
        margin, masks = round(MARGIN_M / self.place.gsd_m), [tile.mask.copy() for tile in self.tiles]
        for number, x, y, width, height in squares:
            masks[number][max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin] = UNKNOWN
        return [_scene(tile._replace(mask=mask)) for tile, mask in zip(self.tiles, masks) if (mask != UNKNOWN).any()]


def _scene(tile: Tile) -> Scene:
    return make_scene(tile.pixels, np.ones(tile.mask.shape, bool), tile.mask, tile.gsd_m, tile.place)


def home(data: Path) -> list[Scene]:
    """The validation tiles of the embedded model."""
    pictures = Pictures("buildings/validation/images", "buildings/validation/masks", 0.3, MAPPING, place="home")
    return [_scene(tile) for tile in read_pictures(pictures, str(data))]


def score(model: str, scenes: Sequence[Scene]) -> Marks:
    """A model at its own threshold."""
    opened = bundle.load(model)
    views, device = compare.each(scenes, opened.card), choose("auto").torch
    return compare.marks(compare.counts(opened.model(), views, opened.card.threshold, device, Progress()))  # type: ignore[arg-type]


@click.command()
@click.argument("place", type=click.Choice(list(PLACES)))
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--squares", default=10, show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True, help="Of the squares.")
def main(place: str, data: Path, squares: int, seeds: str) -> None:
    """Print the scores of a model before and after it has learnt from a few squares of PLACE."""
    keep_pages()
    base, ground, at_home = str(data / "models" / "buildings-0.5.safetensors"), Ground(data, place), home(data)
    known = score(base, at_home)
    rows = []
    click.echo("seed  IoU before  after  F1 before  after  home before  after  share  minutes")
    for seed in map(int, seeds.split(",")):
        drawn = ground.squares(squares, seed)
        labelled = LabelledImage(
            Image(str(ground.image)), (Labels(str(ground.labels)),), Areas(str(ground.write_areas(drawn)))
        )
        out = CACHE / f"{place}-{seed}"
        result = learn.run(LearnRequest(labelled, base, str(out), existing=Existing.OVERWRITE), Progress())
        rest = ground.rest(drawn)
        before, after, kept = score(base, rest), score(result.model_path, rest), score(result.model_path, at_home)
        rows.append((before.iou, after.iou, before.object_f1, after.object_f1, known.iou, kept.iou, result.share,
                     result.seconds / 60))  # fmt: skip
        _say(str(seed), rows[-1])
    _say("mean", np.mean(rows, axis=0))


def _say(name: str, row: Sequence[float]) -> None:
    click.echo(f"{name:<6}" + "  ".join(f"{value:.3f}" for value in row))


if __name__ == "__main__":
    main()
