"""The engine's own Python: finding it, checking it, and the clean environment it starts in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import LANGUAGE_VARIABLE, language
from ..toolkit.settings import PYTHON
from ..toolkit.words import tr
from . import store

PYTHON_VARIABLE = "ORTHOMASK_PYTHON"
NEEDED = (
    "affine", "click", "h5py", "jinja2", "lightning", "matplotlib", "numpy", "pyogrio", "pyproj", "rasterio",
    "safetensors", "scipy", "shapely", "tensorboardX", "torch", "torchmetrics",
)  # fmt: skip
WORKER = Path(__file__).resolve().parents[2] / "worker.py"
CHECK_SECONDS = 30

_FOREIGN_PREFIXES = ("PROJ_", "GDAL_", "PYTHON", "QT_", "DYLD_")
_FOREIGN_NAMES = {"LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"}


def chosen_python() -> str:
    """The Python named by the environment variable, or else by the setting; empty when neither is set."""
    return os.environ.get(PYTHON_VARIABLE) or PYTHON.get()


def configured_python() -> str:
    """The Python that the user chose, or else the newest environment's; empty when there is none."""
    made = store.environments()
    return chosen_python() or (made[0].python if made else "")


def set_python(path: str) -> None:
    """Remember the Python that the user chose; an empty path selects the environment made by Set up.

    For this session it also overrides the variable.
    """
    os.environ.pop(PYTHON_VARIABLE, None)
    PYTHON.set(path)


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """`variables` without what QGIS sets for its own Python, GDAL, PROJ and Qt.

    With OSGeo4W's `PROJ_LIB` set, the engine's rasterio would silently lose its CRS database (rasterio#2291).
    """
    return {
        name: value
        for name, value in variables.items()
        if not name.upper().startswith(_FOREIGN_PREFIXES) and name not in _FOREIGN_NAMES
    }


def child_options() -> dict[str, Any]:
    """Options of `subprocess` for a child of ours: clean environment, our language, no console window on Windows."""
    options: dict[str, Any] = {"env": {**clean_environment(os.environ), LANGUAGE_VARIABLE: language()}}
    if sys.platform == "win32":
        options["creationflags"] = subprocess.CREATE_NO_WINDOW
    return options


def worker_command() -> list[str]:
    """The command that starts the engine. Starts a short-lived Python to check it, so not for the main thread.

    Raises:
        OrthomaskError: no Python is set, or it cannot run the engine.
    """
    python = configured_python()
    if not python:
        raise _missing(tr("Orthomask's engine is not set up yet."), "")
    if not os.path.isfile(python):
        raise _missing(tr("Orthomask's engine is missing: the file {} does not exist.").format(python), "")
    lacking = _lacking_packages(python)
    if lacking:
        sentence = tr("The Python at {} cannot run Orthomask's engine: it lacks {}.")
        raise _missing(sentence.format(python, ", ".join(lacking)), "")
    return [python, "-s", "-u", str(WORKER)]


def _lacking_packages(python: str) -> list[str]:
    """The required packages that `python` lacks.

    Raises:
        OrthomaskError: `python` does not start, or is not Python.
    """
    code = f"import importlib.util as u; print('lacking', *[n for n in {NEEDED!r} if u.find_spec(n) is None])"
    sentence = tr("The program {} is not a working Python.").format(python)
    try:
        answer = subprocess.run(
            [python, "-s", "-c", code],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_SECONDS,
            **child_options(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _missing(sentence, str(error)) from error
    output = answer.stdout.decode("utf-8", "replace")
    if answer.returncode != 0 or not output.startswith("lacking"):
        raise _missing(sentence, output)
    return list(output.split()[1:])


def _missing(sentence: str, details: str) -> OrthomaskError:
    remedy = tr("Press Set up in the Orthomask dock.")
    return OrthomaskError(ErrorCode.ENGINE_MISSING, sentence, remedy, details)
