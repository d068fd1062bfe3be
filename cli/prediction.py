"""Commands that run models: predict, polygonize, check and info."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pyogrio
import shapely

from .. import worker
from ..engine.images import regions
from ..engine.progress import Progress
from ..engine.shapes.layers import list_layers, read_layer
from ..protocol import (
    SPECK_PX,
    CheckRequest,
    CheckResult,
    ErrorCode,
    Existing,
    InfoRequest,
    InfoResult,
    Level,
    MosaicRequest,
    OrthomaskError,
    PolygonizeRequest,
    PolygonizeResult,
    PolygonOptions,
    PredictRequest,
    PredictResult,
    Region,
    ScaleRequest,
)
from .shared import existing_options, json_option, nodata_option, options, raster_of, run, second_option, stretch_option

HINTS = {
    "second image": "Add --second IMAGE.",
    "bands": "Add --bands to choose them.",
    "pixel type": "Add --stretch LOW,HIGH to read it in 8 bits.",
}
COLOURS = {Level.GREEN: "green", Level.AMBER: "yellow", Level.RED: "red"}

_model_options = [
    click.option("--model", default="buildings", show_default=True, help="Embedded model, or path of a bundle."),
    click.option(
        "--region", type=click.Path(), help="Vector file, or FILE|LAYER, whose polygons bound the prediction."
    ),
    second_option,
    click.option("--bands", default="", help="Bands to use, by name or number, separated by commas."),
    stretch_option,
    click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632."),
    nodata_option,
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
]
_scale_options = [
    click.option(
        "--processes", type=click.IntRange(1), help="Share the work among processes, each with its cores or GPU."
    ),
    click.option("--scheduler", default="", help="Share it among the workers of the Dask scheduler at this address."),
]
_polygon_options = [
    click.option("--min-area", type=float, help=f"Smallest polygon, m²; by default {SPECK_PX} pixels of the model."),
    click.option("--min-hole", type=float, help="Smallest hole that is kept, m²; by default the same."),
    click.option("--simplify/--no-simplify", default=True, help="Tidy outlines, or pixel edges."),
]


@click.command()
@click.argument("images", nargs=-1, required=True)
@options(_model_options)
@click.option("--out", required=True, type=click.Path(), help="Folder for the results.")
@click.option("--threshold", type=float, help="Minimum probability for a pixel to count; by default the model's.")
@options(existing_options)
@click.option("--date", "image_date", default="", help="When the image was taken; stored with the run.")
@options(_polygon_options)
@click.option(
    "--whole-objects/--cut-objects",
    "whole",
    default=True,
    help="Draw objects at the region's edge whole if their middle lies inside, or cut them.",
)
@options(_scale_options)
@json_option
def predict(
    images: tuple[str, ...], model: str, region: str | None, second: str, bands: str, stretch: str, crs: str,
    nodata: float | None, device: str, out: str, threshold: float | None, existing: str | None, image_date: str,
    min_area: float | None, min_hole: float | None, simplify: bool, whole: bool, processes: int | None, scheduler: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Run a model over IMAGES.

    Rasters, polygons and run.json go into the folder OUT. Several images, or a folder of them, must lie
    on one grid; they are joined in OUT/image.vrt and predicted as one, without seams.
    """
    policy, shared = Existing(existing or "refuse"), bool(processes or scheduler)

    def request() -> PredictRequest | ScaleRequest:
        asked = PredictRequest(
            raster_of(_joined(images, out, policy, nodata), crs, second, bands, stretch, nodata), model, out,
            region_of(region), threshold, policy, device=device, image_date=image_date,
            polygons=PolygonOptions(min_area, min_hole, simplify), whole_objects=whole,
        )  # fmt: skip
        return ScaleRequest(asked, processes or 0, scheduler) if shared else asked

    run("scale" if shared else "predict", request, as_json, _say_predicted)


def _joined(images: tuple[str, ...], out: str, existing: Existing, nodata: float | None) -> str:
    """The image itself, with its absolute path for the run's record, or a virtual raster of all images."""
    first = Path(images[0])
    if len(images) == 1 and not first.is_dir():
        return str(first.absolute()) if first.exists() else images[0]
    request = MosaicRequest(images, str(Path(out).absolute() / "image.vrt"), existing, nodata)
    return str(worker.answer("mosaic", request, Progress()).path)


