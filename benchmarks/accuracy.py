"""How good a model is on the test places, at their own and other resolutions, against plain models.

    .venv/engine/bin/python benchmarks/baselines.py buildings --data ../shared/data
    .venv/engine/bin/python benchmarks/accuracy.py buildings --data ../shared/data --baselines --json scores.json

Every model predicts whole pictures, a bundle by the engine's own sliding windows, at the threshold that its validation
chose. For another resolution the picture is resampled and predicted, and the result is resampled back to the picture's
own pixels, so that all scores are against the same truth. Objects match if they overlap by half. Nothing is ever
chosen by these scores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import click
import numpy as np

from orthomask.benchmarks import baselines, places
from orthomask.benchmarks.places import TEST_SETS, TestSet, laid_back, resampled
from orthomask.engine.compute import devices
from orthomask.engine.models import bundle as bundles
from orthomask.engine.outputs import write_atomically
from orthomask.engine.progress import Progress
from orthomask.engine.runs.runs import SCALE, classify
from orthomask.protocol import UNKNOWN, ErrorCode, EvaluateRequest, LabelledData, OrthomaskError, Pictures, Split
from orthomask.training.accuracy.calibration import Histogram
from orthomask.training.accuracy.comparison import open_tile
from orthomask.training.accuracy.objects import Matches, match, object_scores
from orthomask.training.accuracy.scores import foreground_scores
from orthomask.training.chips.pictures import Tile
from orthomask.training.truth.components import components

SCALES = (1.0, 0.75, 1.5, 2.0)
"""Ground sampling distances of the resampled pictures, as multiples of the pictures' own; that is first."""
WEAK = 0.5
"""A place below this share of the mean IoU is marked."""
SIGN = "▼"
MEAN, ALL = "mean of places", "all pixels"


class Model(NamedTuple):
    """Anything that finds objects in pictures.

    Attributes:
        find: picture `(3, H, W)` and its metres per pixel to probabilities `(H, W)`, 0 to `SCALE`.
    """

    name: str
    threshold: float
    find: Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Score:
    """Agreement with the truth."""

    iou: float
    f1: float
    precision: float
    recall: float
    object_f1: float
    calibration_error: float


@dataclass
class Count:
    """Counts for one place, or for all. Objects smaller than `least_m2` are left out."""

    least_m2: float
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((2, 2), np.int64))
    histogram: Histogram = field(default_factory=Histogram.empty)
    matches: list[Matches] = field(default_factory=list)

    def add(self, tile: Tile, probability: np.ndarray, threshold: float) -> None:
        """Count a picture, given the probabilities `(H, W)`, 0 to `SCALE`, that a model finds in it."""
        known = tile.mask != UNKNOWN
        found = np.where(known, classify(probability[None], threshold), np.uint8(UNKNOWN))
        pairs = tile.mask[known].astype(np.int64) * 2 + found[known]
        self.confusion += np.bincount(pairs, minlength=4).reshape(2, 2)
        self.histogram.add(probability[None, known], tile.mask[known])
        true, least_px = components(tile.mask), self.least_m2 / tile.gsd_m**2
        self.matches.append(match(components(found), found, probability / SCALE, true, tile.mask, least_px))

    def score(self) -> Score:
        """The scores of everything counted."""
        pixels = foreground_scores("", self.confusion)
        (objects,) = object_scores(self.matches, ("",))
        return Score(
            pixels.iou, pixels.f1, pixels.precision, pixels.recall, objects.f1, self.histogram.error()
        )  # fmt: skip


Table = dict[str, Score]
"""Scores by name of the place, then the mean of the places, and all pixels together."""


def bundle_model(name: str) -> Model:
    """A bundle as a model: the engine's windows, blended, on the bundle's own lattice."""
    bundle = bundles.load(name)
    predictor = devices.prepare(bundle, devices.choose())
    request = EvaluateRequest(name, LabelledData(pictures=(Pictures("-", "-", 1.0),)), "-")

    def find(pixels: np.ndarray, gsd_m: float) -> np.ndarray:
        size = pixels.shape[1:]
        tile = Tile("picture", pixels, np.zeros(size, np.uint8), gsd_m, Split.TEST, "")
        with open_tile(tile, (), request) as ground:
            (piece,) = ground.compare(predictor, bundle.card.threshold, Progress())
        return laid_back(piece.probabilities[0], ground.lattice.transform.a, gsd_m, size)

    return Model(name, bundle.card.threshold, find)


def baseline_model(name: str, folder: Path) -> Model:
    """A trained baseline as a model."""
    baseline = baselines.load(name, folder)
    return Model(name, baseline.threshold, baseline)


def score(model: Model, pictures: dict[str, list[Tile]], scale: float, least_m2: float) -> Table:
    """Scores of a model on pictures by place, resampled to `scale` times their ground sampling distance.

    Places whose pictures the model then refuses as too coarse are left out.
    """
    table: Table = {}
    whole = Count(least_m2)
    for place, tiles in pictures.items():
        try:
            found = [_found(model, tile, scale) for tile in tiles]
        except OrthomaskError as error:
            if error.code is not ErrorCode.IMAGE_GSD:
                raise
            continue
        count = Count(least_m2)
        for tile, probability in zip(tiles, found):
            count.add(tile, probability, model.threshold)
            whole.add(tile, probability, model.threshold)
        table[place] = count.score()
    return {**table, MEAN: mean(table.values()), ALL: whole.score()}


