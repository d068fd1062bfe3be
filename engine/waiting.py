"""Reading that may get stuck, on a dead server or a pipe: done in threads that nobody has to wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
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
    work: Callable[[Item], Made], items: Iterable[Item], depth: int, progress: Progress
) -> Generator[Made, None, None]:
    """Results of `work` in order, up to `depth` of them made ahead in one thread; an error surfaces where it was due.

    Cancelling does not wait for the thread: it ends with what it has in hand, or with the process.
    """
    made: queue.SimpleQueue[Future[Made] | None] = queue.SimpleQueue()
    room, left = threading.Semaphore(depth), threading.Event()

    def run() -> None:
        for item in items:
            room.acquire()
            if left.is_set():
                return
            made.put(_ended(work, item))
        made.put(None)

    thread = threading.Thread(target=run, daemon=True, name="reader")
    thread.start()
    try:
        while (future := _next(made, thread, progress)) is not None:
            room.release()
            yield future.result()
    finally:
        left.set()
        room.release()


def _ended(work: Callable[[Item], Made], item: Item) -> Future[Made]:
    future: Future[Made] = Future()
    try:
        future.set_result(work(item))
    except BaseException as error:  # noqa: BLE001 (what is raised in a thread is raised again where its result is due)
        future.set_exception(error)
    return future


def _next(
    made: queue.SimpleQueue[Future[Made] | None], thread: threading.Thread, progress: Progress
) -> Future[Made] | None:
    while True:
        alive = thread.is_alive()
        with suppress(queue.Empty):
            return made.get(timeout=POLL_S)
        if not alive:
            raise MemoryError("the reading thread has ended")  # it had not even memory left to say so
        progress.check_cancelled()
