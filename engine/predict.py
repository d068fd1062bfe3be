"""Sliding-window prediction over a region, strip by strip: the one hot path.

A reader thread decodes windows ahead, the network runs on the device, where overlapping windows are blended as
weighted probabilities, and a writer thread encodes finished strips. Memory holds one strip of windows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rasterio.features
import torch
from affine import Affine
from shapely import Geometry
from torch import Tensor

from ..protocol import WINDOW_PX, ErrorCode, OrthomaskError, PredictRequest, PredictResult
from ..protocol.words import tr
from . import check
from .compute import devices, gpu
from .compute.batches import Batches, Predict
from .estimates import estimates
from .images import regions
from .images.grid import Lattice, Selection, Window, blend_profile, select
from .images.raster import Reader, Source, open_image, open_reader
from .models import bundle as bundles
from .progress import Progress
from .runs import preview, runs
from .runs.provenance import Processor
from .runs.runs import NODATA, SCALE, Part, Strip
from .shapes import polygons
from .waiting import ahead

Read = Callable[[Window], tuple[np.ndarray, np.ndarray]]
"""Maps a window to pixels `(bands, H, W)`, float32, and their validity `(H, W)`."""


@dataclass(frozen=True)
class Plan:
    """What a run will do: known before anything runs."""

    source: Source
    bundle: bundles.Bundle
    lattice: Lattice
    selection: Selection
    numbers: tuple[int, ...]
    warnings: tuple[str, ...]


def plan(source: Source, request: PredictRequest, within: Window | None = None) -> Plan:
    """Choose bands, lattice and windows.

    Args:
        within: the wanted block of the lattice; None for everything requested.

    Raises:
        OrthomaskError: the model cannot read this image, or the region is not on it.
    """
    bundle = bundles.load(request.model)
    check.refuse(source, bundle)
    lattice = source.lattice(bundle.card.gsd_m, *bundle.windows_px(request.window_px, request.overlap_px))
    geometry, warnings = regions.to_lattice(request.region, lattice) if request.region else (None, ())
    choice = source.choose([band.name for band in bundle.card.bands])
    warnings = (*source.notes, *warnings, *filter(None, [choice.assumption]))
    selection = select(lattice, geometry, within, request.reach_px)
    return Plan(source, bundle, lattice, selection, choice.numbers, warnings)


def run(request: PredictRequest, progress: Progress) -> PredictResult:
    """Predict, and write class raster, probability raster, polygons and provenance to the run's folder.

    A cancelled or killed run leaves nothing under its final name; the same request resumes where it stopped.

    Raises:
        OrthomaskError: bad input, an output that cannot be written, or `Cancelled`.
    """
    started = time.monotonic()
    progress.report(0, tr("Opening the image"))
    with ExitStack() as stack:
        source = stack.enter_context(open_image(request.image, progress))
        plan_ = plan(source, request)
        device = devices.suited(plan_.bundle, request.device)
        stack.enter_context(runs.claimed(request.output_dir))
        folder, finished = runs.open_folder(request, plan_.bundle, source.stamp())
        if finished:
            return finished
        progress.report(0.01, tr("Preparing the model"))
        precision = folder.begun_precision(devices.precisions_of(device.torch), device.name)
        predictor = devices.prepare(plan_.bundle, device, precision)
        processor = Processor(str(device.torch), device.name, predictor.precision)
        folder.begin(folder.provenance(plan_.bundle, source, processor), source.resampling(plan_.lattice))
        before, fresh = predictor.tally.windows, folder.finished_strips() == 0
        _run_strips(plan_, predictor, folder, progress.part(0.02, 0.88))
        parts = folder.strips(plan_.selection) if folder.has_data() else []
        result = finish(plan_, folder, parts, processor, started, progress.part(0.88, 1))
        windows = predictor.tally.windows - before
        if fresh and request.window_px == WINDOW_PX and 2 * windows > plan_.selection.count:
            estimates.learn(plan_.bundle, predictor, windows, result.seconds)
    return result


def finish(
    plan_: Plan, folder: runs.RunFolder, parts: Sequence[Part], processor: Processor, started: float, progress: Progress
) -> PredictResult:
    """Join the predicted parts into rasters and polygons, and give them their final names.

    Args:
        started: when the run began, by `time.monotonic`.

    Raises:
        OrthomaskError: there is no data at all, or the results cannot be written.
    """
    if not parts:
        folder.discard()
        raise OrthomaskError(
            ErrorCode.IMAGE_EMPTY,
            tr("“{}” has no data in this region.").format(plan_.source.name),
            tr("Draw the region where the image has data."),
        )
    folder.refuse_changed(plan_.source.stamp())
    rasters = folder.write_rasters(plan_.lattice, plan_.selection, parts, progress.part(0, 0.4))
    provenance = folder.provenance(plan_.bundle, plan_.source, processor)
    counted = polygons.write(
        rasters.probabilities, folder.threshold, folder.request.polygons, provenance, rasters.polygons,
        progress.part(0.4, 0.9),
    )  # fmt: skip
    seconds = time.monotonic() - started
    result = folder.commit(provenance, counted, processor.name, seconds, plan_.warnings)
    progress.show(1, tr("Done"))
    return result


def blended(
    plan_: Plan, reader: Reader, predictor: devices.Predictor, progress: Progress, first: int = 0
) -> Generator[Strip, None, None]:
    """The strips of a plan from `first` on, each as soon as its pixels are final (see `strips`)."""
    return measured(plan_, reader, predictor.device, predictor, len(plan_.bundle.card.classes), progress, first)


def measured(
    plan_: Plan, reader: Reader, device: devices.Device, measure: Predict, count: int, progress: Progress,
    first: int = 0,
) -> Generator[Strip, None, None]:  # fmt: skip
    """The strips of a plan, of anything between 0 and 1 that is computed from normalised windows on a device.

    Args:
        count: K, how many numbers a pixel has.
    """

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        pixels, valid = reader.read(window)
        return plan_.bundle.normalise(pixels, valid), valid

    with device.shared() as lanes:
        yield from strips(
            plan_.lattice, plan_.selection, read, measure, count,
            progress, batch=device.batch, lanes=lanes, device=device.torch, first=first,
        )  # fmt: skip


def _run_strips(plan_: Plan, predictor: devices.Predictor, folder: runs.RunFolder, progress: Progress) -> None:
    first = folder.finished_strips()
    if first == len(plan_.selection.columns):
        return  # it was stopped while joining them into results
    try:
        with (
            open_reader(plan_.source, plan_.lattice, plan_.numbers) as reader,
            ThreadPoolExecutor(1) as writer,
            closing(blended(plan_, reader, predictor, progress, first)) as strips_,
        ):
            written: Future[None] | None = None
            write = preview.writing(folder, plan_.lattice, plan_.selection)
            for strip in strips_:
                if written:
                    written.result()
                written = writer.submit(write, strip)
            if written:
                written.result()
    except OrthomaskError as error:
        if error.code is ErrorCode.IMAGE_UNREADABLE:
            folder.refuse_changed(plan_.source.stamp())
        raise


def strips(
    lattice: Lattice,
    selection: Selection,
    read: Read,
    predict: Predict,
    classes: int,
    progress: Progress,
    *,
    batch: int = 1,
    lanes: int = 1,
    device: torch.device = torch.device("cpu"),  # noqa: B008 (immutable)
    first: int = 0,
) -> Generator[Strip, None, None]:
    """Predict and blend the selected windows; yield each strip as soon as its pixels are final.

    Args:
        predict: any callable; tests use an identity.
        classes: K, the number of foreground classes.
        batch: windows in one call; halved whenever the device runs out of memory.
        lanes: concurrent calls.
        first: strips before this one are finished already. The windows above it run again where they overlap it.

    Raises:
        OrthomaskError: the image is damaged, a single window does not fit into memory, or `Cancelled`.
    """
    canvas = _Canvas(lattice, selection, classes, device)
    todo = list(enumerate(selection.columns))[max(0, first - 1) :]
    places = [_Place(selection.first_row + index, column) for index, columns in todo for column in columns]
    total, done = max(1, len(places)), 0
    finished: deque[Callable[[], Strip]] = deque()
    late = int(device.type == "cuda")  # a GPU gets work for the next strip while this one is copied
    with (
        closing(ahead(lambda place: read(lattice.window(*place)), places, batch + 2, progress)) as windows,
        closing(Batches(predict, batch, lanes, device)(windows, progress)) as predicted,
    ):
        for index, columns in todo:
            row = selection.first_row + index
            for column, (probabilities, valid) in zip(columns, predicted):
                if probabilities is not None:
                    canvas.add(_Place(row, column), probabilities, valid)
                done += 1
                progress.report(done / total, tr("Window {} of {}").format(done, total))
            finished.append(canvas.finish(index, row))
            if index < first:
                finished.clear()
            while len(finished) > late:
                yield finished.popleft()()
    while finished:
        yield finished.popleft()()


class _Place(NamedTuple):
    row: int
    column: int


class _Canvas:
    """The strip being blended, on the device, and which of its pixels are valid."""

    def __init__(self, lattice: Lattice, selection: Selection, classes: int, device: torch.device) -> None:
        extent = selection.extent  # a block can extend beyond the region's windows
        used = [column * lattice.stride_px for columns in selection.columns for column in columns]
        self._lattice, self._selection = lattice, selection
        self._left = min([*used, extent.x])
        width = max([extent.x + extent.width, *(x + lattice.window_px for x in used)]) - self._left
        self._sum = torch.zeros(classes, lattice.window_px, width, device=device)
        self._valid = np.zeros((lattice.window_px, width), bool)
        self._weights: dict[tuple[bool, ...], Tensor] = {}

    def add(self, place: _Place, probabilities: Tensor, valid: np.ndarray) -> None:
        """Blend in the probabilities `(K, window, window)` of a window."""
        x = place.column * self._lattice.stride_px - self._left
        across = slice(x, x + self._lattice.window_px)
        self._sum[:, :, across].addcmul_(probabilities, self._weight(place))
        self._valid[:, across] |= valid

    def _weight(self, place: _Place) -> Tensor:
        """Weights `(window, window)`, copied to the device once for each kind of position: at an edge or not."""
        rows, columns = self._lattice.rows, self._lattice.columns
        kind = (place.row == 0, place.row == rows - 1, place.column == 0, place.column == columns - 1)
        if kind not in self._weights:
            size, overlap = self._lattice.window_px, self._lattice.overlap_px
            weight_y = torch.from_numpy(blend_profile(place.row, rows, size, overlap))
            weight_x = torch.from_numpy(blend_profile(place.column, columns, size, overlap))
            self._weights[kind] = (weight_y[:, None] * weight_x).to(self._sum.device)
        return self._weights[kind]

    def finish(self, index: int, row: int) -> Callable[[], Strip]:
        """Return a function that gives this strip's final rows, cut to the region; move the overlap up.

        Raises:
            OrthomaskError: in the returned function, if a network with damaged weights gave no probabilities.
        """
        top, bottom = self._lattice.strip(row)
        extent = self._selection.extent
        first, last = max(top, extent.y), min(bottom, extent.y + extent.height)
        rows = slice(first - top, max(first, last) - top)
        columns = slice(extent.x - self._left, extent.x - self._left + extent.width)
        finished = self._sum[:, rows, columns].mul_(SCALE).round_()  # in place: a strip can be large
        finished.nan_to_num_(*3 * [NODATA])  # infinities, too
        leaving = gpu.leaving(finished.to(torch.uint8))
        outside = self._outside(rows, columns, first)
        self._move_up()

        beyond = self._beyond(rows, columns, first)

        def strip() -> Strip:
            probabilities = leaving()
            _refuse_nonsense(probabilities)
            probabilities[:, outside] = NODATA
            return Strip(index, first, probabilities, beyond)

        return strip

    def _outside(self, rows: slice, columns: slice, top: int) -> np.ndarray:
        """Which pixels hold no data, or have their centre outside what is computed."""
        outside = ~self._valid[rows, columns]
        if self._selection.geometry is not None and outside.size:
            outside |= self._off(self._selection.geometry, outside.shape, top)
        return outside

    def _beyond(self, rows: slice, columns: slice, top: int) -> np.ndarray | None:
        """Which pixels have their centre outside the region itself, where more is computed."""
        shape = self._valid[rows, columns].shape
        region = self._selection.region
        return None if region is None or not np.prod(shape) else self._off(region, shape, top)

    def _off(self, geometry: Geometry, shape: tuple[int, ...], top: int) -> np.ndarray:
        transform = Affine.translation(self._selection.extent.x, top)
        return np.asarray(rasterio.features.geometry_mask([geometry], shape, transform))

    def _move_up(self) -> None:
        stride, overlap = self._lattice.stride_px, self._lattice.overlap_px
        self._sum[:, :overlap] = self._sum[:, stride:]
        self._sum[:, overlap:] = 0
        self._valid[:overlap] = self._valid[stride:]
        self._valid[overlap:] = False


def _refuse_nonsense(probabilities: np.ndarray) -> None:
    if (probabilities == NODATA).any():
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("The model returned values that are not probabilities."),
            tr("Copy or download it again, or choose another model."),
        )
