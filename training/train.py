"""Train a U-Net from a recipe.

    python -m orthomask.training.train RECIPE --data FOLDER --out RUN_FOLDER

The run folder holds the recipe, the curves (`metrics.csv`) and the bundle that scored best on the validation images.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from ..engine import bundle
from ..engine.bundle import Card
from ..engine.devices import choose, keep_pages
from ..engine.progress import Progress
from ..engine.unet import UNet, UNetArguments
from ..protocol import ErrorCode, OrthomaskError
from . import recipe as recipes
from .dataset import Chips, Tiles
from .evaluate import evaluate, report
from .muon import Muon
from .recipe import Recipe, Schedule
from .scenes import UNKNOWN, Scene, band_statistics, read_scenes, read_tiles
from .scores import THRESHOLDS, TOTAL, Scoreboard, foreground

LOG_EVERY = 25
"""Steps between two rows of the curves."""
CHANNEL_BLOCK = 16
"""With fewer channels than this the fast memory layout is unsafe, see `layout`."""


def loss(logits: Tensor, mask: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy plus soft Dice (Milletari et al. 2016) over the pixels that are known.

    Args:
        logits: `(B, classes, H, W)`.
        mask: `(B, H, W)` class values, 255 where unknown.
        smoothing: probability spread over all classes in the cross-entropy.
    """
    known = mask != UNKNOWN
    entropy = functional.cross_entropy(logits, mask, ignore_index=UNKNOWN, label_smoothing=smoothing, reduction="sum")
    truth = functional.one_hot(mask * known, logits.shape[1]).movedim(-1, 1)[:, 1:] * known[:, None]
    found = logits.softmax(dim=1)[:, 1:] * known[:, None]
    overlap, total = (found * truth).sum((0, 2, 3)), (found + truth).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return entropy / known.sum().clamp(min=1) + dice.mean()


def layout(arguments: UNetArguments) -> torch.memory_format:
    """Channels last, which is twice as fast on a CPU, where it is safe.

    oneDNN's gradient of a strided 1 x 1 convolution writes past its buffer when it has fewer channels than a vector
    register holds (https://github.com/uxlfoundation/oneDNN/issues/6035); the process then dies.
    """
    safe = min(arguments.detail, *arguments.widths) >= CHANNEL_BLOCK
    return torch.channels_last if safe else torch.contiguous_format


