"""What a GPU can do with the embedded model's network, and how much of that Orthomask uses.

Usage: python benchmarks/gpu.py [--device auto] [--size 8192] [--rounds 3] [--json FILE]

Needs this repository and a Python with PyTorch, NumPy and safetensors. Pillow adds how many classes bf16 changes; the
engine's environment (rasterio) adds blending, reading and the whole prediction; MONAI adds its sliding window. Without
a GPU it says so and exits with 2; `--device cpu --size 1024 --rounds 1` runs the same code on the CPU.

The floor is the fastest way to run forward passes over windows already on the device. Each row is converted to
milliseconds for a window of 512 px; rows take turns, and medians are shown. Share: of the floor; on a CPU it can
exceed 1, since the engine runs one window per core there.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if missing := [name for name in ("torch", "numpy", "safetensors") if importlib.util.find_spec(name) is None]:
    sys.exit(f"Not measured: this Python has no {' and no '.join(missing)}.")
if importlib.util.find_spec("orthomask") is None:  # this folder is that package, whatever its name
    spec = importlib.util.spec_from_file_location(
        "orthomask", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec
    assert spec.loader
    sys.modules["orthomask"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["orthomask"])

sys.path.append(str(ROOT / ".venv" / "peers"))  # where `make bench` puts MONAI

import numpy as np  # noqa: E402
import torch  # noqa: E402

from orthomask.engine.compute import batches, devices, gpu  # noqa: E402
from orthomask.engine.models import bundle  # noqa: E402
from orthomask.engine.progress import Progress  # noqa: E402
from orthomask.protocol import OVERLAP_PX, WINDOW_PX, Image, OrthomaskError, PredictRequest, ScaleRequest  # noqa: E402

MODEL = "buildings"
BATCHES = (1, 4, 16, 32)
RING = 48
"""Different windows, used in turn so that no cache holds them."""
MOST = 512
"""Forward passes are timed over at most this many windows."""
PROCESSES = 4
"""Each reads, and they share the GPU; their startup counts."""

Row = Callable[[], tuple[float, int]]
"""Measures once: seconds, and for how many windows."""


def windows_of(size: int) -> int:
    """Windows of the lattice of a square image (see `grid.window_count`)."""
    across = max(1, -(-(size - OVERLAP_PX) // (WINDOW_PX - OVERLAP_PX)))
    return across * across


def synchronize(device: torch.device) -> None:
    """Wait for the work queued on a device."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def sample() -> np.ndarray | None:
    """The bundled sample `(3, H, W)`; None without Pillow."""
    if importlib.util.find_spec("PIL") is None:
        return None
    from PIL import Image as Pictures

    return np.moveaxis(np.asarray(Pictures.open(ROOT / "resources/sample/banepa.tif")), 2, 0)


def ring(model: bundle.Bundle) -> list[np.ndarray]:
    """Normalised windows: of the sample, or of noise."""
    pixels, random = sample(), np.random.default_rng(1)
    if pixels is None:
        pixels = random.integers(0, 256, (3, 2048, 2048), np.uint8)
    corners = random.integers(0, pixels.shape[1] - WINDOW_PX, (RING, 2))
    valid = np.ones((WINDOW_PX, WINDOW_PX), bool)
    return [model.normalise(pixels[:, y : y + WINDOW_PX, x : x + WINDOW_PX], valid) for y, x in corners]


def warm(predictor: devices.Predictor) -> None:
    """Run one batch: this loads the libraries and records the network, as in an engine that has run before."""
    predictor(torch.zeros(predictor.device.batch, 3, WINDOW_PX, WINDOW_PX))
    synchronize(predictor.device.torch)


