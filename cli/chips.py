"""The command that cuts images and their labels into chips."""

from __future__ import annotations

from pathlib import Path

import click

from ..protocol import Catalogue, ChipFormat, ChipsRequest, ChipsResult, Existing, LabelledImage, Touch
from .shared import json_option, nodata_option, numbers, options, raster_of, run, second_option, stretch_option
from .truth import AREAS_HELP, areas_of, classes_of, labels_of, labels_options

_cutting_options = [
    click.option(
        "--format", "kind", type=click.Choice([kind.value for kind in ChipFormat]), default="geotiff", show_default=True
    ),
    click.option("--size", default=256, show_default=True, help="Side length of a chip, px."),
    click.option("--stride", type=int, help="Distance from chip to chip, px; by default the size."),
    click.option("--gsd", default="", help="Metres per pixel, separated by commas; by default as in the image."),
    click.option("--rotation", default="0", show_default=True, help="Degrees, separated by commas."),
    click.option("--empty", default=1.0, show_default=True, help="Empty chips for each with objects; 1 keeps all."),
    click.option("--max-unknown", default=0.5, show_default=True, help="Maximum share of unknown pixels."),
    click.option("--coco", is_flag=True, help="Also write a COCO catalogue."),
    click.option("--arcgis", is_flag=True, help="Also write ArcGIS Classified Tiles."),
    click.option(
        "--shares", default="0.7,0.15,0.15", show_default=True,
        help="Shares of train, validation and test, if there are no areas.",
    ),
    click.option("--seed", default=1, show_default=True, help="The same seed cuts the same chips."),
]  # fmt: skip


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--out", required=True, type=click.Path(), help="Folder for the chips.")
@options(labels_options)
@click.option("--areas", "area_layer", help=AREAS_HELP)
@click.option("--all-touched", is_flag=True, help="Burn all pixels that a polygon touches, not only centres inside.")
@options(_cutting_options)
@click.option("--overwrite", is_flag=True, help="Overwrite existing chips.")
@second_option
@click.option("--bands", default="", help="Bands to keep, by name or number, separated by commas.")
@stretch_option
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@nodata_option
@json_option
def chips(
    images: tuple[str, ...], out: str, labels: tuple[str, ...], subtract: tuple[str, ...], class_field: str,
    mapping: tuple[str, ...], labels_crs: str, classes: tuple[str, ...], area_layer: str | None, all_touched: bool,
    kind: str, size: int, stride: int | None, gsd: str, rotation: str, empty: float, max_unknown: float, coco: bool,
    arcgis: bool, shares: str, seed: int, overwrite: bool, second: str, bands: str, stretch: str, crs: str,
    nodata: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Cut images and their labels into chips for training, with masks and a manifest.

    Chips take the split of their area. Without areas, the whole image is used, and blocks of it are assigned to
    train, validation and test. Chips of different splits never touch.
    """

    def request() -> ChipsRequest:
        drawn, areas = labels_of(labels, subtract, class_field, mapping, labels_crs), areas_of(area_layer, labels_crs)
        touch = Touch.ALL if all_touched else Touch.CENTRE
        rasters = [raster_of(image, crs, second, bands, stretch, nodata) for image in images]
        catalogues = [Catalogue.COCO] * coco + [Catalogue.ARCGIS] * arcgis
        return ChipsRequest(
            tuple(LabelledImage(raster, drawn, areas, touch) for raster in rasters), out, classes_of(classes),
            ChipFormat(kind), tuple(catalogues), size, stride or size, numbers(gsd, "--gsd"),
            numbers(rotation, "--rotation"), empty, max_unknown, numbers(shares, "--shares"), seed,
            Existing.OVERWRITE if overwrite else Existing.REFUSE,
        )  # fmt: skip

    run("chips", request, as_json, _say)


def _say(result: ChipsResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    counts = ", ".join(f"{count} {split}" for split, count in result.counts.items())
    left_out = ", ".join(f"{count} {reason}" for reason, count in result.left_out.items() if count)
    click.echo(f"{sum(result.counts.values())} chips ({counts}) in {result.seconds:.1f} s")
    if left_out:
        click.echo(f"Left out: {left_out}")
    click.echo(str(Path(result.manifest_path).parent))
