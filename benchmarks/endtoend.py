"""A whole prediction (read, windows, network, blend, write) compared to the network alone and to other tools.

Usage: python benchmarks/endtoend.py [--size 8192] [--rounds 3] [--only NAME ...] [--json FILE]

All rows use the weights of the embedded model, tiles of 512 px and 25% overlap, on an image that repeats the bundled
sample. Each measurement is a separate process; the rows take turns, and medians are shown: read the ratios. The other
tools need `pip install --no-deps --target .venv/peers -r requirements/peers.lock` (`make bench` does it).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import rasterio
import torch
from growth import write_raster
from polygons import peak_mb
from rasterio.windows import Window

from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.images import grid
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.shapes import polygons
from orthomask.protocol import OVERLAP_PX, WINDOW_PX, Image, PredictRequest

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv" / "peers"
MODEL, THRESHOLD = "buildings", 0.5
SAMPLE_WINDOWS = 200
"""The network alone is timed on this many windows, and extrapolated to all."""


def windows_of(size: int) -> int:
    """Windows of the lattice of a square image."""
    across = grid.Lattice("", rasterio.Affine.identity(), size, size, WINDOW_PX, OVERLAP_PX).columns
    return across * across


def network_alone(image: Path, precision: str) -> float:
    """Seconds of the forward passes over the windows of the image, from memory, one window per core."""
    with rasterio.open(image) as dataset:
        total = windows_of(dataset.width)
    predictor = devices.prepare(bundle.load(MODEL), devices.choose("cpu"), precision)
    window = torch.rand(1, 3, WINDOW_PX, WINDOW_PX)
    count = min(total, SAMPLE_WINDOWS)
    with predictor.device.shared() as lanes, ThreadPool(lanes) as pool:
        deque(pool.imap(predictor, [window] * lanes), maxlen=0)
        start = time.perf_counter()
        deque(pool.imap(predictor, [window] * count), maxlen=0)
        return (time.perf_counter() - start) * total / count


def orthomask(image: Path, out: Path, precision: str, with_polygons: bool) -> float:
    """Seconds of `orthomask predict`, with or without its polygons."""
    spent = 0.0
    write = polygons.write

    def timed(*arguments: object) -> object:
        nonlocal spent
        start = time.perf_counter()
        counted = write(*arguments)  # type: ignore[arg-type]
        spent = time.perf_counter() - start
        return counted

    devices.prepare(bundle.load(MODEL), devices.choose("cpu"), precision)
    prepare = devices.prepare
    devices.prepare = lambda *chosen: prepare(*chosen[:2], precision)  # type: ignore[assignment]
    polygons.write = timed  # type: ignore[assignment]
    request = PredictRequest(Image(str(image)), MODEL, str(out / "run"), threshold=THRESHOLD)
    start = time.perf_counter()
    result = predict.run(request, Progress())
    seconds = time.perf_counter() - start
    os.replace(result.classes_path, out / "classes.tif")
    return seconds - (0 if with_polygons else spent)


def monai(image: Path, out: Path) -> float:
    """Seconds of MONAI's sliding window inference with Gaussian weights, the whole image in memory as it requires."""
    from monai.inferers import sliding_window_inference

    model = bundle.load(MODEL)
    network = model.model().eval()
    start = time.perf_counter()
    with rasterio.open(image) as dataset, torch.inference_mode():
        pixels, profile = dataset.read(), dataset.profile
        windows = torch.from_numpy(model.normalise(pixels, np.ones(pixels.shape[1:], bool)))[None]
        logits = sliding_window_inference(
            windows, WINDOW_PX, 1, network, overlap=OVERLAP_PX / WINDOW_PX, mode="gaussian"
        )
        write_classes(out / "classes.tif", (torch.softmax(logits[0], 0)[1] >= THRESHOLD).numpy(), profile)
    return time.perf_counter() - start


