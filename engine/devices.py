"""Which processor runs the network, in which precision, and how fast."""

from __future__ import annotations

import ctypes
import functools
import platform
import time
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import rasterio
import shapely
import torch
from torch import Tensor, nn

from ..protocol import ErrorCode, InfoRequest, InfoResult, OrthomaskError
from .bundle import Bundle
from .progress import Progress
from .unet import fused

METADATA = Path(__file__).resolve().parent.parent / "metadata.txt"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCH = {"cpu": 1, "mps": 4, "cuda": 16}
"""Windows in one call of the network; more brings nothing on a CPU (docs/performance.md)."""
TRIAL_PX = 256
BF16_FEATURES = ("avx512_bf16", "amx_bf16")
"""Of a processor; with one of them bfloat16 is about twice as fast as float32 (docs/performance.md)."""


@dataclass(frozen=True)
class Device:
    """A processor, and in one sentence why it was chosen."""

    torch: torch.device
    name: str
    reason: str

    @property
    def batch(self) -> int:
        """How many windows to send at once, memory permitting."""
        return BATCH[self.torch.type]


def version() -> str:
    """Orthomask's version, from metadata.txt."""
    metadata = ConfigParser(interpolation=None)
    metadata.read(METADATA, encoding="utf-8")
    return metadata["general"]["version"]


def run(request: InfoRequest, progress: Progress) -> InfoResult:
    """Name the device, and the versions of what counts."""
    progress.report(0)
    device = choose(request.device)
    return InfoResult(
        version=version(),
        device=str(device.torch),
        device_name=device.name,
        device_reason=device.reason,
        precision=precision_of(device.torch),
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "gdal": rasterio.__gdal_version__,
            "rasterio": rasterio.__version__,
            "shapely": shapely.__version__,
            "numpy": numpy.__version__,
        },
    )


def choose(name: str = "auto") -> Device:
    """The device of that name, or with `auto` the best there is.

    Raises:
        OrthomaskError: there is no such device here.
    """
    asked = name
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = "cuda:0"
    elif name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        reason = _why_cpu() if asked == "auto" else "The processor is used, as was chosen."
        return Device(torch.device("cpu"), _processor(), reason)
    if name == "mps" and torch.backends.mps.is_available():
        return Device(torch.device("mps"), "Apple GPU", "The Apple GPU is used.")
    if name.startswith("cuda:") and name[5:].isdigit() and int(name[5:]) < torch.cuda.device_count():
        title = torch.cuda.get_device_name(int(name[5:]))
        return Device(torch.device(name), title, f"The GPU {title} is used.")
    raise OrthomaskError(
        ErrorCode.BAD_REQUEST, f"There is no device “{name}” on this computer.", "Use “auto”, or “cpu”.", _why_cpu()
    )


def _why_cpu() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        has_driver = Path("/proc/driver/nvidia/version").exists()
        if has_driver:
            return "The processor is used: there is an NVIDIA GPU, but PyTorch was installed without CUDA."
        return "The processor is used: PyTorch was installed without GPU support, and no NVIDIA driver was found."
    return "The processor is used: PyTorch finds no usable GPU; check its driver."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    title = named[0] if named else platform.processor() or platform.machine()
    return f"{title}, {torch.get_num_threads()} threads"


def keep_pages() -> None:
    """Make glibc's allocator keep its pages, which makes inference on a CPU faster (docs/performance.md).

    With its defaults every activation is mapped and unmapped again by the kernel. Elsewhere than on glibc, nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.system() == "Linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, m_arena_max = -1, -3, -8
        mallopt(m_trim_threshold, 1 << 30)
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_arena_max, 1)


@dataclass(frozen=True)
class Predictor:
    """A network made ready for one device: windows `(B, bands, H, W)` to foreground probabilities `(B, K, H, W)`."""

    network: nn.Module
    device: Device
    precision: str
    seconds_per_mpx: float

    def __call__(self, windows: Tensor) -> Tensor:
        """Probabilities of the foreground classes, fp32, on the device."""
        with torch.inference_mode():
            logits = self.network(
                windows.to(self.device.torch, PRECISIONS[self.precision]).contiguous(memory_format=torch.channels_last)
            )
            return torch.softmax(logits.float(), dim=1)[:, 1:]


def precision_of(device: torch.device) -> str:
    """bf16 where the device is made for it, else fp32; the same each time, so that a run can be repeated exactly."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return "bf16" if any(features.get(name) for name in BF16_FEATURES) else "fp32"


@functools.lru_cache(maxsize=2)
def prepare(bundle: Bundle, device: Device, precision: str = "") -> Predictor:
    """Fuse, place and time a model in a precision, by default the device's own. Kept warm."""
    return _calibrated(bundle.model(), len(bundle.card.bands), device, precision or precision_of(device.torch))


def _calibrated(network: nn.Module, bands: int, device: Device, precision: str) -> Predictor:
    ready = fused(network).to(device.torch, PRECISIONS[precision])
    ready = ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trial = Predictor(ready, device, precision, 0.0)
    windows = torch.zeros(device.batch, bands, TRIAL_PX, TRIAL_PX)
    trial(windows)
    seconds = min(_seconds(trial, windows) for _ in range(3))
    return Predictor(ready, device, precision, seconds / (device.batch * TRIAL_PX**2 / 1e6))


def _seconds(predictor: Predictor, windows: Tensor) -> float:
    start = time.perf_counter()
    predictor(windows).cpu()
    return time.perf_counter() - start
