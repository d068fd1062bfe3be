"""The command that learns from the checked areas of a label project."""

from __future__ import annotations

from typing import Any

import click

from ..protocol import (
    CheckLearningRequest,
    CheckLearningResult,
    Existing,
    Gain,
    LabelledImage,
    LearnRequest,
    LearnResult,
)
from .shared import existing_options, json_option, nodata_option, options, raster_of, run, second_option, stretch_option
from .truth import AREAS_HELP, areas_of, labels_of, labels_options

_learn_options: list[Any] = [
    click.argument("image"),
    second_option,
    click.option("--bands", default="", help="Bands of the image to use, by name or number, separated by commas."),
    stretch_option,
    nodata_option,
    *labels_options,
    click.option("--areas", required=True, help=AREAS_HELP),
    click.option("--model", default="buildings", show_default=True, help="Model to start from."),
    click.option("--out", required=True, type=click.Path(), help="Run folder."),
    click.option("--name", default="", help="Name of the new model; by default the base's with the next number."),
    click.option("--project", default="", type=click.Path(), help="Label project whose versions it may join."),
    click.option("--seed", default=1, show_default=True, help="The same seed gives the same model."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    *existing_options,
    json_option,
]


@click.command()
@options(_learn_options)
@click.option("--stop", is_flag=True, help="Learn no further; compare what OUT holds.")
@click.option("--check", is_flag=True, help="Only say what there is to learn from, and how long it will take.")
def learn(as_json: bool, stop: bool, check: bool, **given: Any) -> None:
    """Learn from the checked areas of IMAGE, without forgetting what the model knew.

    The new model goes into the folder OUT, with its scores here and at home, before and after. Stopped with Ctrl+C,
    it continues with --resume.
    """

    def request() -> LearnRequest:
        crs = given["labels_crs"]
        image = raster_of(given["image"], "", given["second"], given["bands"], given["stretch"], given["nodata"])
        labels = labels_of(given["labels"], given["subtract"], given["class_field"], given["mapping"], crs)
        existing = Existing.RESUME if stop else Existing(given["existing"] or Existing.REFUSE)
        return LearnRequest(
            LabelledImage(image, labels, areas_of(given["areas"], crs)), given["model"], given["out"], given["name"],
            given["project"], given["device"], given["seed"], existing, stop,
        )  # fmt: skip

    if check:
        run("check_learning", lambda: CheckLearningRequest(request()), as_json, _say_checked)
    else:
        run("learn", request, as_json, _say_learnt)


def _say_checked(result: CheckLearningResult) -> None:
    click.echo(", ".join(f"{count} {split}" for split, count in result.counts.items()))
    if result.problem:
        click.echo(result.problem)
    elif result.seconds is not None:
        click.echo(f"About {max(1, round(result.seconds / 60))} min on {result.device}.")


def _say_learnt(result: LearnResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"{'':<8}{'IoU':>16}{'object F1':>16}{'areas':>8}")
    for name, gain in (("here", result.here), ("home", result.home)):
        if gain:
            click.echo(_row(name, gain))
    click.echo(f"{result.verdict} {result.share:.0%} of the tuned weights.")
    click.echo(result.model_path)


def _row(name: str, gain: Gain) -> str:
    before, after = gain.before, gain.after
    pairs = ((before.iou, after.iou), (before.object_f1, after.object_f1))
    return f"{name:<8}" + "".join(f"{f'{was:.3f} → {now:.3f}':>16}" for was, now in pairs) + f"{gain.areas:>8}"
