"""A prediction spread over processes of this computer, or over the computers of a Dask cluster, block by block.

The lattice is cut into blocks of whole strides. A block is a task: a worker runs all windows that touch it, in the
order in which a single process would, and leaves its pixels in the run's folder, whole or not at all. So a lost worker
costs the blocks in its hands, which Dask gives to others, a repeated run skips the finished ones, and the parts joined
are what a single process makes. Little goes through Dask but the name of the folder and the place of the block; all
else is in the folder, which every worker must be able to reach under the same path.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import numpy as np
import psutil
import torch
from distributed import Client, Future, KilledWorker, LocalCluster

from ..protocol import ErrorCode, OrthomaskError, PredictRequest, PredictResult, ScaleRequest, from_json, to_json
from ..protocol.words import tr
from . import bundle as bundles
from . import devices, predict, runs
from .grid import Window, blocks
from .outputs import write_atomically
from .progress import Progress
from .provenance import Processor
from .raster import open_image, open_reader
from .runs import NODATA, Part, RunFolder

WAITING_S = 120.0
"""How long to wait for the first worker."""
CONNECTING_S = 10.0
"""How long to look for a scheduler."""
LARGEST = 32
"""Largest side of a block, in strides: of 12,288 x 12,288 px a worker holds a byte for each class, and one more."""
JOB = "job.json"
"""File in the run's hidden folder with all that workers need."""


@dataclass(frozen=True)
class Job:
    """What all blocks of a run have in common; paths are absolute."""

    request: PredictRequest
    run_id: str
    model_sha256: str
    precision: str
    block_windows: int


def run(request: ScaleRequest, progress: Progress) -> PredictResult:
    """Predict with several processes or computers; the results are those of `predict`, in the same folder.

    Raises:
        OrthomaskError: bad input, an output that cannot be written, no workers, or `Cancelled`.
    """
    started, asked = time.monotonic(), request.predict
    progress.report(0, tr("Opening the image"))
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_image(asked.image, progress))
        plan = predict.plan(source, asked)
        stack.enter_context(runs.claimed(asked.output_dir))
        folder, finished = runs.open_folder(asked, plan.bundle)
        if finished:
            return finished
        with _cluster(request, progress) as client:
            processor = _processor(client, asked.device, folder.precision, progress)
            folder.begin(folder.provenance(plan.bundle, source, processor))
            side = request.block_windows or _begun_side(folder) or _side(plan.selection.count, len(client.nthreads()))
            job = Job(_absolute(asked, plan.bundle), folder.run_id, plan.bundle.sha256, processor.precision, side)
            parts = [folder.block(window) for window in blocks(plan.lattice, plan.selection, side)]
            write_atomically(folder.work / JOB, json.dumps(to_json(job)).encode())
            _run_blocks(client, folder, parts, asked.image.access, progress.part(0.02, 0.88))
        return predict.finish(plan, folder, folder.filled(parts), processor, started, progress.part(0.88, 1))


def _side(windows: int, workers: int) -> int:
    """A side of blocks, in strides, with which each worker has two, or more.

    A block's upper and left windows run in its neighbours too: of a square of n x n, (n + 1)² run.
    """
    return min(LARGEST, math.ceil(math.sqrt(windows / workers / 2)))


def _begun_side(folder: RunFolder) -> int:
    """The side of the blocks that are in the folder already; 0 if there are none."""
    try:
        return int(json.loads((folder.work / JOB).read_text(encoding="utf-8"))["block_windows"])
    except (OSError, ValueError):
        return 0


def _absolute(request: PredictRequest, bundle: bundles.Bundle) -> PredictRequest:
    """The request with paths that hold in any working folder; names of embedded models and addresses stay."""
    path, embedded = Path(request.image.path), bundle.path.parent == bundles.MODELS_DIR
    return replace(
        request,
        image=replace(request.image, path=str(path.resolve()) if path.exists() else str(request.image.path)),
        model=request.model if embedded else str(bundle.path.resolve()),
        output_dir=str(Path(request.output_dir).resolve()),
    )


def _run_blocks(
    client: Client, folder: RunFolder, parts: Sequence[Part], access: dict[str, str], progress: Progress
) -> None:
    """Have all unfinished blocks computed.

    Args:
        access: passwords of the image, which must not lie on disk.

    Raises:
        OrthomaskError: of the first block that fails; the finished ones are kept.
    """
    todo = [part for part in parts if not folder.is_finished(part)]
    work_dir = str(folder.work.resolve())
    futures = client.map(work, [part.window for part in todo], work_dir=work_dir, access=access, pure=False)
    try:
        for number, _ in enumerate(_results(futures, progress), len(parts) - len(todo) + 1):
            progress.report(number / len(parts), tr("Block {} of {}").format(number, len(parts)))
    finally:
        client.cancel(futures)


def work(window: Window, work_dir: str, access: dict[str, str]) -> dict[str, str]:
    """Compute a block and leave it in the folder: what a worker does. An error of ours is returned, as JSON."""
    devices.keep_pages()
    try:
        _compute(window, Path(work_dir), access)
    except OrthomaskError as error:
        return error.to_json()
    return {}


