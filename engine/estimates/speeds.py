"""Measurements on this computer, kept between starts: how fast a model runs, and how much memory it takes.

One small JSON file, `orthomask/speeds.json`, in the user's cache folder (`~/.cache` or `$XDG_CACHE_HOME`, on macOS
`~/Library/Caches`, on Windows `%LOCALAPPDATA%`): the environment may be read-only, and is replaced by an update.
An entry applies to one model, device, precision and version only. Losing the file costs a second of measuring.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...protocol import OrthomaskError
from ..compute.devices import Device, version
from ..models.bundle import Bundle
from ..outputs import write_atomically

MOST = 100
"""How many entries to keep: the newest."""


@dataclass(frozen=True)
class Speed:
    """How a model runs on a device.

    Attributes:
        seconds: for one window of `WINDOW_PX`.
        of_runs: from whole runs, with reading and writing; else the network alone was timed.
        activations_mb: of one window; None before the first calibration.
    """

    seconds: float
    of_runs: bool = False
    activations_mb: float | None = None


def path() -> Path:
    """The file."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "orthomask" / "speeds.json"


def known(bundle: Bundle, device: Device, precision: str) -> Speed | None:
    """The stored measurement; None if there is none, or it cannot be read."""
    try:
        speed = Speed(**_read()[_key(bundle, device, precision)])
        return speed if speed.seconds > 0 else None
    except (KeyError, TypeError):
        return None


def keep(bundle: Bundle, device: Device, precision: str, speed: Speed) -> None:
    """Store a measurement in place of an older one; if it cannot be written, it is just dropped."""
    key, entries = _key(bundle, device, precision), _read()
    entries.pop(key, None)
    newest = dict([*entries.items(), (key, asdict(speed))][-MOST:])
    with contextlib.suppress(OSError, OrthomaskError):
        path().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path(), json.dumps(newest, indent=1).encode())


def _key(bundle: Bundle, device: Device, precision: str) -> str:
    parts = (bundle.sha256, device.torch, device.name, device.lanes, precision, version(), torch.__version__)
    return " · ".join(map(str, parts))


def _read() -> dict[str, Any]:
    try:
        entries = json.loads(path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
