"""Cheaper decoders for the embedded models: multiplications, speed on this processor, and scores after short trainings.

    .venv/engine/bin/python benchmarks/decoders.py --data ../shared/data --keep FOLDER --seeds 1,2,3

All networks have EfficientNet-Lite0 with ImageNet's weights as their encoder. They are measured side by side, on one
thread, in CPU time, with convolutions merged as a prediction has them. With `--seeds` each is trained on the recipe of
the buildings, for the same steps on the same chips, and scored on its validation images (Austin and Chicago). A
training that was stopped goes on from its last epoch; those that have ended are kept in the folder, so the table grows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from orthomask.engine.compute import onednn
from orthomask.engine.compute.devices import choose, keep_pages
from orthomask.engine.models.unet import UNet, UNetArguments, fused
from orthomask.engine.outputs import write_atomically
from orthomask.engine.progress import Progress
from orthomask.protocol import EvaluateRequest, Existing, Finish, LabelledData, Split, TrainRequest
from orthomask.training.accuracy import evaluate
from orthomask.training.fit import imagenet, recipe, train

ROOT = Path(__file__).resolve().parent.parent
NARROW = (24, 40, 72, 112, 160)
DECODERS: dict[str, dict[str, Any]] = {
    "present": {},
    "light-separable": {"separable": True, "finish": Finish.LIGHT},
    "half-separable": {"separable": True, "finish": Finish.HALF},
    "light-narrow": {"widths": NARROW, "merges": 1, "finish": Finish.LIGHT},
    "half-narrow": {"widths": NARROW, "merges": 1, "finish": Finish.HALF},
    "light-separable-wide": {"widths": (48, 64, 96, 128, 192), "separable": True, "finish": Finish.LIGHT},
}
"""What differs from the embedded models' network; the first one is that network."""
WINDOW_PX = 512
COUNTED_PX = 64
"""Side of the image on which multiplications are counted: their number for each pixel is the same on any."""


@dataclass(frozen=True)
class Cost:
    """What a network needs."""

    multiplications: float
    megapixels_per_second: float


@dataclass(frozen=True)
class Score:
    """What a trained network reaches on the validation images, at the threshold with the highest IoU."""

    iou: float
    object_f1: float
    threshold: float
    best_epoch: int
    seconds: float


class _Terminal(Progress):
    """Prints every fiftieth of the way."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, -1

    def show(self, fraction: float, message: str) -> None:
        if int(fraction * 50) > self._last:
            self._last = int(fraction * 50)
            click.echo(f"{time.strftime('%H:%M:%S')} {self._name} {fraction:4.0%} {message}", err=True)


def shape_of(name: str) -> UNetArguments:
    """The network with a decoder of that name, for one class beside the background."""
    return replace(imagenet.SHAPE, classes=2, **DECODERS[name])


def multiplications(network: UNet) -> float:
    """Multiplications for each pixel."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(1, network.arguments.bands, COUNTED_PX, COUNTED_PX))
    return float(counter.get_total_flops()) / 2 / COUNTED_PX**2


def costs(names: Sequence[str], rounds: int) -> dict[str, Cost]:
    """What networks need: the least CPU time of some rounds in which they take turns."""
    networks = {name: UNet(shape_of(name)).eval() for name in names}
    counted = {name: multiplications(network) for name, network in networks.items()}
    image = torch.randn(1, 3, WINDOW_PX, WINDOW_PX).contiguous(memory_format=torch.channels_last)
    least = dict.fromkeys(names, float("inf"))
    ready = {name: _prepared(network) for name, network in networks.items()}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, network in ready.items():
                started = time.process_time()
                network(image)
                least[name] = min(least[name], time.process_time() - started)
    return {name: Cost(counted[name], WINDOW_PX**2 / 1e6 / least[name]) for name in names}


def _prepared(network: UNet) -> torch.nn.Module:
    """The network as a prediction in fp32 has it on a processor."""
    ready = fused(network).requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return onednn.merged(ready, torch.float32) if onednn.is_available() else ready


