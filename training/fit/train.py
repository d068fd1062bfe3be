"""Train a U-Net: from labelled images to a bundle, epoch by epoch, resumable from its run folder.

An epoch is `steps` optimizer steps, a validation and a checkpoint. Only the initial weights and the chips are random,
and they depend only on the seed, the epoch and their number. So a training resumed from its last checkpoint ends with
the same curve and weights as one that was never stopped.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.utils.data import DataLoader, Dataset

from ...engine.compute import gpu
from ...engine.compute.devices import choose
from ...engine.models.bundle import BandStatistics, Bundle
from ...engine.outputs import writing
from ...engine.progress import Progress
from ...protocol import ErrorCode, OrthomaskError, Schedule, TrainRequest, TrainResult
from ...protocol.words import tr
from ..data import material as materials
from ..data.material import Material
from ..data.scenes import Scene, band_statistics
from .augment import usual_range
from .dataset import Chips, Numbers, Views
from .folder import TrainingFolder
from .keeper import Keeper
from .learner import Average, Diverged, Learner
from .loggers import loggers
from .numerics import precision
from .rehearsal import RehearsedChips, Rehearser
from .start import begin, parent_of, shared_classes

LOG_EVERY = 25
"""Steps between points of the trackers' loss curves."""


def run(request: TrainRequest, progress: Progress) -> TrainResult:
    """Train, and write the best bundle, curves, a preview and the record to the run folder.

    Raises:
        OrthomaskError: there is nothing to learn from, the folder holds another training, the very first epoch
            diverges, memory or disk run out, or the user cancels: what the folder holds by then stays.
    """
    parent = parent_of(request)
    made = loggers(request)
    folder = TrainingFolder(request)
    with folder.claimed():
        result = folder.open() or _trained(request, parent, made, folder, progress)
    progress.show(1, tr("Done"))
    return result


def _trained(
    request: TrainRequest, parent: Bundle | None, made: Sequence[Any], folder: TrainingFolder, progress: Progress
) -> TrainResult:
    material = materials.read(request, parent, progress.part(0, 0.05))
    measured = band_statistics(material.bands, material.sources)
    return trained(request, parent, material, measured, folder, progress.part(0.05, 1), made)


