"""Save the best bundle, curves, preview and checkpoint of a training, and report its progress."""

from __future__ import annotations

import csv
import io
import os
import time
from dataclasses import asdict, replace
from statistics import fmean, harmonic_mean
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from ...engine.models import bundle
from ...engine.models.bundle import Card
from ...engine.outputs import write_atomically, writing
from ...engine.progress import Progress
from ...protocol import TrainRequest, TrainResult
from ...protocol.words import tr
from ..accuracy.scores import THRESHOLDS, TOTAL, Scores
from .augment import Range
from .dataset import Views
from .folder import TrainingFolder
from .learner import Learner
from .preview import preview

EXAMPLES = 4
"""Rows of the preview."""
ACCURACY = "validation areas"
"""Name of the validation scores in the card."""
SCORES = ("iou", "f1", "precision", "recall")
COLUMNS = ("epoch", "step", "loss", *SCORES, "threshold", "learning_rate", "images_per_second", "waiting_share")
"""Of `metrics.csv`."""


class Keeper(Callback):
    """Writes the run folder, epoch by epoch.

    It must precede `Average` among the callbacks, which removes the averaged weights when validation ends.

    Args:
        latest: keep the last epoch's weights rather than the best one's: a blend is chosen afterwards.

    Attributes:
        rows: one for each epoch, as in `metrics.csv`.
        base: row 0 there: the scores of the model that the training starts from; empty if they were not measured.
        best: the row of the best epoch; empty before the first.
        seconds: time of training and validation so far.
    """

    def __init__(
        self, folder: TrainingFolder, card: Card, request: TrainRequest, views: Views, usual: Range,
        progress: Progress, *, latest: bool = False,
    ) -> None:  # fmt: skip
        self._latest = latest
        self._folder, self._card, self._progress = folder, card, progress
        self._schedule, self._threshold = request.schedule, request.threshold
        self._views, self._usual = views, usual
        self.rows: list[dict[str, float]] = []
        self.base: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.seconds = 0.0
        self._clock = _Clock()
        self._scores: Scores | None = None

    def state_dict(self) -> dict[str, Any]:
        """State needed to resume."""
        return {"rows": self.rows, "base": self.base, "best": self.best, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.rows, self.best, self.seconds = state["rows"], state["best"], state["seconds"]
        self.base = state.get("base", {})  # trainings of older versions have none

    def on_train_epoch_start(self, _trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and choose the views to show."""
        cast(Learner, pl_module).examples = dict.fromkeys(self._views.richest(EXAMPLES))
        self._clock = _Clock()

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch has arrived."""
        self._clock.arrived()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Report progress; the user can cancel here."""
        self._clock.done(self._schedule.batch * trainer.world_size)
        schedule, epoch = self._schedule, trainer.current_epoch + 1
        message = tr("Epoch {} of {}, {:.0f} images/s").format(epoch, schedule.epochs, self._clock.images_per_second)
        if self.best:
            message = tr("{}, best IoU {:.3f}").format(message, self.best["iou"])
        self._progress.report(min(trainer.global_step / (schedule.epochs * schedule.steps), 1.0), message)
        self._clock.wait()

    def on_validation_start(self, trainer: Trainer, _pl_module: LightningModule) -> None:
        """Say that the base is being scored."""
        if trainer.state.fn is TrainerFn.VALIDATING:
            self._progress.report(0, tr("Scoring the model it starts from"))

    def on_validation_batch_end(self, *_: Any) -> None:
        """Let the user cancel here, too."""
        self._progress.check_cancelled()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best so far, and show examples; before the training, score the base."""
        learner = cast(Learner, pl_module)
        scores = self._scores = learner.board.best(self._threshold)
        if trainer.state.fn is TrainerFn.VALIDATING:
            self.base = _rounded({"epoch": 0, "step": 0, **_named(scores)})
            self._write_metrics()
            return
        learner.scores.append(scores.iou)
        learner.log_dict({name: float(value) for name, value in asdict(scores).items()})
        if not self._folder.leads:
            return
        if self._keeps(scores):
            bundle.save(self._folder.bundle, learner.network, self._finished(learner, scores, trainer))
        shown = [
            (self._views.chip(index), found.numpy()) for index, found in learner.examples.items() if found is not None
        ]
        picture = preview(shown, self._card.classes, scores.threshold, self._usual)
        write_atomically(self._folder.preview, picture)

    def _keeps(self, scores: Scores) -> bool:
        """Whether these weights replace those kept so far."""
        return self._latest or scores.iou > self.best.get("iou", -1.0)

    def _finished(self, learner: Learner, scores: Scores, trainer: Trainer) -> Card:
        """The card with the results so far."""
        table = learner.board.table(THRESHOLDS.index(scores.threshold))
        rounded = {name: {key: round(value, 4) for key, value in asdict(row).items()} for name, row in table.items()}
        places = {name: row for name, row in rounded.items() if name != TOTAL}
        summary = {**self._card.training, "best_epoch": trainer.current_epoch + 1, "best_step": trainer.global_step}
        accuracy = {ACCURACY: {**rounded[TOTAL], "by_place": places}}
        return replace(self._card, threshold=round(scores.threshold, 3), training=summary, accuracy=accuracy)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Extend the curves, write the checkpoint, and stop if scores no longer improve."""
        learner, scores = cast(Learner, pl_module), cast(Scores, self._scores)
        row = {
            "epoch": len(self.rows) + 1,
            "step": trainer.global_step,
            "loss": sum(learner.losses) / len(learner.losses),
            **_named(scores),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": self._clock.images_per_second,
            "waiting_share": self._clock.waiting_share,
        }
        self.rows.append(_rounded(row))
        if self._keeps(scores):
            self.best = self.rows[-1]
        self.seconds += self._clock.seconds
        self._write_metrics()
        partial = self._folder.checkpoint.with_name("last.ckpt.partial")
        with writing(self._folder.checkpoint):
            trainer.save_checkpoint(partial)
            if self._folder.leads:
                os.replace(partial, self._folder.checkpoint)
        if self.stale:
            trainer.should_stop = True

    def result(self, stopped: str, warnings: tuple[str, ...]) -> TrainResult:
        """The best epoch, and the speed of all."""
        speeds = [row["images_per_second"] for row in self.rows]
        return TrainResult(
            model_path=str(self._folder.bundle),
            run_dir=str(self._folder.path),
            epochs=len(self.rows),
            best_epoch=int(self.best["epoch"]),
            scores={name: self.best[name] for name in SCORES},
            threshold=self.best["threshold"],
            images_per_second=round(harmonic_mean(speeds), 2),
            waiting_share=round(fmean(row["waiting_share"] for row in self.rows), 4),
            seconds=round(self.seconds, 1),
            stopped=stopped,
            warnings=(*warnings, *self._no_better()),
            base_scores={name: self.base[name] for name in SCORES} if self.base else {},
        )

    def _write_metrics(self) -> None:
        if self._folder.leads:
            write_atomically(self._folder.metrics, _table([self.base, *self.rows] if self.base else self.rows))

    def _no_better(self) -> tuple[str, ...]:
        """A warning if the training has not improved the model it started from."""
        if self._latest or not self.base or self.best["iou"] > self.base["iou"]:
            return ()
        words = tr("No epoch scored better than the model it started from (IoU {:.3f}): keep using that one.")
        return (words.format(self.base["iou"]),)

    @property
    def stale(self) -> bool:
        """Whether the score has not improved for the schedule's patience."""
        patience = self._schedule.patience
        return bool(patience and self.best) and len(self.rows) - self.best["epoch"] >= patience


class _Clock:
    """Times an epoch, and how long the device waits for chips in it."""

    def __init__(self) -> None:
        self._started = self._mark = time.perf_counter()
        self._waiting, self._working, self._images = 0.0, 0.0, 0

    def arrived(self) -> None:
        now = time.perf_counter()
        self._waiting, self._mark = self._waiting + now - self._mark, now

    def done(self, images: int) -> None:
        now = time.perf_counter()
        self._working, self._mark = self._working + now - self._mark, now
        self._images += images

    def wait(self) -> None:
        self._mark = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @property
    def images_per_second(self) -> float:
        return self._images / max(self._waiting + self._working, 1e-9)

    @property
    def waiting_share(self) -> float:
        return self._waiting / max(self._waiting + self._working, 1e-9)


def _table(rows: list[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _named(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in (*SCORES, "threshold")}


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in row.items()}


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value
