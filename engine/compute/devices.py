"""Which device runs the network, why, and in which precision."""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from ...protocol import ErrorCode, GpuProblem, InfoRequest, InfoResult, OrthomaskError
from ...protocol.words import mark, tr, tr_n
from ..models.bundle import Bundle
from ..models.unet import fused, mixed
from ..progress import Progress
from . import gpu, onednn

METADATA = Path(__file__).resolve().parents[2] / "metadata.txt"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCH = {"cpu": 1, "mps": 4, "cuda": 16}
"""Windows per call of the network; more gains nothing on a CPU (docs/performance.md)."""
NVIDIA_DRIVER = "/proc/driver/nvidia/version"
"""Where Linux lists it."""
COMPLAINTS = {
    "too old": GpuProblem.DRIVER,
    "driver combination": GpuProblem.DRIVER,
    "forward compatibility": GpuProblem.DRIVER,
    "no kernel image": GpuProblem.AGE,
    "out of memory": GpuProblem.MEMORY,
    "no cuda": GpuProblem.ABSENT,
    "no nvidia driver": GpuProblem.ABSENT,
}
"""Parts of PyTorch's and CUDA's messages, in lower case, and what they mean."""
REASONS = {
    GpuProblem.CHOSEN: mark("Running on the CPU, as chosen."),
    GpuProblem.BUILD: mark(
        "Running on the CPU: PyTorch was installed without GPU support, and no NVIDIA driver was found."
    ),
    GpuProblem.DRIVER: mark(
        "Running on the CPU: the GPU's driver is too old for this PyTorch build. Update the driver, or set up the "
        "engine again."
    ),
    GpuProblem.AGE: mark("Running on the CPU: this PyTorch build does not support your GPU. Set up the engine again."),
    GpuProblem.MEMORY: mark("Running on the CPU: other programs are using the GPU's memory. Close them."),
    GpuProblem.ABSENT: mark("Running on the CPU: PyTorch finds no NVIDIA GPU."),
    GpuProblem.START: mark(
        "Running on the CPU: the GPU could not be started. Restart the computer, or update the GPU's driver."
    ),
}
BF16_FEATURES = ("avx512_bf16", "amx_bf16")
"""Of a CPU: with one of them, bf16 is about twice as fast as fp32 (docs/performance.md), without them slower."""


@dataclass(frozen=True)
class Device:
    """A device and, in one sentence, why it was chosen; if it is not a GPU, also what prevents using one."""

    torch: torch.device
    name: str
    reason: str
    problem: GpuProblem = GpuProblem.NONE
    details: str = ""

    @property
    def words(self) -> str:
        """Its name for people; a CPU's with its number of threads."""
        if self.torch.type != "cpu":
            return self.name
        threads = torch.get_num_threads()
        return tr_n("{}, {} thread", "{}, {} threads", threads).format(self.name, threads)

    @property
    def batch(self) -> int:
        """How many windows to send at once, memory permitting."""
        return BATCH[self.torch.type]

    @property
    def lanes(self) -> int:
        """How many batches to run at a time: on a CPU, one per core."""
        return torch.get_num_threads() if self.torch.type == "cpu" else 1

    @contextmanager
    def shared(self) -> Iterator[int]:
        """Give each lane a core, in threads started meanwhile; yields the number of lanes.

        On one core a window has the same result on every computer; on several, the order of sums could differ.
        """
        threads, lanes = torch.get_num_threads(), self.lanes
        torch.set_num_threads(1)
        try:
            yield lanes
        finally:
            torch.set_num_threads(threads)


def version() -> str:
    """Orthomask's version, from metadata.txt."""
    metadata = ConfigParser(interpolation=None)
    metadata.read(METADATA, encoding="utf-8")
    return metadata["general"]["version"]


def run(request: InfoRequest, progress: Progress) -> InfoResult:
    """Report the device and the relevant versions."""
    import rasterio  # benchmarks/gpu.py runs without them
    import shapely

    progress.report(0)
    device = choose(request.device)
    return InfoResult(
        version=version(),
        device=str(device.torch),
        device_name=device.words,
        device_reason=device.reason,
        precision=precision_of(device.torch),
        precisions=precisions_of(device.torch),
        versions={
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "gdal": rasterio.__gdal_version__,
            "rasterio": rasterio.__version__,
            "shapely": shapely.__version__,
            "numpy": numpy.__version__,
        },
        gpu_problem=device.problem,
        gpu_details=device.details,
    )


def choose(name: str = "auto") -> Device:
    """The named device, or with `auto` the best available one.

    Raises:
        OrthomaskError: this computer has no such device.
    """
    problem, details = cuda_problem() if name in ("auto", "cuda") else (GpuProblem.CHOSEN, "")
    if problem is GpuProblem.NONE:
        name = "cuda:0"
    elif name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        return Device(torch.device("cpu"), _processor(), _why_cpu(problem), problem, details)
    if name == "mps" and torch.backends.mps.is_available():
        return Device(torch.device("mps"), "Apple GPU", tr("Running on the Apple GPU."))
    if name.startswith("cuda:") and name[5:].isdigit() and int(name[5:]) < torch.cuda.device_count():
        title = torch.cuda.get_device_name(int(name[5:]))
        return Device(torch.device(name), title, tr("Running on the GPU {}.").format(title))
    raise OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("There is no device “{}” on this computer.").format(name),
        tr("Use “auto” or “cpu”."),
        details,
    )


