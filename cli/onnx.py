"""Commands that write models as ONNX files and make models of such files, or of PyTorch's weights."""

from __future__ import annotations

import click

from ..protocol import (
    PIXEL_TYPES,
    WINDOW_PX,
    Existing,
    ExportModelRequest,
    ExportModelResult,
    ImportModelRequest,
    ModelSummary,
)
from .shared import json_option, listed, numbers, options, run

_overwrite_option = click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")


@click.command("export")
@click.argument("model")
@click.option("--onnx", "path", required=True, type=click.Path(), help="File to write, .onnx.")
@click.option("--size", "side_px", type=int, default=WINDOW_PX, show_default=True, help="Side of its image, pixels.")
@_overwrite_option
@json_option
def export_model(model: str, path: str, side_px: int, overwrite: bool, as_json: bool) -> None:
    """Write a MODEL as an ONNX file that Deepness and ONNX Runtime run."""
    run("export_model", lambda: ExportModelRequest(model, path, side_px, _existing(overwrite)), as_json, _say_exported)


_said = [
    click.option("--architecture", default="", help="Of a file with weights: unet, as in segmentation_models_pytorch."),
    click.option("--encoder", default="", help="Of a file with weights: its encoder, such as resnet34."),
    click.option("--title", default="", help="Title in the list of models."),
    click.option("--gsd", "gsd_m", type=float, help="Metres per pixel, if the file does not say."),
    click.option(
        "--classes", default="", metavar="NAME,…",
        help="Names of the output's channels, or of all but the first if that is the background.",
    ),
    click.option("--bands", default="", metavar="NAME,…", help="Names of the bands, in order."),
    click.option("--mean", default="", metavar="NUMBER,…", help="Of each band, of pixels divided by 255."),
    click.option("--std", default="", metavar="NUMBER,…", help="Standard deviation of each band, likewise."),
    click.option("--output", "head", type=int, default=0, help="Number of the output, if the file has several."),
    click.option("--threshold", type=float, help="Default threshold."),
    click.option("--dtype", type=click.Choice(PIXEL_TYPES), help="Pixel type of its images; default: uint8."),
    click.option("--licence", default="", help="Licence of the model."),
    click.option("--attribution", default="", help="Who made it."),
]  # fmt: skip


@click.command("import")
@click.argument("file", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Bundle to write, .safetensors.")
@options(_said)
@_overwrite_option
@json_option
def import_model(
    file: str, out: str, architecture: str, encoder: str, title: str, gsd_m: float | None, classes: str, bands: str,
    mean: str, std: str, head: int, threshold: float | None, dtype: str | None, licence: str, attribution: str,
    overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a model of an ONNX FILE, such as one for Deepness, or of a FILE with a PyTorch U-Net's weights.

    An ONNX model runs like any other, but cannot be trained; resolution, classes and normalisation come from the file's
    metadata, unless given. Weights need --architecture, --encoder, --gsd and --classes, and can be trained further.
    """

    def request() -> ImportModelRequest:
        return ImportModelRequest(
            file, out, title, gsd_m, listed(classes), listed(bands), numbers(mean, "--mean"), numbers(std, "--std"),
            head, threshold, dtype or "", licence, attribution, _existing(overwrite), architecture, encoder,
        )  # fmt: skip

    run("import_model", request, as_json, _say_imported)


def _existing(overwrite: bool) -> Existing:
    return Existing.OVERWRITE if overwrite else Existing.REFUSE


def _say_exported(result: ExportModelResult) -> None:
    size = f"{result.side_px} × {result.side_px} px"
    click.echo(f"{result.path}: opset {result.opset}, images of {size}")
    click.echo(f"largest difference of a probability in ONNX Runtime: {result.difference:.1g}")


def _say_imported(model: ModelSummary) -> None:
    classes = ", ".join(info.name for info in model.classes)
    click.echo(f"{model.name}: {model.title}\n  {model.gsd_m} m per pixel; reads {', '.join(model.bands)}")
    click.echo(f"  finds {classes}; {model.licence or 'licence not stated'}\n{model.path}")
