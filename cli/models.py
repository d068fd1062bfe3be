"""Commands that list, copy and join models."""

from __future__ import annotations

import click

from ..protocol import CopyModelRequest, EnsembleRequest, Existing, ModelsRequest, ModelsResult, ModelSummary
from .shared import json_option, run

_title_option = click.option("--title", default="", help="Title in the list of models.")
_overwrite_option = click.option("--overwrite", is_flag=True, help="Overwrite an existing model.")


@click.group()
def models() -> None:
    """List models, copy them, join them."""


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


def _existing(overwrite: bool) -> Existing:
    return Existing.OVERWRITE if overwrite else Existing.REFUSE


def _say_models(result: ModelsResult) -> None:
    for model in result.models:
        classes = ", ".join(info.name for info in model.classes)
        click.echo(f"{model.name}: {model.title}\n  {model.gsd_m} m per pixel; finds {classes}; {model.licence}")


def _say_model(result: ModelSummary) -> None:
    _say_models(ModelsResult((result,)))
    click.echo(result.path)
