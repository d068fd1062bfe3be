"""The Pythons on this computer, and which of them can make the engine's environment."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

from ..client.environment import child_options
from ..toolkit.words import tr

OLDEST = (3, 10)
SECONDS = 20
_ELSEWHERE = (
    "/opt/homebrew/bin/python{}",
    "/usr/local/bin/python{}",
    "/Library/Frameworks/Python.framework/Versions/{}/bin/python3",
    "~/.local/bin/python{}",
)
"""Programs started from the macOS dock do not see the shell's PATH."""
_PROBE = """
import importlib.util as u, json, platform, struct, sys
print("orthomask", json.dumps([sys.executable, list(sys.version_info[:3]), 8 * struct.calcsize("P"), platform.machine(),
  platform.python_implementation(), bool(u.find_spec("venv") and u.find_spec("ensurepip")), bool(u.find_spec("pip"))]))
"""


@dataclass(frozen=True)
class Python:
    """A Python that starts. `problem` says why it cannot make the environment; empty if it can."""

    path: str
    version: tuple[int, ...]
    problem: str = ""
    has_pip: bool = False

    @property
    def minor(self) -> str:
        """Its minor version, such as `3.12`."""
        return ".".join(map(str, self.version[:2]))

    @property
    def title(self) -> str:
        """Version and path, to display."""
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def find(wanted: Sequence[str]) -> tuple[Python, ...]:
    """All Pythons on this computer, suitable ones first, in the order of `wanted` versions. Starts processes."""
    found: dict[str, Python] = {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for python in pool.map(lambda path: probe(path, wanted), dict.fromkeys(candidates(wanted))):
            if python is not None:
                found.setdefault(os.path.realpath(python.path), python)
    order = {version: place for place, version in enumerate(wanted)}
    return tuple(sorted(found.values(), key=lambda python: (bool(python.problem), order.get(python.minor, len(order)))))


def candidates(wanted: Sequence[str]) -> Iterator[str]:
    """Paths of possible Pythons: QGIS's own, those on the PATH, and where installers put them."""
    yield from filter(None, (qgis_python(),))
    names = ["python3", "python", *(f"python{version}" for version in wanted)]
    yield from filter(None, map(shutil.which, names))
    if sys.platform == "win32":
        yield from _of_launcher()
        for place in (r"%LocalAppData%\Programs\Python\Python3*\python.exe", r"%ProgramFiles%\Python3*\python.exe"):
            yield from glob.glob(os.path.expandvars(place))
    else:
        paths = [os.path.expanduser(place).format(version) for place in _ELSEWHERE for version in wanted]
        yield from filter(os.path.isfile, paths)


def qgis_python() -> Optional[str]:
    """The Python that comes with QGIS; on Windows and macOS `sys.executable` is QGIS itself."""
    folder = sys.base_exec_prefix
    places = [sys.executable] if os.path.basename(sys.executable).lower().startswith("python") else []
    if sys.platform == "win32":
        places += [os.path.join(folder, name) for name in ("python.exe", "python3.exe")]
    else:
        places += [
            os.path.join(folder, "bin", "python3"),
            os.path.join(os.path.dirname(sys.executable), "bin", "python3"),
        ]
    return next(filter(os.path.isfile, places), None)


def probe(path: str, wanted: Sequence[str] = ()) -> Optional[Python]:
    """Ask the program at `path` about itself; None if it is not Python.

    Args:
        wanted: the minor versions that packages exist for; empty for any from 3.10 on.
    """
    try:
        answer = _ask([path, "-I", "-c", _PROBE])
        word, facts = answer.rstrip().rpartition("\n")[2].split(" ", 1)
        executable, version, bits, machine, kind, has_venv, has_pip = json.loads(facts)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = Python(executable or path, tuple(version), has_pip=has_pip)
    problem = _problem(found, wanted, bits, machine, kind) or ("" if has_venv else _without_venv(found))
    return Python(found.path, found.version, problem, has_pip) if word == "orthomask" else None


def _problem(python: Python, wanted: Sequence[str], bits: int, machine: str, kind: str) -> str:
    if kind != "CPython":
        return tr("it is {}, but PyTorch needs CPython").format(kind)
    if bits != 64:
        return tr("it is {}-bit, but PyTorch needs 64-bit").format(bits)
    if sys.platform == "darwin" and machine == "x86_64":
        return tr("PyTorch no longer supports Macs with Intel CPUs")
    if python.version < OLDEST:
        return tr("the engine needs Python 3.10 or newer")
    return "" if not wanted or python.minor in wanted else tr("there are no packages for this version yet")


def _without_venv(python: Python) -> str:
    if sys.platform == "linux" and python.path.startswith("/usr/"):
        return tr("it cannot create environments: install the package python{}-venv").format(python.minor)
    return tr("it cannot create environments: its modules venv and ensurepip are missing")


def _of_launcher() -> Iterator[str]:
    """The Pythons that Windows' launcher `py` lists."""
    launcher = shutil.which("py")
    if launcher is None:
        return
    try:
        lines = _ask([launcher, "-0p"]).splitlines()
    except (OSError, subprocess.SubprocessError):
        return
    yield from (line[line.index(":\\") - 1 :].strip() for line in lines if ":\\" in line)


def _ask(command: Sequence[str]) -> str:
    answer = subprocess.run(
        list(command),
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS,
        **child_options(),
    )
    return str(answer.stdout, "utf-8", "replace")
