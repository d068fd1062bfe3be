"""Published results reproduced: train by a recipe on the published data, score as the authors did.

    .venv/engine/bin/python benchmarks/published.py dubai --data ../shared/data
    .venv/engine/bin/python benchmarks/published.py landslide4sense --data LANDSLIDE4SENSE
    .venv/engine/bin/python benchmarks/published.py landslide4sense --data ../shared/data --smoke

Each command writes its patches, run folder and curve to a folder of its own below `--work`, resumes a training that was
stopped, and prints our figures beside the published ones. What differs from the publication, and what the figures mean,
is in docs/performance.md.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from orthomask.benchmarks.baselines import Patch, patches_of
from orthomask.engine.compute.devices import keep_pages
from orthomask.engine.models import bundle as bundles
from orthomask.engine.models.bundle import BandStatistics, normalise
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    ClassInfo,
    ClassValue,
    EvaluateRequest,
    Existing,
    LabelledData,
    Pictures,
    SearchOption,
    SearchRequest,
    Split,
    TrainRequest,
)
from orthomask.training.accuracy import evaluate, scores
from orthomask.training.chips.pictures import Tile, read_pictures
from orthomask.training.data import material
from orthomask.training.data.scenes import band_statistics
from orthomask.training.fit import recipe, search, train
from orthomask.training.fit.folder import TrainingFolder

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".venv" / "benchmarks" / "published"
BATCH = 16


class Patches(NamedTuple):
    """Images `(N, H, W, bands)` and masks of class values `(N, H, W)`, as `Pictures` reads them from one NPZ file."""

    img: np.ndarray
    mask: np.ndarray


@dataclass
class Agreement:
    """Agreement of probabilities and truth, summed over the pixels, background counted as a class like the others.

    Attributes:
        confusion: pixel counts `(classes, classes)`, row = truth, column = likeliest class.
        hit: sum of the probabilities of the true classes.
    """

    confusion: np.ndarray
    hit: float = 0.0

    def add(self, probabilities: np.ndarray, mask: np.ndarray) -> None:
        """Count patches: probabilities `(N, classes, H, W)` that add up to 1, class values `(N, H, W)`."""
        classes = len(self.confusion)
        pairs = mask.astype(np.int64) * classes + probabilities.argmax(axis=1)
        self.confusion += np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)
        true = np.take_along_axis(probabilities, mask[:, None].astype(np.int64), axis=1)
        self.hit += float(true.sum(dtype=np.float64))

    @property
    def accuracy(self) -> float:
        """Share of the pixels whose likeliest class is right."""
        return scores.accuracy(self.confusion)

    @property
    def jaccard(self) -> float:
        """Sum of t p / sum of (t + p - t p), of one-hot truth t and probabilities p, over all pixels and classes."""
        return float(self.hit / (2 * self.confusion.sum() - self.hit))

    @property
    def hard_jaccard(self) -> float:
        """The same, the likeliest class having the probability 1."""
        return self.accuracy / (2 - self.accuracy)


def agreement(network: torch.nn.Module, bands: Sequence[BandStatistics], classes: int, patches: Patches) -> Agreement:
    """How well a network in evaluation mode does on patches, each predicted on its own, in fp32."""
    found = Agreement(np.zeros((classes, classes), np.int64))
    for start in range(0, len(patches.img), BATCH):
        pixels, mask = (part[start : start + BATCH] for part in patches)
        seen = np.ones(mask.shape[1:], bool)
        images = np.stack([normalise(np.moveaxis(image, -1, 0), seen, bands) for image in pixels])
        with torch.inference_mode():
            found.add(network(torch.from_numpy(images)).softmax(dim=1).numpy(), mask)
    return found


class Curve(Callback):
    """Scores patches after every epoch, into `published.csv` of the run folder."""

    def __init__(self, path: Path, score: Callable[[torch.nn.Module], Agreement]) -> None:
        self._path, self._score = path, score

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row."""
        found = self._score(pl_module.network)  # type: ignore[arg-type]
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow([trainer.current_epoch + 1, f"{found.accuracy:.4f}", f"{found.jaccard:.4f}"])


class Printed(Progress):
    """Progress as lines on stderr, a new one with every new hundredth."""

    _shown = -1

    def show(self, fraction: float, message: str) -> None:
        """Print it, if there is something new."""
        if int(fraction * 100) > self._shown:
            self._shown = int(fraction * 100)
            click.echo(f"{fraction:5.0%}  {message}", err=True)