@click.command()
@click.argument("probabilities", type=click.Path())
@click.option("--threshold", type=float, required=True, help="Minimum probability for a pixel to count.")
@click.option("--out", required=True, type=click.Path(), help="GeoPackage to write.")
@click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")
@options(_polygon_options)
@click.option("--region", type=click.Path(), help="Only objects that touch the polygons of this FILE or FILE|LAYER.")
@click.option("--edited", type=click.Path(), default="", help="Polygons of the same run, whose edits are kept.")
@json_option
def polygonize(
    probabilities: str, threshold: float, out: str, overwrite: bool, min_area: float | None, min_hole: float | None,
    simplify: bool, region: str | None, edited: str, as_json: bool,
) -> None:  # fmt: skip
    """Make polygons with another threshold.

    PROBABILITIES is the probabilities.tif of a run; the model does not run again.
    """

    def request() -> PolygonizeRequest:
        existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
        options = PolygonOptions(min_area, min_hole, simplify)
        return PolygonizeRequest(probabilities, out, threshold, existing, options, region_of(region), edited)

    run("polygonize", request, as_json, _say_polygonized)


@click.command()
@click.argument("image")
@options(_model_options)
@json_option
def check(
    image: str, model: str, region: str | None, second: str, bands: str, stretch: str, crs: str,
    nodata: float | None, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Preflight: would this model work on IMAGE?

    Exits with 2 if a light is red.
    """

    def request() -> CheckRequest:
        raster = raster_of(image, crs, second, bands, stretch, nodata)
        return CheckRequest(raster, model, region_of(region), device, calibrate=True, whole_objects=True)

    result: CheckResult = run("check", request, as_json, _say_checked)
    sys.exit(2 if result.level is Level.RED else 0)


@click.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@json_option
def info(device: str, as_json: bool) -> None:
    """Show the device that would be used, and versions."""
    run("info", lambda: InfoRequest(device), as_json, _say_info)


def region_of(name: str | None) -> Region | None:
    """All polygons of a layer as one region: of `FILE|LAYER`, or of the first layer of a file that has polygons."""
    if name is None:
        return None
    path, _, wanted = (name, "", "") if Path(name).exists() else name.partition("|")
    try:
        layers = [wanted] if wanted else [layer for layer, kind in list_layers(path).items() if kind is not None]
        for layer in layers:
            meta, geometries, _ = read_layer(path, layer, columns=[])
            drawn = shapely.force_2d(shapely.from_wkb(geometries, on_invalid="fix"))
            polygons = [regions.polygonal(shapely.make_valid(geometry)) for geometry in drawn if geometry is not None]
            region = shapely.union_all(polygons)
            if not region.is_empty:
                return Region(region.wkt, meta["crs"])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.GeometryError) as error:
        raise OrthomaskError(
            ErrorCode.REGION_UNREADABLE,
            f"The region “{Path(name).name}” cannot be opened as a vector file.",
            "Choose a GeoPackage, Shapefile or GeoJSON with polygons, or one of its layers as FILE|LAYER.",
            str(error),
        ) from error
    raise OrthomaskError(
        ErrorCode.REGION_EMPTY,
        f"The region “{Path(name).name}” is empty: it contains no polygons that enclose an area.",
        "Choose a layer of polygons.",
    )


def _say_predicted(result: PredictResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(
        f"{result.polygon_count:,} polygons, {result.polygon_area_m2:,.0f} m², "
        f"in {result.seconds:.1f} s on {result.device}"
    )
    click.echo(str(Path(result.polygons_path).parent))


def _say_polygonized(result: PolygonizeResult) -> None:
    click.echo(f"{result.polygon_count:,} polygons, {result.polygon_area_m2:,.0f} m², in {result.seconds:.1f} s")
    click.echo(result.polygons_path)


def _say_checked(result: CheckResult) -> None:
    for light in result.lights:
        click.echo(click.style(f"{light.level.value:>6}", fg=COLOURS[light.level]) + f"  {light.name}: {light.reason}")
        if light.nodata is not None:
            click.echo(f"        Add --nodata {light.nodata:g} to leave it out.")
        if light.level is not Level.GREEN and light.name in HINTS:
            click.echo(f"        {HINTS[light.name]}")
    if result.seconds is not None:
        memory = f", {result.memory_mb:,.0f} MB of memory" if result.memory_mb else ""
        click.echo(f"About {result.seconds:,.0f} s{memory} for {result.windows:,} windows on {result.device}.")


def _say_info(result: InfoResult) -> None:
    click.echo(f"Orthomask {result.version} on {result.device_name} ({result.device})\n{result.device_reason}")
    click.echo(", ".join(f"{name} {number}" for name, number in result.versions.items()))
