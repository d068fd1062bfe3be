"""The objects of a run in formats that other programs read."""

from __future__ import annotations

from pathlib import Path

from ...protocol import ErrorCode, ExportRunRequest, ExportRunResult, OrthomaskError, RunFormat
from ...protocol.words import tr
from ..outputs import locked, writing
from ..progress import Progress
from . import coco, fiboa
from .objects import SharedRun, open_run, refuse_existing, refuse_own

WRITERS = {RunFormat.COCO: coco.write, RunFormat.FIBOA: fiboa.write}


def run(request: ExportRunRequest, progress: Progress) -> ExportRunResult:
    """Write the objects of a run, as they are now, to a file of another format.

    Raises:
        OrthomaskError: there is no such run or class, or the file exists or cannot be written.
    """
    progress.report(0, tr("Reading the run"))
    target, shared = Path(request.output_path), open_run(request.run_dir)
    refuse_own(target, shared)
    refuse_existing(target, request.existing)
    _refuse_unknown(shared, request.classes)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock"), target):
        objects, warnings = WRITERS[request.format](shared, request.classes, target, progress)
    return ExportRunResult(str(target), objects, warnings)


def _refuse_unknown(shared: SharedRun, names: tuple[str, ...]) -> None:
    known = [info.name for info in shared.classes]
    for name in names:
        if name not in known:
            raise OrthomaskError(
                ErrorCode.BAD_REQUEST,
                tr("The run has no class “{}”.").format(name),
                tr("Choose one of: {}.").format(", ".join(known)),
            )
