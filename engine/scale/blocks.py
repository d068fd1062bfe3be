"""One block of a prediction that several processes or computers share: what each of them computes at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...protocol import BlockRequest, BlockResult, ErrorCode, OrthomaskError, PredictRequest, from_json, to_json
from ...protocol.words import tr
from .. import predict
from ..compute import devices
from ..images.grid import Window
from ..images.raster import open_image, open_reader
from ..models import bundle as bundles
from ..outputs import write_atomically
from ..progress import Progress
from ..runs.runs import NODATA, RunFolder

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

    def write(self, work_dir: Path) -> None:
        """Write it where workers look for it."""
        write_atomically(work_dir / JOB, json.dumps(to_json(self)).encode())


def run(request: BlockRequest, progress: Progress) -> BlockResult:
    """Predict all windows that touch a block, and write its pixels to the run's hidden folder, whole or not at all.

    Raises:
        OrthomaskError: the folder is missing, the image cannot be read, the model differs here, or nothing can be
            written.
    """
    work_dir, window = Path(request.work_dir), Window(request.x, request.y, request.width, request.height)
    job = _job(work_dir)
    bundle = bundles.load(job.request.model)
    if bundle.sha256 != job.model_sha256:
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("The model “{}” on a worker differs from the one on this computer.").format(bundle.card.name),
            tr("Install the same version of Orthomask everywhere, or specify the model by its path."),
        )
    folder = RunFolder(work_dir.parent, job.request, bundle, job.run_id)
    probabilities = np.full((len(bundle.card.classes), window.height, window.width), NODATA, np.uint8)
    classes = np.full(probabilities.shape[1:], NODATA, np.uint8)
    with open_image(replace(job.request.image, access=request.access), progress) as source:
        plan = predict.plan(source, job.request, window)
        predictor = devices.prepare(bundle, devices.suited(bundle, job.request.device), job.precision)
        with open_reader(source, plan.lattice, plan.numbers) as reader:
            for strip in predict.blended(plan, reader, predictor, progress):
                rows = slice(strip.top - window.y, strip.top - window.y + strip.probabilities.shape[1])
                probabilities[:, rows] = strip.probabilities
                classes[rows] = strip.classes(folder.threshold)
    filled = bool((classes != NODATA).any())
    folder.write_block(folder.block(window), probabilities, classes)
    return BlockResult(filled)


def _job(work_dir: Path) -> Job:
    try:
        return from_json(Job, json.loads((work_dir / JOB).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("A worker cannot find the run folder “{}”.").format(work_dir.parent),
            tr("The image, model and output folder must have the same path on every computer."),
            str(error),
        ) from error
