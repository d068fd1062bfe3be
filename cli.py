"""The command line: the same requests as in QGIS, from a terminal."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pyogrio
import shapely

from . import worker
from .engine import devices
from .engine.progress import Progress
from .protocol import (
    Cancelled,
    CheckRequest,
    CheckResult,
    ErrorCode,
    Existing,
    Image,
    InfoRequest,
    InfoResult,
    Level,
    ModelsRequest,
    ModelsResult,
    OrthomaskError,
    PolygonizeRequest,
    PolygonizeResult,
    PolygonOptions,
    PredictRequest,
    PredictResult,
    Region,
    to_json,
)

COLOURS = {Level.GREEN: "green", Level.AMBER: "yellow", Level.RED: "red"}

_image_options = [
    click.argument("image"),
    click.option("--model", default="buildings", show_default=True, help="Embedded model, or path of a bundle."),
    click.option("--region", type=click.Path(), help="Vector file whose polygons bound the prediction."),
    click.option("--bands", default="", help="Bands to use, by name or number, separated by commas."),
    click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
]
_polygon_options = [
    click.option("--min-area", default=6.0, show_default=True, help="Smallest polygon, m²."),
    click.option("--min-hole", default=6.0, show_default=True, help="Smallest hole that is kept, m²."),
    click.option("--simplify/--no-simplify", default=True, help="Clean outlines, or the pixels' own edges."),
]
_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; no progress bar.")


def _options(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def apply(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


@click.group()
@click.version_option(devices.version(), prog_name="orthomask")
def main_group() -> None:
    """Buildings and farmland from orthophotos."""


@main_group.command()
@_options(_image_options)
@click.option("--out", required=True, type=click.Path(), help="Folder for the results.")
@click.option("--threshold", type=float, help="Probability from which a pixel belongs to a class.")
@click.option("--overwrite", "existing", flag_value="overwrite", help="Replace results that are there.")
@click.option("--resume", "existing", flag_value="resume", help="Keep a finished run, go on with an unfinished one.")
@click.option("--date", "image_date", default="", help="When the image was taken, for the provenance.")
@_options(_polygon_options)
@_json_option
def predict(
    image: str, model: str, region: str | None, bands: str, crs: str, device: str, out: str, threshold: float | None,
    existing: str | None, image_date: str, min_area: float, min_hole: float, simplify: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run a model over IMAGE.

    Rasters, polygons and the record of the run go into the folder OUT.
    """

    def request() -> PredictRequest:
        return PredictRequest(
            Image(image, crs, _bands(bands)), model, out, _region(region), threshold,
            Existing(existing or "refuse"), device=device, image_date=image_date,
            polygons=PolygonOptions(min_area, min_hole, simplify),
        )  # fmt: skip

    _run("predict", request, as_json, _say_predicted)