def deepness(image: Path, out: Path) -> float:
    """Seconds of Deepness's method with onnxruntime: tile by tile, keeping each middle, classes by argmax."""
    import onnxruntime

    model, exported = bundle.load(MODEL), out / "model.onnx"
    torch.onnx.export(
        model.model().eval(), (torch.rand(1, 3, WINDOW_PX, WINDOW_PX),), str(exported), input_names=["input"],
        dynamo=True, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    stride, margin = WINDOW_PX - OVERLAP_PX, OVERLAP_PX // 2
    start = time.perf_counter()
    with rasterio.open(image) as dataset:
        classes = np.zeros((dataset.height, dataset.width), np.uint8)
        for top in range(-margin, dataset.height, stride):
            for left in range(-margin, dataset.width, stride):
                pixels = dataset.read(window=Window(left, top, WINDOW_PX, WINDOW_PX), boundless=True, fill_value=0)
                tile = model.normalise(pixels, np.ones(pixels.shape[1:], bool))[None]
                found = session.run(None, {"input": tile})[0][0].argmax(0).astype(np.uint8)
                rows, columns = slice(top + margin, top + margin + stride), slice(left + margin, left + margin + stride)
                part = classes[rows, columns]
                part[:] = found[margin : margin + part.shape[0], margin : margin + part.shape[1]]
        write_classes(out / "classes.tif", classes, dataset.profile)
    return time.perf_counter() - start


def write_classes(path: Path, classes: np.ndarray, profile: dict[str, object]) -> None:
    """A class raster as these tools write it: tiled and compressed, without overviews."""
    with rasterio.open(path, "w", **{**profile, "count": 1, "dtype": "uint8", "photometric": None}) as dataset:
        dataset.write(classes.astype(np.uint8), 1)


CONTENDERS: dict[str, Callable[[Path, Path], float]] = {
    "network alone, fastest": lambda image, _: network_alone(image, ""),
    "network alone, fp32": lambda image, _: network_alone(image, "fp32"),
    "orthomask, rasters": lambda image, out: orthomask(image, out, "", with_polygons=False),
    "orthomask, with polygons": lambda image, out: orthomask(image, out, "", with_polygons=True),
    "orthomask in fp32, rasters": lambda image, out: orthomask(image, out, "fp32", with_polygons=False),
    "MONAI": monai,
    "Deepness's way": deepness,
}
NEEDS = {"MONAI": "monai", "Deepness's way": "onnxruntime"}
MISSING = ("torchgeo", "geoai")
"""Tools that import torchvision, which does not exist for this build of PyTorch."""


def measured(name: str, image: Path, out: Path) -> dict[str, float]:
    """One measurement in a separate process: seconds and peak memory in MB."""
    command = [sys.executable, __file__, "--contender", name, str(image), str(out)]
    paths = os.pathsep.join(filter(None, [str(PEERS), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def differing(one: Path, other: Path) -> float:
    """Share of the pixels whose class differs."""
    with rasterio.open(one) as first, rasterio.open(other) as second:
        return float(np.mean(first.read(1) != second.read(1)))


def compare(names: list[str], image: Path, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Medians of all contenders, which take turns, and how their classes differ from fp32's."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            out = folder / name.replace(" ", "-").replace("'", "")
            subprocess.run(["rm", "-rf", str(out)], check=True)
            out.mkdir()
            found[name].append(measured(name, image, out))
    reference = folder / "orthomask-in-fp32,-rasters" / "classes.tif"
    table = {}
    for name, runs in found.items():
        table[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        classes = folder / name.replace(" ", "-").replace("'", "") / "classes.tif"
        if classes.exists() and reference.exists():
            table[name]["differs"] = differing(classes, reference)
    return table


def show(table: dict[str, dict[str, float]], floor: float) -> None:
    """Print the table; ratios are to the network alone: 1 is all that this CPU can do with it."""
    print(f"{'':>28} {'seconds':>8} {'ratio':>6} {'peak MB':>8} {'differs':>9}")
    for name, row in table.items():
        differs = f"{row['differs']:.4%}" if "differs" in row else ""
        print(f"{name:>28} {row['seconds']:>8.1f} {floor / row['seconds']:>6.2f} {row['peak_mb']:>8.0f} {differs:>9}")


def main() -> None:
    """Print the table, or measure one contender for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", nargs=3, metavar=("NAME", "IMAGE", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        name, image, out = arguments.contender
        devices.keep_pages()
        seconds = CONTENDERS[name](Path(image), Path(out))
        peak = peak_mb()
        print(json.dumps({"seconds": seconds, "peak_mb": peak}))
        return
    sys.path.insert(0, str(PEERS))
    names = list(arguments.only or CONTENDERS)
    for name in [name for name in names if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None]:
        names.remove(name)
        print(f"{name}: not measured, {NEEDS[name]} is not installed")
    for name in MISSING:
        print(f"{name}: not measured, it needs torchvision, which there is not for torch {torch.__version__}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.size} x {arguments.size}")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.tif"
        write_raster(image, arguments.size)
        table = compare(names, image, arguments.rounds, Path(folder))
    show(table, table[names[0]]["seconds"])
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
