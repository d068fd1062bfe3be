"""Where a finished run is unsure, as a raster on its grid.

The entropy comes from the run's own probabilities. For the disagreement, the model runs again on the same windows, as
they are and mirrored; those of overlapping windows are blended like probabilities.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
import torch
from affine import Affine
from rasterio.windows import Window as RasterWindow
from shapely import Geometry
from torch import Tensor

from ...protocol import (
    UNCERTAINTY_FILE,
    Cancelled,
    ErrorCode,
    Existing,
    OrthomaskError,
    UncertaintyRequest,
    UncertaintyResult,
)
from ...protocol.words import tr
from .. import predict
from ..compute import devices
from ..images.raster import open_image, open_reader
from ..images.unreadable import damaged
from ..outputs import alone
from ..progress import Progress
from ..runs import finished
from ..runs.cogs import BLOCK_PX, Band, Frame
from ..runs.finished import Finished
from ..runs.pyramids import open_pyramids
from ..runs.runs import NODATA, RESULTS, SCALE
from .measures import disagreement, entropy, views

UNSURE = 0.5
"""An entropy above this is called unsure."""
ROWS = 32
"""Whose entropy is computed at a time: the numbers take much more room than the pixels."""
ABOUT = "<Description>{}</Description><Offset>0</Offset><Scale>" + repr(1 / SCALE) + "</Scale>"
Rows = tuple[int, np.ndarray | None]
"""The first of some rows of the run's raster, and their disagreement `(rows, width)`, uint8; None without flips."""


def run(request: UncertaintyRequest, progress: Progress) -> UncertaintyResult:
    """Write where a run is unsure; a cancelled or failed one leaves nothing.

    Raises:
        OrthomaskError: there is no finished run, its model or image is gone or has changed, or the raster exists or
            cannot be written.
    """
    started = time.monotonic()
    progress.report(0, tr("Opening the run"))
    made = finished.read(request.run_dir)
    target = Path(request.output_path) if request.output_path else made.folder / UNCERTAINTY_FILE
    _refuse_existing(made, target, request.existing)
    with alone(target), ExitStack() as stack:
        try:
            dataset = stack.enter_context(rasterio.open(made.probabilities))
        except rasterio.errors.RasterioError as error:
            raise finished.no_run(made.folder, error) from error
        frame = Frame(dataset.width, dataset.height, dataset.crs.to_wkt(), dataset.transform)
        before = progress.part(0, 0.9)
        measured = _mirrored(made, frame, request.device, before) if request.flips else _plain(frame, before)
        rows, read = stack.enter_context(closing(measured)), partial(_read, dataset, _region(dataset))
        share = _write(target, frame, made.run_id, read, rows, request.flips, progress.part(0.9, 1))
    progress.show(1, tr("Done"))
    return UncertaintyResult(str(target), share, round(time.monotonic() - started, 2))


def _refuse_existing(made: Finished, target: Path, existing: Existing) -> None:
    """Raise if the raster is there, or would take the place of what it is made from."""
    sources = [made.folder / name for name in RESULTS] + list(map(Path, made.request.image.paths))
    if any(os.path.exists(source) and _is_same(target, source) for source in sources):
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” belongs to the run.").format(target.name),
            tr("Choose another name."),
        )
    if target.exists() and existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and os.path.samefile(one, other)


def _write(
    target: Path, frame: Frame, run_id: str, read: Callable[[int, int], np.ndarray], measured: Iterator[Rows],
    flips: bool, progress: Progress,
) -> float:  # fmt: skip
    """Write the raster from the top down; returns the share of unsure pixels.

    Args:
        read: gives the run's probabilities of some rows: the first one, and how many.
        progress: of the last step, which joins the raster.
    """
    names = ["entropy", "disagreement"] if flips else ["entropy"]
    bands = [Band("uint8", NODATA, ABOUT.format(name), "average") for name in names]
    unsure = known = 0
    with open_pyramids(target, frame, bands, json.dumps({"run_id": run_id}), progress) as pyramids:
        for top, change in measured:
            height = min(BLOCK_PX, frame.height - top) if change is None else len(change)
            found = read(top, height)
            doubt, missing = _entropy(found), found[0] == NODATA
            pyramids[0].write(doubt)
            if change is not None:
                pyramids[1].write(np.where(missing, np.uint8(NODATA), change))
            known += int((~missing).sum())
            unsure += int(((doubt > UNSURE * SCALE) & ~missing).sum())
    return unsure / max(1, known)