def _found(model: Model, tile: Tile, scale: float) -> np.ndarray:
    gsd_m = tile.gsd_m * scale
    probability = model.find(resampled(tile.pixels, tile.gsd_m, gsd_m), gsd_m)
    return laid_back(probability, gsd_m, tile.gsd_m, tile.mask.shape)


def mean(scores: Iterable[Score]) -> Score:
    """The unweighted mean of each score."""
    return Score(*(fmean(values) for values in zip(*(asdict(score).values() for score in scores))))


def weak(table: Table) -> list[str]:
    """The places whose IoU is under half of the mean."""
    return [place for place, score in table.items() if score.iou < WEAK * table[MEAN].iou]


def rows_of(table: Table, names: Sequence[str]) -> list[str]:
    """A table as Markdown; places that were refused have dashes."""
    lines = ["| place | IoU | F1 | precision | recall | object F1 | calibration error |", "|---|" + "---:|" * 6]
    for name in (*names, MEAN, ALL):
        values = [f"{value:.3f}" for value in asdict(table[name]).values()] if name in table else ["–"] * 6
        sign = f" {SIGN}" if name in weak(table) else ""
        lines.append(f"| {name}{sign} | {' | '.join(values)} |")
    return lines


def means_of(tables: dict[str, dict[float, Table]], plain: Sequence[str]) -> list[str]:
    """The mean IoU of each model at each resolution as Markdown, and its ratio to the best plain model's at 1x.

    Of places that no model refuses at that resolution, so that all means cover the same pictures.
    """
    head = "".join(f" {scale:g}x |" for scale in SCALES)
    lines = [f"| mean IoU of places |{head} against the best baseline |", "|---|" + "---:|" * (len(SCALES) + 1)]
    means: dict[str, list[float]] = {name: [] for name in tables}
    for scale in SCALES:
        common = set.intersection(*({*by_scale[scale]} for by_scale in tables.values())) - {MEAN, ALL}
        for name, by_scale in tables.items():
            means[name].append(fmean(by_scale[scale][place].iou for place in common))
    best = max((means[name][0] for name in plain), default=0.0)
    for name, values in means.items():
        ratio = f"{values[0] / best:.2f}" if best else "–"
        lines.append(f"| {name} |{''.join(f' {value:.3f} |' for value in values)} {ratio} |")
    return lines


def tables_of(model: Model, pictures: dict[str, list[Tile]], least_m2: float) -> dict[float, Table]:
    """Print the scores of a model at every resolution."""
    tables = {}
    for scale in SCALES:
        started = time.monotonic()
        tables[scale] = score(model, pictures, scale, least_m2)
        title = f"### {model.name}, pictures at {scale:g}x their gsd, threshold {model.threshold:.2f}"
        click.echo("\n".join([title, "", *rows_of(tables[scale], list(pictures)), ""]))
        click.echo(f"{time.monotonic() - started:.0f} s", err=True)
    return tables


def chosen(models: Sequence[str], what: str | None) -> str:
    """The test set that suits the models' class."""
    classes = {bundles.load(model).card.classes[0].name for model in models}
    fitting = [name for name, test in TEST_SETS.items() if {test.class_name} == classes]
    if not what and not fitting:
        raise click.UsageError("Say with --what on which test places to score.")
    return what or fitting[0]


@click.command()
@click.argument("models", nargs=-1)
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--what", type=click.Choice(list(TEST_SETS)), help="The test places; by default those of the class.")
@click.option("--baselines", "plain", is_flag=True, help="Score the trained baselines as well.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write all scores here.")
def main(models: tuple[str, ...], data: Path, what: str | None, plain: bool, json_path: Path | None) -> None:
    """Print the scores of MODELS, names of embedded ones or paths of bundles, place by place."""
    devices.keep_pages()
    what = chosen(models, what)
    test: TestSet = TEST_SETS[what]
    pictures = {place.name: places.read(test, place, data) for place in test.places}
    compared = [bundle_model(name) for name in models]
    names = baselines.NAMES if plain else ()
    compared += [baseline_model(name, baselines.CACHE / what) for name in names]
    tables = {model.name: tables_of(model, pictures, test.least_m2) for model in compared}
    click.echo("\n".join(means_of(tables, names)))
    if json_path:
        _write(json_path, test, compared, tables)


def _write(path: Path, test: TestSet, models: Sequence[Model], tables: dict[str, dict[float, Table]]) -> None:
    """Write everything that was printed as JSON."""
    record = {
        "gsd_m": {place.name: place.gsd_m for place in test.places},
        "thresholds": {model.name: model.threshold for model in models},
        "scores": {
            name: {
                f"{scale:g}": {place: asdict(score) for place, score in table.items()}
                for scale, table in by_scale.items()
            }
            for name, by_scale in tables.items()
        },
    }
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False).encode())


if __name__ == "__main__":
    main()
