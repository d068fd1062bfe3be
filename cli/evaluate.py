"""The command that measures how good a model is."""

from __future__ import annotations

import click

from ..protocol import (
    Areas,
    ChipSet,
    ClassValue,
    ErrorCode,
    EvaluateRequest,
    EvaluateResult,
    Existing,
    Image,
    LabelledData,
    LabelledImage,
    Labels,
    OrthomaskError,
    Pictures,
    PixelScores,
    Split,
    Touch,
)
from .shared import json_option, listed, options, run

_truth_options = [
    click.option("--labels", multiple=True, metavar="FILE[|layer]", help="Labels of IMAGE; later ones lie on top."),
    click.option("--class-field", default="", help="Attribute of the labels that names the class."),
    click.option("--areas", metavar="FILE[|layer]", help="Areas of IMAGE in which everything is labelled."),
    click.option(
        "--split-field", default="split", show_default=True, help="Attribute of the areas with their purpose."
    ),
    click.option("--all-touched", is_flag=True, help="A label covers every pixel it touches, not only whose centre."),
    click.option("--images", default="", help="Folder or pattern of pictures without georeference."),
    click.option("--masks", default="", help="Folder of their masks."),
    click.option("--gsd-m", type=float, default=0.0, help="Metres per pixel of the pictures."),
    click.option("--chips", multiple=True, type=click.Path(), help="Folder of chips that Orthomask exported."),
    click.option("--map", "mapping", multiple=True, metavar="VALUE=CLASS", help="What a value or #colour means."),
]


@click.command()
@click.argument("image", required=False)
@click.option("--model", default="buildings", show_default=True, help="Embedded model, or path of a bundle.")
@options(_truth_options)
@click.option("--split", default="test", show_default=True, type=click.Choice([split.value for split in Split]))
@click.option("--threshold", type=float, help="Probability from which a pixel belongs to a class.")
@click.option("--map-raster", default="", type=click.Path(), help="classes.tif of a run, to estimate its areas.")
@click.option("--bands", default="", help="Bands of IMAGE to use, by name or number, separated by commas.")
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--out", required=True, type=click.Path(), help="Folder for the report.")
@click.option("--overwrite", is_flag=True, help="Replace an evaluation that is there.")
@json_option
def evaluate(
    image: str | None, model: str, labels: tuple[str, ...], class_field: str, areas: str | None, split_field: str,
    all_touched: bool, images: str, masks: str, gsd_m: float, chips: tuple[str, ...], mapping: tuple[str, ...],
    split: str, threshold: float | None, map_raster: str, bands: str, crs: str, device: str, out: str, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare what a model finds with labels.

    Give an IMAGE with --labels and --areas, or --images with --masks and --gsd-m, or --chips. Report, scores and
    layers of errors go into the folder OUT.
    """

    def request() -> EvaluateRequest:
        wanted, values = Split(split), tuple(map(_class_value, mapping))
        projects: tuple[LabelledImage, ...] = ()
        pictures: tuple[Pictures, ...] = ()
        if image:
            sources = tuple(Labels(*_layer(text), class_field, values) for text in labels)
            bounds = Areas(*_layer(areas), split_field) if areas else None
            touch = Touch.ALL if all_touched else Touch.CENTRE
            projects = (LabelledImage(Image(image, crs, listed(bands)), sources, bounds, touch),)
        if images or masks:
            pictures = (Pictures(images, masks, gsd_m, values, wanted),)
        data = LabelledData(projects, pictures, tuple(map(ChipSet, chips)))
        existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
        return EvaluateRequest(model, data, out, wanted, threshold, map_raster, device, existing)

    run("evaluate", request, as_json, _say)


def _layer(text: str) -> tuple[str, str]:
    """File and layer of `FILE|layer`, as well as of QGIS's `FILE|layername=layer`."""
    path, _, layer = text.partition("|")
    return path, layer.removeprefix("layername=")


def _class_value(text: str) -> ClassValue:
    source, _, value = text.rpartition("=")
    if not source or not value.strip().isdigit():
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST, f"“{text}” does not map a value to a class.", "Write it like 255=1 or #3c1098=2."
        )
    return ClassValue(source.strip(), int(value))


def _say(result: EvaluateResult) -> None:
    for warning in result.warnings:
        click.echo(f"Note: {warning}")
    _say_pixels("class", result.pixels if len(result.pixels) > 2 else result.pixels[1:])
    if len(result.places) > 1:
        _say_pixels("place", result.places)
    click.echo(_row("objects", "precision", "recall", "F1", "AP", "matched", "missed", "false"))
    for row in result.objects:
        numbers = (row.precision, row.recall, row.f1, row.average_precision)
        click.echo(_row(row.name, *(f"{number:.3f}" for number in numbers), row.matched, row.missed, row.false))
    click.echo(f"\naccuracy {result.accuracy:.3f}, kappa {result.kappa:.3f}, calibration error ", nl=False)
    click.echo(f"{result.calibration_error:.3f}")
    click.echo(f"threshold {result.threshold:g}; {result.best_threshold:g} is best here, IoU {result.best_iou:.3f}")
    for area in result.areas:
        click.echo(f"{area.name}: {area.estimated_m2:,.0f} ± {area.margin_m2:,.0f} m² ({area.mapped_m2:,.0f} mapped)")
    click.echo(result.report_path)


def _say_pixels(first: str, rows: tuple[PixelScores, ...]) -> None:
    click.echo(_row(first, "IoU", "F1", "precision", "recall", "pixels"))
    for row in rows:
        numbers = (row.iou, row.f1, row.precision, row.recall)
        click.echo(_row(row.name, *(f"{number:.3f}" for number in numbers), row.pixels))
    click.echo()


def _row(name: object, *cells: object) -> str:
    return f"{name!s:<16}" + "".join(f"{cell!s:>11}" for cell in cells)
