"""The command that measures how good a model is."""

from __future__ import annotations

import click

from ..protocol import (
    BACKGROUND,
    ChipSet,
    ClassValue,
    EvaluateRequest,
    EvaluateResult,
    Existing,
    LabelledData,
    LabelledImage,
    Pictures,
    PixelScores,
    Split,
    Touch,
)
from .shared import json_option, nodata_option, options, raster_of, run, second_option, stretch_option
from .truth import AREAS_HELP, areas_of, class_value, labels_of, labels_options

_picture_options = [
    click.option("--images", default="", help="Folder or file name pattern of images without georeferencing."),
    click.option("--masks", default="", help="Folder of their masks."),
    click.option("--gsd-m", default=0.0, help="Metres per pixel of these images."),
    click.option("--chips", multiple=True, type=click.Path(), help="Folder of chips that Orthomask exported."),
]


@click.command()
@click.argument("image", required=False)
@click.option("--model", default="buildings", show_default=True, help="Embedded model, or path of a bundle.")
@options(labels_options[:-1])  # the classes are the model's
@click.option("--areas", "area_layer", help=AREAS_HELP)
@click.option("--all-touched", is_flag=True, help="A label covers all pixels it touches, not only centres inside.")
@options(_picture_options)
@click.option("--split", default="test", show_default=True, type=click.Choice([split.value for split in Split]))
@click.option("--threshold", type=float, help="Minimum probability for a pixel to count; by default the model's.")
@click.option(
    "--map-raster", default="", type=click.Path(), help="classes.tif of a run, to estimate the area of each class."
)
@second_option
@click.option("--bands", default="", help="Bands of IMAGE to use, by name or number, separated by commas.")
@stretch_option
@click.option("--crs", default="", help="CRS of an image that has none, such as EPSG:32632.")
@nodata_option
@click.option("--diagnosis", is_flag=True, help="Measure what the model depends on, too: takes minutes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--out", required=True, type=click.Path(), help="Folder for the report.")
@click.option("--overwrite", is_flag=True, help="Overwrite an existing evaluation.")
@json_option
def evaluate(
    image: str | None, model: str, labels: tuple[str, ...], subtract: tuple[str, ...], class_field: str,
    mapping: tuple[str, ...], labels_crs: str, area_layer: str | None, all_touched: bool, images: str, masks: str,
    gsd_m: float, chips: tuple[str, ...], split: str, threshold: float | None, map_raster: str, second: str,
    bands: str, stretch: str, crs: str, nodata: float | None, diagnosis: bool, device: str, out: str, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare a model's results with labels.

    Use an IMAGE with --labels and --areas, or --images with --masks and --gsd-m, or --chips. The report, scores and
    error layers go into the folder OUT.
    """

    def request() -> EvaluateRequest:
        wanted = Split(split)
        projects: tuple[LabelledImage, ...] = ()
        pictures: tuple[Pictures, ...] = ()
        if image:
            drawn = labels_of(labels, subtract, class_field, mapping, labels_crs)
            touch = Touch.ALL if all_touched else Touch.CENTRE
            raster = raster_of(image, crs, second, bands, stretch, nodata)
            projects = (LabelledImage(raster, drawn, areas_of(area_layer, labels_crs), touch),)
        if images or masks:
            pictures = (Pictures(images, masks, gsd_m, _with_background(mapping), wanted),)
        data = LabelledData(projects, pictures, tuple(map(ChipSet, chips)))
        existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
        return EvaluateRequest(model, data, out, wanted, threshold, map_raster, device, existing, diagnosis)

    run("evaluate", request, as_json, _say)


def _with_background(mapping: tuple[str, ...]) -> tuple[ClassValue, ...]:
    """What the values of masks mean; 0 is background unless it is mapped to something else."""
    values = tuple(map(class_value, mapping))
    numbers = bool(values) and not any(entry.source.startswith("#") for entry in values)
    said = any(entry.source == "0" for entry in values)
    return (*values, ClassValue("0", BACKGROUND)) if numbers and not said else values


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
    best = f"{result.best_threshold:g} is best on the areas for {result.tuned_on.value}, IoU {result.best_iou:.3f} here"
    click.echo(f"threshold {result.threshold:g}" + (f"; {best}" if result.best_iou else ""))
    if result.best_iou and result.tuned_on is Split.TEST:
        click.echo("With it, the score of these test areas is no longer honest; use areas for validation to choose it.")
    for area in result.areas:
        margin = f" ± {area.margin_m2:,.0f}" if area.margin_m2 else ""
        click.echo(f"{area.name}: {area.estimated_m2:,.0f}{margin} m² ({area.mapped_m2:,.0f} mapped)")
    if result.diagnosis:
        for sentence in (result.diagnosis.sentence, *(curve.sentence for curve in result.diagnosis.curves)):
            click.echo(sentence)
    click.echo(result.report_path)


def _say_pixels(first: str, rows: tuple[PixelScores, ...]) -> None:
    click.echo(_row(first, "IoU", "F1", "precision", "recall", "pixels"))
    for row in rows:
        numbers = (row.iou, row.f1, row.precision, row.recall)
        click.echo(_row(row.name, *(f"{number:.3f}" for number in numbers), row.pixels))
    click.echo()


def _row(name: object, *cells: object) -> str:
    return f"{name!s:<16}" + "".join(f"{cell!s:>11}" for cell in cells)
