"""Estimate how much memory a run takes, and how much is free.

Constants are those of CPython 3.11 and PyTorch 2.13 on Linux (docs/performance.md); elsewhere they are about right.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ...protocol import OVERLAP_PX, WINDOW_PX
from ..compute import gpu
from ..compute.devices import PRECISIONS, Device, Predictor
from ..images.grid import Lattice, Selection
from ..images.raster import CACHE_BYTES, Source, cache_bytes
from ..models.bundle import Bundle
from ..runs import cogs
from ..shapes.tracing import TILE_PX

BASE_MB = 350.0
"""The engine with its libraries, before a model is loaded."""
TRACING = 16
"""Bytes per pixel of the tile whose objects are being traced."""
SCRATCH = 0.9
"""Memory of the network besides its activations, relative to them: libraries work on copies of their own."""


def activations_mb(predictor: Predictor, bands: int) -> float:
    """Peak memory of the tensors of one window, counted while it goes through the network."""
    predictor = replace(predictor, network=gpu.plain(predictor.network))  # a recording has allocated it already
    window = torch.zeros(1, bands, WINDOW_PX, WINDOW_PX)
    predictor(window)  # the first call reorders the weights
    with _Live() as live:
        predictor(window)
    return float(live.peak) / 1e6


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that exist at the same time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0.0
        self._now = 0.0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count its results."""
        made = function(*args, **(kwargs or {}))
        for tensor in _pytree.tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: torch.Tensor) -> None:
        """Count a tensor by its storage, which others may share; one in oneDNN's own layout shows none."""
        owner = tensor.untyped_storage() if tensor.layout is torch.strided else tensor
        identity = owner._cdata
        if identity in self._seen:
            return
        size = tensor.numel() * tensor.element_size() if owner is tensor else tensor.untyped_storage().nbytes()
        self._seen.add(identity)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(owner, self._forget, identity, size)

    def _forget(self, identity: int, size: int) -> None:
        self._seen.discard(identity)
        self._now -= size


def network_mb(bundle: Bundle, device: Device, precision: str, activations: float) -> float:
    """Memory of a run whatever its region: libraries, weights, activations and windows read ahead."""
    weights = bundle.path.stat().st_size / 1e6  # of half precision
    copies = 4 + PRECISIONS[precision].itemsize / 2  # as loaded, as fused, and in the precision of the device
    windows = device.batch * (1 + 2 * device.lanes) + 3
    ahead = windows * len(bundle.card.bands) * WINDOW_PX**2 * 9 / 1e6  # as read, as float32 and a copy
    return BASE_MB + copies * weights + device.batch * (SCRATCH + device.lanes) * activations + ahead


def strip_mb(source: Source, lattice: Lattice, selection: Selection, classes: int) -> float:
    """Memory of a run for its region: a strip of windows, GDAL's cache for reading and writing, a traced tile."""
    used = [column for columns in selection.columns for column in columns]
    width = (max(used, default=0) - min(used, default=0)) * lattice.stride_px + lattice.window_px
    dataset, extent = source.dataset, selection.extent
    finer = dataset.width / lattice.width_px * dataset.height / lattice.height_px
    read = extent.width * extent.height * finer * sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    written = extent.width * extent.height * (1 + classes)
    cache = min(read + written, max(cache_bytes(source, lattice), cogs.CACHE_BYTES))
    return float(_strip_bytes(width, classes) + cache + _tile_bytes(extent.width, extent.height)) / 1e6


def square_strip_mb(windows: int, classes: int) -> float:
    """The same if only the number of windows is known: as if the region were square."""
    width = int(np.ceil(np.sqrt(windows))) * (WINDOW_PX - OVERLAP_PX) + OVERLAP_PX
    return (_strip_bytes(width, classes) + CACHE_BYTES[0] + _tile_bytes(width, width)) / 1e6


def _strip_bytes(width_px: int, classes: int) -> float:
    """Sums of probabilities and validity, then two finished strips: one being blended, one being written."""
    stride = WINDOW_PX - OVERLAP_PX
    return width_px * (WINDOW_PX * (4 * classes + 1) + stride * (3 * classes + 3))


def _tile_bytes(width_px: int, height_px: int) -> int:
    return TRACING * min(width_px, TILE_PX) * min(height_px, TILE_PX)


def free_mb() -> float | None:
    """Memory that this process can have, on Linux with what it holds; None if the system does not say (macOS)."""
    if sys.platform == "win32":
        status = _MemoryStatus()
        status.length = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return float(status.available_physical / 1e6)
    with contextlib.suppress(OSError, ValueError, IndexError):
        available_kib = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
        held_pages = int(Path("/proc/self/statm").read_text().split()[1])
        return (available_kib * 1024 + held_pages * mmap.PAGESIZE) / 1e6
    return None


class _MemoryStatus(ctypes.Structure):
    """`MEMORYSTATUSEX` of Windows."""

    _fields_ = (
        ("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("total_physical", ctypes.c_uint64),
        ("available_physical", ctypes.c_uint64), ("total_page_file", ctypes.c_uint64),
        ("available_page_file", ctypes.c_uint64), ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64), ("available_extended_virtual", ctypes.c_uint64),
    )  # fmt: skip
