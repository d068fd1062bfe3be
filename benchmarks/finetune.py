"""Learning from a few corrections: a model that never saw Banepa, before and after ten small labelled areas of it.

    make .venv/imagenet.safetensors
    .venv/engine/bin/python benchmarks/finetune.py --data ../shared/data

The base is trained on the other places of the building recipe and kept in `.venv/benchmarks`. Eight of the areas are
for training, two choose epoch and threshold. Scores are for everything else in Banepa, at thresholds chosen without
looking at it: the base's own, and the one that the two areas chose.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyogrio.raw
import rasterio
import shapely
from matplotlib import pyplot

from orthomask.engine import predict
from orthomask.engine.compute.devices import keep_pages
from orthomask.engine.images.grid import Window
from orthomask.engine.images.raster import open_image
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    FINE_TUNING,
    Areas,
    Existing,
    Image,
    LabelledData,
    LabelledImage,
    Labels,
    PredictRequest,
    Touch,
    TrainRequest,
    TrainResult,
)
from orthomask.training.accuracy import scores
from orthomask.training.fit import recipe, train
from orthomask.training.truth.labels import Grid, open_truth

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".venv" / "benchmarks"
IMAGENET = ROOT / ".venv" / "imagenet.safetensors"
HELD_OUT = "Banepa"
AREA_M, COLUMNS, ROWS = 40.0, 2, 5
MARGIN_M = 15.0
"""Pixels this close to an area are scored neither before nor after."""
BASE = {"epochs": 4, "steps": 250}


class _Terminal(Progress):
    """Prints the progress every 5%."""

    def __init__(self) -> None:
        self._last = -1

    def show(self, fraction: float, message: str) -> None:
        if int(fraction * 20) > self._last:
            self._last = int(fraction * 20)
            click.echo(f"{time.strftime('%H:%M:%S')} {fraction:4.0%} {message}")


def train_base(data: Path) -> TrainResult:
    """The building recipe without Banepa and with fewer steps; returns at once if cached."""
    request = recipe.load(ROOT / "resources" / "recipes" / "buildings.toml", str(CACHE / "base"), str(data))
    elsewhere = tuple(pictures for pictures in request.data.pictures if HELD_OUT not in pictures.place)
    schedule = replace(request.schedule, **BASE)
    labelled = replace(request.data, pictures=elsewhere)
    return train.run(
        replace(request, data=labelled, schedule=schedule, model=str(IMAGENET), name="base", existing=Existing.RESUME),
        _Terminal(),
    )


def write_areas(image: Path, path: Path, seed: int) -> list[shapely.Geometry]:
    """Ten squares, one at a random place in each cell of a coarse grid; returned in pixels of the 0.3 m lattice."""
    with open_image(Image(str(image))) as source:
        lattice = source.lattice(0.3, 0, 0)
    random = np.random.default_rng(seed)
    side = AREA_M / 0.3
    cell = np.array([lattice.width_px / COLUMNS, lattice.height_px / ROWS])
    corners = [random.uniform(cell * place, cell * (np.array(place) + 1) - side) for place in np.ndindex(COLUMNS, ROWS)]
    squares = [shapely.box(x, y, x + side, y + side) for x, y in corners]
    placed = [
        shapely.transform(square, lambda xy: np.stack(lattice.transform @ tuple(xy.T), axis=-1)) for square in squares
    ]
    splits = np.array(["train"] * len(squares), object)
    splits[random.permutation(len(squares))[:2]] = "validation"
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(placed, object)), [splits], ["split"], layer="areas", geometry_type="Polygon",
        crs=lattice.crs, driver="GPKG",
    )  # fmt: skip
    return squares


def finetune(project: LabelledImage, base: str, out: Path, settings: Sequence[str]) -> TrainResult:
    """Train the base further on the areas of the project."""
    request = TrainRequest(
        LabelledData(projects=(project,)), str(out), model=base, name="tuned", schedule=FINE_TUNING,
        existing=Existing.OVERWRITE,
    )  # fmt: skip
    given = dict(setting.split("=", 1) for setting in settings)
    request = recipe.with_settings(request, {name: recipe.parsed(text) for name, text in given.items()})
    return train.run(request, _Terminal())


def score(
    model: str, project: LabelledImage, areas: Sequence[shapely.Geometry], out: Path
) -> tuple[scores.Scores, np.ndarray, np.ndarray]:
    """Scores at the model's own threshold outside the areas, its probabilities `(H, W)` and the truth."""
    result = predict.run(PredictRequest(project.image, model, str(out), existing=Existing.OVERWRITE), Progress())
    with rasterio.open(result.probabilities_path) as dataset:
        found = dataset.read(1)
        grid = Grid(dataset.crs.to_wkt(), dataset.transform, dataset.width, dataset.height)
        near = shapely.union_all([area.buffer(MARGIN_M / 0.3) for area in areas])
        inside = ~rasterio.features.geometry_mask([near], found.shape, rasterio.Affine.identity())
    with open_truth(project.labels, None, (), grid, Touch.CENTRE) as truth:
        mask = truth.mask(Window(0, 0, grid.width_px, grid.height_px))
    mask = np.where(inside | (found == 255), 255, mask)
    board = scores.Scoreboard((bundle.load(model).card.threshold,))
    board.add(HELD_OUT, *(train.torch.from_numpy(values) for values in (found / 254.0, mask)))
    return board.scores(0), found, mask


