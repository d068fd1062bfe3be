"""Inspect labels: what a model contradicts or misses among them, what is labelled twice, and how far all are shifted.

Everything happens in pixels of a run's probabilities, object by object or strip by strip. Rules and their numbers are
in `confidence.py`, `doubles.py` and `offset.py`; what they find among real labels is in `docs/performance.md`.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import shapely

from ...engine import predict
from ...engine.images.raster import open_image
from ...engine.images.regions import transformed
from ...engine.models import bundle as bundles
from ...engine.outputs import alone, refuse_in_use, writing
from ...engine.progress import Progress
from ...engine.shapes.vector_files import is_vector
from ...protocol import (
    ErrorCode,
    Existing,
    Fault,
    Image,
    InspectRequest,
    InspectResult,
    OrthomaskError,
    PredictRequest,
    Region,
    Touch,
)
from ...protocol.words import tr
from ..truth.labels import image_grid, open_truth
from .findings import write, write_moved
from .inspection import Inspection, fit, inside, opened, read_run


def run(request: InspectRequest, progress: Progress) -> InspectResult:
    """Write the probable faults of labels into a GeoPackage, worst first. The labels themselves are only read.

    Raises:
        OrthomaskError: image, run or labels cannot be used, do not belong together, or nothing is labelled there; or
            an output exists or cannot be written.
    """
    started = time.monotonic()
    for path in filter(None, (request.output_path, request.moved_path)):
        _refuse(Path(path), request.existing)
    for labels in request.labels:
        _require_polygons(labels.path, labels.layer)
    with alone(Path(request.output_path)), ExitStack() as stack:
        if request.run_dir:
            folder, progress = _same_image(request), progress.part(0, 0.98)
        else:
            folder, progress = _predicted(request, stack, progress.part(0, 0.6)), progress.part(0.6, 0.98)
        inspection = stack.enter_context(opened(request.labels, request.areas, folder))
        counts = _write(Path(request.output_path), inspection, progress)
        moved = _move(request, inspection)
    progress.show(1, tr("Done"))
    return InspectResult(
        request.output_path, counts, inspection.count, inspection.shift, moved,
        round(time.monotonic() - started, 2), tuple(dict.fromkeys(inspection.warnings)),
    )  # fmt: skip


def _write(target: Path, inspection: Inspection, progress: Progress) -> dict[str, int]:
    """Write the findings, whole or not at all; their number by kind."""
    found = list(inspection.findings(progress))
    aside = target.with_name(f".{target.stem}.partial.gpkg")
    with writing(target):
        aside.unlink(missing_ok=True)
    try:
        write(aside, found, inspection.grid, inspection.crs)
        with writing(target):
            os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    return {kind.value: sum(one.kind is kind for one in found) for kind in Fault}


def _move(request: InspectRequest, inspection: Inspection) -> str:
    """Write the moved copy of the labels if asked for; its path, or a warning that there is nothing to move."""
    if not request.moved_path:
        return ""
    if inspection.shift is None:
        inspection.warnings.append(tr("The labels show no shift, so no moved copy was written."))
        return ""
    write_moved(Path(request.moved_path), request.labels[0], inspection.shift)
    return request.moved_path


def _refuse(target: Path, existing: Existing) -> None:
    """Raise if a file is there that may not be overwritten, or is open elsewhere."""
    if target.exists() and existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )
    refuse_in_use(target)


def _require_polygons(path: str, layer: str) -> None:
    if not is_vector(path, layer):
        raise OrthomaskError(
            ErrorCode.LABELS_UNREADABLE,
            tr("“{}” is a raster; only polygons can be inspected.").format(Path(path).name),
            tr("Choose a layer of polygons."),
        )


def _same_image(request: InspectRequest) -> Path:
    """The folder of the run, which must be one of the image if that is given.

    Raises:
        OrthomaskError: there is no finished run, or it is of another image.
    """
    folder = Path(request.run_dir)
    seen = read_run(folder).image.paths
    if request.image and list(map(_real, request.image.paths)) != list(map(_real, seen)):
        raise OrthomaskError(
            ErrorCode.IMAGE_CHANGED,
            tr("The run is of another image: “{}”.").format(Path(seen[0]).name),
            tr("Choose a run on the image of the labels."),
        )
    return folder


def _real(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() else path


def _predicted(request: InspectRequest, stack: ExitStack, progress: Progress) -> Path:
    """Run the model where the labels are complete, into a folder that is deleted in the end."""
    target, image = Path(request.output_path), request.image or Image("")
    region = _labelled(request, image)
    folder = target.with_name(f".{target.stem}.run")
    remove = partial(shutil.rmtree, folder, ignore_errors=True)
    remove()  # what a killed process has left
    stack.callback(remove)
    predict.run(PredictRequest(image, request.model, str(folder), region, device=request.device), progress)
    return folder


def _labelled(request: InspectRequest, image: Image) -> Region | None:
    """The areas as a region; None for the whole image.

    Raises:
        OrthomaskError: labels or areas cannot be used; better said before a long run than after it.
    """
    classes = bundles.load(request.model).card.classes
    with open_image(image) as source:
        grid = image_grid(source)
    labels = fit(image, request.labels, classes)
    with open_truth(labels, request.areas, classes, grid, Touch.CENTRE) as truth:
        done = shapely.union_all(inside(truth).areas)
    return Region(transformed(done, grid.transform).wkt, grid.crs) if request.areas else None
