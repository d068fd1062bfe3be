"""The run history: the runs in all known folders, read from their own records.

There is no list to keep in sync: a folder that was moved or deleted is not listed, and a run of the command line
in a known folder is.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from qgis.core import QgsCoordinateTransformContext

from ...protocol import Cancelled, OrthomaskError, PredictRequest, Region, from_json
from ..client.engine_client import Feedback
from ..layers.picture_client import PICTURE_DIR, WORK_DIR
from ..layers.sources import picked_region
from ..toolkit.words import area_in_words, briefly, in_digits, time_in_words, tr, tr_n
from .generations import later
from .naming import NAME_FILE, Naming, read_naming
from .results import CLASSES, LAYERS, PROBABILITIES, RECORD, Run

STATE = "state.json"
"""The record of an unfinished run, in its hidden folder, as in `engine/runs/runs.py`."""
RESULTS = (*LAYERS, NAME_FILE, RECORD)
MB = 1_000_000


class State(enum.Enum):
    """State of a run."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class PastRun:
    """A folder that holds a run, and what a list shows about it.

    Attributes:
        time: of the run, or when its record was written.
        title: its name in questions, and of its group in the layer tree.
        facts: all that is known about it, in words, by name.
        run: its record; None if that cannot be read.
        request: its request; None if this version cannot read it.
        region_m2: ellipsoidal area of its region; None for the whole image, or if it cannot be read.
        seconds, polygons: None if it did not finish.
    """

    folder: Path
    state: State
    time: datetime
    size_bytes: int
    title: str
    image: str
    facts: tuple[tuple[str, str], ...]
    run: Optional[Run] = None
    request: Optional[PredictRequest] = None
    model: str = ""
    region: str = ""
    region_m2: Optional[float] = None
    device: str = ""
    seconds: Optional[float] = None
    polygons: Optional[int] = None
    threshold: Optional[float] = None

    @property
    def naming(self) -> Naming:
        """What a person named it."""
        return self.run.naming if self.run is not None else Naming()

    @property
    def text(self) -> str:
        """All that is known about it, a line for each fact."""
        return "\n".join(f"{name}: {value}" for name, value in self.facts)


class HistoryReader:
    """Looks for runs in a task's thread, as a folder may be on a slow network drive; called like the engine."""

    def call(self, parents: Sequence[Path], feedback: Feedback) -> list[PastRun]:
        """All runs in these folders, newest first.

        Raises:
            Cancelled: the feedback was cancelled.
        """
        found = []
        for folder in _folders(parents):
            if feedback.isCanceled():
                raise Cancelled
            run = look_at(folder)
            if run is not None:
                found.append(run)
        return sorted(found, key=lambda run: run.time, reverse=True)


def look_at(folder: Path) -> Optional[PastRun]:
    """The run in a folder; None if there is none. Any thread."""
    try:
        state = State.FINISHED if (folder / RECORD).exists() else State.UNFINISHED
        path = folder / RECORD if state is State.FINISHED else folder / WORK_DIR / STATE
        time = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
        size_bytes, text = sum(file.stat().st_size for file in _files(folder)), path.read_bytes()
        rasters = any((folder / name).exists() for name in (CLASSES, PROBABILITIES))
    except OSError:
        return None  # no run, or being deleted, or not readable
    try:
        return _described(folder, state, json.loads(text), size_bytes)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OrthomaskError):
        if state is State.UNFINISHED:
            return _undescribed(folder, state, time, size_bytes)
        return _undescribed(folder, State.UNREADABLE, time, size_bytes) if rasters else None


def size_in_words(size_bytes: int) -> str:
    """A size on disk in kilobytes, megabytes or gigabytes."""
    megabytes = size_bytes / MB
    if megabytes < 0.1:
        return tr("{} kB").format(in_digits(megabytes * 1000))
    if megabytes < 1000:
        return tr("{} MB").format(in_digits(megabytes, 0 if megabytes >= 10 else 1))
    return tr("{} GB").format(in_digits(megabytes / 1000, 1))