def trained(request: TrainRequest, score: Callable[[torch.nn.Module, Sequence[BandStatistics]], Agreement]) -> Path:
    """Train, or go on, or do nothing if it has ended; return the bundle's path."""
    folder = TrainingFolder(replace(request, existing=Existing.RESUME))
    with folder.claimed():
        if folder.open() is None:
            found = material.read(request, None, Progress())
            measured = band_statistics(found.bands, found.sources)
            curve = Curve(folder.path / "published.csv", lambda network: score(network, measured))
            train.trained(request, None, found, measured, folder, Printed(), callbacks=[curve])
    return folder.bundle


def recipe_of(name: str, work: Path) -> TrainRequest:
    """The training of the recipe NAME, with data and run folder in `work`."""
    return recipe.load(ROOT / "resources" / "recipes" / f"{name}.toml", str(work / "run"), str(work))


def save(path: Path, patches: Sequence[Patch]) -> None:
    """Write patches."""
    images = np.stack([np.moveaxis(patch.pixels, 0, -1) for patch in patches])
    np.savez(path, img=images, mask=np.stack([patch.mask for patch in patches]))


def load(path: Path) -> Patches:
    """Read patches."""
    with np.load(path) as file:
        return Patches(file["img"], file["mask"])


def drawn(groups: Sequence[str], share: float, seed: int) -> np.ndarray:
    """Which members `(N,)` are held back: random whole groups, until they are at least this share of all."""
    names, members = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    counts = np.bincount(members)[order]
    taken = order[: int(np.searchsorted(np.cumsum(counts), share * len(members))) + 1]
    return np.isin(members, taken)


@click.group()
def main() -> None:
    """Train by a recipe, and print our figures beside the published ones."""
    keep_pages()


DUBAI_TILES = range(1, 8)
"""The workshop's loop leaves out tile 8, which so shows what the same network does on ground that it never saw."""
DUBAI_UNLABELLED = ClassValue("#9b9b9b", 0)
DUBAI_HELD_BACK = 0.15
DUBAI_SEED = 100
DUBAI_PUBLISHED = (0.8617, 0.7430)


def dubai_tiles(data: Path, number: int, classes: Sequence[ClassInfo]) -> Iterator[Tile]:
    """The images of one tile; their masks show each class in the recipe's colour."""
    mapping = (DUBAI_UNLABELLED, *(ClassValue(info.color, info.value) for info in classes))
    folder = f"landcover_dubai/Tile {number}"
    yield from read_pictures(Pictures(f"{folder}/images", f"{folder}/masks", 0.8, mapping), str(data))


def write_dubai(data: Path, work: Path, split: str, classes: Sequence[ClassInfo]) -> None:
    """Write the patches for training and validation, and those of the unseen tile."""
    patches, groups = list[Patch](), list[str]()
    for number in DUBAI_TILES:
        for tile in dubai_tiles(data, number, classes):
            for patch in patches_of([tile]):
                groups.append(f"{number} {tile.name}" if split == "images" else f"{len(patches):04}")
                patches.append(patch)
    held = drawn(groups, DUBAI_HELD_BACK, DUBAI_SEED)
    work.mkdir(parents=True, exist_ok=True)
    for name, wanted in (("train", ~held), ("validation", held)):
        save(work / f"{name}.npz", [patches[index] for index in np.flatnonzero(wanted)])
    save(work / "tile-8.npz", list(patches_of(dubai_tiles(data, 8, classes))))


@main.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=WORK,
              help="Where patches and run folders go.")  # fmt: skip
@click.option("--split", type=click.Choice(["random", "images"]), default="random", show_default=True,
              help="What is held back: patches, as published, or all patches of some images.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Fewer than the recipe's.")
