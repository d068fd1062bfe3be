"""The command that outlines an object at a place."""

from __future__ import annotations

import json
from typing import Any

import click
import shapely

from ..engine.grow.looks import open_run
from ..engine.images import regions
from ..protocol import GrowRequest, GrowResult
from .shared import json_option, numbers, run


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path())
@click.option("--at", required=True, metavar="X,Y", help="The place.")
@click.option("--crs", default="", help="CRS of the place, such as EPSG:4326; by default that of the run's polygons.")
@click.option("--size", default=1.0, show_default=True, help="Factor to make the object larger or smaller.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@json_option
def grow(run_dir: str, at: str, crs: str, size: float, device: str, as_json: bool) -> None:
    """Outline the object at a place that a run has missed.

    RUN is the folder of the run. With --json, the object is a GeoJSON feature, in degrees.
    """
    place = numbers(at, "--at")
    if len(place) != 2:
        raise click.UsageError(f"“{at}” in --at is not a place: give X,Y.")

    def feature(result: GrowResult) -> dict[str, Any]:
        polygon = regions.reprojected(shapely.from_wkt(result.wkt), crs or open_run(run_dir).crs, "EPSG:4326")
        return {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(polygon)),
            "properties": {
                "class": result.class_name, "class_value": result.class_value, "confidence": result.confidence,
                "area_m2": result.area_m2, "outline": result.outline, "has_image": result.has_image,
            },
        }  # fmt: skip

    run("grow", lambda: GrowRequest(run_dir, *place, crs=crs, size=size, device=device), as_json, _say, feature)


def _say(result: GrowResult) -> None:
    click.echo(f"{result.class_name}: {result.area_m2:,.1f} m², mean probability {result.confidence:.2f}")
    if not result.has_image:
        click.echo("Note: the image or the model is gone; the outline follows the probabilities alone.")
    click.echo(result.wkt)
