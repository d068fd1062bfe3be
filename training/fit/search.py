"""Search over training settings: each combination is its own run, compared in one table."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.outputs import claimed, write_atomically
from ...engine.progress import Progress
from ...protocol import (
    Cancelled,
    ErrorCode,
    Existing,
    OrthomaskError,
    SearchOption,
    SearchRequest,
    SearchResult,
    TrainRequest,
    Trial,
)
from ...protocol.words import tr
from . import train
from .recipe import with_settings

TABLE = "trials.csv"


def run(request: SearchRequest, progress: Progress) -> SearchResult:
    """Train with every combination, or with a random sample of them; the best comes first.

    A failed trial is recorded with its error, and the search continues. With `Existing.RESUME`, finished trials are
    kept and an unfinished one resumes.

    Raises:
        OrthomaskError: an option does not exist, the folder holds another search, or the user cancels.
    """
    folder = Path(request.training.output_dir)
    combined = combinations(request)
    trainings = [_training(request.training, settings, folder, number) for number, settings in enumerate(combined, 1)]
    table = folder / TABLE
    if table.exists() and request.training.existing is Existing.REFUSE:
        sentence = tr("The folder “{}” already contains a search.").format(folder)
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS, sentence, tr("Choose another folder, overwrite it, or resume it.")
        )
    trials: list[Trial] = []
    with claimed(folder):
        for number, (settings, training) in enumerate(zip(combined, trainings)):
            part = progress.part(number / len(combined), (number + 1) / len(combined))
            trials.append(_tried(training, settings, part))
            write_atomically(table, _written(best_first(trials), [option.name for option in request.options]))
    return SearchResult(str(table), tuple(best_first(trials)))


def combinations(request: SearchRequest) -> list[dict[str, Any]]:
    """The settings of each trial: all, in order, or `trials` of them drawn without repetition."""
    names = [option.name for option in request.options]
    every = [dict(zip(names, values)) for values in itertools.product(*map(SearchOption.parsed, request.options))]
    if not request.trials or request.trials >= len(every):
        return every
    drawn = np.random.default_rng(request.seed).permutation(len(every))[: request.trials]
    return [every[index] for index in sorted(drawn)]


def best_first(trials: list[Trial]) -> list[Trial]:
    """Trials by descending intersection over union, failed ones last."""
    return sorted(trials, key=lambda trial: -trial.scores.get("iou", -1.0))


def _training(common: TrainRequest, settings: dict[str, Any], folder: Path, number: int) -> TrainRequest:
    return replace(with_settings(common, settings), output_dir=str(folder / f"trial-{number:03d}"))


def _tried(training: TrainRequest, settings: dict[str, Any], progress: Progress) -> Trial:
    try:
        result = train.run(training, progress)
    except Cancelled:
        raise
    except OrthomaskError as error:
        return Trial(settings, training.output_dir, error=error.sentence)
    return Trial(settings, training.output_dir, result.scores, result.seconds)


def _written(trials: list[Trial], names: list[str]) -> bytes:
    text = io.StringIO()
    scores = ["iou", "f1", "precision", "recall"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *scores, "seconds", "folder", "error"])
    for trial in trials:
        settings = [_cell(trial.options[name]) for name in names]
        numbers = [trial.scores.get(score, "") for score in scores]
        writer.writerow([*settings, *numbers, trial.seconds, Path(trial.run_dir).name, trial.error])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
