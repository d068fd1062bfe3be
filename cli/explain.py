"""The command that explains an object."""

from __future__ import annotations

import click

from ..protocol import Existing, ExplainRequest, ExplainResult, Explanation
from .shared import json_option, nodata_option, numbers, raster_of, run, second_option, stretch_option


@click.command()
@click.argument("image", type=click.Path())
@click.option("--model", default="buildings", show_default=True, help="Embedded model, or path of a bundle.")
@click.option("--at", required=True, metavar="X,Y", help="A place on the object.")
@click.option("--at-crs", default="", help="CRS of the place, such as EPSG:4326; by default the image's.")
@click.option(
    "--method", type=click.Choice([method.value for method in Explanation]), default=Explanation.GRAD_CAM.value,
    show_default=True, help="grad-cam: what speaks for it; occlusion: what it depends on; activations: what responds.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(), help="GeoTIFF to write.")
@click.option("--class", "class_value", type=click.IntRange(1), help="Class value; by default the most probable one.")
@click.option("--object", "wkt", default="", help="Outline, as WKT in that CRS; by default what the model finds there.")
@click.option("--stage", default="", help="Stage of the network, such as encoder.4, of grad-cam and activations.")
@click.option("--channels", default=3, show_default=True, help="How many of the strongest activations.")
@second_option
@click.option("--bands", default="", help="Bands to use, by name or number, separated by commas.")
@stretch_option
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@nodata_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")
@json_option
def explain(
    image: str, model: str, at: str, at_crs: str, method: str, out: str, class_value: int | None, wkt: str, stage: str,
    channels: int, second: str, bands: str, stretch: str, crs: str, nodata: float | None, device: str, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show why a model finds an object in IMAGE, as a GeoTIFF of its surroundings."""
    place = numbers(at, "--at")
    if len(place) != 2:
        raise click.UsageError(f"“{at}” in --at is not a place: give X,Y.")

    def request() -> ExplainRequest:
        return ExplainRequest(
            raster_of(image, crs, second, bands, stretch, nodata), model, out, Explanation(method), *place, crs=at_crs,
            object_wkt=wkt, class_value=class_value or 0, stage=stage, channels=channels, device=device,
            existing=Existing.OVERWRITE if overwrite else Existing.REFUSE,
        )  # fmt: skip

    run("explain", request, as_json, _say)


def _say(result: ExplainResult) -> None:
    click.echo(f"{result.class_name}: mean probability {result.confidence:.2f}")
    click.echo(result.sentence)
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(result.path)
