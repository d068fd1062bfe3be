"""The folder of a training, watched while the engine writes it."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

METRICS, PREVIEW, CHECKPOINT = "metrics.csv", "preview.png", "last.ckpt"
LOOK_MS = 1000

Stamp = Optional[tuple[int, int]]


class Epoch(NamedTuple):
    """A row of the curves; values that the engine did not write are NaN. Epoch 0 is the model before it learns."""

    epoch: int
    loss: float
    iou: float
    f1: float
    precision: float
    recall: float
    images_per_second: float
    waiting_share: float


def read_epochs(folder: Path) -> list[Epoch]:
    """The complete epochs in `metrics.csv`; none if it does not exist yet."""
    return [row for row in _read(folder) if row.epoch > 0]


def read_base(folder: Path) -> Optional[Epoch]:
    """The scores of the model that the training started from; None if they were not measured."""
    return next((row for row in _read(folder) if row.epoch == 0), None)


def _read(folder: Path) -> list[Epoch]:
    """The complete rows of `metrics.csv`, by epoch."""
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1]  # a line without an end is still being written
    rows = (_epoch(row) for row in csv.DictReader(whole.splitlines()))
    return [epoch for _, epoch in sorted({row.epoch: row for row in rows if row is not None}.items())]


def best_epoch(epochs: Sequence[Epoch]) -> Optional[Epoch]:
    """The one with the highest intersection over union; None if none has been validated."""
    validated = [epoch for epoch in epochs if not math.isnan(epoch.iou)]
    return max(validated, key=lambda epoch: epoch.iou, default=None)


class RunWatcher(QObject):
    """Looks into a run folder every second; its signals report what is new."""

    measured = pyqtSignal(object)
    """All epochs so far, when there is a new one."""
    pictured = pyqtSignal(str)
    """The path of the validation pictures, when there are new ones."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._folder = Path()
        self._stamps: dict[str, Stamp] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)

    def start(self, folder: Path) -> None:
        """Watch this folder, starting with what is there already."""
        self._folder, self._stamps = folder, {}
        self.look()
        self._timer.start()

    def stop(self) -> None:
        """Look once more, then stop."""
        self._timer.stop()
        self.look()

    def look(self) -> None:
        """Report what has changed since the last look."""
        if self._is_new(METRICS):
            self.measured.emit(read_epochs(self._folder))
        if self._is_new(PREVIEW):
            self.pictured.emit(str(self._folder / PREVIEW))

    def _is_new(self, name: str) -> bool:
        """Whether the file has been written since the last call."""
        stamp = _stamp(self._folder / name)
        fresh = stamp not in {None, self._stamps.get(name)}
        self._stamps[name] = stamp
        return fresh


def _epoch(row: dict[str, Optional[str]]) -> Optional[Epoch]:
    """The row as numbers; None if it has no epoch."""
    numbers = {name: _number(row.get(name)) for name in Epoch._fields}
    if math.isnan(numbers["epoch"]):
        return None
    known: dict[str, Any] = {**numbers, "epoch": int(numbers["epoch"])}
    return Epoch(**known)


def _number(text: Optional[str]) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