def _folders(parents: Sequence[Path]) -> Iterator[Path]:
    """The subfolders of these; unreadable ones are left out."""
    for parent in parents:
        with suppress(OSError), os.scandir(parent) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_dir()]


def _files(folder: Path) -> Iterator[Path]:
    """The existing results, and what an unfinished run has so far."""
    yield from (path for path in (*(folder / name for name in RESULTS), *later(folder)) if path.exists())
    for hidden in (WORK_DIR, PICTURE_DIR):
        with suppress(OSError), os.scandir(folder / hidden) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_file()]


def _described(folder: Path, state: State, record: dict[str, Any], size_bytes: int) -> PastRun:
    """A run by its record; raises various errors if that is not ours."""
    run, result = Run(folder, record, read_naming(folder)), record["result"] if state is State.FINISHED else {}
    request, area = _request(record), _area_m2(record)
    region = tr("whole image") if record["request"].get("region") is None else tr("unknown")
    if area is not None:
        region = area_in_words(area) if math.isfinite(area) else tr("a large part of the globe")
    named = ((tr("Name"), run.naming.name), (tr("Note"), run.naming.note))
    facts = (
        *((what, words) for what, words in named if words),
        *_ending(record, result),
        (tr("Region"), region),
        (tr("Classes"), ", ".join(info.name for info in run.classes)),
        *([(tr("Polygon options"), _cleaning(request))] if request else []),
        *run.facts,
        *((tr("Warning"), str(warning)) for warning in result.get("warnings", ())),
        _place(folder, size_bytes),
    )
    return PastRun(
        folder, state, datetime.fromisoformat(record["time"]).astimezone(timezone.utc), size_bytes, run.title,
        run.image, facts, run, request, str(record["model"]["title"]), region, area, str(record["device"]["name"]),
        float(result["seconds"]) if result else None, int(result["polygon_count"]) if result else None,
        float(record["threshold"]),
    )  # fmt: skip


def _undescribed(folder: Path, state: State, time: datetime, size_bytes: int) -> PastRun:
    """A run whose record cannot be read."""
    problem = tr("Its record cannot be read. You can open its folder, or delete it.")
    facts = ((tr("State"), problem), _place(folder, size_bytes))
    return PastRun(folder, state, time, size_bytes, folder.name, folder.name, facts)


def _place(folder: Path, size_bytes: int) -> tuple[str, str]:
    return tr("Folder"), tr("{} ({})").format(folder, size_in_words(size_bytes))


def _request(record: dict[str, Any]) -> Optional[PredictRequest]:
    """The request; None if another version of Orthomask wrote one with more in it."""
    with suppress(OrthomaskError):
        return from_json(PredictRequest, record["request"])
    return None


def _area_m2(record: dict[str, Any]) -> Optional[float]:
    """Of the region, infinite for a large part of the globe; None if there is none, or it cannot be read."""
    with suppress(OrthomaskError):
        region, context = (
            picked_region(from_json(Region, record["request"].get("region"))),
            QgsCoordinateTransformContext(),
        )
        return math.inf if region.is_huge(context) else region.measured_m2(context)
    return None


def _ending(record: dict[str, Any], result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A run's outcome, and its device."""
    device = str(record["device"]["name"])
    if not result:
        yield tr("Result"), tr("None yet: the run is unfinished. Resume continues where it stopped.")
        yield tr("Device"), device
        return
    count, area = int(result["polygon_count"]), area_in_words(result["polygon_area_m2"])
    found = tr_n("{} polygon, {}", "{} polygons, {}", count).format(in_digits(count), area)
    yield tr("Result"), found
    yield tr("Duration"), tr("{} on {}").format(time_in_words(result["seconds"]), device)


def _cleaning(request: PredictRequest) -> str:
    """How polygons were cleaned."""
    options = request.polygons
    smallest, hole = (
        tr("{} m²").format(briefly(area)) if area else tr("set by the model")
        for area in (options.min_area_m2, options.min_hole_m2)
    )
    outlines = tr("tidy outlines") if options.simplify else tr("pixel edges")
    return tr("smallest: {}; smallest hole: {}; {}").format(smallest, hole, outlines)