def _compute(window: Window, work_dir: Path, access: dict[str, str]) -> None:
    job = from_json(Job, json.loads((work_dir / JOB).read_text(encoding="utf-8")))
    bundle = bundles.load(job.request.model)
    if bundle.sha256 != job.model_sha256:
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("A worker has another model “{}” than this computer.").format(bundle.card.name),
            tr("Install the same version of Orthomask everywhere, or name a model by its path."),
        )
    folder = RunFolder(work_dir.parent, job.request, bundle, job.run_id)
    probabilities = np.full((len(bundle.card.classes), window.height, window.width), NODATA, np.uint8)
    classes = np.full(probabilities.shape[1:], NODATA, np.uint8)
    with open_image(replace(job.request.image, access=access)) as source:
        plan = predict.plan(source, job.request, window)
        predictor = devices.prepare(bundle, devices.choose(job.request.device), job.precision)
        with open_reader(source, plan.lattice, plan.numbers) as reader:
            for strip in predict.blended(plan, reader, predictor, Progress()):
                rows = slice(strip.top - window.y, strip.top - window.y + strip.probabilities.shape[1])
                probabilities[:, rows] = strip.probabilities
                classes[rows] = runs.classify(strip.probabilities, folder.threshold)
    folder.write_block(folder.block(window), probabilities, classes)


def describe(device: str) -> tuple[str, str, str] | dict[str, str]:
    """Id, name and precision of the device that a worker would use; an error of ours is returned, as JSON."""
    try:
        chosen = devices.choose(device)
    except OrthomaskError as error:
        return error.to_json()
    return str(chosen.torch), chosen.name, devices.precision_of(chosen.torch)


def _processor(client: Client, device: str, precision: str, progress: Progress) -> Processor:
    """What the workers compute on, by the word of one of them, in the precision that the run began with."""
    ((identity, name, usual),) = _results([client.submit(describe, device, pure=False)], progress)
    return Processor(identity, f"{len(client.nthreads())} × {name}", precision or usual)


def _results(futures: Sequence[Future[Any]], progress: Progress) -> Iterator[Any]:
    """What tasks return, as they end; meanwhile a person can cancel.

    Raises:
        OrthomaskError: a task failed, or the connection was lost.
    """
    ended: queue.Queue[Future[Any]] = queue.Queue()
    for future in futures:
        future.add_done_callback(ended.put)
    left = len(futures)
    while left:
        progress.check_cancelled()
        try:
            future = ended.get(timeout=0.2)
        except queue.Empty:
            continue
        left -= 1
        yield _result(future)


def _result(future: Future[Any]) -> Any:
    if future.status != "finished":
        raise _failed(future.exception() if future.status == "error" else None)
    result = future.result()
    if isinstance(result, dict) and result:
        raise OrthomaskError.from_json(result)
    return result


def _failed(error: BaseException | None) -> BaseException:
    """Why a task ended without a result, in words where that can happen to anyone."""
    code, again = ErrorCode.ENGINE_DIED, tr("Then run it again with --resume: what is finished is kept.")
    if error is None:
        sentence, remedy = tr("The connection to Dask's scheduler was lost."), tr("Start it again.")
    elif isinstance(error, KilledWorker):
        sentence, remedy = tr("One block ended every worker that tried it."), tr("Give each worker more memory.")
    elif isinstance(error, ImportError):
        sentence, remedy = tr("A worker does not have Orthomask."), tr("Install the same version on all computers.")
        code = ErrorCode.ENGINE_SETUP
    else:
        return error
    return OrthomaskError(code, sentence, f"{remedy} {again}", str(error or ""))


@contextlib.contextmanager
def _cluster(request: ScaleRequest, progress: Progress) -> Iterator[Client]:
    """A client of a running scheduler, or of one of our own with processes of this computer.

    Raises:
        OrthomaskError: there is no such scheduler, or no worker comes.
    """
    progress.report(0.01, tr("Waiting for workers"))
    with contextlib.ExitStack() as stack:
        address = request.scheduler
        if not address:
            cluster = LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None, silence_logs=logging.CRITICAL)
            address = stack.enter_context(cluster).scheduler_address
            stack.enter_context(_processes(address, request))
        client = stack.enter_context(_client(address))
        deadline = time.monotonic() + WAITING_S
        while not client.nthreads():
            progress.check_cancelled()
            if time.monotonic() > deadline:
                sentence, remedy = tr("No worker has come to Dask's scheduler."), tr("Start some, then try again.")
                raise OrthomaskError(ErrorCode.ENGINE_MISSING, sentence, remedy, address)
            time.sleep(0.1)
        yield client


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECTING_S, set_as_default=False)
    except (OSError, ValueError) as error:
        sentence = tr("There is no Dask scheduler at {}.").format(address)
        remedy = tr("Name the address that “dask scheduler” prints, such as tcp://10.0.0.1:8786.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy, str(error)) from error


@contextlib.contextmanager
def _processes(address: str, request: ScaleRequest) -> Iterator[None]:
    """Workers on this computer, each with its share of the cores and one of the GPUs; each starts again when it dies.

    They are programs of their own rather than multiprocessing's, which would import the main file of this one again.
    """
    gpus = _gpus() if request.predict.device in ("auto", "cuda") else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // request.processes))}
    command = [sys.executable, "-m", "dask", "worker", address, "--nworkers", "1", "--nthreads", "1"]
    command += ["--memory-limit", "0", "--no-dashboard", "--death-timeout", "30"]
    with tempfile.TemporaryDirectory(prefix="orthomask-", ignore_cleanup_errors=True) as scratch:
        command += ["--local-directory", scratch]
        processes = []
        for number in range(request.processes):
            gpu = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
            own = {**environment, **gpu}
            processes.append(Popen(command, env=own, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL))
        try:
            yield
        finally:
            for process in processes:
                _end(process)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else list(map(str, range(torch.cuda.device_count())))


def _end(process: Popen[bytes]) -> None:
    """End a process at once, and those that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in (*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()
