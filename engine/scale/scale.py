"""A prediction spread over processes on this computer, or over the computers of a Dask cluster, block by block.

The lattice is cut into blocks of whole strides. A block is a task: a worker runs all windows that touch it, in the
order of a single process, and writes its pixels to the run's folder, whole or not at all. So a lost worker costs only
its current blocks, which others take over, a repeated run skips the finished ones, and the joined result is that of a
single process. Workers receive little more than the folder's name and the block's position; everything else is in the
folder, which every worker must reach under the same path.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from ...protocol import BlockRequest, InfoRequest, InfoResult, PredictRequest, PredictResult, ScaleRequest, from_json
from ...protocol.words import tr
from .. import predict
from ..images.grid import blocks
from ..images.raster import open_image
from ..models import bundle as bundles
from ..progress import Progress
from ..runs import runs
from ..runs.provenance import Processor
from ..runs.runs import Part, RunFolder
from . import crew
from .blocks import JOB, Job

LARGEST = 32
"""Largest side of a block, in strides: for 12,288 x 12,288 px a worker holds a byte per class, and one more."""


class Pending(Protocol):
    """The answer to a request, to come."""

    def add_done_callback(self, call: Any, /) -> Any:
        """Call `call` with this when the answer has come."""

    def result(self) -> dict[str, Any]:
        """The answer, once it has come. Raises it if it is an `OrthomaskError`."""


class Workers(Protocol):
    """Whoever answers requests."""

    @property
    def count(self) -> int:
        """How many there are."""

    def submit(self, method: str, request: object) -> Pending:
        """Let one of them answer a request."""

    def submit_to_each(self, method: str, request: object) -> Sequence[Pending]:
        """Let each of them, all idle, answer a request."""


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
        folder, finished = runs.open_folder(asked, plan.bundle, source.stamp())
        if finished:
            return finished
        progress.report(0.01, tr("Waiting for workers"))
        with _workers(request, progress) as workers:
            processor = _processor(workers, plan.bundle, asked.device, folder, progress)
            folder.begin(folder.provenance(plan.bundle, source, processor), source.resampling(plan.lattice))
            side = request.block_windows or _begun_side(folder) or _side(plan.selection.count, workers.count)
            job = Job(_absolute(asked, plan.bundle), folder.run_id, plan.bundle.sha256, processor.precision, side)
            parts = [folder.block(window) for window in blocks(plan.lattice, plan.selection, side)]
            job.write(folder.work)
            _run_blocks(workers, folder, parts, source.image.access, progress.part(0.02, 0.88))
        return predict.finish(plan, folder, folder.filled(parts), processor, started, progress.part(0.88, 1))


def _side(windows: int, workers: int) -> int:
    """A side of blocks, in strides, that gives each worker at least two.

    A block's upper and left windows also run in its neighbours: for a square of n x n, (n + 1)² run.
    """
    return min(LARGEST, math.ceil(math.sqrt(windows / workers / 2)))


def _begun_side(folder: RunFolder) -> int:
    """The side of the blocks already in the folder; 0 if there are none."""
    try:
        return int(json.loads((folder.work / JOB).read_text(encoding="utf-8"))["block_windows"])
    except (OSError, ValueError):
        return 0


def _absolute(request: PredictRequest, bundle: bundles.Bundle) -> PredictRequest:
    """The request with paths valid in any working folder; names of embedded models and addresses stay."""
    embedded = bundle.path.parent == bundles.MODELS_DIR
    return replace(
        request,
        image=request.image.at(lambda path: str(Path(path).resolve()) if Path(path).exists() else path),
        model=request.model if embedded else str(bundle.path.resolve()),
        output_dir=str(Path(request.output_dir).resolve()),
    )


def _run_blocks(
    workers: Workers, folder: RunFolder, parts: Sequence[Part], access: dict[str, str], progress: Progress
) -> None:
    """Compute all unfinished blocks.

    Args:
        access: passwords of the image, which must not be on disk.

    Raises:
        OrthomaskError: of the first block that fails; the finished ones are kept.
    """
    todo = [part for part in parts if not folder.is_finished(part)]
    work_dir = str(folder.work.resolve())
    asked = [workers.submit("block", BlockRequest(work_dir, *part.window, access)) for part in todo]
    for number, _ in enumerate(_answers(asked, progress), len(parts) - len(todo) + 1):
        progress.report(number / len(parts), tr("Block {} of {}").format(number, len(parts)))


def _processor(
    workers: Workers, bundle: bundles.Bundle, device: str, folder: RunFolder, progress: Progress
) -> Processor:
    """What the workers compute on, in a precision that all support: the one that the run began with, or the best.

    Raises:
        OrthomaskError: one of them lacks the precision that the run began with.
    """
    device = "cpu" if bundle.card.graph else device
    answers = _answers(workers.submit_to_each("info", InfoRequest(device)), progress)
    infos = [from_json(InfoResult, answer) for answer in answers]
    counted = Counter(info.device_name for info in infos)
    name = ", ".join(f"{count} × {title}" for title, count in sorted(counted.items()))
    shared = set.intersection(*(set(info.precisions) for info in infos))
    wanted = {info.precision for info in infos}
    best = wanted.pop() if len(wanted) == 1 and not bundle.card.graph else "fp32"
    return Processor(
        ", ".join(sorted({info.device for info in infos})), name, folder.begun_precision(shared, name) or best
    )


def _answers(asked: Sequence[Pending], progress: Progress) -> Iterator[dict[str, Any]]:
    """The answers to requests, as they come; the user can cancel meanwhile.

    Raises:
        OrthomaskError: one of the answers, or no worker was left to answer.
    """
    ended: queue.Queue[Pending] = queue.Queue()
    for pending in asked:
        pending.add_done_callback(ended.put)
    left = len(asked)
    while left:
        progress.check_cancelled()
        try:
            pending = ended.get(timeout=0.2)
        except queue.Empty:
            continue
        left -= 1
        yield pending.result()


def _workers(request: ScaleRequest, progress: Progress) -> AbstractContextManager[Workers]:
    """The workers of a running scheduler, or processes on this computer.

    Raises:
        OrthomaskError: there is no such scheduler, or no worker comes.
    """
    if not request.scheduler:
        return crew.hired(request.processes, _gpus() if request.predict.device in ("auto", "cuda") else [])
    from . import cluster

    return cluster.joined(request.scheduler, progress)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else list(map(str, range(torch.cuda.device_count())))
