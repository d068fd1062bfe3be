"""How long an analyst waits for the engine: a real worker process, addressed as the dock does.

Usage: python benchmarks/latency.py [--rounds 5] [--county 24000:400000] [--moments 4] [--json FILE]

In each round a fresh engine starts, predicts two regions of 1,024 x 1,024 px, rasters and polygons included, and makes
polygons of the second one at another threshold; in between, the network alone runs the windows of a region. The county
is a raster of ragged buildings, predicted by a network that returns what it sees: all but the network takes its full
time. At random moments, a run of the embedded model is cancelled during its windows, and the county's during its
rasters and polygons; each resumes where it stopped. The wait ends when the engine has answered another request and
uses no CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
import torch
from affine import Affine
from growth import write_raster
from polygons import buildings
from rasterio.windows import Window

from orthomask.engine.compute import devices
from orthomask.engine.images import grid
from orthomask.engine.models import bundle, unet
from orthomask.protocol import (
    OVERLAP_PX,
    REQUESTS,
    WINDOW_PX,
    Existing,
    Image,
    InfoRequest,
    PolygonizeRequest,
    PredictRequest,
    Region,
    to_wire,
)

WORKER = Path(__file__).resolve().parent.parent / "worker.py"
MODEL, THRESHOLD, OTHER_THRESHOLD = "buildings", 0.5, 0.6
IMAGE_PX, REGION_PX, REGION_WINDOWS = 8192, 1024, 16
"""A region of that size anywhere touches 4 x 4 windows."""
STAGES = {"windows": ("Window", 2.0), "rasters": ("Writing", 4.0), "polygons": ("Tracing", 8.0)}
"""How progress messages begin at each stage of a run, and the seconds over which random moments are spread."""
OTHERS = {
    "start of the engine": "import of PyTorch",
    "first region": "network alone",
    "second region": "network alone",
    "other threshold, region": "second region",
    "other threshold, county": "network alone, county",
}
"""What each wait is compared to."""
QUIET_S = 0.05
"""How long CPU time has to stay unchanged."""
Times = dict[str, list[float]]


class Engine:
    """A worker process."""

    def __init__(self) -> None:
        command = [sys.executable, "-s", "-u", str(WORKER)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._watched, self._jobs = psutil.Process(self._process.pid), 0

    def begin(self, request: object) -> int:
        """Send a request; return the number of its job."""
        self._jobs += 1
        method = next(name for name, (kind, _) in REQUESTS.items() if isinstance(request, kind))
        self._send({"id": self._jobs, "method": method, "params": to_wire(request)})
        return self._jobs

    def answer(self, job: int) -> dict[str, Any]:
        """The answer to a job, result or error."""
        return next(message for message in self._messages() if message.get("id") == job)

    def timed(self, request: object) -> float:
        """Seconds from a request to its result."""
        start = time.perf_counter()
        answer = self.answer(self.begin(request))
        if "result" not in answer:
            sys.exit(f"the engine answered {answer['error']}")
        return time.perf_counter() - start

    def cancelled(self, request: object, words: str, seconds: float) -> float:
        """Seconds from cancelling to idle, `seconds` after a message began with these words."""
        job = self.begin(request)
        message = next(said for said in self._messages() if "id" in said or said["params"]["message"].startswith(words))
        time.sleep(seconds)
        start = time.perf_counter()
        self._send({"method": "cancel", "params": {"id": job}})
        if "id" in message or "result" in self.answer(job):
            sys.exit("a run was over before it was cancelled: the county is too small")
        self.timed(InfoRequest("cpu"))
        while self._computes():
            pass
        return time.perf_counter() - start - QUIET_S

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def _messages(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout
        yield from map(json.loads, self._process.stdout)

    def _computes(self) -> bool:
        before = sum(self._watched.cpu_times()[:2])
        time.sleep(QUIET_S)
        return sum(self._watched.cpu_times()[:2]) > before


def region(random_: random.Random) -> Region:
    """A square somewhere on the image."""
    left, top = (random_.randrange(IMAGE_PX - REGION_PX) * 0.3 for _ in range(2))
    side = REGION_PX * 0.3
    west, north = 330_000 + left, 3_060_000 - top
    corners = ((0, 0), (side, 0), (side, side), (0, side), (0, 0))
    return Region(f"POLYGON(({', '.join(f'{west + x} {north - y}' for x, y in corners)}))", "EPSG:32645")


def network_alone(predictor: devices.Predictor) -> float:
    """Seconds of the forward passes over the windows of a region, from memory, one window per core."""
    window = torch.rand(1, 3, WINDOW_PX, WINDOW_PX)
    with predictor.device.shared() as lanes, ThreadPool(lanes) as pool:
        pool.map(predictor, [window] * lanes)
        start = time.perf_counter()
        deque(pool.imap(predictor, [window] * REGION_WINDOWS), maxlen=0)
        return time.perf_counter() - start


def regions(folder: Path, rounds: int) -> Times:
    """Seconds of all that an analyst does with regions, and of their comparisons, in turns."""
    image, random_ = folder / "image.tif", random.Random(1)
    write_raster(image, IMAGE_PX)
    predictor = devices.prepare(bundle.load(MODEL), devices.choose("cpu"))
    times: Times = {}
    for turn in range(rounds):
        first, second = (
            PredictRequest(Image(str(image)), MODEL, str(folder / f"{name}-{turn}"), region(random_), THRESHOLD)
            for name in ("first", "second")
        )
        start = time.perf_counter()
        subprocess.run([sys.executable, "-s", "-c", "import torch"], check=True)
        found = {"import of PyTorch": time.perf_counter() - start}
        start = time.perf_counter()
        engine = Engine()
        engine.timed(InfoRequest("cpu"))
        found["start of the engine"] = time.perf_counter() - start
        found["first region"] = engine.timed(first)
        found["network alone"] = network_alone(predictor)
        found["second region"] = engine.timed(second)
        probabilities, again = Path(second.output_dir) / "probabilities.tif", folder / f"again-{turn}.gpkg"
        request = PolygonizeRequest(str(probabilities), str(again), OTHER_THRESHOLD)
        found["other threshold, region"] = engine.timed(request)
        engine.end()
        for name, seconds in found.items():
            times.setdefault(name, []).append(seconds)
    return times


def write_county(path: Path, size: int, count: int) -> None:
    """A raster of one band whose values are the probabilities of ragged buildings, times 254."""
    tile = buildings(int(size / count**0.5))
    row = np.tile(tile, (1, -(-size // len(tile))))[None, :, :size]
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8", "crs": "EPSG:32645",
        "transform": Affine(0.3, 0, 330_000, 0, -0.3, 3_060_000), "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, size, len(tile)):
            part = row[:, : size - top]
            dataset.write(part, window=Window(0, top, size, part.shape[1]))


def write_seeing(path: Path) -> None:
    """A bundle whose network returns what it sees: the higher the value of a pixel, the likelier it is a building."""
    arguments = unet.UNetArguments(bands=1, classes=2, widths=(8,), blocks=1, detail=8)
    network = unet.UNet(arguments)
    weights = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    for name, tensor in weights.items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("1.weight")):
            tensor[:] = 1  # batch normalisation that changes nothing
    weights["stem.0.weight"][0, 0, 1, 1] = 1
    weights["decoder.0.merge.0.0.weight"][0, 8, 1, 1] = 1
    weights["decoder.0.merge.1.0.weight"][0, 0, 1, 1] = 1
    weights["head.weight"][1, 0], weights["head.bias"][1] = 8, -4
    network.load_state_dict(weights)
    seen = bundle.BandStatistics("gray", 0.0, 254.0, 5.0, 250.0)
    card = replace(bundle.load(MODEL).card, architecture=arguments, bands=(seen,), members=())
    bundle.save(path, network.eval(), card)


def county(folder: Path, size: int, count: int, moments: int) -> Times:
    """Seconds from cancelling to idle at each stage of a run, and of the polygons of its result."""
    image, model, random_ = folder / "county.tif", folder / "seeing.safetensors", random.Random(2)
    write_county(image, size, count)
    write_seeing(model)
    real, large = (
        PredictRequest(Image(str(path)), model, str(path.with_suffix("")), None, THRESHOLD, Existing.RESUME)
        for path, model in ((folder / "image.tif", MODEL), (image, str(model)))
    )
    engine, times = Engine(), Times()
    for stage, (words, spread) in STAGES.items():
        found = times[f"cancelled among {stage}"] = []
        for number in range(moments):
            seconds = spread * (number + random_.random()) / moments * (size / 24_000) ** 2
            found.append(engine.cancelled(real if stage == "windows" else large, words, seconds))
    engine.timed(large)
    request = PolygonizeRequest(
        str(image.with_suffix("") / "probabilities.tif"), str(folder / "again.gpkg"), OTHER_THRESHOLD
    )
    times["other threshold, county"] = [engine.timed(request)]
    engine.end()
    return times


def show(times: Times) -> dict[str, dict[str, float]]:
    """Print the table, each row with its ratio to another, and return it."""
    table = {name: {"median": statistics.median(found), "longest": max(found)} for name, found in times.items()}
    print(f"{'':>25} {'median s':>9} {'longest s':>9} {'ratio':>6}")
    for name, row in table.items():
        compared, ratio = OTHERS.get(name, ""), ""
        if compared:
            row["ratio"] = row["median"] / table[compared]["median"]
            ratio = f"{row['ratio']:>6.2f} to {compared}"
        print(f"{name:>25} {row['median']:>9.2f} {row['longest']:>9.2f} {ratio}")
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--county", default="24000:400000", help="pixels of its side, and number of buildings")
    parser.add_argument("--moments", type=int, default=4, help="at each stage, at which a run is cancelled")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    devices.keep_pages()
    precision = devices.precision_of(torch.device("cpu"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {precision}")
    with tempfile.TemporaryDirectory() as folder:
        times = regions(Path(folder), arguments.rounds)
        size, count = map(int, arguments.county.split(":"))
        windows = grid.window_count(size, WINDOW_PX, OVERLAP_PX) ** 2
        times["network alone, county"] = [statistics.median(times["network alone"]) / REGION_WINDOWS * windows]
        times |= county(Path(folder), size, count, arguments.moments)
    table = show(times)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
