"""Run reads that may hang, on a dead server or a pipe, in threads that nobody has to wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import TypeVar

from .progress import Progress

Item = TypeVar("Item")
Made = TypeVar("Made")
POLL_S = 0.1
"""Seconds between checks whether a wait was cancelled."""


def patiently(work: Callable[[], Made], progress: Progress) -> Made:
    """The result of `work`. Cancelling does not wait for it: its thread is left behind, and ends with the process."""
    return next(ahead(lambda _: work(), (None,), 1, progress))


def ahead(
    work: Callable[[Item], Made], items: Iterable[Item], depth: int, progress: Progress, threads: int = 1
) -> Generator[Made, None, None]:
    """Results of `work` in order, up to `depth` of them computed ahead in threads; errors surface in their place.

    Cancelling does not wait for the threads: they end after their current item, or with the process.
    """
    pending: deque[Future[Made]] = deque()
    asked: SimpleQueue[tuple[Future[Made], Item] | None] = SimpleQueue()

    def serve() -> None:
        """Do one item after the other, until None comes."""
        while (task := asked.get()) is not None:
            future, item = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(item))
            except BaseException as error:  # noqa: BLE001 (raised again where the result is due)
                future.set_exception(error)

    try:
        for _ in range(threads):
            threading.Thread(target=serve, daemon=True).start()  # unlike an executor's, it keeps no process alive
        for item in items:
            pending.append(Future())
            asked.put((pending[-1], item))
            if len(pending) > depth:
                yield _result(pending.popleft(), progress)
        while pending:
            yield _result(pending.popleft(), progress)
    finally:
        for future in pending:
            future.cancel()
        for _ in range(threads):
            asked.put(None)


def _result(made: Future[Made], progress: Progress) -> Made:
    while not wait([made], POLL_S).done:
        progress.check_cancelled()
    return made.result()