def request_for(name: str, seed: int, data: Path, keep: Path, epochs: int, steps: int) -> TrainRequest:
    """The building recipe, short, with a decoder of that name."""
    start = keep / f"imagenet-{name}.safetensors"
    if not start.exists():
        imagenet.write(start, replace(shape_of(name), classes=1))
    request = recipe.load(
        ROOT / "resources" / "recipes" / "buildings.toml", str(keep / f"{name}-seed{seed}"), str(data)
    )
    schedule = replace(request.schedule, epochs=epochs, steps=steps, seed=seed, precision="32-true")
    return replace(
        request, model=str(start), name=name, threshold=0.0, schedule=schedule, existing=Existing.RESUME
    )  # fmt: skip


def score(request: TrainRequest) -> Score:
    """Train, or go on with it, and evaluate; at once where that is done already."""
    folder = Path(request.output_dir)
    path = folder / "score.json"
    if path.exists():
        return Score(**json.loads(path.read_text(encoding="utf-8")))
    result = train.run(request, _Terminal(folder.name))
    pictures = tuple(each for each in request.data.pictures if each.split is Split.VALIDATION)
    labelled = LabelledData(pictures=pictures, root=request.data.root)
    evaluated = evaluate.run(
        EvaluateRequest(
            result.model_path, labelled, str(folder / "evaluation"), Split.VALIDATION, existing=Existing.OVERWRITE
        ),
        Progress(),
    )
    found = Score(
        iou=evaluated.pixels[0].iou, object_f1=evaluated.objects[0].f1, threshold=evaluated.threshold,
        best_epoch=result.best_epoch, seconds=result.seconds,
    )  # fmt: skip
    write_atomically(path, json.dumps(asdict(found), indent=1).encode())
    return found


def table(measured: dict[str, Cost], scores: dict[str, dict[int, Score]]) -> list[str]:
    """All that is known, as Markdown."""
    first = next(iter(measured.values()))
    lines = [
        "| decoder | multiplications a pixel | ratio | MP/s | ratio | IoU | object F1 | by seed: IoU, object F1 |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, cost in measured.items():
        found = scores.get(name, {})
        means = [f"{fmean(getattr(each, key) for each in found.values()):.3f}" if found else "–"
                 for key in ("iou", "object_f1")]  # fmt: skip
        seeds = "; ".join(f"{seed}: {each.iou:.3f}, {each.object_f1:.3f}" for seed, each in found.items())
        lines.append(
            f"| {name} | {cost.multiplications:,.0f} | {cost.multiplications / first.multiplications:.2f} "
            f"| {cost.megapixels_per_second:.2f} | {cost.megapixels_per_second / first.megapixels_per_second:.2f} "
            f"| {' | '.join(means)} | {seeds} |"
        )
    return lines


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), help="The project's data folder."
)
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Folder of the trainings.")
@click.option("--decoders", "chosen", default=",".join(DECODERS), show_default=True, help="Which of them.")
@click.option("--seeds", default="", help="Train with these, such as 1,2,3; with none only the cost is measured.")
@click.option("--epochs", default=12, show_default=True)
@click.option("--steps", default=60, show_default=True, help="Of an epoch.")
@click.option("--rounds", default=8, show_default=True, help="Of the measurement of speed.")
def main(
    data: Path | None, keep: Path | None, chosen: str, seeds: str, epochs: int, steps: int, rounds: int
) -> None:  # fmt: skip
    """Print what decoders cost, and what they reach."""
    keep_pages()
    torch.set_num_threads(1)
    names = chosen.split(",")
    measured = costs(names, rounds)
    scores: dict[str, dict[int, Score]] = {}
    for seed in map(int, filter(None, seeds.split(","))):
        if not (data and keep):
            raise click.UsageError("Say with --data and --keep what to train on, and where.")
        keep.mkdir(parents=True, exist_ok=True)
        for name in names:
            scores.setdefault(name, {})[seed] = score(request_for(name, seed, data, keep, epochs, steps))
            write_atomically(keep / "table.md", "\n".join(table(measured, scores)).encode())
    click.echo(f"{choose('cpu').name}, one thread, fp32, torch {torch.__version__}\n")
    click.echo("\n".join(table(measured, scores)))


if __name__ == "__main__":
    main()