@main_group.command()
@click.argument("probabilities", type=click.Path())
@click.option("--threshold", type=float, required=True, help="Probability from which a pixel belongs to a class.")
@click.option("--out", required=True, type=click.Path(), help="GeoPackage to write.")
@click.option("--overwrite", is_flag=True, help="Replace it if it is there.")
@_options(_polygon_options)
@_json_option
def polygonize(
    probabilities: str, threshold: float, out: str, overwrite: bool, min_area: float, min_hole: float,
    simplify: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make polygons at another threshold.

    PROBABILITIES is the probabilities.tif of a run; the model does not run again.
    """

    def request() -> PolygonizeRequest:
        existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
        options = PolygonOptions(min_area, min_hole, simplify)
        return PolygonizeRequest(probabilities, out, threshold, existing, options)

    _run("polygonize", request, as_json, _say_polygonized)


@main_group.command()
@_options(_image_options)
@_json_option
def check(image: str, model: str, region: str | None, bands: str, crs: str, device: str, as_json: bool) -> None:
    """Preflight: would this model work on IMAGE?

    Exit status 2 where a light is red.
    """

    def request() -> CheckRequest:
        return CheckRequest(Image(image, crs, _bands(bands)), model, _region(region), device)

    result: CheckResult = _run("check", request, as_json, _say_checked)
    sys.exit(2 if result.level is Level.RED else 0)


@main_group.group()
def models() -> None:
    """Look at the models."""


@models.command("list")
@_json_option
def list_models(as_json: bool) -> None:
    """List the embedded models."""
    _run("models", ModelsRequest, as_json, _say_models)


@models.command("show")
@click.argument("model")
def show_model(model: str) -> None:
    """Print the whole card of a MODEL, a name or the path of a bundle, as JSON."""
    _run("models", lambda: ModelsRequest(model), True, _say_models)


@main_group.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@_json_option
def info(device: str, as_json: bool) -> None:
    """Say which device would be used, and the versions."""
    _run("info", lambda: InfoRequest(device), as_json, _say_info)


def exit_status(code: ErrorCode) -> int:
    """130 cancelled, 3 output cannot be written, 4 engine trouble, 1 a defect of ours, 2 anything else: bad input."""
    if code is ErrorCode.CANCELLED:
        return 130
    if code.name.startswith(("OUTPUT", "DISK")):
        return 3
    if code.name.startswith(("ENGINE", "OUT_OF")):
        return 4
    return 1 if code is ErrorCode.INTERNAL else 2


class _Bar(Progress):
    """A progress bar on stderr, cancelled by Ctrl-C; a second Ctrl-C ends the program at once."""

    def __init__(self, visible: bool) -> None:
        self._cancelled = False
        hidden = not visible or not sys.stderr.isatty()
        self._bar: Any = click.progressbar(
            length=1000, file=sys.stderr, hidden=hidden, item_show_func=lambda item: str(item or "")
        )
        signal.signal(signal.SIGINT, self._cancel)

    def _cancel(self, _number: int, _frame: FrameType | None) -> None:
        self._cancelled = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def show(self, fraction: float, message: str) -> None:
        self._bar.update(int(fraction * 1000) - self._bar.pos, message)

    def check_cancelled(self) -> None:
        if self._cancelled:
            raise Cancelled

    def close(self) -> None:
        """Leave the bar's line."""
        self._bar.render_finish()


def _run(method: str, request: Callable[[], Any], as_json: bool, say: Callable[[Any], None]) -> Any:
    """Answer a request, print the result; on an error of ours print it and exit with its status."""
    bar = _Bar(visible=not as_json)
    try:
        result = worker.CAPABILITIES[method](request(), bar)
    except OrthomaskError as error:
        bar.close()
        if as_json:
            click.echo(json.dumps({"error": error.to_json()}))
        click.echo(f"{error.sentence}\n{error.remedy}", err=True)
        sys.exit(exit_status(error.code))
    bar.close()
    if as_json:
        click.echo(json.dumps(to_json(result), ensure_ascii=False, indent=1))
    else:
        say(result)
    return result


def _bands(text: str) -> tuple[str, ...]:
    return tuple(band.strip() for band in text.split(",") if band.strip())


def _region(path: str | None) -> Region | None:
    """All polygons of a vector file as one region."""
    if path is None:
        return None
    try:
        meta, _, geometries, _ = pyogrio.raw.read(path, columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OrthomaskError(
            ErrorCode.REGION_UNREADABLE,
            f"The region “{Path(path).name}” cannot be opened as a vector file.",
            "Choose a GeoPackage, Shapefile or GeoJSON with polygons.",
            str(error),
        ) from error
    polygons = shapely.from_wkb(geometries)
    return Region(shapely.union_all(shapely.make_valid(polygons)).wkt, meta["crs"] or "")


def _say_predicted(result: PredictResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(
        f"{result.polygon_count} polygons, {result.polygon_area_m2:,.0f} m², "
        f"in {result.seconds:.1f} s on {result.device}"
    )
    click.echo(str(Path(result.polygons_path).parent))


def _say_polygonized(result: PolygonizeResult) -> None:
    click.echo(f"{result.polygon_count} polygons, {result.polygon_area_m2:,.0f} m², in {result.seconds:.1f} s")
    click.echo(result.polygons_path)


def _say_checked(result: CheckResult) -> None:
    for light in result.lights:
        click.echo(click.style(f"{light.level.value:>6}", fg=COLOURS[light.level]) + f"  {light.name}: {light.reason}")
    click.echo(f"About {result.seconds:.0f} s for {result.windows} windows on {result.device}.")


def _say_models(result: ModelsResult) -> None:
    for model in result.models:
        classes = ", ".join(info.name for info in model.classes)
        click.echo(f"{model.name}: {model.title}\n  {model.gsd_m} m per pixel; finds {classes}; {model.licence}")


def _say_info(result: InfoResult) -> None:
    click.echo(f"Orthomask {result.version} on {result.device_name} ({result.device})\n{result.device_reason}")
    click.echo(", ".join(f"{name} {number}" for name, number in result.versions.items()))


def main() -> None:
    """Entry point of the command `orthomask`."""
    devices.keep_pages()
    main_group(prog_name="orthomask")
