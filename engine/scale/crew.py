"""Processes on this computer that share a job: engines like the one QGIS starts, each with its share of the cores.

They listen only on their standard input, so that nobody else on this computer can give them orders. Each ends with its
input, and so with this process, however that ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from typing import Any

import torch

from ...protocol import Cancelled, ErrorCode, OrthomaskError, to_wire
from ...protocol.words import tr

PROGRAM = Path(__file__).resolve().parents[2] / "worker.py"
TRIES = 4
"""How many processes a request may kill."""
SAID_BYTES = 4000
"""How much of a dead process's output is reported."""


class Crew:
    """Processes that answer requests, each one at a time; they start when first needed.

    Args:
        count: how many.
        gpus: names of GPUs, shared out among them.
    """

    def __init__(self, count: int, gpus: Sequence[str]) -> None:
        self.count = count
        threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count))}
        dealt = [{"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {} for number in range(count)]
        self._members = [_Member({**os.environ, **threads, **gpu}) for gpu in dealt]
        self._threads = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[_Member] = SimpleQueue()
        for member in self._members:
            self._idle.put(member)

    def submit(self, method: str, request: object) -> Future[Any]:
        """Let one of the processes answer a request; another one takes over if it dies."""
        return self._threads.submit(self._answer, _message(method, request))

    def submit_to_each(self, method: str, request: object) -> list[Future[Any]]:
        """Let each of the processes, all idle, answer a request."""
        members = [self._idle.get() for _ in self._members]
        return [self._threads.submit(self._answer, _message(method, request), member) for member in members]

    def _answer(self, message: str, first: _Member | None = None) -> dict[str, Any]:
        said = ""
        for _ in range(TRIES):
            member, first = first or self._idle.get(), None
            try:
                return member.answer(message)
            except _Died as died:
                said = str(died)
            finally:
                self._idle.put(member)
        raise died_of_it(said)

    def end(self) -> None:
        """End all processes at once."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for member in self._members:
            member.end()
        self._threads.shutdown()


def _message(method: str, request: object) -> str:
    return json.dumps({"id": 1, "method": method, "params": to_wire(request)})


@contextmanager
def hired(count: int, gpus: Sequence[str]) -> Iterator[Crew]:
    """A crew, which ends here."""
    crew = Crew(count, gpus)
    try:
        yield crew
    finally:
        crew.end()


def died_of_it(details: str) -> OrthomaskError:
    """The error for a request that no worker survives."""
    sentence, remedy = tr("One block crashed every worker that tried it."), tr("Give each worker more memory.")
    return OrthomaskError(ErrorCode.ENGINE_DIED, sentence, f"{remedy} {again()}", details)


def again() -> str:
    """The advice after any failure of workers."""
    return tr("Then run it again with --resume: finished work is kept.")


class _Died(Exception):  # noqa: N818 (nobody but the crew ever sees it)
    """A process ended without an answer; holds its output."""


class _Member:
    """One process, restarted when it has died."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: Popen[str] | None = None
        self._said = TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._starting, self._ended = threading.Lock(), False

    def answer(self, message: str) -> dict[str, Any]:
        """The answer to a JSON-RPC message.

        Raises:
            OrthomaskError: what the process answered, or `Cancelled` after `end`.
            _Died: it ended without an answer.
        """
        with self._running() as process:
            print(message, file=process.stdin, flush=True)
            for line in process.stdout or ():
                answer = json.loads(line)
                if "error" in answer:
                    raise OrthomaskError.from_json(answer["error"]["data"])
                if "result" in answer:
                    result: dict[str, Any] = answer["result"]
                    return result
            raise EOFError

    @contextmanager
    def _running(self) -> Iterator[Popen[str]]:
        with self._starting:
            if self._ended:
                raise Cancelled
            if self._process is None or self._process.poll() is not None:
                self._process = self._started()
        try:
            yield self._process
        except (OSError, EOFError, json.JSONDecodeError) as error:  # its pipes are closed, or it died within a line
            self._process.kill()
            self._process.wait()
            raise _Died(self._last_words()) from error

    def _started(self) -> Popen[str]:
        """A new process. Ctrl-C reaches only its parent, which then ends it."""
        return Popen(
            [sys.executable, str(PROGRAM)], stdin=PIPE, stdout=PIPE, stderr=self._said, env=self._environment,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - SAID_BYTES))
        return self._said.read().decode("utf-8", "replace")

    def end(self) -> None:
        """Kill the process, and start no more."""
        with self._starting:
            self._ended = True
        if self._process:
            self._process.kill()
            self._process.wait()
