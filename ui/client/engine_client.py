"""The engine process seen from QGIS: one blocking call, usable from any thread."""

from __future__ import annotations

import collections
import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any, Callable, Optional, Protocol, cast

from ...protocol import REQUESTS, Cancelled, ErrorCode, OrthomaskError, TrainRequest, from_json, to_wire
from ..toolkit.settings import DEVICE
from ..toolkit.words import tr
from .environment import child_options

GRACE_SECONDS = 0.8
"""Time for a cancelled worker to answer before it is killed; runs can be resumed, so a kill is safe."""
POLL_SECONDS = 0.05
LOG_LINES = 200

Message = dict[str, Any]


class Feedback(Protocol):
    """Watches a call: `QgsProcessingFeedback` and `EngineTask` both fit."""

    def setProgress(self, percent: float) -> None:
        """Show that `percent` (0 to 100) is done."""

    def setProgressText(self, text: str) -> None:
        """Show what is being done."""

    def isCanceled(self) -> bool:
        """Whether the user cancelled the call."""


class NoFeedback:
    """Feedback that ignores everything."""

    def setProgress(self, percent: float) -> None:
        """Show nothing."""

    def setProgressText(self, text: str) -> None:
        """Show nothing."""

    def isCanceled(self) -> bool:
        """Never."""
        return False


class EngineClient:
    """Starts the engine when it is first needed, keeps it warm, and gives it one job at a time.

    Args:
        command: finds and checks the command line of the worker; called in the thread of the call that starts it.
        variables: of the worker's environment, such as those of the proxy.
    """

    def __init__(self, command: Callable[[], Sequence[str]], variables: Optional[Mapping[str, str]] = None) -> None:
        self._command, self._variables = command, variables or {}
        self._worker: Optional[_Worker] = None
        self._turn = threading.Lock()
        self._ids = 0
        self._closed = False

    def another(self) -> EngineClient:
        """A second engine, started in the same way, for work that must not block the first."""
        return EngineClient(self._command, self._variables)

    @property
    def pid(self) -> Optional[int]:
        """Process id of the warm engine; None when it is not running."""
        return self._worker.pid if self._worker is not None and self._worker.alive else None

    def call(self, request: object, feedback: Optional[Feedback] = None) -> Any:
        """Run `request` in the engine and wait for its answer.

        Raises:
            Cancelled: the feedback was cancelled; raised within a second.
            OrthomaskError: the engine is missing, died, or answered with an error.
        """
        watcher = feedback or NoFeedback()
        method = next(name for name, (kind, _) in REQUESTS.items() if isinstance(request, kind))
        with self._my_turn(watcher):
            worker = self._running_worker()
            self._ids += 1
            answer: Optional[Message] = None
            try:
                worker.send({"id": self._ids, "method": method, "params": to_wire(on_chosen_device(request))})
                answer = _await_answer(worker, self._ids, watcher)
            finally:
                if answer is None:
                    worker.kill()
        if "error" in answer:
            raise _error(answer["error"])
        return from_json(REQUESTS[method][1], answer["result"])

    def restart(self) -> None:
        """End the engine; the next call starts it again, with the Python chosen by then."""
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        """End the engine for good; a call in progress fails at once."""
        self._closed = True
        self.restart()

    @contextlib.contextmanager
    def _my_turn(self, feedback: Feedback) -> Iterator[None]:
        """Wait for the previous job."""
        while not self._turn.acquire(timeout=POLL_SECONDS):
            if feedback.isCanceled():
                raise Cancelled
        try:
            yield
        finally:
            self._turn.release()

    def _running_worker(self) -> _Worker:
        if self._worker is None or not self._worker.alive:
            self._worker = _Worker(self._command(), self._variables)
        if self._closed:
            self._worker.kill()
            raise Cancelled
        return self._worker


def on_chosen_device(request: Any) -> Any:
    """`request`, on the settings' device if it names none itself."""
    if isinstance(request, TrainRequest):
        return replace(request, hardware=on_chosen_device(request.hardware))
    return replace(request, device=DEVICE.get()) if getattr(request, "device", "") == DEVICE.default else request


class _Worker:
    """A worker process, a thread that reads its answers and one that keeps the end of its log."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self.messages: queue.Queue[Optional[Message]] = queue.Queue()
        self._log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        pipe = subprocess.PIPE
        options = child_options()
        options["env"].update(variables)
        self._process = subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe, **options)
        self._stdin, self._stdout, self._stderr = (
            cast("IO[bytes]", stream) for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        self._ended_by_us = False
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()
        threading.Thread(target=self._read_messages, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Write one message; `_await_answer` notices a worker that has ended."""
        line = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
        with contextlib.suppress(OSError):
            self._stdin.write(line.encode())
            self._stdin.flush()

    def kill(self) -> None:
        """End the process and wait until it is gone."""
        self._ended_by_us = True
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._stdin.close()

    def death(self) -> OrthomaskError:
        """The error that says how the process ended, with the end of its log; `Cancelled` when we ended it."""
        if self._ended_by_us:
            return Cancelled()
        status = self._process.wait()
        self._log_reader.join(timeout=1)
        return OrthomaskError(
            ErrorCode.ENGINE_DIED,
            tr("The engine stopped unexpectedly."),
            tr("Run it again to resume where it stopped."),
            tr("Exit status {}. The end of its log:\n{}").format(status, "".join(self._log)),
        )

    def _read_messages(self) -> None:
        """Queue the worker's messages, None at the end. Kill a program that does not send JSON."""
        with contextlib.suppress(ValueError):
            for line in self._stdout:
                self.messages.put(json.loads(line))
        self._process.kill()
        self.messages.put(None)

    def _read_log(self) -> None:
        for line in self._stderr:
            self._log.append(line.decode("utf-8", "replace"))


def _await_answer(worker: _Worker, job: int, feedback: Feedback) -> Message:
    """Wait for the answer to `job`, showing progress.

    Raises:
        Cancelled: cancelled, and the worker did not answer in time.
        OrthomaskError: the worker died.
    """
    deadline: Optional[float] = None
    while deadline is None or time.monotonic() < deadline:
        if deadline is None and feedback.isCanceled():
            worker.send({"method": "cancel", "params": {"id": job}})
            deadline = time.monotonic() + GRACE_SECONDS
        try:
            message = worker.messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if message is None:
            raise worker.death()
        if message.get("id") == job:
            return message
        if message.get("method") == "progress" and message["params"]["id"] == job:
            feedback.setProgress(100 * message["params"]["fraction"])
            feedback.setProgressText(message["params"]["message"])
    raise Cancelled


def _error(error: Message) -> OrthomaskError:
    """The exception for a JSON-RPC error."""
    data = error.get("data")
    if data is None:
        sentence = tr("Orthomask's engine did not understand the request.")
        remedy = tr("Use the same version of Orthomask on both sides.")
        return OrthomaskError(ErrorCode.INTERNAL, sentence, remedy, str(error.get("message", "")))
    return Cancelled() if data["code"] == ErrorCode.CANCELLED.value else OrthomaskError.from_json(data)
