"""Keep a CUDA or ROCm GPU busy: copy while it computes, and launch a network's kernels all at once.

Launching a network's many small kernels one by one from Python takes longer than a fast GPU takes to run them. A CUDA
graph records the kernels of one batch and launches them together (PyTorch, "CUDA semantics").
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

AHEAD = 2
"""Batches queued on the GPU while it computes: enough to keep it busy without filling its memory."""
SAME = 1e-2
"""Absolute and relative tolerance of a recording's logits against the network's own."""


def room(*shape: int, device: torch.device) -> Tensor:
    """Memory for data to be copied to the device: pinned for a GPU, with its pages kept for the next batch."""
    return torch.empty(shape, pin_memory=device.type == "cuda")


def arriving(windows: Tensor, device: torch.device) -> Tensor:
    """Windows `(B, bands, H, W)` on the device; a GPU computes earlier ones during the copy."""
    return _ramp(device)(windows) if device.type == "cuda" else windows.to(device)


def leaving(pixels: Tensor) -> Callable[[], np.ndarray]:
    """Start copying a device's result back to memory; the returned function waits for it."""
    if pixels.device.type != "cuda":
        return pixels.cpu().numpy
    copy = pixels.to("cpu", non_blocking=True)
    copied = _event(pixels.device)

    def wait() -> np.ndarray:
        copied.synchronize()
        array: np.ndarray = copy.numpy()
        return array

    return wait


class _Ramp:
    """Copies batches to a GPU on a separate stream, a few ahead of the computation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._earlier: deque[torch.cuda.Event] = deque()

    def __call__(self, windows: Tensor) -> Tensor:
        if len(self._earlier) == AHEAD:
            self._earlier.popleft().synchronize()
        self._earlier.append(_event(self._device))
        with torch.cuda.stream(self._stream):
            copy = windows.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        copy.record_stream(computing)  # its memory is not reused for another copy before it has been read
        return copy


_ramp = functools.cache(_Ramp)


def _event(device: torch.device) -> torch.cuda.Event:
    """An event after all work queued on the device so far; waiting for it takes no CPU time."""
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


class Recorded(nn.Module):
    """A network that is recorded for the shape of its batches; if that fails, it runs unrecorded."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._shape: torch.Size | None = None
        self._recording: _Recording | None = None
        self._busy = threading.RLock()  # a thread of a cancelled run may still run a last batch
        _recorded.add(self)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits `(B, classes, H, W)`."""
        with self._busy:
            if self._shape != windows.shape:
                self.forget()
                self._recording = _recording(self.network, windows)
                self._shape = windows.shape
            result: Tensor = (self._recording or self.network)(windows)
            return result

    def forget(self) -> None:
        """Drop the recording and free its memory."""
        with self._busy:
            if self._recording is not None:
                torch.cuda.synchronize(self._recording.windows.device)  # it may still be running
            self._shape = self._recording = None


_recorded: weakref.WeakSet[Recorded] = weakref.WeakSet()


def plain(network: nn.Module) -> nn.Module:
    """The network itself, not recorded."""
    return network.network if isinstance(network, Recorded) else network


def give_back() -> None:
    """Free the GPU memory of all recordings and of PyTorch's cache."""
    for network in list(_recorded):
        network.forget()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Recording:
    """The kernels of one batch, with their input and output tensors."""

    graph: torch.cuda.CUDAGraph
    windows: Tensor
    logits: Tensor

    def __call__(self, windows: Tensor) -> Tensor:
        self.windows.copy_(windows)
        self.graph.replay()
        return self.logits.clone()  # the next batch is written to the same place


def _recording(network: nn.Module, windows: Tensor) -> _Recording | None:
    """Record a network for batches like this one; None if that fails, or gives other logits.

    Raises:
        RuntimeError: the network itself fails, for example if the batch does not fit into memory.
    """
    device = windows.device
    before = torch.cuda.current_stream(device)
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    beside.wait_stream(before)
    with torch.cuda.device(device), torch.cuda.stream(beside):  # a failed recording does not restore the stream
        expected = network(windows)  # on the first call, libraries do what cannot be recorded
        graph, place = torch.cuda.CUDAGraph(), windows.clone()
        try:
            with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
                logits = network(place)
            graph.replay()
            same = torch.allclose(logits, expected, rtol=SAME, atol=SAME)
        except RuntimeError:
            same = False
    before.wait_stream(beside)
    return _Recording(graph, place, logits) if same else None
