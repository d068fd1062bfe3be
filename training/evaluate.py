"""How well a model finds its classes: intersection over union, precision, recall and F1, by place.

python -m orthomask.training.evaluate BUNDLE --data FOLDER
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve

from ..engine import bundle
from ..engine.devices import keep_pages
from ..engine.progress import Progress
from ..protocol import OrthomaskError
from .dataset import Tiles
from .scenes import UNKNOWN, read_tiles

THRESHOLDS = tuple(step / 20 for step in range(2, 19))
"""Thresholds that a training chooses from."""
TOTAL = "all"


@dataclass(frozen=True)
class Scores:
    """Agreement of predicted and true foreground, counted over the known pixels of all images together."""

    iou: float
    precision: float
    recall: float
    f1: float
    threshold: float
    images: int


class Scoreboard:
    """Counts right and wrong pixels at several thresholds, for each place and for all together."""

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = torch.tensor(thresholds, dtype=torch.float64)
        self._curves: dict[str, BinaryPrecisionRecallCurve] = {}
        self._images: dict[str, int] = {}

    def add(self, place: str, probability: Tensor, mask: Tensor) -> None:
        """Count an image: foreground probability `(..., H, W)` in 0 to 1, class values of the same shape."""
        target = torch.where(mask == UNKNOWN, UNKNOWN, (mask > 0).long())
        for name in (place, TOTAL):
            if name not in self._curves:
                self._curves[name] = BinaryPrecisionRecallCurve(self._thresholds, ignore_index=UNKNOWN)
            self._curves[name].update(probability.cpu().double(), target.cpu())
            self._images[name] = self._images.get(name, 0) + 1

    def scores(self, index: int, name: str = TOTAL) -> Scores:
        """The scores of a place at the threshold of that number."""
        precisions, recalls, _ = self._curves[name].compute()
        precision, recall = (float(values[index].nan_to_num(0)) for values in (precisions, recalls))
        both = precision * recall
        return Scores(
            iou=both / (precision + recall - both) if both else 0.0,
            precision=precision,
            recall=recall,
            f1=2 * both / (precision + recall) if both else 0.0,
            threshold=float(self._thresholds[index]),
            images=self._images[name],
        )

    def best(self) -> Scores:
        """The scores of all places at the threshold with the highest intersection over union."""
        return max((self.scores(index) for index in range(len(self._thresholds))), key=lambda scores: scores.iou)

    def table(self) -> dict[str, Scores]:
        """The scores at the first threshold, all together first, then by place."""
        return {name: self.scores(0, name) for name in (TOTAL, *sorted(set(self._curves) - {TOTAL}))}


def foreground(logits: Tensor) -> Tensor:
    """Probability `(B, H, W)` of any class but background from logits `(B, classes, H, W)`."""
    return 1 - torch.softmax(logits.float(), dim=1)[:, 0]


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