def draw(
    path: Path, image: Image, mask: np.ndarray, before: np.ndarray, after: np.ndarray, thresholds: Sequence[float]
) -> None:
    """Image, truth, before and after side by side."""
    with rasterio.open(image.path) as dataset:
        shown = np.moveaxis(dataset.read([1, 2, 3], out_shape=(3, *mask.shape)), 0, -1)
    figure, panels = pyplot.subplots(1, 4, figsize=(20, 8), layout="constrained")
    classes = [
        np.where(found == 255, 0, found >= threshold * 254) for found, threshold in zip((before, after), thresholds)
    ]
    for panel, title, values in zip(panels, ("image", "truth", "before", "after"), (shown, mask, *classes)):
        panel.imshow(values, interpolation="nearest", vmax=2, cmap="gray")
        panel.set_title(title)
        panel.axis("off")
    figure.savefig(path, dpi=90)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--base", default="", help="Bundle to start from, instead of one trained without Banepa.")
@click.option("--seed", default=1, show_default=True, help="Of the areas' places.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another setting of the fine-tuning.")
def main(data: Path, base: str, seed: int, settings: tuple[str, ...]) -> None:
    """Print the scores of a model on Banepa before and after it has seen ten small areas of it."""
    keep_pages()
    CACHE.mkdir(parents=True, exist_ok=True)
    base = base or train_base(data).model_path
    image = Image(str(data / "samples" / "banepa_nepal_ortho_3072x4096.tif"))
    labels = Labels(str(data / "samples" / "banepa_nepal_buildings.gpkg"))
    areas_path = CACHE / "areas.gpkg"
    areas = write_areas(Path(image.path), areas_path, seed)
    project = LabelledImage(image, (labels,), Areas(str(areas_path)), place="Banepa")
    started = time.monotonic()
    tuned = finetune(project, base, CACHE / "tuned", settings)
    minutes = (time.monotonic() - started) / 60
    (before, found, mask), (after, refound, _) = (
        score(model, project, areas, CACHE / name) for model, name in ((base, "before"), (tuned.model_path, "after"))
    )
    click.echo(f"{'':8}{'IoU':>8}{'precision':>11}{'recall':>8}{'F1':>8}{'threshold':>11}")
    for name, row in (("before", before), ("after", after)):
        click.echo(f"{name:8}{row.iou:8.3f}{row.precision:11.3f}{row.recall:8.3f}{row.f1:8.3f}{row.threshold:11.2f}")
    click.echo(
        f"fine-tuned in {minutes:.1f} min: {tuned.images_per_second:.1f} images/s, waiting {tuned.waiting_share:.0%}"
    )
    for warning in tuned.warnings:
        click.echo(f"Note: {warning}")
    draw(CACHE / "finetune.png", image, mask, found, refound, (before.threshold, after.threshold))
    click.echo(str(CACHE / "finetune.png"))


if __name__ == "__main__":
    main()