def dubai(data: Path, work: Path, split: str, epochs: int | None) -> None:
    """Land cover of Dubai: accuracy, and Jaccard of soft and hard predictions, over patches of 256 px."""
    work = work / f"dubai-{split}"
    request = recipe_of("dubai", work)
    if epochs:
        request = recipe.with_settings(request, {"schedule.epochs": epochs})
    if not (work / "tile-8.npz").exists():
        write_dubai(data, work, split, request.classes)
    names, count = [info.name for info in request.classes], len(request.classes) + 1
    held = load(work / "validation.npz")
    bundle = bundles.load(str(trained(request, lambda network, bands: agreement(network, bands, count, held))))
    network = bundle.model()
    click.echo(f"{sum(weights.numel() for weights in network.parameters()):,} parameters, best of {work / 'run'}")
    click.echo(f"{'':16}{'patches':>9}{'accuracy':>10}{'Jaccard':>10}{'hard':>8}   IoU of {', '.join(names)}")
    click.echo(f"{'published':16}{'':9}{DUBAI_PUBLISHED[0]:10.4f}{DUBAI_PUBLISHED[1]:10.4f}")
    for name, part in (("training", "train"), ("held back", "validation"), ("tile 8", "tile-8")):
        patches = load(work / f"{part}.npz")
        found = agreement(network, bundle.card.bands, count, patches)
        ious = "  ".join(f"{each.iou:.3f}" for each in scores.pixel_scores(found.confusion, names)[1:])
        figures = f"{found.accuracy:10.4f}{found.jaccard:10.4f}{found.hard_jaccard:8.4f}"
        click.echo(f"{name:16}{len(patches.img):9}{figures}   {ious}")


LANDSLIDES_GRID = (
    SearchOption("network.width_factor", ("4", "16", "32")),
    SearchOption("schedule.learning_rate", ("0.001", "0.0005")),
    SearchOption("schedule.batch", ("4",)),
)
LANDSLIDES_PUBLISHED = {
    (4, 0.001): (0.5818, 0.8456, 0.6877), (4, 0.0005): (0.5229, 0.8584, 0.6473),
    (16, 0.001): (0.0813, 0.0001, 0.0002), (16, 0.0005): (0.5482, 0.8950, 0.6774),
    (32, 0.001): (0.4548, 0.9517, 0.6123), (32, 0.0005): (0.6515, 0.8295, 0.7289),
}  # fmt: skip
"""Precision, recall and F1 by filters of the first layer and learning rate; the authors chose the best by these."""


@main.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The folder of TrainData and TestData; with --smoke the project's data folder.")  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=WORK,
              help="Where run folders go.")  # fmt: skip
@click.option("--steps", type=int, help="Steps in each epoch, instead of the recipe's.")
@click.option("--smoke", is_flag=True, help="A minute on 16 pairs of three bands: whether it runs, not how well.")
def landslide4sense(data: Path, work: Path, steps: int | None, smoke: bool) -> None:
    """Landslides: 14 bands, patches of 128 px, a grid of filters and learning rates, the best one on test patches."""
    work = work / ("landslides-smoke" if smoke else "landslides")
    path = ROOT / "resources" / "recipes" / "landslides.toml"
    request = recipe.load(path, str(work / "grid"), str(data))
    (pictures,) = request.data.pictures
    test = replace(pictures, images="TestData/img", masks="TestData/mask", split=Split.TEST)
    if smoke:
        test = replace(test, images="hdf5/img/image_1?.h5", masks="hdf5/mask")
        pictures = replace(test, images="hdf5/img/image_?.h5", split=Split.TRAIN)
        request = recipe.with_settings(request, {"schedule.epochs": 2})
    request = replace(request, data=replace(request.data, pictures=(pictures,)), existing=Existing.RESUME)
    if smoke or steps:
        request = recipe.with_settings(request, {"schedule.steps": steps or 3})
    found = search.run(SearchRequest(request, LANDSLIDES_GRID), Printed())
    best = str(Path(found.trials[0].run_dir, f"{request.name}.safetensors"))
    asked = LabelledData(pictures=(test,), root=str(data))
    judged = EvaluateRequest(best, asked, str(work / "test"), Split.TEST, 0.5, existing=Existing.OVERWRITE)
    row = evaluate.run(judged, Printed()).pixels[1]
    click.echo(f"{'precision, recall, F1':24}{'held back':>24}{'published, on test':>24}")
    for trial in found.trials:
        filters, rate, _ = trial.options.values()
        ours = [trial.scores.get(name, np.nan) for name in ("precision", "recall", "f1")]
        figures = _figures(ours) + _figures(LANDSLIDES_PUBLISHED[filters, rate])
        click.echo(f"{f'{filters} filters, {rate:g}':24}{figures}  {trial.error}")
    click.echo(f"{'the first, on test':24}{_figures((row.precision, row.recall, row.f1))}")
    if smoke:
        click.echo("Six steps on nine pictures: none of these figures says how good anything is.")


def _figures(scores: Sequence[float]) -> str:
    return "".join(f"{score:8.4f}" for score in scores)


if __name__ == "__main__":
    main()
