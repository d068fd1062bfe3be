"""Commands that list, copy and join models."""

from __future__ import annotations

from typing import Any, TextIO

import click

from ..protocol import (
    CopyModelRequest,
    EnsembleRequest,
    Existing,
    Gain,
    ModelItemRequest,
    ModelItemResult,
    ModelsRequest,
    ModelsResult,
    ModelSummary,
    VersionsRequest,
    VersionsResult,
    drawn_as_svg,
    to_json,
)
from . import onnx
from .shared import json_option, run

_title_option = click.option("--title", default="", help="Title in the list of models.")
_overwrite_option = click.option("--overwrite", is_flag=True, help="Overwrite an existing model.")


@click.group()
def models() -> None:
    """List models, copy them, join them, exchange them; choose the version that a label project uses."""


@models.command("list")
@click.option("--folder", "folders", multiple=True, type=click.Path(), help="Folder of more bundles; may be repeated.")
@json_option
def list_models(folders: tuple[str, ...], as_json: bool) -> None:
    """List the embedded models and those in folders."""
    run("models", lambda: ModelsRequest(folders=folders), as_json, _say_models)


@models.command("show")
@click.argument("model")
def show_model(model: str) -> None:
    """Print the card of a MODEL, a name or the path of a bundle, as JSON."""
    run("models", lambda: ModelsRequest(model), True, _say_models)


@models.command("network")
@click.argument("model")
@click.option(
    "--svg", type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
    help="Draw it, too, as an SVG file; of an ensemble, its first member.",
)  # fmt: skip
@json_option
def show_network(model: str, svg: TextIO | None, as_json: bool) -> None:
    """List the stages of a MODEL's network: what each takes and gives, and what it costs."""

    def networks(result: ModelsResult) -> dict[str, Any]:
        return {"networks": to_json(result)["models"][0]["networks"]}

    found = run("models", lambda: ModelsRequest(model), as_json, _say_networks, networks)
    if svg:
        svg.write(drawn_as_svg(found.models[0].networks[0]))


@models.command("copy")
@click.argument("model")
@click.argument("copy", type=click.Path())
@_title_option
@_overwrite_option
@json_option
def copy_model(model: str, copy: str, title: str, overwrite: bool, as_json: bool) -> None:
    """Copy a MODEL to the file COPY, whose name becomes the model's."""
    run("copy_model", lambda: CopyModelRequest(model, copy, title, _existing(overwrite)), as_json, _say_model)


@models.command("ensemble")
@click.argument("members", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(), help="Bundle to write, .safetensors.")
@_title_option
@_overwrite_option
@json_option
def ensemble_models(members: tuple[str, ...], out: str, title: str, overwrite: bool, as_json: bool) -> None:
    """Join two or more models (MEMBERS) into one that predicts the mean of their probabilities."""
    run("ensemble", lambda: EnsembleRequest(members, out, title, _existing(overwrite)), as_json, _say_model)


@models.command("stac")
@click.argument("model")
@click.option("--out", required=True, type=click.Path(), help="STAC item to write, .json.")
@click.option("--href", default="", help="Address of the bundle; not needed if it is beside the item.")
@_overwrite_option
@json_option
def model_item(model: str, out: str, href: str, overwrite: bool, as_json: bool) -> None:
    """Write the card of a MODEL as a STAC item, for a catalogue of models."""

    def say(result: ModelItemResult) -> None:
        for warning in result.warnings:
            click.echo(f"Note: {warning}")
        click.echo(result.path)

    run("model_item", lambda: ModelItemRequest(model, out, href, _existing(overwrite)), as_json, say)


@models.command("history")
@click.argument("project", type=click.Path())
@json_option
def list_versions(project: str, as_json: bool) -> None:
    """List the versions of the model of a label PROJECT, with their scores before and after."""
    run("versions", lambda: VersionsRequest(project), as_json, _say_versions)


@models.command("use")
@click.argument("project", type=click.Path())
@click.argument("version")
@json_option
def use_version(project: str, version: str, as_json: bool) -> None:
    """Use a VERSION of the model of a label PROJECT: its number, 0 for the base, or the path of a candidate."""
    run("versions", lambda: VersionsRequest(project, use=version), as_json, _say_versions)


@models.command("forget")
@click.argument("project", type=click.Path())
@click.argument("version")
@json_option
def forget_version(project: str, version: str, as_json: bool) -> None:
    """Remove a VERSION that is not in use from the list of a label PROJECT; its file stays."""
    run("versions", lambda: VersionsRequest(project, remove=version), as_json, _say_versions)


models.add_command(onnx.export_model)
models.add_command(onnx.import_model)


def _existing(overwrite: bool) -> Existing:
    return Existing.OVERWRITE if overwrite else Existing.REFUSE


def _say_models(result: ModelsResult) -> None:
    for model in result.models:
        classes = ", ".join(info.name for info in model.classes)
        click.echo(f"{model.name}: {model.title}\n  {model.gsd_m} m per pixel; finds {classes}; {model.licence}")


def _say_networks(result: ModelsResult) -> None:
    for drawing in result.models[0].networks:
        side = drawing.window_px
        click.echo(f"{drawing.parameters:,} parameters; {drawing.multiplications:,.0f} multiplications per pixel")
        click.echo(f"channels × height and width, for a window of {side} × {side} px:")
        for stage in drawing.stages:
            cost = (
                f"{stage.layers:>3} layers {stage.parameters:>11,} parameters {stage.multiplications:>8,.0f} per pixel"
            )
            gives = f"{stage.channels} × {stage.size_px}²"
            click.echo(f"  {stage.name:<20} {drawing.taken(stage):>23} -> {gives:<10} {cost}")


def _say_model(result: ModelSummary) -> None:
    _say_models(ModelsResult((result,)))
    click.echo(result.path)


def _say_versions(result: VersionsResult) -> None:
    if not result.versions:
        click.echo("No version is in use yet.")
    for version in result.versions:
        mark = "*" if version.number == result.current else " "
        gone = " (missing or changed)" if version.missing else ""
        click.echo(f"{mark} {version.number}: {version.title}, {version.model_path}{gone}")
        for place, gain in (("here", version.here), ("home", version.home)):
            if gain is not None:
                click.echo(f"     {_gain(place, gain)}")
        if version.squares:
            click.echo(f"     {version.squares} squares, {version.minutes:.0f} minutes of labelling")


def _gain(place: str, gain: Gain) -> str:
    before, after = gain.before, gain.after
    iou = f"IoU {before.iou:.3f} -> {after.iou:.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{place}: {iou}, object F1 {before.object_f1:.3f} -> {after.object_f1:.3f}"
