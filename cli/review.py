"""Commands of the loop: where to check a run."""

from __future__ import annotations

import click

from ..protocol import SuggestRequest, SuggestResult
from .shared import json_option, run


@click.command()
@click.argument("run_dir", metavar="RUN")
@click.option("--out", required=True, type=click.Path(), help="Label project, a GeoPackage: squares are added.")
@click.option("--count", default=10, show_default=True, help="Number of squares.")
@click.option("--size-m", type=float, help="Side length, m. [default: 40, or 400 for a model coarser than 1 m]")
@click.option("--seed", default=1, show_default=True, help="Of the quarter of the squares that is drawn at random.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@json_option
def suggest(run_dir: str, out: str, count: int, size_m: float | None, seed: int, device: str, as_json: bool) -> None:
    """Add the squares where a check of RUN helps most, a folder, to a label project."""

    def request() -> SuggestRequest:
        return SuggestRequest(run_dir, out, count, size_m, seed, device)

    run("suggest", request, as_json, _say)


def _say(result: SuggestResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"{result.count} squares\n{result.areas_path}")
