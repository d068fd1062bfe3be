"""Reading that may get stuck, on a dead server or a pipe: done in threads that nobody has to wait for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

from .progress import Progress

Item = TypeVar("Item")
Made = TypeVar("Made")
POLL_S = 0.1
"""How often a wait looks whether it has been cancelled."""


def patiently(work: Callable[[], Made], progress: Progress) -> Made:
    """The result of `work`. Cancelling does not wait for it: its thread is left behind, and ends with the process."""
    return next(ahead(lambda _: work(), (None,), 1, progress))


def ahead(
    work: Callable[[Item], Made], items: Iterable[Item], depth: int, progress: Progress, threads: int = 1
) -> Generator[Made, None, None]:
    """Results of `work` in order, up to `depth` of them made ahead in threads; an error surfaces where it was due.

    Cancelling does not wait for the threads: they end with what they have in hand, or with the process.
    """
    pending: deque[AsyncResult[Made]] = deque()
    pool = ThreadPool(threads)  # which, unlike an executor's, do not keep the process alive
    try:
        for item in items:
            pending.append(pool.apply_async(work, (item,)))
            if len(pending) > depth:
                yield _result(pending.popleft(), progress)
        while pending:
            yield _result(pending.popleft(), progress)
    finally:
        pool.terminate()


def _result(made: AsyncResult[Made], progress: Progress) -> Made:
    while not made.ready():
        made.wait(POLL_S)
        progress.check_cancelled()
    return made.get()
