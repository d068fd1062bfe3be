"""Commands that write a run in formats that other programs read: page and export."""

from __future__ import annotations

import click

from ..protocol import Existing, ExportRunRequest, ExportRunResult, PageRequest, PageResult, RunFormat
from .shared import json_option, run

_overwrite_option = click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")
MB = 1e6


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path())
@click.option("--static", is_flag=True, help="Write one HTML file that can be mailed and needs no server.")
@click.option("--out", type=click.Path(), help="File to write; by default page.html in the folder of the run.")
@click.option("--credit", default="", help="Whose image it is, and its licence; shown on the page.")
@_overwrite_option
@json_option
def page(run_dir: str, static: bool, out: str | None, credit: str, overwrite: bool, as_json: bool) -> None:
    """Show the finished RUN, a folder, as a web page: image, objects and provenance."""
    if not static:
        raise click.UsageError("Add --static: it is the only kind of page.")
    target = out or f"{run_dir}/page.html"
    run("page", lambda: PageRequest(run_dir, target, credit, _existing(overwrite)), as_json, _say_page)


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