def trained(
    request: TrainRequest,
    parent: Bundle | None,
    material: Material,
    measured: Sequence[BandStatistics],
    folder: TrainingFolder,
    progress: Progress,
    made: Sequence[Any] = (),
    replay: Sequence[Scene] | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train on what has been read.

    Args:
        measured: the bands' statistics.
        made: Lightning's loggers.
        replay: chips to rehearse; the last weights are kept, not the best. None for an ordinary training.
        callbacks: more of Lightning's, which see the weights that are validated and saved.
    """
    usual = usual_range(measured, material.dtype)
    seed_everything(request.schedule.seed, verbose=False)
    gpu.give_back()  # a prediction in this process may still fill it
    card, network, notes = begin(request, parent, material, measured)
    views = Views(material.validation, card)
    chips: Dataset[Any] = Chips(material.sources, card, usual, request.augmentation, request.schedule)
    learner = Learner(network, request.objective, request.schedule)
    if replay is not None:
        learner = Rehearser(network, request.objective, request.schedule, rehearses=bool(replay))
        chips = RehearsedChips(chips, replay, card, usual, request.schedule) if replay else chips
    keeper = Keeper(folder, card, request, views, usual, progress, latest=replay is not None)
    trainer = make_trainer(request, [keeper, *callbacks, *_averages(request.schedule)], made)
    folder.begin()
    batches = loader(chips, request.schedule, folder.finished_epochs())
    has_base = parent is not None and bool(shared_classes(card, parent.card))
    stopped = fit(trainer, learner, keeper, batches, views, folder, has_base=has_base)
    said = [*material.warnings, *notes, *_diverged(stopped, keeper)]
    result = keeper.result(stopped, tuple(said))
    folder.finish(result)
    return result


def make_trainer(request: TrainRequest, callbacks: Sequence[Callback], made: Sequence[Any]) -> Trainer:
    """Lightning's trainer for a request.

    Raises:
        OrthomaskError: the device, strategy or precision is not available.
    """
    schedule, hardware = request.schedule, request.hardware
    device = choose(hardware.device).torch
    _require_one_device(request)
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    one = [device.index or 0] if device.type == "cuda" else 1
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        return Trainer(
            accelerator=accelerator,
            devices=hardware.devices if hardware.devices > 1 else one,
            num_nodes=hardware.machines,
            strategy=hardware.strategy,
            precision=precision(schedule, device),  # type: ignore[arg-type]
            max_epochs=schedule.epochs,
            gradient_clip_val=schedule.clip_norm or None,
            callbacks=list(callbacks),
            logger=list(made),
            log_every_n_steps=min(LOG_EVERY, schedule.steps),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            deterministic="warn",
        )
    except (ValueError, MisconfigurationException) as error:
        sentence = tr("Training cannot run with these precision and hardware settings.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Use “auto” for them."), str(error)) from error


def _require_one_device(request: TrainRequest) -> None:
    """Raise if an encoder is to be frozen on several devices: they would disagree on what learns."""
    several = request.hardware.devices * request.hardware.machines > 1
    if several and request.schedule.frozen_epochs:
        sentence = tr("The encoder can be frozen on a single device only.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Set frozen_epochs to 0, or use one device."))


def _averages(schedule: Schedule) -> list[Callback]:
    return [Average(schedule.averaging)] if schedule.averaging else []


def loader(chips: Dataset[Any], schedule: Schedule, epoch: int) -> DataLoader[Any]:
    """Batches of chips, prefetched by other processes, from `epoch` on.

    Lightning passes each epoch to the sampler, but for a resumed training only after the first chips are requested.
    Processes are used only where they can be forked: a new interpreter would have to import the worker's main file
    again and receive all scenes.
    """
    workers = schedule.workers if sys.platform == "linux" else 0
    return DataLoader(
        chips,
        batch_size=schedule.batch,
        sampler=Numbers(schedule.steps * schedule.batch, epoch),
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        prefetch_factor=4 if workers else None,
    )


def fit(
    trainer: Trainer, learner: Learner, keeper: Keeper, batches: DataLoader[Any], views: Views, folder: TrainingFolder,
    *, has_base: bool = False,
) -> str:  # fmt: skip
    """Train to the end, from the last checkpoint if there is one; return why it ended.

    Args:
        has_base: score the network before it learns.

    Raises:
        OrthomaskError: memory or disk ran out, also while loggers write.
    """
    checkpoint = str(folder.checkpoint) if folder.checkpoint.exists() else None
    try:
        with warnings.catch_warnings(), writing(folder.path):
            warnings.simplefilter("ignore")
            scored = DataLoader(views, batch_size=1)
            if has_base and checkpoint is None:
                trainer.validate(learner, scored, verbose=False)
            trainer.fit(learner, batches, scored, ckpt_path=checkpoint, weights_only=True)
    except Diverged:
        return "diverged"
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        sentence = tr("There is not enough memory for this training.")
        remedy = tr("Use a smaller batch, or smaller chips.")
        raise OrthomaskError(ErrorCode.OUT_OF_MEMORY, sentence, remedy, str(error)) from error
    finally:
        torch.use_deterministic_algorithms(False)
    return "early" if keeper.stale else "finished"


def _diverged(stopped: str, keeper: Keeper) -> list[str]:
    """The warning for a training whose loss became NaN or infinite.

    Raises:
        OrthomaskError: there is no model yet.
    """
    if stopped != "diverged":
        return []
    epoch = len(keeper.rows) + 1
    if not keeper.best:
        sentence = tr("The loss became infinite in epoch {}.").format(epoch)
        remedy = tr("Try a learning rate that is ten times lower, or the precision 32-true.")
        raise OrthomaskError(ErrorCode.TRAINING_DIVERGED, sentence, remedy)
    words = tr(
        "The loss became infinite in epoch {}, so the training stopped; the best model so far was kept. "
        "Try a lower learning rate."
    )
    return [words.format(epoch)]
