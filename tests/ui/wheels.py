"""Tiny wheels, environments made of them, and watchers that cancel: what the tests of the set-up are made of."""

from __future__ import annotations

import base64
import hashlib
import zipfile

from orthomask.ui.installer import pythons
from orthomask.ui.installer.builds import Build
from orthomask.ui.installer.plan import Plan
from orthomask.ui.installer.selftest import SelfTest

TINY = Build("cpu", "CPU", "tinytorch==1.0", "", 1, 1)
TESTED = SelfTest("Test processor", "It was there.", 0.5, 0.25, 7)


def write_wheel(folder, name, version="1.0", body="", needs=()):
    """A wheel of one module."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{name}.py": f"version = {version!r}\n{body}",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        code = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={code},{len(text)}\n")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
    return folder


def wheel_folder(folder):
    """The packages of an engine that is very small."""
    write_wheel(folder, "tinytorch", needs=["tinynumpy==1.0"])
    return write_wheel(folder, "tinynumpy")


def usable_python():
    """A Python of this machine that makes environments."""
    return next(python for python in pythons.find(["3.11", "3.12", "3.13", "3.10", "3.14"]) if not python.problem)


def plan(base, wheels, python=None, requirements=("tinynumpy==1.0", "tinytorch==1.0")):
    return Plan(TINY, requirements, "abc", base, python or usable_python(), wheels=str(wheels))


def stand_in(folder, pip):
    """A Python that makes environments at once, whose pip is the shell script `pip`."""
    inner, outer = folder / "inner", folder / "outer"
    inner.write_text(f"#!/bin/sh\n{pip}\n")
    outer.write_text(f'#!/bin/sh\nmkdir -p "$3/bin"\ncp "{inner}" "$3/bin/python"\n')
    inner.chmod(0o755)
    outer.chmod(0o755)
    return pythons.Python(str(outer), (3, 12, 1))


class Watcher:
    """Keeps what it is told, and cancels after so many lines and steps."""

    def __init__(self, patience=10**9):
        self.lines, self.steps, self._patience = [], [], patience

    def isCanceled(self):
        return len(self.lines) + len(self.steps) >= self._patience

    def step(self, fraction, message):
        self.steps.append((fraction, message))

    def log(self, line):
        self.lines.append(line)


def passed(python, watcher):
    return TESTED
