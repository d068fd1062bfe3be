"""The command that collects places, labels and imagery."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..protocol import (
    MOST_TILES,
    OVERPASS,
    PRESETS,
    CollectRequest,
    CollectResult,
    Existing,
    Imagery,
    OpenStreetMap,
    Sampled,
    TagRule,
    VectorLabels,
)
from .shared import existing_options, json_option, numbers, options, run
from .truth import areas_of, named

OSM = re.compile(r"osm(?::(?P<preset>\w+))?")
EXTRACT = (".osm", ".pbf")

_place_options = [
    click.option("--areas", help="Polygons to collect, each an area: FILE or FILE|LAYER. Instead of sampling:"),
    click.option("--within", default="", help="Polygons that squares are sampled in: FILE or FILE|LAYER."),
    click.option("--where", default="", help="Only these polygons, as in SQL: \"name = 'France'\"."),
    click.option("--weights", default="", help="Raster of people, or of other numbers, that weights the sampling."),
    click.option("--density", is_flag=True, help="The weights are numbers per area, not per pixel."),
    click.option("--count", default=10, show_default=True, help="Number of squares."),
    click.option("--size", default=256, show_default=True, help="Side of the coarsest images, px."),
    click.option("--size-m", default=0.0, help="Side of the squares on the ground instead, m."),
    click.option("--min-distance", default=0.0, show_default=True, help="Minimum distance between squares, m."),
    click.option("--shares", default="0.7,0.15,0.15", show_default=True, help="Train, validation and test."),
    click.option("--checked", is_flag=True, help="The labels are complete: squares without a label are empty."),
    click.option("--seed", default=1, show_default=True, help="The same seed finds the same squares."),
]
_label_options = [
    click.option(
        "--labels", multiple=True,
        help="osm (buildings), osm:farmland, an extract such as FILE.osm.pbf, or polygons: FILE, FILE|LAYER, "
        "WFS:URL|LAYER, with |field=NAME or |class=NAME. May be repeated.",
    ),
    click.option(
        "--tag", "tags", multiple=True, metavar="TAGS=CLASS",
        help="Objects of OpenStreetMap that become a class, instead of buildings: building=building, or "
        "landuse=farmland|meadow=field. May be repeated; the first one that fits counts.",
    ),
    click.option("--without-tag", multiple=True, metavar="TAGS", help="Objects to cut out, such as landuse=farmyard."),
    click.option("--subtract", multiple=True, help="Polygons to cut out of all labels: FILE or FILE|LAYER."),
    click.option("--map", "mapping", multiple=True, metavar="VALUE=CLASS", help="Class of a value of the attribute."),
    click.option("--labels-crs", default="", help="CRS of polygons that have none, such as EPSG:32632."),
    click.option("--labels-licence", default="", help="Licence of labels that are not from OpenStreetMap."),
    click.option("--labels-attribution", default="", help="Attribution of these labels."),
    click.option("--labels-date", default="", help="Date of these labels, such as 2024-05."),
    click.option("--labels-access", multiple=True, metavar="NAME=VALUE",
                 help="Secrets for labels from a service: as --access, which is for images only."),
    click.option("--overpass", default=OVERPASS, show_default=True, help="Server to ask for OpenStreetMap."),
    click.option("--contact", default="", help="E-mail or web address that servers are told."),
]  # fmt: skip
_image_options = [
    click.option("--tiles", "--imagery", "url", default="",
                 help="Address of tiles with {z}, {x} and {y}, or any raster of GDAL: a COG's URL, WMS:URL, a file."),
    click.option("--zoom", default="", help="Zoom levels of tiles, separated by commas: a batch each."),
    click.option("--gsd", default="", help="Metres per pixel instead, separated by commas."),
    click.option("--licence", default="", help="Licence that lets you keep the images and train with them. Required."),
    click.option("--attribution", default="", help="Attribution of the images."),
    click.option("--date", default="", help="Date of the images, such as 2024-05."),
    click.option("--key", envvar="ORTHOMASK_KEY", help="Your key, for {key} in the address. Never written anywhere."),
    click.option("--access", multiple=True, metavar="NAME=VALUE",
                 help="Other secrets: GDAL_HTTP_USERPWD=USER:PASSWORD, or a placeholder of the address."),
    click.option("--rate", default=4.0, show_default=True, help="Most requests a second."),
    click.option("--most-tiles", default=MOST_TILES, show_default=True, help="Refuse to fetch more."),
]  # fmt: skip


@click.command()
@options(_place_options)
@options(_label_options)
@options(_image_options)
@click.option("--out", required=True, type=click.Path(), help="Folder to collect into.")
@options(existing_options)
@json_option
def collect(as_json: bool, **given: Any) -> None:
    """Collect labels and images for areas, to train on.

    Squares are sampled inside polygons, by population if you like, or areas are given. OUT gets a label project
    (labels.gpkg), an image of each area at each zoom, and a recipe for each zoom: orthomask train OUT/zoom_18.toml
    --data OUT --out RUN.
    """
    run("collect", lambda: _request(given), as_json, _say)


def _request(given: dict[str, Any]) -> CollectRequest:
    osm, vectors = _labels(given)
    return CollectRequest(
        given["out"], areas_of(given["areas"], given["labels_crs"]), _sample(given), osm, vectors, _imagery(given),
        given["contact"], given["most_tiles"], Existing(given["existing"] or "refuse"),
    )  # fmt: skip


def _sample(given: dict[str, Any]) -> Sampled | None:
    if not (given["within"] or given["weights"]):
        return None
    layer = named(given["within"])
    return Sampled(
        layer.path, layer.layer, given["where"], "", given["weights"], given["density"], given["count"],
        given["size"], given["size_m"], given["min_distance"], numbers(given["shares"], "--shares"), given["seed"],
        given["checked"],
    )  # fmt: skip


def _labels(given: dict[str, Any]) -> tuple[OpenStreetMap | None, tuple[VectorLabels, ...]]:
    """What `--labels` names: OpenStreetMap once, and any number of other sources."""
    rules = [_rule(text) for text in given["tags"]] + [TagRule(text) for text in given["without_tag"]]
    osm, vectors = None, []
    for text in given["labels"]:
        match = OSM.fullmatch(text)
        if match or text.lower().endswith(EXTRACT):
            preset = (match["preset"] if match else "") or "buildings"
            if preset not in PRESETS:
                raise click.UsageError(f"There is no “osm:{preset}”; use one of osm:{', osm:'.join(PRESETS)}.")
            usual = PRESETS[preset] if not given["tags"] else ()
            osm = OpenStreetMap((*usual, *rules), "" if match else text, given["overpass"])
        else:
            vectors.append(_vectors(text, given))
    if rules and osm is None:
        raise click.UsageError("--tag and --without-tag need --labels osm, or an extract of OpenStreetMap.")
    vectors += [replace(_vectors(text, given), subtract=True) for text in given["subtract"]]
    return osm, tuple(vectors)


def _vectors(text: str, given: dict[str, Any]) -> VectorLabels:
    path, *parts = text.split("|")
    class_name = next((part[6:] for part in parts if part.startswith("class=")), "")
    layer = named("|".join([path, *(part for part in parts if not part.startswith("class="))]))
    pairs = [value.rpartition("=") for value in given["mapping"]]
    secrets = _access(given["labels_access"], given["key"] if "{key}" in path else None)
    return VectorLabels(
        layer.path, layer.layer, layer.extra.get("field", ""), {value: name for value, _, name in pairs},
        class_name or "object", False, given["labels_crs"], given["labels_licence"], given["labels_attribution"],
        given["labels_date"], access=secrets,
    )  # fmt: skip


def _rule(text: str) -> TagRule:
    tags, equals, class_name = text.rpartition("=")
    if not equals:
        raise click.UsageError(f"“{text}” names no class; write it as TAGS=CLASS, such as building=building.")
    return TagRule(tags, class_name)


def _imagery(given: dict[str, Any]) -> Imagery | None:
    if not given["url"]:
        return None
    zooms = numbers(given["zoom"], "--zoom")
    if any(zoom != int(zoom) for zoom in zooms):
        raise click.UsageError("Zoom levels are whole numbers.")
    return Imagery(
        given["url"], given["licence"], tuple(map(int, zooms)), numbers(given["gsd"], "--gsd"), given["attribution"],
        given["date"], given["rate"], _access(given["access"], given["key"]),
    )  # fmt: skip


def _access(pairs: Sequence[str], key: str | None) -> dict[str, str]:
    found = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    return {**found, **({"key": key} if key else {})}


def _say(result: CollectResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    labels = ", ".join(f"{count:,} {name}" for name, count in result.labels.items()) or "no labels"
    click.echo(f"{result.areas:,} areas, {labels}, {len(result.images):,} images")
    for line in result.attributions:
        click.echo(f"Attribution: {line}")
    click.echo(result.project_path)
    for recipe in result.recipes:
        click.echo(f"orthomask train {recipe} --data {Path(recipe).parent} --out RUN")
