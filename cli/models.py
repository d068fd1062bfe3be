"""Commands that look at models and keep them."""

from __future__ import annotations

import click

from ..protocol import ModelsRequest, ModelsResult
from .shared import json_option, run


@click.group()
def models() -> None:
    """Look at the models."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the embedded models."""
    run("models", ModelsRequest, as_json, _say_models)


@models.command("show")
@click.argument("model")
def show_model(model: str) -> None:
    """Print the whole card of a MODEL, a name or the path of a bundle, as JSON."""
    run("models", lambda: ModelsRequest(model), True, _say_models)


def _say_models(result: ModelsResult) -> None:
    for model in result.models:
        classes = ", ".join(info.name for info in model.classes)
        click.echo(f"{model.name}: {model.title}\n  {model.gsd_m} m per pixel; finds {classes}; {model.licence}")
