"""Does `plugin.py` and `ui/` use only what Qt 6 has? Run by `make lint` in an environment with PyQt6 and without QGIS.

    .venv/qt6/bin/python tests/qt6/check.py

mypy reads them with PyQt6's own type stubs in the place of `qgis.PyQt`, where an enum that is not scoped, `exec_()` or
a class that has moved does not exist. Then every module that needs Qt but not QGIS is imported under PyQt6.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

STUBS = Path(__file__).resolve().parent
ROOT = STUBS.parent.parent
MODULES = ("QtCore", "QtGui", "QtNetwork", "QtSvg", "QtTest", "QtWidgets", "QtXml")
MISSING = re.compile(r'Module "qgis\.PyQt|"(type\[)?Q[A-Z]\w*\]?" has no attribute')
DONE = re.compile(r"(Success|Found \d+ errors?).*source file")


def missing() -> list[str]:
    """Lines of mypy that name something Qt 6 lacks."""
    command = [
        sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent", "--check-untyped-defs",
        "--cache-dir", ".venv/qt6/mypy", "--config-file=", "-p", "orthomask.ui", "-m", "orthomask.plugin",
    ]  # fmt: skip
    paths = {"MYPYPATH": os.pathsep.join([str(STUBS), str(ROOT / ".venv" / "plugins")])}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    if not DONE.search(done.stdout):
        sys.exit(f"mypy did not finish:\n{done.stdout}{done.stderr}")
    return [line for line in done.stdout.splitlines() if MISSING.search(line)]


def imported_under_qt6() -> list[str]:
    """Names of the modules of `ui/` that import with PyQt6 as `qgis.PyQt`: those that need no more of QGIS."""
    sys.path.insert(0, str(ROOT / ".venv" / "plugins"))
    sys.modules["qgis"], sys.modules["qgis.PyQt"] = types.ModuleType("qgis"), types.ModuleType("qgis.PyQt")
    for name in MODULES:
        sys.modules[f"qgis.PyQt.{name}"] = importlib.import_module(f"PyQt6.{name}")
    done = []
    for path in sorted((ROOT / "ui").rglob("*.py")):
        name = ".".join(("orthomask", *path.relative_to(ROOT).with_suffix("").parts))
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(("qgis.", "osgeo")):  # GDAL comes with QGIS
                raise
        else:
            done.append(path.stem)
    return done


if __name__ == "__main__":
    lacking = missing()
    print(*lacking, f"Qt 6: {len(lacking)} missing names; imported {', '.join(imported_under_qt6())}", sep="\n")
    sys.exit(bool(lacking))
