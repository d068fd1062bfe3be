"""The command that compares two runs."""

from __future__ import annotations

import click

from ..protocol import CompareRequest, CompareResult, Existing, Image, LabelledImage
from .shared import json_option, options, run
from .truth import AREAS_HELP, areas_of, labels_of, labels_options


@click.command()
@click.argument("before", type=click.Path())
@click.argument("after", type=click.Path())
@options(labels_options[:-1])  # the classes are those of the runs
@click.option("--areas", "area_layer", help=AREAS_HELP)
@click.option("--out", required=True, type=click.Path(), help="GeoPackage for the layer “differences”.")
@click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")
@json_option
def compare(
    before: str, after: str, labels: tuple[str, ...], subtract: tuple[str, ...], class_field: str,
    mapping: tuple[str, ...], labels_crs: str, area_layer: str | None, out: str, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compare the objects of two runs, the folders BEFORE and AFTER: gained, lost or reshaped.

    With --labels and --areas, each difference in a checked area is right or wrong.
    """

    def request() -> CompareRequest:
        truth = None
        if labels:
            drawn = labels_of(labels, subtract, class_field, mapping, labels_crs)
            truth = LabelledImage(Image(before), drawn, areas_of(area_layer, labels_crs))  # the runs say where
        return CompareRequest(before, after, out, truth, Existing.OVERWRITE if overwrite else Existing.REFUSE)

    run("compare", request, as_json, _say)


def _say(result: CompareResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(", ".join(f"{count} {kind}" for kind, count in result.counts.items()))
    if result.right + result.wrong:
        click.echo(f"in checked areas: {result.right} right, {result.wrong} wrong")
    click.echo(result.path)
