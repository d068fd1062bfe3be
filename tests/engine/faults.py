"""Runs in child processes that something happens to: each is forked from a server that has the engine loaded."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyogrio
import torch

from orthomask import worker
from orthomask.engine import predict
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.protocol import REQUESTS, Existing, OrthomaskError, PredictRequest, to_json

LIMIT_S = 60
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([f"orthomask.{name}" for name in ("worker", *worker.CAPABILITIES.values())])
Fault = Callable[[Any], Progress]
"""Prepares whatever is to happen to a request, and returns the progress that this needs."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, negative for a signal, and what it answered before."""

    status: int
    answer: dict[str, Any]


class Reaching(Progress):
    """Does something once, when a fraction of a run is reached."""

    def __init__(self, fraction: float, action: Callable[[], None]) -> None:
        self._fraction, self._action = fraction, action

    def show(self, fraction: float, message: str) -> None:
        if fraction >= self._fraction:
            self._fraction = 2.0
            self._action()


def run_in_child(fault: Fault, request: object) -> Ended:
    """A request answered in a process of its own, with a fault."""
    process, answers = start_in_child(fault, request)
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        raise AssertionError("the run hangs")
    try:
        answer = answers.recv() if answers.poll() else {}
    except EOFError:
        answer = {}
    return Ended(process.exitcode or 0, answer)


def start_in_child(fault: Fault, request: object) -> tuple[BaseProcess, Connection]:
    """The same, without waiting for it."""
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=_run, args=(there, fault, request))
    process.start()
    there.close()
    return process, here


def _run(answers: Connection, fault: Fault, request: object) -> None:
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(LIMIT_S / 2)
    method = next(name for name, (kind, _) in REQUESTS.items() if isinstance(request, kind))
    try:
        answer = {"result": to_json(worker.answer(method, request, fault(request)))}
    except OrthomaskError as error:
        answer = {"error": error.to_json()}
    answers.send(answer)


@dataclass(frozen=True)
class PausedAt:
    """Makes a file when a fraction is reached, and waits until it is gone."""

    fraction: float
    file: Path

    def __call__(self, request: Any) -> Progress:
        return Reaching(self.fraction, self._pause)

    def _pause(self) -> None:
        self.file.touch()
        while self.file.exists():
            time.sleep(0.02)


@dataclass(frozen=True)
class KilledAt:
    """SIGKILL when a fraction of the run is reached."""

    fraction: float

    def __call__(self, request: Any) -> Progress:
        return Reaching(self.fraction, lambda: os.kill(os.getpid(), signal.SIGKILL))


@dataclass(frozen=True)
class AtOperation:
    """Something before the n-th time that Python changes a file of a folder: an `OSError`, or else SIGKILL.

    Attributes:
        folder: the run's own if it is not given.
        events: which changes count, as Python names them; all if it is empty.
    """

    number: int
    error: int = 0
    folder: str = ""
    events: tuple[str, ...] = ()

    def __call__(self, request: Any) -> Progress:
        count, folder = 0, self.folder or request.output_dir

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if not _changes(event, arguments, folder) or (self.error and event in REMOVALS):
                return
            count += not self.events or event in self.events
            if count == self.number and self.error:
                raise OSError(self.error, os.strerror(self.error), str(arguments[0]))
            if count == self.number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        return Progress()


REMOVALS = ("os.remove", "os.rmdir")


def _changes(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    if event not in ("open", "os.rename", "os.mkdir", *REMOVALS) or not str(arguments[0]).startswith(folder):
        return False
    mode, flags = (arguments[1], arguments[2]) if event == "open" else ("w", 0)
    return bool(set(mode or "") & set("wax+")) or bool(mode is None and flags & WRITES)


@dataclass(frozen=True)
class FullAt:
    """From a fraction of the run on, no file may grow beyond some bytes, as on a disk that is full."""

    fraction: float
    bytes: int = 0

    def __call__(self, request: Any) -> Progress:
        return Reaching(self.fraction, lambda: _limit(resource.RLIMIT_FSIZE, self.bytes))


@dataclass(frozen=True)
class MemoryAt:
    """From a fraction of the run on, only so many more bytes of memory."""

    fraction: float
    bytes: int

    def __call__(self, request: Any) -> Progress:
        return Reaching(self.fraction, self._limit)

    def _limit(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + self.bytes)


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


@dataclass(frozen=True)
class Results:
    """What a run left, to compare."""

    classes: bytes
    probabilities: bytes
    polygons: list[Any]
    files: frozenset[str]


def results(folder: Path) -> Results:
    """The results that stand in a folder."""
    return Results(
        (folder / "classes.tif").read_bytes(), (folder / "probabilities.tif").read_bytes(),
        features(folder / "polygons.gpkg"), frozenset(path.name for path in folder.iterdir()),
    )  # fmt: skip


def features(path: Path) -> list[Any]:
    """The polygons of a GeoPackage, feature by feature, with their attributes."""
    meta, _, geometry, columns = pyogrio.raw.read(path, layer="polygons")
    return [list(meta["fields"]), geometry.tolist(), *(column.tolist() for column in columns)]


def expect_nothing_half_written(folder: Path, undisturbed: Results) -> None:
    """Whatever stands under a final name is whole; `run.json` stands only beside all others."""
    if (folder / "classes.tif").exists():
        assert (folder / "classes.tif").read_bytes() == undisturbed.classes
    if (folder / "probabilities.tif").exists():
        assert (folder / "probabilities.tif").read_bytes() == undisturbed.probabilities
    if (folder / "polygons.gpkg").exists():
        assert features(folder / "polygons.gpkg") == undisturbed.polygons
    if (folder / "run.json").exists():
        assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["result"]
        assert all((folder / name).exists() for name in runs.RESULTS)


def expect_the_same_when_repeated(request: PredictRequest, undisturbed: Results) -> None:
    """The same request, as QGIS repeats it, completes to what an undisturbed run leaves, and to nothing else."""
    predict.run(replace(request, existing=Existing.RESUME), Progress())
    assert results(Path(request.output_dir)) == undisturbed