def forward(predictor: devices.Predictor, windows: list[np.ndarray], batch: int, count: int, recorded: bool) -> Any:
    """Forward passes over batches on the device, of the network itself or its recording."""
    device = predictor.device.torch
    stack = torch.from_numpy(np.stack(windows[:batch])).to(device).contiguous(memory_format=torch.channels_last)
    network = predictor.network if recorded else gpu.plain(predictor.network)
    passes = max(1, min(count, MOST) // batch)
    with torch.inference_mode():
        network(stack)
        synchronize(device)
        start = time.perf_counter()
        for _ in range(passes):
            network(stack)
        synchronize(device)
    return time.perf_counter() - start, passes * batch


def from_memory(predictor: devices.Predictor, windows: list[np.ndarray], count: int) -> tuple[float, int]:
    """The engine's batches, from windows in memory to probabilities on the device."""
    device, valid = predictor.device, np.ones((WINDOW_PX, WINDOW_PX), bool)
    stream = itertools.islice(itertools.cycle([(window, valid) for window in windows]), count)
    warm(predictor)
    start = time.perf_counter()
    with device.shared() as lanes:
        deque(batches.Batches(predictor, device.batch, lanes, device.torch)(stream, Progress()), maxlen=0)
        synchronize(device.torch)
    return time.perf_counter() - start, count


def blended(predictor: devices.Predictor, windows: list[np.ndarray], size: int) -> tuple[float, int]:
    """The same with blending, to finished strips in memory: all that `orthomask predict` does except files."""
    from orthomask.engine import predict
    from orthomask.engine.images import grid

    lattice = grid.Lattice("", grid.Affine.identity(), size, size, WINDOW_PX, OVERLAP_PX)
    given, valid = itertools.cycle(windows), np.ones((WINDOW_PX, WINDOW_PX), bool)
    warm(predictor)
    device, start = predictor.device, time.perf_counter()
    with device.shared() as lanes:
        strips = predict.strips(
            lattice, grid.select(lattice, None), lambda _: (next(given), valid), predictor, 1, Progress(),
            batch=device.batch, lanes=lanes, device=device.torch,
        )  # fmt: skip
        deque(strips, maxlen=0)
    return time.perf_counter() - start, windows_of(size)


def reading(image: Path) -> tuple[float, int]:
    """Reading and normalising all windows of a GeoTIFF, without a network."""
    from orthomask.engine import predict
    from orthomask.engine.images import raster

    start = time.perf_counter()
    with raster.open_image(Image(str(image))) as source:
        plan = predict.plan(source, PredictRequest(Image(str(image)), MODEL, str(image.parent)))
        with raster.open_reader(source, plan.lattice, plan.numbers) as reader:
            places = [(row, column) for row, columns in enumerate(plan.selection.columns) for column in columns]
            for place in places:
                plan.bundle.normalise(*reader.read(plan.lattice.window(*place)))
    return time.perf_counter() - start, len(places)


def whole(predictor: devices.Predictor, image: Path, processes: int = 0) -> tuple[float, int]:
    """`orthomask predict` from a GeoTIFF to two rasters, in `processes` others if not 0; polygons do not count."""
    from orthomask.engine import predict
    from orthomask.engine.scale import scale
    from orthomask.engine.shapes import polygons

    spent, write = 0.0, polygons.write

    def timed(*arguments: Any) -> Any:
        nonlocal spent
        start = time.perf_counter()
        counted = write(*arguments)
        spent = time.perf_counter() - start
        return counted

    warm(predictor)
    polygons.write = timed
    try:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            request = PredictRequest(Image(str(image)), MODEL, folder, device=str(predictor.device.torch))
            if processes:
                scale.run(ScaleRequest(request, processes), Progress())
            else:
                predict.run(request, Progress())
            return time.perf_counter() - start - spent, windows_of(int(image.stem))
    finally:
        polygons.write = write


def monai(model: bundle.Bundle, windows: list[np.ndarray], device: torch.device, size: int) -> tuple[float, int]:
    """MONAI's sliding window inference in fp32 with Gaussian weights, from and to an image in memory."""
    from monai.inferers import sliding_window_inference

    across = -(-size // WINDOW_PX)
    image = torch.from_numpy(np.tile(windows[0], (1, across, across))[None, :, :size, :size])
    network = model.model().eval().to(device)
    with torch.inference_mode():
        network(image[..., :WINDOW_PX, :WINDOW_PX].to(device))
        start = time.perf_counter()
        sliding_window_inference(
            image, WINDOW_PX, devices.BATCH[device.type], network, overlap=OVERLAP_PX / WINDOW_PX, mode="gaussian",
            sw_device=device, device=torch.device("cpu"),
        )  # fmt: skip
    return time.perf_counter() - start, windows_of(size)


def differing(exact: devices.Predictor, fast: devices.Predictor, windows: list[np.ndarray]) -> float:
    """Share of the pixels of some windows whose class another precision changes."""
    changed = [
        ((exact(stack) >= 0.5) != (fast(stack) >= 0.5)).float().mean().item()
        for stack in (torch.from_numpy(window)[None] for window in windows[:8])
    ]
    return statistics.mean(changed)


def rows(device: devices.Device, size: int, stack: ExitStack) -> Iterator[tuple[str, Row]]:
    """All rows that can be measured here, the floor's first; prints which are left out."""
    model, count = bundle.load(MODEL), windows_of(size)
    windows, best = ring(model), devices.precision_of(device.torch)
    fast = devices.prepare(model, device, "")  # the one that `orthomask predict` uses
    ready = {"fp32": devices.prepare(model, device, "fp32"), best: fast}
    sizes = [batch for batch in BATCHES if batch <= count]
    for (precision, predictor), batch in itertools.product(ready.items(), sizes):
        yield f"floor: {precision}, {batch} at once", partial(forward, predictor, windows, batch, count, False)
    if device.torch.type == "cuda":
        for batch in sizes:
            yield f"floor: {best}, {batch} at once, recorded", partial(forward, fast, windows, batch, count, True)
    else:
        print("recorded networks: left out, this device has no CUDA graphs")
    yield f"windows in memory, {best}", partial(from_memory, fast, windows, count)
    if sample() is not None and best != "fp32":
        print(f"{best} changes the class of {differing(ready['fp32'], fast, windows):.4%} of the sample's pixels")
    if importlib.util.find_spec("rasterio"):
        from growth import write_raster

        image = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"{size}.tif"
        write_raster(image, size)
        yield "the same, blended", partial(blended, fast, windows, size)
        yield "reading alone", partial(reading, image)
        yield "orthomask predict, rasters", partial(whole, fast, image)
        if device.torch.type == "cuda":
            yield f"the same, {PROCESSES} processes", partial(whole, fast, image, PROCESSES)
    else:
        print("blending, reading and the whole prediction: left out, rasterio is not installed")
    if importlib.util.find_spec("monai"):
        yield "MONAI, fp32", partial(monai, model, windows, device.torch, size)
    else:
        print("MONAI: left out, it is not installed")


def compare(todo: dict[str, Row], rounds: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Medians of all rows, which take turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in todo}
    for _, (name, row) in itertools.product(range(rounds), todo.items()):
        gpu.give_back()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds, windows = row()
        peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
        found[name].append({"ms": 1000 * seconds / windows, "gpu_mb": peak})
    return {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}


def driver() -> str:
    """The version of NVIDIA's driver."""
    if not shutil.which("nvidia-smi"):
        return "unknown"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[0] or "unknown"


def show(table: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    floor = min(row["ms"] for name, row in table.items() if name.startswith("floor"))
    print(f"\n{'':>36} {'ms a window':>11} {'MP/s':>8} {'share':>6} {'GPU MB':>8}")
    for name, row in table.items():
        row["share"] = floor / row["ms"]
        speed = WINDOW_PX**2 / 1000 / row["ms"]
        print(f"{name:>36} {row['ms']:>11.3f} {speed:>8.1f} {row['share']:>6.2f} {row['gpu_mb'] or '':>8.5}")


def main() -> None:
    """Print what is measured, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda:1, mps or cpu")
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        device = devices.choose(arguments.device)
    except OrthomaskError as error:
        parser.exit(2, f"Not measured. {error.sentence}\n")
    if device.torch.type == "cpu" and arguments.device != "cpu":
        parser.exit(2, f"Not measured: there is no GPU here. {device.reason}\n")
    about = {"device": device.name, "driver": driver(), "torch": str(torch.__version__), "cores": os.cpu_count()}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    if device.torch.type == "cpu":
        devices.keep_pages()
    with ExitStack() as stack:
        table = compare(dict(rows(device, arguments.size, stack)), arguments.rounds, device.torch)
    show(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({**about, "size": arguments.size, "rows": table}, indent=1))


if __name__ == "__main__":
    main()
