"""How well a model finds its classes: intersection over union, precision, recall and F1, by place.

python -m orthomask.training.evaluate BUNDLE --data FOLDER
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch

from ..engine import bundle
from ..engine.devices import keep_pages
from ..engine.progress import Progress
from ..protocol import OrthomaskError
from .dataset import Tiles
from .scenes import read_tiles
from .scores import TOTAL, Scoreboard, Scores, foreground


def evaluate(
    path: Path, data: Path, mask_values: Sequence[int], threshold: float, progress: Progress
) -> dict[str, Scores]:
    """Score a bundle on whole tiles, in fp32; `all` first, then each place.

    Args:
        threshold: probability from which a pixel counts as found; 0 for the bundle's own.
    """
    model = bundle.load(str(path))
    network = model.model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tiles = Tiles(read_tiles(data, mask_values), model.card.bands, model.card.architecture.divisor)
    board = Scoreboard((threshold or model.card.threshold,))
    for index in range(len(tiles)):
        progress.report(index / len(tiles))
        image, mask, place = tiles[index]
        with torch.inference_mode():
            board.add(place, foreground(network(image[None]))[0], mask)
    return board.table()


def report(table: dict[str, Scores]) -> str:
    """The scores as text for people."""
    lines = [f"{'place':<12}{'images':>7}{'IoU':>8}{'precision':>11}{'recall':>8}{'F1':>8}"]
    lines += [
        f"{name:<12}{row.images:>7}{row.iou:>8.3f}{row.precision:>11.3f}{row.recall:>8.3f}{row.f1:>8.3f}"
        for name, row in table.items()
    ]
    return "\n".join([*lines, f"threshold {table[TOTAL].threshold:g}"])


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with images/ and masks/.")
@click.option("--threshold", type=float, default=0.0, help="Probability; by default the model's own.")
@click.option("--mask-values", default="0,255", show_default=True, help="Value of background, class 1 … in the masks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(model: Path, data: Path, threshold: float, mask_values: str, as_json: bool) -> None:
    """Print intersection over union, precision, recall and F1 of MODEL by place."""
    keep_pages()
    try:
        values = [int(value) for value in mask_values.split(",")]
        table = evaluate(model, data, values, threshold, Progress())
    except OrthomaskError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps({name: asdict(row) for name, row in table.items()}) if as_json else report(table))


if __name__ == "__main__":
    main()
