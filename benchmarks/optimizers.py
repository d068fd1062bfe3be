"""Which optimizer trains a U-Net from random weights better in the same CPU time: AdamW or Muon.

    .venv/engine/bin/python benchmarks/optimizers.py --data ../shared/data

Each optimizer first searches its learning rate: one training for each of three, on the first seed. With the rate that
has the highest mean IoU it trains three times, on seeds that the search did not see. All trainings end after the same
CPU time of the process that computes the steps, whatever else the machine does; the learning rate falls with that time
as a cosine. Everything else is the same for both: network, chips, batch, averaging, precision. Trainings that are
finished are kept, so a run that was stopped goes on with the next one.

Scores are the best IoU over the thresholds on labels that were not learnt from: a part of Geneva, whose rest is
learnt from, and Austin and Chicago, which are far away. The loss is that of the last quarter of the steps; no chip
comes twice, so it is one on new chips.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from orthomask.engine.compute.devices import choose, keep_pages
from orthomask.engine.models.unet import UNet
from orthomask.engine.outputs import write_atomically
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    ClassInfo,
    ClassValue,
    Hardware,
    LabelledData,
    Network,
    Optimizer,
    Pictures,
    Schedule,
    Split,
    TrainRequest,
)
from orthomask.training.accuracy.scores import THRESHOLDS, Scoreboard
from orthomask.training.data import material
from orthomask.training.data.material import Material
from orthomask.training.data.scenes import band_statistics
from orthomask.training.fit import train
from orthomask.training.fit.augment import usual_range
from orthomask.training.fit.dataset import Chips, Views
from orthomask.training.fit.learner import Average, Learner
from orthomask.training.fit.start import begin

CACHE = Path(__file__).resolve().parent.parent / ".venv" / "benchmarks" / "optimizers"
RATES = {Optimizer.ADAMW: (0.001, 0.003, 0.01), Optimizer.MUON: (0.006, 0.02, 0.06)}
SEARCH_SEED = 1
HERE, AWAY = "Geneva, held back", "Austin and Chicago"
MAPPING = (ClassValue("0", 0), ClassValue("255", 1))
ENDLESS = 100_000
"""Steps that no training reaches."""


@dataclass(frozen=True)
class Trial:
    """A training, its loss in the last quarter of its steps, and the IoU of each validation place."""

    optimizer: str
    learning_rate: float
    seed: int
    cpu_seconds: float
    steps: int
    loss: float
    scores: dict[str, float]


class Clock(Callback):
    """Ends a training when its process has used its CPU time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._started = seconds, 0.0

    @property
    def share(self) -> float:
        """The part of the time that is used, 0 to 1."""
        return min((time.process_time() - self._started) / self._seconds, 1.0)

    def on_train_start(self, *_: Any) -> None:
        """Start the clock."""
        self._started = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop the training at the end of its time."""
        trainer.should_stop = self.share == 1


class TimedLearner(Learner):
    """A learner whose learning rate falls with the CPU time, as a cosine."""

    def __init__(self, network: UNet, request: TrainRequest, clock: Clock) -> None:
        super().__init__(network, request.objective, request.schedule)
        self._clock = clock

    def rate(self, step: int) -> float:
        """Learning rate at a step, relative to its peak."""
        warm = min((step + 1) / self.schedule.warmup_steps, 1.0)
        return warm * 0.5 * (1 + math.cos(math.pi * self._clock.share)) if step else warm


def request_for(data: Path) -> TrainRequest:
    """What all trainings have in common: a small U-Net from random weights, on Geneva and Banepa."""

    def pictures(files: str, gsd_m: float, **more: Any) -> Pictures:
        folder = "buildings/validation" if more.get("place") == AWAY else "buildings/train"
        return Pictures(f"{folder}/images/{files}", f"{folder}/masks", gsd_m, MAPPING, **more)

    labelled = LabelledData(
        pictures=(
            pictures("geneva_497*", 0.25, tile_step=62.5, north_up=True),
            pictures("geneva_498[0-4]*", 0.25, tile_step=62.5, north_up=True),
            pictures("nepal_19_*", 0.132, tile_step=1, weight=0.5),
            pictures("geneva_498[5-9]*", 0.25, split=Split.VALIDATION, place=HERE),
            pictures("*", 0.3, split=Split.VALIDATION, place=AWAY),
        ),
        root=str(data),
    )
    schedule = Schedule(epochs=1, steps=ENDLESS, batch=8, chip_px=128, warmup_steps=50, precision="32-true")
    return TrainRequest(
        labelled, "-", gsd_m=0.3, classes=(ClassInfo(1, "building", "#e6007e"),), schedule=schedule,
        network=Network(widths=(16, 24, 48, 80, 112)), hardware=Hardware(device="cpu"),
    )  # fmt: skip


def trained(request: TrainRequest, found: Material, seconds: float) -> Trial:
    """Train for some seconds of CPU time, then validate."""
    schedule = request.schedule
    measured = band_statistics(found.bands, found.sources)
    usual = usual_range(measured, found.dtype)
    seed_everything(schedule.seed, verbose=False)
    card, network, _ = begin(request, None, found, measured)
    chips = Chips(found.sources, card, usual, request.augmentation, schedule)
    clock = Clock(seconds)
    learner = TimedLearner(network, request, clock)
    trainer = train.make_trainer(request, [clock, Average(schedule.averaging)], ())
    views = torch.utils.data.DataLoader(Views(found.validation, card), batch_size=1)
    trainer.fit(learner, train.loader(chips, schedule, 0), views)
    return Trial(
        optimizer=schedule.optimizer.value,
        learning_rate=schedule.learning_rate,
        seed=schedule.seed,
        cpu_seconds=seconds,
        steps=trainer.global_step,
        loss=fmean(learner.losses[-len(learner.losses) // 4 :]),
        scores={place: _best(learner.board, place) for place in (HERE, AWAY)},
    )


def _best(board: Scoreboard, place: str) -> float:
    """The highest IoU of a place over all thresholds."""
    return max(board.scores(index, place).iou for index in range(len(THRESHOLDS)))


class Bench:
    """Runs trials that are not kept yet."""

    def __init__(self, request: TrainRequest, keep: Path) -> None:
        self._request, self._keep = request, keep
        self._found = material.read(request, None, Progress())

    def trial(self, optimizer: Optimizer, rate: float, seed: int, seconds: float) -> Trial:
        """One training, or what is kept of it."""
        path = self._keep / f"{optimizer.value}-{rate:g}-seed{seed}-{seconds:g}s.json"
        if path.exists():
            return Trial(**json.loads(path.read_text(encoding="utf-8")))
        schedule = replace(self._request.schedule, optimizer=optimizer, learning_rate=rate, seed=seed)
        result = trained(replace(self._request, schedule=schedule), self._found, seconds)
        write_atomically(path, json.dumps(asdict(result), indent=1).encode())
        click.echo(f"{time.strftime('%H:%M:%S')} {result}", err=True)
        return result


def table(trials: Sequence[Trial]) -> list[str]:
    """The trials as rows of Markdown."""
    return [
        f"| optimizer | learning rate | seed | steps | loss | IoU {HERE} | IoU {AWAY} |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {t.optimizer} | {t.learning_rate:g} | {t.seed} | {t.steps} | {t.loss:.3f} "
            f"| {t.scores[HERE]:.3f} | {t.scores[AWAY]:.3f} |"
            for t in trials
        ),
    ]


def verdict(finals: dict[Optimizer, list[Trial]]) -> list[str]:
    """Means and standard deviations over the seeds, and how much better Muon is, seed by seed."""
    lines = ["| over the seeds | AdamW | Muon | Muon - AdamW |", "|---|---:|---:|---:|"]
    read: dict[str, Callable[[Trial], float]] = {
        "loss": lambda trial: trial.loss,
        f"IoU {HERE}": lambda trial: trial.scores[HERE],
        f"IoU {AWAY}": lambda trial: trial.scores[AWAY],
    }
    for name, value in read.items():
        adamw, muon = ([value(trial) for trial in finals[each]] for each in (Optimizer.ADAMW, Optimizer.MUON))
        gains = [ours - theirs for ours, theirs in zip(muon, adamw)]
        cells = (f"{fmean(values):.3f} ± {stdev(values):.3f}" for values in (adamw, muon, gains))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), default=CACHE, show_default=True,
              help="Folder of the finished trainings.")  # fmt: skip
@click.option("--search", default=120.0, show_default=True, help="CPU seconds of a training of the search.")
@click.option("--seconds", default=120.0, show_default=True, help="CPU seconds of a training that counts.")
@click.option(
    "--seeds", default=3, type=click.IntRange(min=2), show_default=True, help="How many of these for each optimizer."
)
def main(data: Path, keep: Path, search: float, seconds: float, seeds: int) -> None:
    """Print how good AdamW and Muon are after the same CPU time."""
    keep_pages()
    torch.set_num_threads(1)
    keep.mkdir(parents=True, exist_ok=True)
    bench = Bench(request_for(data), keep)
    searches: list[Trial] = []
    best: dict[Optimizer, float] = {}
    for optimizer, rates in RATES.items():
        tried = [bench.trial(optimizer, rate, SEARCH_SEED, search) for rate in rates]
        best[optimizer] = max(tried, key=lambda trial: fmean(trial.scores.values())).learning_rate
        searches += tried
    finals: dict[Optimizer, list[Trial]] = {optimizer: [] for optimizer in RATES}
    for seed in range(SEARCH_SEED + 1, SEARCH_SEED + 1 + seeds):
        for optimizer, rate in best.items():
            finals[optimizer].append(bench.trial(optimizer, rate, seed, seconds))
    every = [trial for trials in finals.values() for trial in trials]
    click.echo(
        f"{choose('cpu').name}, one thread, torch {torch.__version__}, CPU s of each training: "
        f"{search:g} in the search, {seconds:g} after it\n"
    )
    click.echo("\n".join(["Search of the learning rate:", "", *table(searches), ""]))
    click.echo("\n".join(["With the best learning rate:", "", *table(every), "", *verdict(finals)]))


if __name__ == "__main__":
    main()