class Learner(LightningModule):
    """A network with its loss, its optimizer, and its score on validation tiles."""

    def __init__(self, network: UNet, schedule: Schedule) -> None:
        super().__init__()
        self.layout = layout(network.arguments)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.schedule = schedule
        self.board = Scoreboard(THRESHOLDS)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of images `(B, bands, H, W)` with masks `(B, H, W)`."""
        image, mask = batch
        logits = self.network(image.contiguous(memory_format=self.layout))
        value = loss(logits.float(), mask, self.schedule.label_smoothing)
        self.log("loss", value)
        return value

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.board = Scoreboard(THRESHOLDS)

    def validation_step(self, batch: tuple[Tensor, Tensor, Sequence[str]]) -> None:
        """Count the right and wrong pixels of one tile."""
        image, mask, places = batch
        logits = self.network(image.contiguous(memory_format=self.layout))
        self.board.add(places[0], foreground(logits)[0], mask[0])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon with a linear warm-up and a cosine to zero."""
        schedule = self.schedule
        optimizer = Muon(self.network, self.network.head, schedule.learning_rate, schedule.weight_decay)
        scheduler = LambdaLR(optimizer, partial(rate, schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rate(schedule: Schedule, step: int) -> float:
    """Learning rate at a step, relative to its peak."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Average(WeightAveraging):
    """Exponential running average of weights and batch statistics, quick at first so that it forgets its beginning."""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_average, decay))


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
    warm = min(decay, (1 + int(count)) / (10 + int(count)))
    for average, current in zip(averages, currents):
        if average.is_floating_point():
            average.lerp_(current, 1 - warm)
        else:
            average.copy_(current)


class Keeper(Callback):
    """Writes the bundle whenever the validation score is the best so far, and reports progress.

    It must stand before `Average` among the callbacks: that one takes the averaged weights away when validation ends.
    """

    def __init__(self, learner: Learner, path: Path, card: Card, progress: Progress) -> None:
        self._learner, self._path, self._card, self._progress = learner, path, card, progress
        self._best = -1.0
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Report how far it is; here a person can cancel."""
        if trainer.global_step % LOG_EVERY == 0:
            message = f"step {trainer.global_step}, best IoU {max(self._best, 0):.3f}"
            self._progress.report(trainer.global_step / self._learner.schedule.steps, message)

    def on_validation_epoch_end(self, trainer: Trainer, *_: object) -> None:
        """Log the scores and keep the weights if they are the best."""
        scores = self._learner.board.best()
        minutes = (time.monotonic() - self._started) / 60
        self._learner.log_dict({f"validation_{name}": float(value) for name, value in asdict(scores).items()})
        if scores.iou > self._best:
            self._best = scores.iou
            summary = {**self._card.training, "best_step": trainer.global_step, "minutes": round(minutes, 1)}
            card = replace(self._card, threshold=round(scores.threshold, 3), training=summary)
            bundle.save(self._path, self._learner.network, card)


def train(recipe: Recipe, digest: str, data: Path, out: Path, progress: Progress) -> Path:
    """Train as the recipe says and return the path of the best bundle.

    Args:
        digest: SHA-256 of the recipe, for the model card.
        data: folder that the recipe's folders are relative to.
        out: run folder; it must not hold a bundle yet.

    Raises:
        OrthomaskError: data are missing, the run folder is taken, or a person cancels.
    """
    path = out / f"{recipe.name}.safetensors"
    if path.exists():
        sentence = f"There is already a model in “{out}”."
        raise OrthomaskError(ErrorCode.OUTPUT_EXISTS, sentence, "Choose another run folder.")
    out.mkdir(parents=True, exist_ok=True)
    seed_everything(recipe.schedule.seed, verbose=False)
    scenes = [read_scenes(data, source) for source in recipe.sources]
    card = describe(recipe, digest, scenes)
    chips = Chips(recipe, scenes, card.bands)
    check = recipe.validation
    tiles = Tiles(read_tiles(data / check.folder, check.mask_values), card.bands, recipe.network.divisor)
    learner = Learner(UNet(recipe.network), recipe.schedule)
    fit(learner, chips, tiles, out, Keeper(learner, path, card, progress.part(0, 0.98)))
    add_accuracy(path, recipe, data, progress.part(0.98, 1))
    return path


def fit(learner: Learner, chips: Chips, tiles: Tiles, out: Path, keeper: Keeper) -> None:
    """Run the training loop, with the curves in `out`."""
    schedule = learner.schedule
    trainer = Trainer(
        max_steps=schedule.steps,
        val_check_interval=min(schedule.validate_every, schedule.steps),
        check_val_every_n_epoch=None,
        precision=schedule.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        callbacks=[keeper, Average(schedule.averaging)],
        logger=CSVLogger(out, name="", version=""),
        log_every_n_steps=LOG_EVERY,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic="warn",
    )
    loader = DataLoader(
        chips, batch_size=schedule.batch, num_workers=schedule.workers, persistent_workers=schedule.workers > 0
    )
    trainer.fit(learner, loader, DataLoader(tiles, batch_size=1))


def describe(recipe: Recipe, digest: str, scenes: Sequence[Sequence[Scene]]) -> Card:
    """The model card before training: everything but threshold and accuracy."""
    return Card(
        name=recipe.name,
        title=recipe.title,
        architecture=recipe.network,
        bands=band_statistics(recipe, scenes),
        dtype="uint8",
        gsd_m=recipe.gsd_m,
        classes=recipe.classes,
        threshold=0.5,
        licence=recipe.licence,
        attribution=recipe.attribution,
        training=_summary(recipe, digest, scenes),
    )


def _summary(recipe: Recipe, digest: str, scenes: Sequence[Sequence[Scene]]) -> dict[str, Any]:
    known_px = [sum(scene.known_px for scene in found) for found in scenes]
    resolutions = [source.gsd_m for source in recipe.sources]
    return {
        "places": list(dict.fromkeys(source.place for source in recipe.sources)),
        "images": sum(len(found) for found in scenes),
        "megapixels": round(sum(known_px) / 1e6, 1),
        "square_kilometres_by_source": {
            f"{source.place} {source.gsd_m:g} m": round(count * source.gsd_m**2 / 1e6, 3)
            for source, count in zip(recipe.sources, known_px)
        },
        "gsd_m": [min(resolutions), max(resolutions)],
        "recipe_sha256": digest,
        "seed": recipe.schedule.seed,
        "steps": recipe.schedule.steps,
        "device": choose().name,
    }


def add_accuracy(path: Path, recipe: Recipe, data: Path, progress: Progress) -> None:
    """Score the finished bundle, as anyone else would, and write the scores into its card."""
    check = recipe.validation
    table = evaluate(path, data / check.folder, check.mask_values, 0, progress)
    click.echo(report(table))
    rounded = {name: {key: round(value, 4) for key, value in asdict(row).items()} for name, row in table.items()}
    opened = bundle.load(str(path))
    places = {name: row for name, row in rounded.items() if name != TOTAL}
    accuracy = {check.name: {**rounded[TOTAL], "by_place": places}}
    bundle.save(path, opened.model(), replace(opened.card, accuracy=accuracy))


class _Terminal(Progress):
    def show(self, fraction: float, message: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {fraction:6.1%} {message}")


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder that the recipe reads from.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder for the results.")
def main(recipe: Path, data: Path, out: Path) -> None:
    """Train a model as RECIPE says."""
    keep_pages()
    try:
        parsed, digest = recipes.load(recipe)
        path = train(parsed, digest, data, out, _Terminal())
    except OrthomaskError as error:
        raise click.ClickException(str(error)) from error
    shutil.copyfile(recipe, out / "recipe.toml")
    click.echo(path)


if __name__ == "__main__":
    main()
