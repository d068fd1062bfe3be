"""The command that inspects labels."""

from __future__ import annotations

import click

from ..protocol import Existing, Fault, InspectRequest, InspectResult
from .shared import json_option, nodata_option, options, raster_of, run, second_option, stretch_option
from .truth import AREAS_HELP, areas_of, labels_of, labels_options

KINDS = {
    Fault.SHIFTED: "where labels are shifted",
    Fault.UNLABELLED: "objects without a label",
    Fault.CONTRADICTED: "labels that the model contradicts",
    Fault.DOUBLE: "labels of double cover",
}


@click.command()
@click.argument("image", required=False)
@click.option("--model", default="buildings", show_default=True, help="Embedded model, or path of a bundle.")
@click.option("--run", "run_dir", default="", type=click.Path(), help="Folder of a finished run, instead of a model.")
@options([labels_options[0], *labels_options[2:-1]])
@click.option("--areas", "area_layer", help=AREAS_HELP)
@second_option
@click.option("--bands", default="", help="Bands of IMAGE to use, by name or number, separated by commas.")
@stretch_option
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@nodata_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--out", required=True, type=click.Path(), help="GeoPackage for the layer findings.")
@click.option("--moved-to", default="", type=click.Path(), help="GeoPackage for a copy of the labels without shift.")
@click.option("--overwrite", is_flag=True, help="Overwrite existing results.")
@json_option
def inspect(
    image: str | None, model: str, run_dir: str, labels: tuple[str, ...], class_field: str, mapping: tuple[str, ...],
    labels_crs: str, area_layer: str | None, second: str, bands: str, stretch: str, crs: str, nodata: float | None,
    device: str, out: str, moved_to: str, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """List the probable faults of labels on IMAGE, worst first.

    Finds labels that the model contradicts, objects that nobody labelled, labels of double cover, and a shift between
    labels and image. Use --model to run one, or --run with a finished run. The labels are not changed.
    """

    def request() -> InspectRequest:
        drawn = labels_of(labels, (), class_field, mapping, labels_crs)
        raster = raster_of(image, crs, second, bands, stretch, nodata) if image else None
        existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
        areas = areas_of(area_layer, labels_crs)
        return InspectRequest(drawn, out, areas, raster, model, run_dir, moved_to, device, existing)

    run("inspect", request, as_json, _say)


def _say(result: InspectResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"{result.labels} labels inspected")
    for kind, words in KINDS.items():
        click.echo(f"{result.counts[kind.value]:>6} {words}")
    if result.shift:
        click.echo(f"Move the labels {result.shift.in_words} ({result.shift.margin_in_words}) to match the image.")
    for path in filter(None, (result.findings_path, result.moved_path)):
        click.echo(path)
