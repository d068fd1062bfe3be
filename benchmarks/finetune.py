"""Learning from a few checked squares of a place that the embedded model never saw, and what it forgets at home.

    .venv/engine/bin/python benchmarks/finetune.py zanzibar --data ../shared/data
    .venv/engine/bin/python benchmarks/finetune.py rotterdam_sn6 --data ../shared/data --aligned
    .venv/engine/bin/python benchmarks/finetune.py zanzibar --data ../shared/data --rounds 2
    .venv/engine/bin/python benchmarks/finetune.py zanzibar --data ../shared/data --shares

The base is the embedded model of version 0.5. Four fifths of the squares are for training, the others choose the share.
Scores are for everything else of the place, and for home: Austin and Chicago, which the base never learnt from.
Each table row is one seed of squares; the last one their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import click
import numpy as np
import pyogrio.raw
import rasterio
import rasterio.features
import shapely
from affine import Affine
from label_quality import Scene as Bright
from label_quality import maps
from scipy import ndimage

from orthomask.engine import predict
from orthomask.engine.compute.devices import choose, keep_pages
from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    AREA_CHECKED,
    AREA_STATE,
    UNKNOWN,
    Areas,
    ClassInfo,
    ClassValue,
    Existing,
    Image,
    LabelledImage,
    Labels,
    LearnRequest,
    LearnResult,
    Marks,
    Pictures,
    PredictRequest,
    ProjectRequest,
    SuggestRequest,
)
from orthomask.training.chips.pictures import Tile, read_pictures
from orthomask.training.data.scenes import Scene, make_scene
from orthomask.training.fit.start import INPUTS, folded
from orthomask.training.loop import compare, learn, suggest
from orthomask.training.loop.blend import blended
from orthomask.training.loop.offset import estimate
from orthomask.training.truth import project as projects

CACHE = Path(__file__).resolve().parent.parent / ".venv" / "benchmarks"
CRS = "EPSG:32631"
GAP_PX = 64
"""Ground without image between two pictures."""
MARGIN_M = 15.0
"""Pixels this close to a square are not scored."""
LEAST_M2 = 15.0
"""A square holds at least so much of a building."""
BASE = Path("models", "buildings-0.5.safetensors")
CLASSES = (ClassInfo(1, "building", "#e6007e"),)
SUGGESTED_M = 40.0
SHARES = (0.0, 0.5, 0.7, 0.85, 1.0)
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

    def __init__(self, data: Path, name: str, is_aligned: bool) -> None:
        self.place = PLACES[name]
        folder = f"buildings/more/{name}"
        pictures = Pictures(f"{folder}/images", f"{folder}/masks", self.place.gsd_m, MAPPING, place=name)
        self.tiles = list(read_pictures(pictures, str(data)))
        if is_aligned:
            self.tiles = aligned(self.tiles)
        self.folder = CACHE / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._corners = self._written()

    @property
    def image(self) -> Path:
        return self.folder / "image.tif"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.tif"

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

    def project(self, squares: Sequence[Square], more: Sequence[shapely.Geometry] = ()) -> Path:
        """A label project with squares as checked areas, one in five for validation, and more of them as boxes."""
        path = self.folder / "project.gpkg"
        boxes = [*map(self.box, squares), *more]
        projects.run(ProjectRequest(str(path), CRS, CLASSES, Existing.OVERWRITE), Progress())
        columns = {
            "name": [f"square {number}" for number in range(len(boxes))],
            "split": ["validation" if number % 5 == 4 else "train" for number in range(len(boxes))],
            AREA_STATE: [AREA_CHECKED] * len(boxes),
        }
        projects.write_areas(path, shapely.to_wkb(shapely.multipolygons(np.array(boxes)[:, None])), columns, CRS)
        return path

    def box(self, square: Square) -> shapely.Geometry:
        """A square on the ground."""
        left, top = self._corners[square.tile] + square.x, square.y
        corners = self.transform @ (left, top + square.height), self.transform @ (left + square.width, top)
        return shapely.box(*corners[0], *corners[1])

    def rest(self, boxes: Sequence[shapely.Geometry]) -> list[Scene]:
        """Everything that is not near one of the boxes."""
        near, scenes = shapely.union_all([box.buffer(MARGIN_M, join_style="mitre") for box in boxes]), []
        for tile, left in zip(self.tiles, self._corners):
            here = self.transform @ Affine.translation(left, 0)
            outside = rasterio.features.geometry_mask([near], tile.mask.shape, here)
            mask = np.where(outside, tile.mask, UNKNOWN).astype(np.uint8)
            if (mask != UNKNOWN).any():
                scenes.append(_scene(tile._replace(mask=mask)))
        return scenes


def aligned(tiles: Sequence[Tile]) -> list[Tile]:
    """The labels of a place moved, all alike, to where they fit its pictures best."""
    scenes = [Bright(tile.pixels.mean(axis=0) + 1, _outlines(tile)) for tile in tiles]
    found = estimate(maps(scenes, np.zeros(2), np.random.default_rng(1)))
    return [tile._replace(mask=ndimage.shift(tile.mask, (found.y, found.x), order=0, cval=UNKNOWN)) for tile in tiles]


def _outlines(tile: Tile) -> list[shapely.Polygon]:
    outlines = [shapely.geometry.shape(shape) for shape, value in rasterio.features.shapes(tile.mask) if value == 1]
    return [outline for outline in outlines if outline.area * tile.gsd_m**2 >= LEAST_M2]


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


class Row(NamedTuple):
    """Scores on the rest of the place and at home, before and after."""

    iou: float
    learnt_iou: float
    f1: float
    learnt_f1: float
    home: float
    learnt_home: float
    share: float
    minutes: float


def learnt(ground: Ground, project: Path, base: str, out: Path) -> LearnResult:
    """Learn from the squares of a project."""
    labels = (Labels(str(ground.labels)),)
    data = LabelledImage(Image(str(ground.image)), labels, Areas(str(project), "areas"))
    return learn.run(LearnRequest(data, base, str(out), existing=Existing.OVERWRITE), Progress())


def one_round(ground: Ground, data: Path, squares: int, seed: int) -> Row:
    """Learn once from random squares."""
    base, at_home = str(data / BASE), home(data)
    drawn = ground.squares(squares, seed)
    result = learnt(ground, ground.project(drawn), base, ground.folder / str(seed))
    rest = ground.rest([*map(ground.box, drawn)])
    (before, after), (known, kept) = ([score(m, s) for m in (base, result.model_path)] for s in (rest, at_home))
    return Row(
        before.iou, after.iou, before.object_f1, after.object_f1, known.iou, kept.iou, result.share, result.seconds / 60
    )


class Share(NamedTuple):
    """What a share of the tuned weights gives: on the rest of the place, and at home."""

    share: float
    iou: float
    f1: float
    home: float


def shares(ground: Ground, data: Path, squares: int, seed: int) -> list[Share]:
    """Learn once from random squares, and score other shares than the one that was chosen, too."""
    drawn, out = ground.squares(squares, seed), ground.folder / str(seed)
    learnt(ground, ground.project(drawn), str(data / BASE), out)
    base, tuned = bundle.load(str(data / BASE)), bundle.load(str(out / "tuned.safetensors"))
    weights = base.model().state_dict()
    for name, mean in INPUTS.items():
        if name in weights:
            weights[name], step = folded(weights[name], tuned.card, base.card)
            weights[mean] = weights[mean] + step
    network, device = cast(UNet, tuned.model()), choose("auto").torch
    last = {name: weight.clone() for name, weight in network.state_dict().items()}
    both = [compare.each(scenes, tuned.card) for scenes in (ground.rest([*map(ground.box, drawn)]), home(data))]
    rows = []
    for share in SHARES:
        network.load_state_dict(blended(weights, last, share))
        here, there = (
            compare.marks(compare.counts(network, views, base.card.threshold, device, Progress())) for views in both
        )
        rows.append(Share(share, here.iou, here.object_f1, there.iou))
    return rows


def two_rounds(ground: Ground, data: Path, squares: int, seed: int) -> tuple[float, float, float]:
    """IoU on the same rest after one round, and after a second one of as many squares, random or suggested."""
    base = str(data / BASE)
    every = ground.squares(2 * squares, seed)
    first = every[:squares]
    out = ground.folder / str(seed)
    once = learnt(ground, ground.project(first), base, out)
    run = predict.run(
        PredictRequest(Image(str(ground.image)), once.model_path, str(out / "map"), existing=Existing.OVERWRITE),
        Progress(),
    )
    project = ground.project(first)
    suggest.run(SuggestRequest(str(Path(run.polygons_path).parent), str(project), squares, SUGGESTED_M), Progress())
    _, _, found, _ = pyogrio.raw.read(project, layer="areas", columns=[])
    suggested = list(shapely.from_wkb(found))[squares:]
    twice = learnt(ground, ground.project(every), base, out.with_name(f"{out.name}-random"))
    asked = learnt(ground, ground.project(first, suggested), base, out.with_name(f"{out.name}-suggested"))
    rest = ground.rest([*map(ground.box, every), *suggested])
    return tuple(score(each.model_path, rest).iou for each in (once, twice, asked))  # type: ignore[return-value]


@click.command()
@click.argument("place", type=click.Choice(list(PLACES)))
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--squares", default=10, show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True, help="Of the squares.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 2),
              help="2: is a second round better with squares that suggest chooses, or at random?")  # fmt: skip
@click.option("--shares", "with_shares", is_flag=True, help="Score other shares of the tuned weights, too.")
@click.option("--aligned", "is_aligned", is_flag=True, help="Move the labels first to where they fit the pictures.")
def main(place: str, data: Path, squares: int, seeds: str, rounds: int, with_shares: bool, is_aligned: bool) -> None:
    """Print the scores of the embedded model before and after it has learnt from a few squares of PLACE."""
    keep_pages()
    numbers, ground = [int(seed) for seed in seeds.split(",")], Ground(data, place, is_aligned)
    if with_shares:
        click.echo("seed  " + "  ".join(Share._fields))
        fronts = np.array([shares(ground, data, squares, seed) for seed in numbers])
        for name, front in [*zip(map(str, numbers), fronts), ("mean", fronts.mean(axis=0))]:
            for row in front:
                _say(name, row)
        return
    click.echo("seed  " + "  ".join(Row._fields if rounds == 1 else ("one round", "random", "suggested")))
    rows = []
    for seed in numbers:
        rows.append((one_round if rounds == 1 else two_rounds)(ground, data, squares, seed))
        _say(str(seed), rows[-1])
    _say("mean", np.mean(rows, axis=0))


def _say(name: str, row: Sequence[float]) -> None:
    click.echo(f"{name:<6}" + "  ".join(f"{value:.3f}" for value in row))


if __name__ == "__main__":
    main()
