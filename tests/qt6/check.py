"""Is `plugin.py` and `ui/` ready for QGIS 4? Run by `make lint` in an environment with PyQt6 and without QGIS.

    .venv/qt6/bin/python tests/qt6/check.py

Three checks: mypy reads the code with PyQt6's own types in the place of `qgis.PyQt`, and with those of QGIS 4.2
(qgis-stubs); `names.py` looks for what QGIS's own migration script would change; `widgets.py` builds and shows what
needs no QGIS.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import names
import widgets

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLUGINS = Path(os.environ.get("QGIS_PLUGINPATH", ROOT / ".venv" / "plugins"))
DONE = re.compile(r"(Success|Found \d+ errors?).*source file")


def untyped() -> list[str]:
    """Lines of mypy about names, arguments and signatures that QGIS 4 with Qt 6 lacks or calls deprecated."""
    command = [
        sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports", "--follow-imports=silent",
        "--check-untyped-defs", "--no-strict-optional", "--enable-error-code=deprecated",
        "--disable-error-code=override", "--cache-dir", str(Path(sys.prefix) / "mypy"),
        "-p", "orthomask.ui", "-m", "orthomask.plugin",
    ]  # fmt: skip
    paths = {"MYPYPATH": os.pathsep.join(map(str, (HERE, HERE.parent / "qt5", PLUGINS)))}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    if not DONE.search(done.stdout):
        sys.exit(f"mypy did not finish:\n{done.stdout}{done.stderr}")
    return [line for line in done.stdout.splitlines() if ": error: " in line and ".pyi:" not in line]


if __name__ == "__main__":
    found = [*untyped(), *names.gone(ROOT)]
    if found:
        sys.exit("\n".join([*found, f"Qt 6: {len(found)} problems"]))
    print(f"Qt 6: {len(widgets.shown(ROOT, PLUGINS))} widgets shown")
