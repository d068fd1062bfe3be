"""Commands that write a run in formats that other programs read: page and export."""

from __future__ import annotations

import click

from ..protocol import Existing, ExportRunRequest, ExportRunResult, PageRequest, PageResult, RunFormat
from .shared import json_option, run, told
from .web.server import serve

_overwrite_option = click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")
MB = 1e6


@click.command()
@click.argument("run_dir", metavar="[RUN]", required=False, type=click.Path())
@click.option("--static", is_flag=True, help="Write RUN as one HTML file that can be mailed and needs no server.")
@click.option("--out", type=click.Path(), help="File to write; by default page.html in the folder of the run.")
@click.option("--credit", default="", help="Whose image it is, and its licence; shown on the page.")
@_overwrite_option
@json_option
@click.option("--model", "models", multiple=True, type=click.Path(), help="Bundle to offer as well; may be repeated.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the local page; by default 7890 or the next free.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the local page in the browser, or not.")
def page(
    run_dir: str | None, static: bool, out: str | None, credit: str, overwrite: bool, as_json: bool,
    models: tuple[str, ...], port: int | None, open_browser: bool,
) -> None:  # fmt: skip
    """Serve a local page to try models on pictures, or write a finished run as a page.

    Without RUN, a page opens in the browser: choose or drop a picture, run a model, move the threshold, download.
    It is served to this computer alone. With RUN, the folder of a finished run, and --static, RUN becomes one file.
    """
    if run_dir and static:
        if models or port:
            raise click.UsageError("Use --model and --port only without RUN and --static.")
        target = out or f"{run_dir}/page.html"
        run("page", lambda: PageRequest(run_dir, target, credit, _existing(overwrite)), as_json, _say_page)
    elif run_dir or static:
        raise click.UsageError("Use RUN and --static together to write a run as a page, or neither to serve a page.")
    elif out or credit or overwrite or as_json:
        raise click.UsageError("Use --out, --credit, --overwrite and --json only with RUN and --static.")
    else:
        told(lambda: serve(models, port, open_browser))


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path())
@click.option("--coco", type=click.Path(), help="COCO JSON to write: annotations of the run's image.")
@click.option(
    "--fiboa", type=click.Path(), help="fiboa 0.3 to write: fields, as GeoJSON or, if it ends in .parquet, GeoParquet."
)
@click.option("--class", "classes", multiple=True, help="Name of a class to write; may be repeated. By default all.")
@_overwrite_option
@json_option
def export(
    run_dir: str, coco: str | None, fiboa: str | None, classes: tuple[str, ...], overwrite: bool, as_json: bool
) -> None:
    """Write the objects of the finished RUN, a folder, in another format."""
    if bool(coco) == bool(fiboa):
        raise click.UsageError("Use either --coco FILE or --fiboa FILE.")
    target, format_ = (coco, RunFormat.COCO) if coco else (fiboa, RunFormat.FIBOA)
    run(
        "export_run",
        lambda: ExportRunRequest(run_dir, str(target), format_, classes, _existing(overwrite)),
        as_json,
        _say_export,
    )


def _existing(overwrite: bool) -> Existing:
    return Existing.OVERWRITE if overwrite else Existing.REFUSE


def _say_page(result: PageResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"{result.shown:,} of {result.objects:,} objects, {result.size_bytes / MB:.1f} MB")
    click.echo(result.path)


def _say_export(result: ExportRunResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"{result.objects:,} objects")
    click.echo(result.path)
