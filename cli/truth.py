"""Commands of ground truth: project, areas and mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from ..protocol import (
    Areas,
    AreasRequest,
    AreasResult,
    ClassInfo,
    ClassValue,
    Existing,
    Image,
    Labels,
    MaskRequest,
    MaskResult,
    ProjectRequest,
    ProjectResult,
    Sampling,
    Touch,
)
from .prediction import region_of
from .shared import json_option, nodata_option, options, run

LABELS_HELP = (
    "Vector layer, or raster of classes or colours: FILE, FILE|LAYER, or as QGIS writes it. May be repeated: later "
    "ones take precedence. |field=NAME or |class=NUMBER after it apply to this layer only."
)
AREAS_HELP = "Polygons in which everything is labelled: FILE or FILE|LAYER."

labels_crs_option = click.option(
    "--labels-crs", default="", help="CRS of labels and areas that have none, such as EPSG:32632."
)
labels_options = [
    click.option("--labels", multiple=True, help=LABELS_HELP),
    click.option("--subtract", multiple=True, help="Layer whose polygons become background, on top of all labels."),
    click.option("--class-field", default="", help="Attribute that names the class, for all layers."),
    click.option(
        "--map", "mapping", multiple=True, metavar="VALUE=CLASS",
        help="The class of a value of the attribute or raster, or of a colour #rrggbb: a number, 0 for background, "
        "255 for unknown. May be repeated.",
    ),
    labels_crs_option,
    click.option(
        "--class", "classes", multiple=True, metavar="NAME[:#rrggbb]",
        help="Names of the classes 1, 2, 3 …, without background.",
    ),
]  # fmt: skip


class Named(NamedTuple):
    """A layer as it is named on the command line."""

    path: str
    layer: str
    extra: dict[str, str]


def labels_of(
    labels: Sequence[str], subtract: Sequence[str], class_field: str, mapping: Sequence[str], crs: str
) -> tuple[Labels, ...]:
    """The labels that the options of `labels_options` name."""
    values = tuple(class_value(text) for text in mapping)
    drawn = []
    for layer in map(named, labels):
        field = layer.extra.get("field", "" if "class" in layer.extra else class_field)
        number = _number(layer.extra.get("class", "1"), "class")
        drawn.append(Labels(layer.path, layer.layer, field, values, number, crs=crs))
    cut = [Labels(layer.path, layer.layer, subtract=True, crs=crs) for layer in map(named, subtract)]
    return (*drawn, *cut)


def areas_of(text: str | None, crs: str) -> Areas | None:
    """The areas that an option names."""
    if not text:
        return None
    layer = named(text)
    return Areas(layer.path, layer.layer, crs=crs)


def classes_of(texts: Sequence[str]) -> tuple[ClassInfo, ...]:
    """Classes 1, 2, 3 … from names with or without colour; the background, which is 0, may be among them."""
    from ..training.truth.classes import BACKGROUND_NAME, color

    found: list[ClassInfo] = []
    for text in texts:
        match = re.fullmatch(r"(.+?)(?::(#[0-9a-fA-F]{6}))?", text)
        name, tint = match.groups() if match else (text, None)
        if name.casefold() != BACKGROUND_NAME:
            value = len(found) + 1
            found.append(ClassInfo(value, name, (tint or color(value)).lower()))
    return tuple(found)


@click.command()
@click.option("--out", required=True, type=click.Path(), help="GeoPackage to create.")
@click.option("--crs", default="", help="CRS to draw in, such as EPSG:32632.")
@click.option("--image", type=click.Path(), help="Use the CRS of this image.")
@click.option(
    "--class", "classes", multiple=True, required=True, metavar="NAME[:#rrggbb]", help="A class; may be repeated."
)
@click.option("--overwrite", is_flag=True, help="Overwrite an existing project, with everything drawn in it.")
@json_option
def project(out: str, crs: str, image: str | None, classes: tuple[str, ...], overwrite: bool, as_json: bool) -> None:
    """Make a label project: a GeoPackage to draw labels and areas in."""
    if bool(crs) == bool(image):
        raise click.UsageError("Use either --crs or --image.")

    def request() -> ProjectRequest:
        return ProjectRequest(out, crs or _crs_of(str(image)), classes_of(classes), _existing(overwrite))

    run("project", request, as_json, _say_made)


@click.command()
@click.argument("image")
@click.option("--out", required=True, type=click.Path(), help="GeoPackage, such as a label project; areas are added.")
@click.option("--count", default=10, show_default=True, help="Number of areas.")
@click.option("--size", default=50.0, show_default=True, help="Side length, m.")
@click.option(
    "--method", type=click.Choice([kind.value for kind in Sampling]), default="random", show_default=True,
    help="In a regular grid, at random, or the same number in each class.",
)  # fmt: skip
@click.option("--min-distance", default=0.0, show_default=True, help="Minimum distance between areas, m.")
@click.option("--region", type=click.Path(), help="Vector file whose polygons bound the areas.")
@click.option(
    "--weights", help="Raster or vector layer whose values weight the sampling: FILE or FILE|LAYER|field=NAME."
)
@click.option("--strata", help="Labels or classes to stratify by: FILE or FILE|LAYER|field=NAME.")
@click.option("--shares", default="0,0,0", show_default=True, help="Train, validation and test; the rest is todo.")
@click.option("--checked", is_flag=True, help="Everything is labelled already: areas without a label are empty.")
@click.option("--seed", default=1, show_default=True, help="The same seed places the same areas.")
@click.option("--labels-crs", default="", help="CRS of strata and weights that have none, such as EPSG:32632.")
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@nodata_option
@json_option
def areas(
    image: str, out: str, count: int, size: float, method: str, min_distance: float, region: str | None,
    weights: str | None, strata: str | None, shares: str, checked: bool, seed: int, labels_crs: str, crs: str,
    nodata: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Place square areas to label on IMAGE."""

    def request() -> AreasRequest:
        weight = named(weights or "")
        strata_labels = labels_of([strata], [], "", [], labels_crs)[0] if strata else None
        return AreasRequest(
            Image(image, crs, nodata=nodata), out, Sampling(method), count, size, min_distance, region_of(region),
            weight.path, weight.layer, weight.extra.get("field", ""), strata_labels, _shares(shares), seed, labels_crs,
            checked,
        )  # fmt: skip

    run("areas", request, as_json, _say_placed)


