"""The workers of a Dask cluster, on any computers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from distributed import Client, Future, KilledWorker

from ...protocol import REQUESTS, ErrorCode, OrthomaskError, from_json, to_json, to_wire
from ...protocol.words import tr
from ..compute import devices
from ..progress import Progress
from . import blocks
from .crew import again, died_of_it

WAITING_S = 120.0
"""How long to wait for the first worker."""
CONNECTING_S = 10.0
"""How long to look for a scheduler."""
ANSWERS: dict[str, Any] = {"block": blocks.run, "info": devices.run}
"""What workers answer."""


class Task:
    """A request that a worker will answer."""

    def __init__(self, future: Future[Any]) -> None:
        self.future = future

    def add_done_callback(self, call: Callable[[Task], object]) -> None:
        """Call `call` with this when the answer has come."""
        self.future.add_done_callback(lambda _: call(self))

    def result(self) -> dict[str, Any]:
        """The answer.

        Raises:
            OrthomaskError: the worker's, or why there is no answer.
        """
        try:
            found: dict[str, Any] = self.future.result()
        except (CancelledError, KilledWorker, ImportError) as error:
            raise failed(error) from error
        if "error" in found:
            raise OrthomaskError.from_json(found["error"])
        return found


def failed(error: Exception) -> OrthomaskError:
    """Why a task ended without an answer, in words."""
    code = ErrorCode.ENGINE_DIED
    if isinstance(error, KilledWorker):
        return died_of_it(str(error))
    if isinstance(error, ImportError):
        sentence = tr("Orthomask is not installed on a worker.")
        remedy = tr("Install the same version on all computers.")
        code = ErrorCode.ENGINE_SETUP
    else:
        sentence, remedy = tr("The connection to Dask's scheduler was lost."), tr("Start the scheduler again.")
    return OrthomaskError(code, sentence, f"{remedy} {again()}", str(error))


class Cluster:
    """The workers of a scheduler, one task each at a time; Dask gives a lost worker's tasks to others."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked: list[Future[Any]] = []

    @property
    def count(self) -> int:
        """How many workers there are at the moment."""
        return len(self._client.nthreads())

    def submit(self, method: str, request: object) -> Task:
        """Let one of the workers answer a request."""
        self._asked.append(self._client.submit(answer, method, to_wire(request), pure=False))
        return Task(self._asked[-1])

    def submit_to_each(self, method: str, request: object) -> list[Task]:
        """Let each worker answer a request; if one is lost meanwhile, another takes its place."""
        asked = [
            self._client.submit(answer, method, to_wire(request), pure=False, workers=[one], allow_other_workers=True)
            for one in self._client.nthreads()
        ]
        self._asked += asked
        return [Task(future) for future in asked]

    def end(self) -> None:
        """Cancel all requests; workers finish their current ones."""
        self._client.cancel(self._asked)


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Answer a request, on a worker. Our errors are returned as JSON, since they cannot be pickled."""
    devices.keep_pages()
    try:
        return to_json(ANSWERS[method](from_json(REQUESTS[method][0], params), Progress()))
    except OrthomaskError as error:
        return {"error": error.to_json()}


@contextmanager
def joined(address: str, progress: Progress) -> Iterator[Cluster]:
    """The workers of a running scheduler, once there is one.

    Raises:
        OrthomaskError: there is no such scheduler, or no worker comes.
    """
    with _client(address) as client:
        cluster, deadline = Cluster(client), time.monotonic() + WAITING_S
        while not cluster.count:
            progress.check_cancelled()
            if time.monotonic() > deadline:
                sentence = tr("No worker has connected to Dask's scheduler.")
                remedy = tr("Start some workers, then try again.")
                raise OrthomaskError(ErrorCode.ENGINE_MISSING, sentence, remedy, address)
            time.sleep(0.1)
        try:
            yield cluster
        finally:
            cluster.end()


def _client(address: str) -> Client:
    gc.collect()  # a client that could not connect, collected while another starts, would wait for that one for ever
    try:
        return Client(address, timeout=CONNECTING_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # the last one where an encrypted address finds no certificate
        sentence = tr("There is no Dask scheduler at {}.").format(address)
        remedy = tr("Specify the address that “dask scheduler” prints, such as tcp://10.0.0.1:8786.")
        if address.startswith("tls:"):
            remedy = tr("Check that it is running, and that Dask on this computer has the cluster's certificates.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy, str(error)) from error
