"""pip in the new environment: fetches packages into a folder, then installs from it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from ..client import store
from ..toolkit.words import in_digits, tr
from . import builds, failures, processes
from .plan import Plan
from .progress import Downloads, Watcher

BEGUN, FETCHED, FOUND, UNPACKED = 0.04, 0.75, 0.15, 0.92
"""Progress where fetching begins and ends (from a folder: finding), and where unpacking ends; then comes the test."""
_QUIET = ("--disable-pip-version-check", "--no-input", "--only-binary", ":all:")


class Pip:
    """Runs pip and its helpers. Downloads go to a folder that outlives a failure, so that a retry reuses them.

    pip's own cache is not enough: it keeps only what servers allow.

    Args:
        folder: the environment's.
    """

    def __init__(self, plan: Plan, folder: Path, watcher: Watcher) -> None:
        self._plan, self._folder, self._watcher = plan, folder, watcher
        self._python = str(store.python_of(folder))
        self._place = plan.base / store.DOWNLOADS
        self._wheels = self._place / "wheels"
        shutil.rmtree(self._place / "tmp", ignore_errors=True)  # left by a killed one
        for name in ("tmp", "wheels"):
            (self._place / name).mkdir(parents=True, exist_ok=True)
        there_mb = sum(wheel.stat().st_size for wheel in self._wheels.iterdir()) / 1e6
        self._counted = Downloads(plan.build.download_mb, plan.package_count, there_mb)

    def upgrade(self) -> None:
        """Install the version of pip whose output is known."""
        self._install("--upgrade", *self._source(self._plan.wheels), builds.table()["pip"])

    def fetch(self) -> str:
        """Fetch the packages; returns their folder."""
        arrived = self._place / "tmp" / "wheels"
        command = [self._python, "-m", "pip", "download", *_QUIET, "--no-cache-dir", "--progress-bar", "raw"]
        for arguments in builds.fetches(self._plan.build, self._plan.requirements):
            there = {_pin(wheel.name) for wheel in self._wheels.iterdir()} if "--no-deps" in arguments else set()
            missing = [word for word in arguments if word.split(" ")[0] not in there]
            if any("==" in word for word in missing):
                self.run([*command, "--dest", str(arrived), *missing], downloads=self._counted)
                for wheel in arrived.glob("*.whl"):  # only whole files reach `wheels`
                    wheel.replace(self._wheels / wheel.name)
        return str(self._wheels)

    def unpack(self, wheels: str) -> None:
        """Install the packages from a folder."""
        lines = self._folder / "requirements.txt"
        lines.write_text("\n".join(self._plan.requirements) + "\n", encoding="utf-8")
        self._install(*self._source(wheels), "-r", str(lines), downloads=self._counted)

    def run(
        self,
        command: Sequence[str],
        variables: Optional[Mapping[str, str]] = None,
        downloads: Optional[Downloads] = None,
    ) -> str:
        """Run a program to its end; returns its output.

        Raises:
            Cancelled: it was ended.
            OrthomaskError: it failed.
        """
        printed: list[str] = []

        def say(line: str) -> None:
            only_progress = downloads is not None and downloads.read(line)
            if downloads is not None:
                self._tell(downloads)
            if not only_progress:
                printed.append(line)
                self._watcher.log(line)

        def is_cancelled() -> bool:
            if downloads is not None and downloads.installing:
                self._tell(downloads)
            return self._watcher.isCanceled()

        self._watcher.log("$ " + " ".join(command))
        status = processes.run(command, {**self._variables(), **(variables or {})}, say, is_cancelled)
        if status:
            raise failures.explain("\n".join(printed), str(self._folder))
        return "\n".join(printed)

    def _install(self, *arguments: str, downloads: Optional[Downloads] = None) -> None:
        command = [self._python, "-m", "pip", "install", *_QUIET, "--no-cache-dir", "--no-warn-script-location"]
        self.run([*command, *arguments], downloads=downloads)

    def _source(self, wheels: str) -> tuple[str, ...]:
        return ("--no-index", "--find-links", wheels) if wheels else ()

    def _tell(self, downloads: Downloads) -> None:
        count, fetched = self._plan.package_count, FOUND if self._plan.wheels else FETCHED
        fraction, words = BEGUN + (fetched - BEGUN) * downloads.fraction, downloads.name
        if downloads.installing:
            there = min(count, self._unpacked())
            words = tr("Unpacking: {} of {} packages").format(there, count)
            fraction = fetched + (UNPACKED - fetched) * there / count
        elif downloads.done_mb >= 1:
            done, total = in_digits(downloads.done_mb), in_digits(self._plan.build.download_mb)
            words = tr("{} of about {} MB · {}").format(done, total, words)
        self._watcher.step(fraction, words)

    def _unpacked(self) -> int:
        """Number of packages installed so far; pip prints nothing meanwhile."""
        libraries = (*self._folder.glob("lib/python*/site-packages"), self._folder / "Lib" / "site-packages")
        return sum(1 for library in libraries for _ in library.glob("*.dist-info"))

    def _variables(self) -> dict[str, str]:
        """Put temporary files on the profile's disk: `/tmp` is often small."""
        return {
            **self._plan.network.variables(self._place),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self._place / "tmp")),
            "PIP_USER": "0",
            "PIP_REQUIRE_VIRTUALENV": "0",
            "PIP_NO_COLOR": "1",
            "UV_CACHE_DIR": str(self._place / "uv"),
        }


def _pin(wheel: str) -> str:
    """The requirement that a wheel with this file name meets, as in a lock: `pytorch-lightning==2.6.6`."""
    name, version = wheel.split("-")[:2]
    return f"{re.sub('[_.]+', '-', name).lower()}=={version}"
