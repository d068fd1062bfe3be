"""A managed Python, for computers without a suitable one: fetched by `uv`, kept with the environments."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ...protocol import ErrorCode, OrthomaskError
from ..client.store import DOWNLOADS
from ..toolkit.words import tr
from . import builds, pythons
from .pythons import Python

FOLDER = "python"
DOWNLOAD_MB = 60
"""uv and a Python."""


class Runner(Protocol):
    """Runs a program and returns what it printed, or raises."""

    def __call__(self, command: Sequence[str], variables: Mapping[str, str]) -> str: ...


def python(helper: str, base: Path, run: Runner) -> Python:
    """Fetch a Python into `base`, or use the one already there.

    Args:
        helper: a Python of any version with pip, to fetch uv if it is not on the PATH.

    Raises:
        OrthomaskError: uv or Python is not available.
    """
    wanted = builds.table()["pythons"][0]
    variables = {"UV_PYTHON_INSTALL_DIR": str(base / FOLDER), "UV_NO_PROGRESS": "1", "UV_SYSTEM_CERTS": "1"}
    uv = shutil.which("uv") or _fetched(helper, base, run)
    run([uv, "python", "install", wanted], variables)
    printed = run([uv, "python", "find", "--managed-python", wanted], variables)
    path = printed.strip().rpartition("\n")[2]
    found = pythons.probe(path, builds.table()["pythons"])
    if found is None or found.problem:
        raise OrthomaskError(
            ErrorCode.ENGINE_SETUP,
            tr("The downloaded Python does not work here."),
            tr("Install Python 3.12 from python.org, then try again."),
            printed,
        )
    return found


def _fetched(helper: str, base: Path, run: Runner) -> str:
    """The program uv, fetched by pip into its own folder."""
    folder = base / DOWNLOADS / "uv-program"
    program = folder / "bin" / ("uv.exe" if sys.platform == "win32" else "uv")
    if not program.is_file():
        if not helper:
            raise OrthomaskError(
                ErrorCode.ENGINE_SETUP,
                tr("There is no suitable Python here, and none that could download one."),
                tr("Install Python 3.12 from python.org, then try again."),
            )
        command = [helper, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--upgrade"]
        run([*command, "--target", str(folder), builds.table()["uv"]], {})
    return str(program)
