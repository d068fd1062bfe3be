"""Whether reading starves the device: images per second of preparing chips, of the network's steps, and of training.

.venv/engine/bin/python benchmarks/training.py --data ../shared/data
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import torch

from orthomask.engine.compute.devices import choose, keep_pages
from orthomask.engine.progress import Progress
from orthomask.protocol import Hardware, Image, LabelledData, LabelledImage, Labels, Schedule, TrainRequest, TrainResult
from orthomask.training.data import material
from orthomask.training.data.scenes import band_statistics
from orthomask.training.fit import losses, train
from orthomask.training.fit.augment import usual_range
from orthomask.training.fit.dataset import Chips
from orthomask.training.fit.learner import Learner
from orthomask.training.fit.numerics import precision
from orthomask.training.fit.start import begin

STEPS = 16


def prepared_per_second(chips: Chips, schedule: Schedule) -> float:
    """Chips that the training's own loader makes per second while nothing else runs."""
    batches = iter(train.loader(chips, schedule, 0))
    next(batches)
    started = time.perf_counter()
    count = sum(len(image) for image, _, _ in batches)
    return count / (time.perf_counter() - started)


def stepped_per_second(learner: Learner, request: TrainRequest, bands: int) -> float:
    """Chips that the network learns from per second if they are ready."""
    schedule, device = request.schedule, choose(request.hardware.device).torch
    image = torch.randn(schedule.batch, bands, schedule.chip_px, schedule.chip_px).to(device)
    image = image.contiguous(memory_format=learner.layout)
    mask = torch.zeros(schedule.batch, schedule.chip_px, schedule.chip_px, dtype=torch.long, device=device)
    network = learner.network.to(device)
    optimizer = learner.configure_optimizers()["optimizer"]  # type: ignore[index, call-overload]
    mixed = precision(schedule, device) == "bf16-mixed"
    started = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            logits = network(image)
        losses.loss(request.objective, logits.float(), mask).backward()
        optimizer.step()
        optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return STEPS * schedule.batch / (time.perf_counter() - started)


def trained(request: TrainRequest) -> TrainResult:
    """A whole training."""
    with tempfile.TemporaryDirectory() as folder:
        return train.run(replace(request, output_dir=str(Path(folder) / "run")), Progress())


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="The project's data folder.")
@click.option("--device", default="auto", show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that prepare chips.")
@click.option("--batch", default=8, show_default=True)
@click.option("--size", default=256, show_default=True, help="Side of a chip, px.")
def main(data: Path, device: str, workers: int, batch: int, size: int) -> None:
    """Print how fast chips are made, learnt from, and both together."""
    keep_pages()
    samples = data / "samples"
    labels = Labels(str(samples / "banepa_nepal_buildings.gpkg"))
    project = LabelledImage(Image(str(samples / "banepa_nepal_ortho_3072x4096.tif")), (labels,))
    schedule = Schedule(epochs=1, steps=STEPS, batch=batch, chip_px=size, workers=workers)
    request = TrainRequest(
        LabelledData((project,)), "-", gsd_m=0.3, schedule=schedule, hardware=Hardware(device=device)
    )  # fmt: skip
    found = material.read(request, None, Progress())
    measured = band_statistics(found.bands, found.sources)
    card, network, _ = begin(request, None, found, measured)
    chips = Chips(found.sources, card, usual_range(measured, card.dtype), request.augmentation, schedule)
    preparing = prepared_per_second(chips, schedule)
    stepping = stepped_per_second(Learner(network, request.objective, schedule), request, len(card.bands))
    both = trained(request)
    click.echo(f"chips of {size} px in batches of {batch}, {workers} workers, {choose(device).name}")
    click.echo(f"prepared   {preparing:7.1f} images/s   {preparing / stepping:5.1f} times what the network takes")
    click.echo(f"network    {stepping:7.1f} images/s")
    click.echo(f"training   {both.images_per_second:7.1f} images/s   {both.images_per_second / stepping:5.0%} of it")
    click.echo(f"waiting    {both.waiting_share:7.0%}")


if __name__ == "__main__":
    main()
