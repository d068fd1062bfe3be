"""Which packages the engine needs, and which build of PyTorch fits this computer.

`resources/engine/engine.lock` pins every package for all platforms; `builds.json` lists the builds of PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ..client.environment import child_options
from ..toolkit.words import mark, tr

FOLDER = Path(__file__).resolve().parents[2] / "resources" / "engine"
LOCK, TABLE = FOLDER / "engine.lock", FOLDER / "builds.json"
TITLES = {
    "cu130": mark("NVIDIA GPU, CUDA 13.0"),
    "cu126": mark("NVIDIA GPU, CUDA 12.6"),
    "cpu": mark("CPU"),
    "mac": mark("Apple GPU and CPU"),
}
"""Titles of the builds in the table."""
SECONDS = 15
AT_ONCE = 8
"""Number of small packages per call of pip."""
_QUERY = ("--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
_PLACES = (r"%SystemRoot%\System32\nvidia-smi.exe", r"%ProgramFiles%\NVIDIA Corporation\NVSMI\nvidia-smi.exe")
"""Where Windows keeps `nvidia-smi` if it is not on the PATH; WSL has its own folder for it."""
_WSL = "/usr/lib/wsl/lib/nvidia-smi"


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as its driver reports it; `capability` is 0 if the driver is too old to report it."""

    name: str
    driver: float
    capability: float = 0.0


@dataclass(frozen=True)
class Build:
    """A build of PyTorch for one platform, and with it the whole engine.

    Args:
        torch: the pinned requirement.
        index: its package index; empty for pip's default.
        download_mb: approximate download, all packages together.
        disk_mb: approximate size of the environment.
    """

    name: str
    title: str
    torch: str
    index: str
    download_mb: int
    disk_mb: int
    driver: float = 0.0
    capability: tuple[float, float] = (0.0, 99.0)


def platform_name() -> str:
    """`linux`, `windows` or `macos`."""
    return {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")


def table() -> dict[str, Any]:
    """What `builds.json` holds."""
    content: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return content


def builds(system: str) -> tuple[Build, ...]:
    """The builds available for a platform, fastest first."""
    return tuple(
        Build(
            row["name"],
            tr(TITLES[row["name"]]),
            row["torch"][system],
            row["index"].get(system, ""),
            row["download_mb"][system],
            row["disk_mb"][system],
            row.get("driver", {}).get(system, 0),
            tuple(row.get("capability", (0, 99))),
        )
        for row in table()["builds"]
        if system in row["torch"]
    )


def requirements(build: Build, lock: str) -> tuple[str, ...]:
    """The lines of `lock` that this build installs.

    The default build for Linux takes NVIDIA's libraries from the lock; other CUDA builds name their own.
    """
    lines = [line.strip() for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    other = build.name != "cu130" or bool(build.index)
    left_out = ("torch==", *(table()["gpu_packages"] if other else ()))
    return (*(line for line in lines if not line.startswith(left_out)), build.torch)


def fetches(build: Build, requirements: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The arguments of each call of pip. What one call has fetched is not fetched again on a retry.

    Only PyTorch comes from PyTorch's own index. The lock names all its dependencies, except NVIDIA's libraries
    of a Linux build other than the default: PyTorch names those.
    """
    gpu = tuple(table()["gpu_packages"])
    rest = [line for line in requirements if line != build.torch]
    large, small = [line for line in rest if line.startswith(gpu)], [line for line in rest if not line.startswith(gpu)]
    index = ("--extra-index-url", build.index) if build.index else ()
    calls = [("--no-deps", *index, build.torch), *(("--no-deps", line) for line in large)]
    calls += [("--no-deps", *small[start : start + AT_ONCE]) for start in range(0, len(small), AT_ONCE)]
    return (*calls, (*index, build.torch)) if build.name == "cu126" and platform_name() == "linux" else tuple(calls)


def package_names(requirements: Sequence[str], minor: str) -> tuple[str, ...]:
    """Names of the packages that this platform and Python version need."""
    other = [f"'{name}'" for name in ("win32", "linux", "darwin") if name != sys.platform]
    other += [] if minor == "3.10" else ["< '3.11'"]
    lines = (line for line in requirements if not any(marker in line for marker in other))
    return tuple(sorted({line.split("==")[0] for line in lines}))


def digest(lock: str) -> str:
    """A short hash of a lock's packages: the same for locks with the same packages."""
    lines = sorted(line.strip() for line in lock.splitlines() if line.strip() and not line.startswith("#"))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def choose(found: Sequence[Build], gpu: Optional[Gpu], machine: str = "") -> tuple[Build, str]:
    """The best build for this computer, and why, in one sentence.

    Args:
        found: the builds of the platform, fastest first.
        gpu: the one that NVIDIA's driver reports.
        machine: CPU architecture, by default this computer's.
    """
    plain = found[-1]
    if gpu is None:
        return plain, tr("No NVIDIA driver was found.") if plain.name == "cpu" else tr("For Macs with Apple silicon.")
    seen = tr("Found {} with driver {}").format(gpu.name, f"{gpu.driver:g}")
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64"):
        return plain, tr("{}, but for this type of CPU only the build without CUDA is available.").format(seen)
    for build in found:
        low, high = build.capability
        if build.driver and gpu.driver >= build.driver and (not gpu.capability or low <= gpu.capability <= high):
            return build, f"{seen}."
    needed = min((build.driver for build in found if build.driver), default=0)
    if gpu.driver < needed:
        return plain, tr("{}, but PyTorch needs driver {} or newer: update the driver to use the GPU.").format(
            seen, f"{needed:g}"
        )
    return plain, tr("{}, but with this driver PyTorch does not support this generation or type of GPU.").format(seen)


def find_gpu() -> Optional[Gpu]:
    """The most capable NVIDIA GPU that the driver reports; None without one. Starts a process."""
    program = next(filter(None, map(shutil.which, ("nvidia-smi", *map(os.path.expandvars, _PLACES), _WSL))), None)
    if program is None:
        return None
    for query in (_QUERY, (_QUERY[0].replace(",compute_cap", ""), _QUERY[1])):  # drivers before 510 lack it
        try:
            answer = subprocess.run(
                [program, *query],
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                **child_options(),
            )
        except (OSError, subprocess.SubprocessError):
            continue
        gpus = list(map(_gpu, answer.stdout.decode("utf-8", "replace").splitlines()))
        return max((gpu for gpu in gpus if gpu), key=lambda gpu: gpu.capability, default=None)
    return None


def _gpu(line: str) -> Optional[Gpu]:
    """`NVIDIA GeForce RTX 3060, 580.65.06, 8.6` as a GPU; None for any other line."""
    parts = [part.strip() for part in line.split(",")]
    try:
        driver = float(".".join(parts[1].split(".")[:2]))
        return Gpu(parts[0], driver, float(parts[2]) if len(parts) > 2 else 0.0)
    except (IndexError, ValueError):
        return None
