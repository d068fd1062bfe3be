"""The command that finds changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import shapely

from ..engine.images import regions
from ..protocol import ChangesRequest, ChangesResult, Existing, Image, Region, Registration, Survey
from .prediction import region_of
from .shared import json_option, run
from .truth import named


@click.command()
@click.argument("before")
@click.argument("after")
@click.argument("more", nargs=-1)
@click.option("--out", required=True, type=click.Path(), help="Folder for changes.gpkg and changes.html.")
@click.option(
    "--date",
    "days",
    multiple=True,
    metavar="YYYY-MM-DD",
    help="Date of BEFORE, AFTER and so on, in their order, one option for each. Of runs only if it is not known.",
)
@click.option("--class-field", default="", help="Attribute that names the class, for all layers; |field=NAME for one.")
@click.option("--crs", default="", help="CRS of layers that have none, such as EPSG:32632.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(),
    help="Image of BEFORE, AFTER and so on, in their order; “-” for none. Of runs only if it has moved.",
)
@click.option(
    "--complete",
    metavar="FILE",
    help="Polygons within which layers have all objects; by default the convex hull of each. Runs know it themselves.",
)
@click.option(
    "--no-register", is_flag=True, help="Do not measure the shift between dates; compare objects as they lie."
)
@click.option("--limit-m", default=5.0, show_default=True, help="Stop if the shift is larger, m.")
@click.option("--anyway", is_flag=True, help="Go on if the shift is larger than that, or cannot be measured.")
@click.option("--overwrite", is_flag=True, help="Overwrite existing results.")
@json_option
def changes(
    before: str, after: str, more: tuple[str, ...], out: str, days: tuple[str, ...], class_field: str, crs: str,
    images: tuple[str, ...], complete: str | None, no_register: bool, limit_m: float, anyway: bool, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Find what changed from BEFORE to AFTER, and on to further dates.

    Each is the folder of a run, or a polygon layer: FILE, FILE|LAYER, or as QGIS writes it. The shift between the dates
    is measured first; nothing of yours is moved.
    """

    def request() -> ChangesRequest:
        texts, area = (before, after, *more), region_of(complete)
        given = zip(texts, _padded(days, texts), _padded(images, texts))
        surveys = (_survey(*each, class_field, crs, area) for each in given)
        existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
        return ChangesRequest(tuple(surveys), out, not no_register, limit_m, anyway, existing)

    run("changes", request, as_json, _say)


def _padded(given: tuple[str, ...], texts: tuple[str, ...]) -> tuple[str, ...]:
    if len(given) > len(texts):
        raise click.UsageError(f"There are {len(texts)} dates, but {len(given)} times --date or --image.")
    return given + ("",) * (len(texts) - len(given))


def _survey(text: str, day: str, image: str, class_field: str, crs: str, area: Region | None) -> Survey:
    layer = named(text)
    field = layer.extra.get("field", class_field)
    taken = Image(image) if image not in {"", "-"} else None
    survey = Survey(layer.path, layer.layer, day, field, crs, taken)
    return replace(survey, region=_within(survey, area)) if area and not Path(survey.path).is_dir() else survey


def _within(survey: Survey, area: Region) -> str:
    """An area in the CRS of a layer."""
    from ..engine.change.dates import open_date

    region = regions.reprojected(shapely.from_wkt(area.wkt), area.crs, open_date(survey).crs)
    return str(shapely.to_wkt(region, rounding_precision=9))


def _say(result: ChangesResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    for step, found in enumerate(result.registrations, 1):
        click.echo(_registered(step, found))
        for tally in result.tallies:
            if tally.step == step and tally.count:
                interval = f"  ({tally.low:,.0f} to {tally.high:,.0f})" if tally.low is not None else ""
                click.echo(f"{tally.count:>8,} {tally.kind.value:<9} {tally.area_m2:>14,.0f} m²{interval}")
    if result.flickering:
        click.echo(f"{result.flickering:>8,} come and go")
    click.echo(f"{result.changes_path}\n{result.report_path}")


def _registered(step: int, found: Registration) -> str:
    if not found.source:
        return f"Step {step}: shift not known"
    size = f"{found.size_m:.2f} m, at most {found.largest_m:.2f} m (± {found.error_m:.2f} m)"
    return f"Step {step}: shift {size}, from {found.source} at {found.places} of {found.tried} places"
