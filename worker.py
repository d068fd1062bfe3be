"""The engine process: answers JSON-RPC 2.0, one message a line, on stdin and stdout, until stdin ends.

Methods are `protocol.REQUESTS`. Jobs run one at a time, in order; while one runs the worker sends `progress`
notifications and listens for `cancel`. Models stay warm between jobs. Anything a library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

if __name__ == "__main__":  # run as a file: make the folder importable as `orthomask`, whatever it is called
    from importlib.util import module_from_spec, spec_from_file_location

    answers_fd = os.dup(1)
    os.dup2(2, 1)  # what a library prints, from here on, goes to stderr and cannot break a message
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
    spec = spec_from_file_location("orthomask", folder / "__init__.py", submodule_search_locations=[str(folder)])
    sys.modules["orthomask"] = package = module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(package)  # type: ignore[union-attr]
    __import__("orthomask.worker").worker.main(answers_fd)
    sys.exit()

from .engine.compute import devices
from .engine.progress import Progress
from .engine.shortage import out_of_memory
from .protocol import REQUESTS, Cancelled, ErrorCode, OrthomaskError, from_json, to_json
from .protocol.words import tr

CAPABILITIES = {
    "predict": "engine.predict",
    "scale": "engine.scale.scale",
    "block": "engine.scale.blocks",
    "mosaic": "engine.mosaic",
    "polygonize": "engine.shapes.polygons",
    "check": "engine.check",
    "calibrate": "engine.estimates.estimates",
    "info": "engine.compute.devices",
    "models": "engine.models.bundle",
    "copy_model": "engine.models.copies",
    "ensemble": "engine.models.ensemble",
    "onnx": "engine.interop.onnx_facts",
    "import_model": "engine.interop.imports",
    "export_model": "engine.interop.onnx_out",
    "project": "training.truth.project",
    "areas": "training.truth.areas",
    "mask": "training.truth.masks",
    "chips": "training.chips.chips",
    "train": "training.fit.train",
    "check_training": "training.fit.check",
    "suggest": "training.loop.suggest",
    "learn": "training.loop.learn",
    "check_learning": "training.loop.check",
    "compare": "training.loop.differences",
    "versions": "training.loop.versions",
    "inspect": "training.loop.quality",
    "grow": "engine.grow.grow",
    "square": "engine.grow.square",
    "changes": "engine.change.changes",
    "explain": "engine.explain.explain",
    "uncertainty": "engine.explain.uncertainty",
    "page": "engine.interop.page",
    "export_run": "engine.interop.export",
    "model_item": "engine.interop.stac",
    "search": "training.fit.search",
    "collect": "training.collect.collect",
    "evaluate": "training.accuracy.evaluate",
}
"""The module whose function `run` answers each request; imported when it is first asked."""

IDENTITY = (int, str, type(None))
"""What identifies a job."""
GRACE_SECONDS = 3.0
"""How long the current job may tidy up after the last message; results are resumable, so ending is safe."""


def answer(method: str, request: Any, progress: Progress) -> Any:
    """The result of a request.

    Raises:
        OrthomaskError: also for unexpected errors.
    """
    try:
        return import_module(f".{CAPABILITIES[method]}", __package__).run(request, progress)
    except OrthomaskError:
        raise
    except Exception as error:  # the boundary: whatever goes wrong, the worker survives and the user reads a sentence
        raise unexpected(error) from error


class Worker:
    """Reads messages in one thread and runs jobs in another.

    Args:
        messages: where requests come from, a line each.
        answers: where answers go, a line each.
    """

    def __init__(self, messages: TextIO, answers: TextIO) -> None:
        self._messages, self._answers = messages, answers
        self._jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancelled: set[Any] = set()
        self._writing, self._ended = threading.Lock(), threading.Event()

    def serve(self) -> None:
        """Answer until there are no more messages, then cancel the current job and give it a moment to tidy up."""
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        for line in self._messages:
            self._receive(line)
        self._ended.set()
        self._jobs.put(None)
        thread.join(GRACE_SECONDS)

    def _receive(self, line: str) -> None:
        try:
            message = _message(line)
        except (ValueError, RecursionError) as error:
            self._fail(None, -32700, f"This is no JSON-RPC message: {error}")
            return
        method, identity = message["method"], message["id"]
        if method == "cancel":
            self._cancel(message["params"])
        elif method in CAPABILITIES:
            self._jobs.put(message)
        else:
            self._fail(identity, -32601, f"There is no method “{method}”.")

    def _cancel(self, params: Any) -> None:
        identity = params.get("id") if isinstance(params, dict) else None
        if isinstance(identity, IDENTITY):
            self._cancelled.add(identity)

    def _work(self) -> None:
        while (message := self._jobs.get()) is not None and not self._ended.is_set():
            self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        identity, method = message["id"], message["method"]
        try:
            request: Any = from_json(REQUESTS[method][0], message["params"])
            result = answer(method, request, _Notifier(self, identity))
            self.send({"id": identity, "result": to_json(result)})
        except OrthomaskError as error:
            code = -32603 if error.code is ErrorCode.INTERNAL else -32000
            self._fail(identity, code, error.sentence, error)

    def _fail(self, identity: Any, code: int, message: str, error: OrthomaskError | None = None) -> None:
        data = {"data": error.to_json()} if error else {}
        self.send({"id": identity, "error": {"code": code, "message": message, **data}})

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; if nobody reads any more, cancel the running job."""
        try:
            with self._writing:
                self._answers.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
                self._answers.flush()
        except OSError:
            self._ended.set()

    def is_cancelled(self, identity: Any) -> bool:
        """Whether the job with this id has been cancelled, or nobody waits for it any more."""
        return identity in self._cancelled or self._ended.is_set()


def _message(line: str) -> dict[str, Any]:
    """A JSON-RPC message with method, id and params.

    Raises:
        ValueError: it is not one.
        RecursionError: it is nested too deeply.
    """
    message = json.loads(line)
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise ValueError("a method is missing")
    if not isinstance(message.get("id"), IDENTITY):
        raise ValueError("an id is a number, a text or null")
    return {"params": {}, "id": None, **message}


class _Notifier(Progress):
    def __init__(self, worker: Worker, identity: Any) -> None:
        self._worker, self._identity = worker, identity

    def show(self, fraction: float, message: str) -> None:
        params = {"id": self._identity, "fraction": round(fraction, 4), "message": message}
        self._worker.send({"method": "progress", "params": params})

    def check_cancelled(self) -> None:
        if self._worker.is_cancelled(self._identity):
            raise Cancelled


def unexpected(error: Exception) -> OrthomaskError:
    """An error of ours for an unexpected one, with its traceback in the details."""
    if out_of_memory(error):
        return OrthomaskError(
            ErrorCode.OUT_OF_MEMORY,
            tr("There is not enough memory for this."),
            tr("Close other programs, then run it again: finished work is kept."),
            "".join(traceback.format_exception(error)),
        )
    return OrthomaskError(
        ErrorCode.INTERNAL,
        tr("Orthomask ran into an unexpected problem: {}").format(error),
        tr("Please report it with the details; your data was not changed."),
        "".join(traceback.format_exception(error)),
    )


def main(answers_fd: int) -> None:
    """Serve stdin; answer on a file descriptor."""
    answers = os.fdopen(answers_fd, "w", encoding="utf-8")
    messages = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
    devices.keep_pages()
    Worker(messages, answers).serve()
    sys.stderr.flush()
    os._exit(0)  # a normal exit would wait for a stuck read