def suited(bundle: Bundle, name: str = "auto") -> Device:
    """The device that runs a bundle: the named one, but the CPU for an imported ONNX graph.

    Raises:
        OrthomaskError: this computer has no such device.
    """
    device = choose(name)
    return choose("cpu") if bundle.card.graph else device


def cuda_problem() -> tuple[GpuProblem, str]:
    """Why the first CUDA device cannot be used, with PyTorch's own message; NONE if it computes one number."""
    if torch.version.cuda is None and torch.version.hip is None:
        return GpuProblem.BUILD, f"PyTorch {torch.__version__}"
    try:
        torch.zeros(1, device="cuda:0").add_(1).item()
    except RuntimeError as error:
        return problem_of(str(error)), str(error)
    return GpuProblem.NONE, ""


def problem_of(message: str) -> GpuProblem:
    """The problem in a PyTorch message."""
    said = message.lower()
    return next((problem for words, problem in COMPLAINTS.items() if words in said), GpuProblem.START)


def _why_cpu(problem: GpuProblem) -> str:
    if problem is GpuProblem.BUILD and Path(NVIDIA_DRIVER).exists():
        return tr("Running on the CPU: there is an NVIDIA GPU, but PyTorch was installed without CUDA.")
    return tr(REASONS[problem])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def keep_pages() -> None:
    """Make glibc's allocator keep its pages, which speeds up inference on a CPU (docs/performance.md).

    By default, the kernel maps and unmaps memory for every activation. Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.system() == "Linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, m_arena_max = -1, -3, -8
        mallopt(m_trim_threshold, 1 << 30)
        mallopt(m_mmap_threshold, 64 << 20)  # the largest activation has 32 MB
        mallopt(m_arena_max, 1)


@dataclass
class Tally:
    """How much a predictor has done so far."""

    windows: int = 0


@dataclass(frozen=True)
class Predictor:
    """A network prepared for one device: windows `(B, bands, H, W)` to foreground probabilities `(B, K, H, W)`."""

    network: nn.Module
    device: Device
    precision: str
    tally: Tally = field(default_factory=Tally)

    def __call__(self, windows: Tensor) -> Tensor:
        """Probabilities of the foreground classes, fp32, on the device."""
        with torch.inference_mode():
            there = gpu.arriving(windows, self.device.torch)
            logits = self.network(there.contiguous(memory_format=torch.channels_last))
            self.tally.windows += len(windows)
            return torch.softmax(logits.float(), dim=1)[:, 1:]


def precision_of(device: torch.device) -> str:
    """bf16 if the device supports it and gains from it, else fp32; always the same, so that runs are repeatable."""
    return "bf16" if _gains(device) and computes(device, "bf16") else "fp32"


def _gains(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return any(features.get(name) for name in BF16_FEATURES)


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """All precisions that the device supports."""
    return tuple(name for name in PRECISIONS if computes(device, name))


@functools.cache
def computes(device: torch.device, precision: str) -> bool:
    """Whether a device supports a precision: found by trying the operators, once.

    On a CPU, only oneDNN's bf16 counts: PyTorch's own operators round differently, and are slow.
    """
    if precision == "fp32" or precision not in PRECISIONS:
        return precision in PRECISIONS
    dtype = PRECISIONS[precision]
    if device.type == "cpu":
        return onednn.is_available(dtype)
    try:
        pixels = torch.ones(1, 8, 8, 8, device=device, dtype=dtype)
        return bool(nn.functional.conv2d(pixels, pixels).isfinite().all())
    except (RuntimeError, TypeError):
        return False


def precision_missing(precision: str, name: str) -> OrthomaskError:
    """The error for a run begun in a precision that a device lacks."""
    return OrthomaskError(
        ErrorCode.PRECISION,
        tr("This run began in {} precision, which {} does not support.").format(precision, name),
        tr("Finish it on the computer where it began, or start again: choose another folder, or overwrite it."),
    )


def _place(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a module, fp32 and without batch normalisation, to a device and precision, in place."""
    if device.type == "cpu" and onednn.is_available(dtype):
        return onednn.merged(module, dtype)
    return module.to(device, dtype)


@functools.lru_cache(maxsize=2)
def prepare(bundle: Bundle, device: Device, precision: str = "") -> Predictor:
    """Fuse a model and move it to a device, by default in the device's precision. Cached.

    An imported ONNX graph stays on the CPU, in fp32.

    Raises:
        OrthomaskError: the device does not support that precision.
    """
    if bundle.card.graph:
        return Predictor(bundle.running(bundle.card.graph), suited(bundle), "fp32")
    precision = precision or precision_of(device.torch)
    if not computes(device.torch, precision):
        raise precision_missing(precision, device.name)
    network = fused(bundle.model()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ready = mixed(network, PRECISIONS[precision], lambda module, dtype: _place(module, device.torch, dtype))
    return Predictor(gpu.Recorded(ready) if device.torch.type == "cuda" else ready, device, precision)