@click.command()
@click.argument("image")
@click.option("--out", required=True, type=click.Path(), help="GeoTIFF to write.")
@options(labels_options)
@click.option("--areas", "area_layer", help=AREAS_HELP)
@click.option("--all-touched", is_flag=True, help="Burn all pixels that a polygon touches, not only centres inside.")
@click.option("--border", default=0, show_default=True, help="Pixels this close to two objects become a class, px.")
@click.option("--weights", default="", type=click.Path(), help="Also write pixel weights, to this file.")
@click.option("--region", type=click.Path(), help="Vector file whose polygons bound the mask.")
@click.option("--overwrite", is_flag=True, help="Overwrite existing results.")
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@json_option
def mask(
    image: str, out: str, labels: tuple[str, ...], subtract: tuple[str, ...], class_field: str,
    mapping: tuple[str, ...], labels_crs: str, classes: tuple[str, ...], area_layer: str | None, all_touched: bool,
    border: int, weights: str, region: str | None, overwrite: bool, crs: str, as_json: bool,
) -> None:  # fmt: skip
    """Burn labels onto exactly the grid of IMAGE.

    0 is background; 255 is unknown, outside the areas.
    """

    def request() -> MaskRequest:
        return MaskRequest(
            Image(image, crs), labels_of(labels, subtract, class_field, mapping, labels_crs), out,
            areas_of(area_layer, labels_crs), classes_of(classes), Touch.ALL if all_touched else Touch.CENTRE, border,
            weights, region_of(region), _existing(overwrite),
        )  # fmt: skip

    run("mask", request, as_json, _say_burned)


def named(text: str) -> Named:
    """`FILE|LAYER`, or `FILE|layername=LAYER` as QGIS writes it, with `|key=value` after it."""
    path, *parts = text.split("|")
    layer, extra = "", {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            layer = part
        elif key == "layername":
            layer = value
        elif key in {"field", "class"}:
            extra[key] = value
        else:
            raise click.UsageError(f"“{part}” after “{path}” is not known; use a layer, field=NAME or class=NUMBER.")
    return Named(path, layer, extra)


def class_value(text: str) -> ClassValue:
    """What `VALUE=CLASS` means."""
    source, _, value = text.rpartition("=")
    return ClassValue(source, _number(value, "map"))


def _number(text: str, what: str) -> int:
    if not text.isdecimal():
        raise click.UsageError(f"“{text}” in {what} is not a class number.")
    return int(text)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.UsageError(f"“{text}” are not valid shares; use three numbers such as 0.6,0.2,0.2.") from error


def _crs_of(path: str) -> str:
    from ..engine.images.raster import open_image

    with open_image(Image(path)) as source:
        return source.crs.to_wkt()


def _existing(overwrite: bool) -> Existing:
    return Existing.OVERWRITE if overwrite else Existing.REFUSE


def _say_made(result: ProjectResult) -> None:
    click.echo(result.project_path)


def _say_placed(result: AreasResult) -> None:
    _say_warnings(result.warnings)
    click.echo(f"{result.count} areas\n{result.areas_path}")


def _say_burned(result: MaskResult) -> None:
    _say_warnings(result.warnings)
    for count in result.counts:
        click.echo(f"{count.value} {count.name}: {count.pixels:,} px, {count.objects:,} objects")
    click.echo(f"unknown: {result.unknown_px:,} px\n{Path(result.mask_path)}")


def _say_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        click.echo(f"Note: {warning}")
