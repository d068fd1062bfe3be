"""Installs a zip into a fresh profile of real QGIS, sets up the engine without network, segments, upgrades, uninstalls.

    python3 tests/package/install_zip.py dist/orthomask-0.3.0.zip WHEELS [PICTURES]

Run by `make test-package`. WHEELS is a folder made by `orthomask wheelhouse` for a Python of this computer; PICTURES is
where each step leaves its picture (default: `orthomask-pictures` among temporary files). Nothing here needs QGIS or the
engine's environment, so any Python of version 3.9 or newer can start it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NEWER = "99.0.0"
"""The version of the zip that is installed over the first one."""
DROPPED = "orthomask/README.md"
"""What the newer version no longer has: QGIS must replace the folder, not write over it."""
NOWHERE = "http://127.0.0.1:9"
LIMIT_SECONDS = 1800
PASSED = ("DISPLAY", "LANG", "PATH", "TMPDIR", "XAUTHORITY")


def newer(package: Path, target: Path) -> None:
    """Write the zip of a newer version, with other packages in its lock."""
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        version = metadata_version(old)
        for name in old.namelist():
            content = old.read(name)
            if name == "orthomask/metadata.txt":
                content = content.replace(f"version={version}".encode(), f"version={NEWER}".encode(), 1)
            elif name == "orthomask/resources/engine/engine.lock":
                content += b"orthomask-newer==1.0\n"
            elif name == "orthomask/ui/__init__.py":
                content += f'\nNEWER = "{NEWER}"\n'.encode()
            if name != DROPPED:
                new.writestr(name, content)


def metadata_version(package: zipfile.ZipFile) -> str:
    """The version that the zip's metadata name."""
    lines = package.read("orthomask/metadata.txt").decode().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("version="))


def variables(work: Path, task: dict[str, str]) -> dict[str, str]:
    """The environment of a person who has just installed QGIS, and whose network goes nowhere."""
    (work / "runtime").mkdir(mode=0o700)
    (work / "home").mkdir()
    return {
        **{name: os.environ[name] for name in PASSED if name in os.environ},
        "HOME": str(work / "home"),
        "XDG_RUNTIME_DIR": str(work / "runtime"),
        "QGIS_CUSTOM_CONFIG_PATH": str(work / "profile"),
        "QT_QPA_PLATFORM": "xcb",
        "http_proxy": NOWHERE,
        "https_proxy": NOWHERE,
        "PIP_CONFIG_FILE": os.devnull,
        "ORTHOMASK_WALK": json.dumps(task),
    }


def main(package: Path, wheels: Path, pictures: Path) -> int:
    """Walk through it all in QGIS; returns its exit status."""
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orthomask-zip-") as folder:
        work = Path(folder)
        newer(package, work / f"orthomask-{NEWER}.zip")
        task = {
            "package": str(package), "newer": str(work / f"orthomask-{NEWER}.zip"), "newer_version": NEWER,
            "dropped": DROPPED, "wheels": str(wheels), "pictures": str(pictures), "work": str(work),
        }  # fmt: skip
        command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", "qgis", "--nologo", "--noversioncheck"]
        command += ["--code", str(Path(__file__).resolve().parent / "walk.py")]
        done = subprocess.run(command, env=variables(work, task), cwd=work, check=False, timeout=LIMIT_SECONDS)
        return done.returncode


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    package, wheels, *rest = (Path(word).resolve() for word in sys.argv[1:])
    sys.exit(main(package, wheels, *rest or [Path(tempfile.gettempdir()) / "orthomask-pictures"]))
