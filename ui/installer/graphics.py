"""Which GPUs this computer has, whether or not their drivers answer. Reads the system's device list."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from . import builds
from .builds import Gpu

NVIDIA, AMD, INTEL = "NVIDIA", "AMD", "Intel"
_VENDORS = {"0x10de": NVIDIA, "0x1002": AMD, "0x8086": INTEL}
"""By PCI vendor ID."""
_PCI = Path("/sys/bus/pci/devices")
_DISPLAY = "0x03"
"""The PCI class of display controllers."""
_CLASS_KEY = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
"""Registry key of Windows' display adapters."""


@dataclass(frozen=True)
class Graphics:
    """The GPUs of this computer.

    Args:
        gpu: the NVIDIA GPU that its driver reports.
        makers: of all GPUs that the system lists: `NVIDIA`, `AMD`, `Intel`.
        build: the best build of PyTorch, and `why`, in one sentence.
    """

    gpu: Optional[Gpu]
    makers: tuple[str, ...]
    build: str
    why: str

    @property
    def gpu_fits(self) -> bool:
        """Whether a build of PyTorch supports the GPU and its driver."""
        return self.gpu is not None and self.build.startswith("cu")


def look() -> Graphics:
    """Look for GPUs and drivers. Starts a process and waits some seconds, so not for the main thread."""
    gpu = builds.find_gpu()
    build, why = builds.choose(builds.builds(builds.platform_name()), gpu)
    return Graphics(gpu, makers(), build.name, why)


def makers() -> tuple[str, ...]:
    """The makers of the GPUs that the system lists; empty if it lists none, and on macOS."""
    found = _of_windows() if sys.platform == "win32" else _of_linux(_PCI)
    return tuple(maker for maker in (NVIDIA, AMD, INTEL) if maker in found)


def _of_linux(devices: Path) -> set[str]:
    found = set()
    for folder in devices.glob("*"):
        with contextlib.suppress(OSError):
            if (folder / "class").read_text().startswith(_DISPLAY):
                found.add(_VENDORS.get((folder / "vendor").read_text().strip(), ""))
    return found


def _of_windows() -> set[str]:
    import winreg

    registry: Any = winreg
    names = []
    with contextlib.suppress(OSError), registry.OpenKey(registry.HKEY_LOCAL_MACHINE, _CLASS_KEY) as key:
        for index in range(registry.QueryInfoKey(key)[0]):
            with contextlib.suppress(OSError), registry.OpenKey(key, registry.EnumKey(key, index)) as adapter:
                names.append(str(registry.QueryValueEx(adapter, "DriverDesc")[0]))
    known = {NVIDIA: (NVIDIA,), AMD: (AMD, "Radeon"), INTEL: (INTEL,)}
    return {maker for maker, words in known.items() if any(word in name for name in names for word in words)}
