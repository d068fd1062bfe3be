"""Where a run is unsure, from a terminal."""

from __future__ import annotations

import click

from ..protocol import Existing, UncertaintyRequest, UncertaintyResult
from .shared import json_option, run


@click.command()
@click.argument("run_dir", metavar="RUN")
@click.option("--out", default="", type=click.Path(), help="GeoTIFF. [default: uncertainty.tif in RUN]")
@click.option(
    "--flips/--no-flips", default=True,
    help="Run the model again on the mirrored image, four times as long as the run; without, the entropy alone.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--overwrite", is_flag=True, help="Overwrite an existing raster.")
@json_option
def uncertainty(run_dir: str, out: str, flips: bool, device: str, overwrite: bool, as_json: bool) -> None:
    """Show where the model is unsure in RUN, the folder of a finished run, as a raster on its grid."""

    def request() -> UncertaintyRequest:
        return UncertaintyRequest(run_dir, out, flips, device, Existing.OVERWRITE if overwrite else Existing.REFUSE)

    run("uncertainty", request, as_json, _say)


def _say(result: UncertaintyResult) -> None:
    click.echo(f"The model is unsure of {100 * result.unsure_share:.1f}% of the pixels (entropy above 0.5).")
    click.echo(result.path)
