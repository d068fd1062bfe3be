"""What one tab of the browser has: its picture, its run, and the objects at a threshold. It knows nothing of Gradio."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ... import worker
from ...engine.interop import page
from ...engine.interop.objects import open_run
from ...engine.interop.overview import Overview, whole
from ...engine.interop.selection import select
from ...engine.progress import Progress
from ...protocol import (
    Cancelled,
    CheckRequest,
    CheckResult,
    ErrorCode,
    Existing,
    Image,
    OrthomaskError,
    PolygonizeRequest,
    PredictRequest,
)
from ...protocol.words import tr
from .pictures import dropped

RASTERS = ("classes.tif", "probabilities.tif")


class Shown(NamedTuple):
    """The objects of a run at a threshold.

    Attributes:
        drawn: for the map, as the page's script reads it.
        rows: colour, name, number and area of each class.
        notes: what the run and the map leave out or assume, in sentences.
        files: GeoPackage of the objects; rasters of the run, classes first, whose threshold is the model's own.
    """

    drawn: dict[str, Any]
    rows: list[tuple[str, str, str, str]]
    notes: tuple[str, ...]
    threshold: float
    files: tuple[Path, ...]


class Session:
    """One tab.

    Args:
        folder: for what it needs; made here, removed by `close`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._picture, self._run = folder, folder / "picture", folder / "run"
        self._chosen: tuple[Image, Overview] | None = None
        self._cancelled, self._running = threading.Event(), threading.Lock()

    def choose(self, sample: str, path: str, gsd_m: float | None) -> str:
        """Take a sample or a dropped picture; return the map that shows it.

        Raises:
            OrthomaskError: it cannot be opened; see `dropped`.
        """
        self._chosen = None
        for folder in (self._picture, self._run):
            shutil.rmtree(folder, ignore_errors=True)
        self._picture.mkdir(parents=True)
        image = Image(sample) if sample else dropped(path, gsd_m, self._picture)
        frame = whole(image, Progress())
        self._chosen = image, frame
        return page.map_alone(frame)

    @property
    def is_placed(self) -> bool:
        """Whether the picture says where it lies."""
        return not self._picture_and_frame()[0].crs

    def check(self, model: str) -> CheckResult:
        """Preflight: would the model work on the picture?"""
        result: CheckResult = worker.answer("check", CheckRequest(self._picture_and_frame()[0], model), Progress())
        return result

    def begin(self) -> None:
        """From now on, `cancel` means the next run, also while that waits for another tab's."""
        self._cancelled.clear()

    def cancel(self) -> None:
        """Stop the run."""
        self._cancelled.set()

    def run(self, model: str, show: Callable[[float, str], object]) -> Shown:
        """Run the model on the picture; `show` is told how far it is, from 0 to 1, in words."""
        progress = _Shown(show, self._cancelled)
        progress.check_cancelled()
        with self._running:
            shutil.rmtree(self._run, ignore_errors=True)
            request = PredictRequest(self._picture_and_frame()[0], model, str(self._run))
            worker.answer("predict", request, progress.part(0, 0.95))
            return self._shown(progress.part(0.95, 1))

    def at(self, threshold: float) -> Shown:
        """The objects of the run at another threshold; the model does not run again."""
        probabilities, polygons = self._run / "probabilities.tif", self._run / "polygons.gpkg"
        request = PolygonizeRequest(str(probabilities), str(polygons), round(threshold, 2), Existing.OVERWRITE)
        worker.answer("polygonize", request, Progress())
        return self._shown(Progress())

    def _shown(self, progress: Progress) -> Shown:
        frame, run = self._picture_and_frame()[1], open_run(str(self._run))
        chosen = select(run, frame, progress)
        files = (run.polygons, *(run.folder / name for name in RASTERS))
        notes = (*run.record["result"]["warnings"], *chosen.notes)
        return Shown(page.data(run, frame, chosen), page.rows(run, chosen), notes, run.threshold, files)

    def _picture_and_frame(self) -> tuple[Image, Overview]:
        if self._chosen is None:
            raise OrthomaskError(ErrorCode.BAD_REQUEST, tr("No image was given."), tr("Choose a raster file."))
        return self._chosen

    def close(self) -> None:
        """Stop the run and remove everything."""
        self.cancel()
        with self._running:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Shown(Progress):
    def __init__(self, show: Callable[[float, str], object], cancelled: threading.Event) -> None:
        self._show, self._cancelled = show, cancelled

    def show(self, fraction: float, message: str) -> None:
        self._show(fraction, message)

    def check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled
