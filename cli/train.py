"""Commands that train: one model, or a search for the best settings."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..protocol import (
    FINE_TUNING,
    CheckTrainingRequest,
    CheckTrainingResult,
    ChipSet,
    ErrorCode,
    Existing,
    LabelledData,
    LabelledImage,
    Level,
    OrthomaskError,
    Schedule,
    SearchOption,
    SearchRequest,
    SearchResult,
    TrainRequest,
    TrainResult,
)
from ..training.fit import recipe as recipes
from .prediction import COLOURS
from .shared import existing_options, json_option, nodata_option, options, raster_of, run, second_option, stretch_option
from .truth import AREAS_HELP, areas_of, classes_of, labels_of, labels_options

READING = ("second", "bands", "stretch", "nodata")
SHORTCUTS = {
    "name": "name",
    "epochs": "schedule.epochs",
    "steps": "schedule.steps",
    "batch": "schedule.batch",
    "size": "schedule.chip_px",
    "lr": "schedule.learning_rate",
    "seed": "schedule.seed",
    "device": "hardware.device",
}
"""Options that set one field of the request."""

_train_options: list[Callable[[Any], Any]] = [
    click.argument("recipe", required=False, type=click.Path()),
    click.option("--image", help="Image that was labelled."),
    second_option,
    click.option("--bands", default="", help="Bands of the image to use, by name or number, separated by commas."),
    stretch_option,
    nodata_option,
    *labels_options,
    click.option("--areas", help=AREAS_HELP),
    click.option("--chips", multiple=True, type=click.Path(), help="Folder of chips that Orthomask exported."),
    click.option("--data", "root", default="", type=click.Path(), help="Folder that a recipe's paths start at."),
    click.option("--model", default="", help="Model or bundle to start from; by default from scratch."),
    click.option("--out", required=True, type=click.Path(), help="Run folder."),
    click.option("--name", help="Name of the new model."),
    click.option("--epochs", type=int, help="Number of epochs; a validation follows each."),
    click.option("--steps", type=int, help="Steps in each epoch."),
    click.option("--batch", type=int, help="Chips in each step."),
    click.option("--size", type=int, help="Side length of the training images, px."),
    click.option("--lr", type=float, help="Learning rate."),
    click.option("--seed", type=int, help="The same seed gives the same training."),
    click.option("--device", help="auto, cpu, cuda, cuda:1 or mps."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                 help="Any other setting, such as schedule.decay=plateau or augmentation.cutout=0.3."),
    *existing_options,
    json_option,
]  # fmt: skip


@click.command()
@options(_train_options)
@click.option("--check", is_flag=True, help="Only say what there is to learn from, and how long it will take.")
def train(as_json: bool, check: bool, **given: Any) -> None:
    """Train a model from a RECIPE, or an image with labels and areas, or chips.

    Curves, images, the checkpoint and the best model so far go into the folder OUT; --resume continues after a crash.
    --check trains nothing, and exits with 2 if a light is red.
    """
    if check:
        found: CheckTrainingResult = run(
            "check_training", lambda: CheckTrainingRequest(_request(given)), as_json, _say_checked
        )
        sys.exit(2 if found.level is Level.RED else 0)
    with _one_voice():
        run("train", lambda: _request(given), as_json, _say_trained)


@click.command()
@options(_train_options)
@click.option("--option", "searched", multiple=True, required=True, metavar="NAME=VALUE,…",
              help="Values to try for a setting, such as schedule.learning_rate=0.001,0.0003.")  # fmt: skip
@click.option("--trials", default=0, help="Number of random combinations to try; 0 for all.")
def search(as_json: bool, searched: tuple[str, ...], trials: int, **given: Any) -> None:
    """Train with several settings and compare them.

    Each trial has a run folder inside OUT; trials.csv there lists the best first.
    """

    def request() -> SearchRequest:
        wanted = tuple(SearchOption(name, _values(text)) for name, text in map(_pair, searched))
        return SearchRequest(_request(given), wanted, trials)

    with _one_voice():
        run("search", request, as_json, _say_searched)


def _one_voice() -> AbstractContextManager[Any]:
    """Only the first process prints its result: on several devices Lightning starts this command once for each."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    return nullcontext() if first else redirect_stdout(io.StringIO())


def _request(given: dict[str, Any]) -> TrainRequest:
    if given["recipe"]:
        request = recipes.load(Path(given["recipe"]), given["out"], given["root"])
    else:
        schedule = FINE_TUNING if given["model"] else Schedule()
        request = TrainRequest(_data(given), given["out"], schedule=schedule)
    request = replace(
        request,
        model=given["model"] or request.model,
        classes=classes_of(given["classes"]) or request.classes,
        existing=Existing(given["existing"] or request.existing),
    )
    settings = {field: given[option] for option, field in SHORTCUTS.items() if given[option] is not None}
    settings |= {name: recipes.parsed(text) for name, text in map(_pair, given["settings"])}
    return recipes.with_settings(request, settings)


def _data(given: dict[str, Any]) -> LabelledData:
    projects: tuple[LabelledImage, ...] = ()
    if given["image"]:
        crs, image = given["labels_crs"], raster_of(given["image"], "", *(given[name] for name in READING))
        labels = labels_of(given["labels"], given["subtract"], given["class_field"], given["mapping"], crs)
        projects = (LabelledImage(image, labels, areas_of(given["areas"], crs)),)
    return LabelledData(projects, chips=tuple(map(ChipSet, given["chips"])), root=given["root"])


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OrthomaskError(ErrorCode.BAD_REQUEST, f"“{text}” has no value.", "Write NAME=VALUE.")
    return name, value


def _values(text: str) -> tuple[str, ...]:
    """Each value as JSON or plain text; the commas inside a list, as in [16,32],[32,64], part no values."""
    try:
        return tuple(map(json.dumps, json.loads(f"[{text}]")))
    except ValueError:
        return tuple(text.split(","))


def _say_checked(result: CheckTrainingResult) -> None:
    for light in result.lights:
        click.echo(click.style(f"{light.level.value:>6}", fg=COLOURS[light.level]) + f"  {light.reason}")
    if result.seconds is not None:
        click.echo(f"About {max(1, round(result.seconds / 60))} min on {result.device}.")


def _say_trained(result: TrainResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    scores = ", ".join(f"{name} {value:.3f}" for name, value in result.scores.items())
    if result.base_scores:
        base = ", ".join(f"{name} {value:.3f}" for name, value in result.base_scores.items())
        click.echo(f"The model it started from: {base}")
    click.echo(f"Epoch {result.best_epoch} of {result.epochs} is the best: {scores}, threshold {result.threshold:g}")
    click.echo(f"{result.images_per_second:.1f} images/s, {result.waiting_share:.0%} of the time waiting for them")
    click.echo(result.model_path)


def _say_searched(result: SearchResult) -> None:
    for trial in result.trials:
        score = f"IoU {trial.scores['iou']:.3f}" if trial.scores else trial.error
        click.echo(f"{score}  {', '.join(f'{name} {value}' for name, value in trial.options.items())}")
    click.echo(result.table_path)