def _region(dataset: rasterio.DatasetReader) -> Geometry | None:
    """The run's region in pixels of its rasters, if those of the probabilities reach beyond it."""
    record = json.loads(dataset.tags().get("ORTHOMASK", "{}"))
    return shapely.from_wkb(record["region"]) if "region" in record else None


def _read(dataset: rasterio.DatasetReader, region: Geometry | None, top: int, height: int) -> np.ndarray:
    """Probabilities `(K, height, width)` of 0 to `SCALE`, and `NODATA`, also outside the region.

    Raises:
        OrthomaskError: the file is damaged there.
    """
    try:
        found: np.ndarray = dataset.read(window=RasterWindow(0, top, dataset.width, height))
    except rasterio.errors.RasterioError as error:
        raise damaged(finished.PROBABILITIES, top, error) from error
    if region is not None:
        outside = rasterio.features.geometry_mask([region], found.shape[1:], Affine.translation(0, top))
        found[:, outside] = NODATA
    return found


def _entropy(found: np.ndarray) -> np.ndarray:
    """Entropy `(H, W)` of probabilities `(K, H, W)`, both of 0 to `SCALE`, with `NODATA`."""
    doubt = np.full(found.shape[1:], NODATA, np.uint8)
    for top in range(0, len(doubt), ROWS):
        rows = found[:, top : top + ROWS]
        scaled = np.round(entropy(rows.astype(np.float32) / SCALE) * SCALE)
        np.copyto(doubt[top : top + ROWS], scaled.clip(0, SCALE).astype(np.uint8), where=rows[0] != NODATA)
    return doubt


def _plain(frame: Frame, progress: Progress) -> Generator[Rows, None, None]:
    for top in range(0, frame.height, BLOCK_PX):
        progress.report(top / frame.height, tr("Reading the probabilities"))
        yield top, None


def _mirrored(made: Finished, frame: Frame, device: str, progress: Progress) -> Generator[Rows, None, None]:
    """Rows of the run from the top down, with the disagreement of the model under flips.

    Raises:
        OrthomaskError: the model or the image is gone or has changed, or no longer gives the run's grid.
    """
    with ExitStack() as stack:
        plan = _planned(made, frame, stack, progress)
        predictor = devices.prepare(plan.bundle, devices.suited(plan.bundle, device))

        def measure(windows: Tensor) -> Tensor:
            with torch.inference_mode():
                return disagreement([predictor(view) for view in views(windows)])[:, None]

        reader = stack.enter_context(open_reader(plan.source, plan.lattice, plan.numbers))
        strips = stack.enter_context(closing(predict.measured(plan, reader, predictor.device, measure, 1, progress)))
        for strip in strips:
            if strip.probabilities.size:
                yield strip.top - plan.selection.extent.y, strip.probabilities[0]
        made.refuse_changed(plan.source)


def _planned(made: Finished, frame: Frame, stack: ExitStack, progress: Progress) -> predict.Plan:
    """The plan of the run, of the same model and image."""
    try:
        made.bundle()
        source = stack.enter_context(open_image(made.request.image, progress))
        made.refuse_changed(source)
        plan = predict.plan(source, made.request)
    except Cancelled:
        raise
    except OrthomaskError as error:
        remedy = tr("Put the run's model and image back, or compute the entropy alone, without flips.")
        raise OrthomaskError(error.code, error.sentence, remedy, error.details) from error
    extent = plan.selection.extent
    transform = plan.lattice.transform @ plan.lattice.transform.translation(extent.x, extent.y)
    if (extent.width, extent.height) != (frame.width, frame.height) or not transform.almost_equals(frame.transform):
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("This version of Orthomask resamples the image in another way than the run did."),
            tr("Run it again first, or compute the entropy alone, without flips."),
        )
    return plan
