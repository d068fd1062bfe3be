"""Run windows through the network, several at a time: in batches on a GPU, one per core on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..progress import Progress
from ..shortage import out_of_memory
from ..waiting import ahead
from . import gpu

Predict = Callable[[Tensor], Tensor]
"""Windows `(B, bands, H, W)` to the probabilities of the foreground classes `(B, K, H, W)`."""
Read = tuple[np.ndarray, np.ndarray]
"""The pixels of a window `(bands, H, W)`, float32, and their validity `(H, W)`."""


class Batches:
    """Runs windows in batches of one constant size, in several lanes; skips windows without data.

    A constant size makes a window's result independent of which others share its batch. If memory runs out, batches
    are halved, and then fewer of them run at a time.
    """

    def __init__(self, predict: Predict, size: int, lanes: int, device: torch.device) -> None:
        self._predict, self._size, self._lanes, self._device = predict, size, lanes, device
        self._free, self._changing = threading.Semaphore(lanes), threading.Lock()

    def __call__(
        self, windows: Iterable[Read], progress: Progress
    ) -> Generator[tuple[Tensor | None, np.ndarray], None, None]:
        """For each window, in order, yield probabilities `(K, H, W)`, None without data, and its valid pixels.

        Raises:
            OrthomaskError: a single window does not fit into memory, or `Cancelled`.
        """
        with closing(ahead(self._run, _batched(windows, self._size), 2 * self._lanes, progress, self._lanes)) as done:
            for results in done:
                yield from results

    def _run(self, batch: Sequence[Read]) -> list[tuple[Tensor | None, np.ndarray]]:
        filled = iter(self._probabilities([pixels for pixels, valid in batch if valid.any()]))
        return [(next(filled) if valid.any() else None, valid) for _, valid in batch]

    def _probabilities(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        found: list[Tensor] = []
        while len(found) < len(windows):
            size, lanes = self._size, self._lanes
            part = windows[len(found) : len(found) + size]
            try:
                with self._free:
                    stack = gpu.room(size, *part[0].shape, device=self._device)
                    for place, pixels in zip(stack, part):
                        place.copy_(torch.from_numpy(pixels))
                    stack[len(part) :] = 0
                    found.extend(self._predict(stack)[: len(part)])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._back_off(error, size, lanes)
        return found

    def _back_off(self, error: Exception, size: int, lanes: int) -> None:
        """Use less memory than with this size and number of lanes, unless another lane already did."""
        with self._changing:
            if (self._size, self._lanes) != (size, lanes):
                return
            if size > 1:
                self._size //= 2
            elif lanes > 1:
                self._lanes -= 1
                self._free.acquire()  # and never give it back
            else:
                raise OrthomaskError(
                    ErrorCode.OUT_OF_MEMORY,
                    tr("There is not enough memory for a single window."),
                    tr("Close other programs, or use a smaller window."),
                    str(error),
                ) from error
        gpu.give_back()


def _batched(windows: Iterable[Read], size: int) -> Generator[list[Read], None, None]:
    stream = iter(windows)
    while batch := list(islice(stream, size)):
        yield batch
