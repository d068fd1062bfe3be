"""Makes the engine's environment: a new folder, a `venv`, pip with the lock, a self-test, and only then its record."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from ...protocol import ErrorCode, OrthomaskError
from ..words import tr
from . import builds, failures, managed, processes, store
from .builds import Build
from .network import Network
from .progress import Downloads, Watcher
from .pythons import Python
from .selftest import SelfTest

MARGIN_MB = 500
"""Free space that is left over: a disk that is full to the brim helps nobody."""
BEGUN, FETCHED, FOUND, UNPACKED = 0.04, 0.75, 0.15, 0.92
"""Where on the progress bar fetching begins and ends (from a folder, finding), and unpacking; then comes the test."""
METADATA = Path(__file__).resolve().parents[2] / "metadata.txt"

Tester = Callable[[str, Watcher], SelfTest]


@dataclass(frozen=True)
class Plan:
    """What will be done; nothing has been done yet.

    Args:
        python: makes the environment; None where uv has to fetch one first.
        helper: a Python with pip, of any version, that can fetch uv.
        wheels: the folder to install from; empty to fetch from the internet.
        requirements: pinned lines, as pip reads them.
        base: where environments lie.
    """

    build: Build
    requirements: tuple[str, ...]
    lock: str
    base: Path
    python: Optional[Python] = None
    helper: str = ""
    wheels: str = ""
    network: Network = field(default_factory=Network)

    @property
    def download_mb(self) -> int:
        """About what is fetched."""
        return 0 if self.wheels else self.build.download_mb + (managed.DOWNLOAD_MB if self.python is None else 0)

    @property
    def package_count(self) -> int:
        """How many packages are installed, this Python's and this platform's alone."""
        return len(builds.package_names(self.requirements, self.python.minor if self.python else ""))

    @property
    def needed_mb(self) -> int:
        """The free space it takes while it runs: what is fetched is kept until the end."""
        return self.download_mb + self.build.disk_mb + MARGIN_MB


def version() -> str:
    """Orthomask's version."""
    metadata = ConfigParser(interpolation=None)
    metadata.read(METADATA, encoding="utf-8")
    return metadata["general"]["version"]


def install(plan: Plan, watcher: Watcher, test: Tester) -> tuple[store.Environment, SelfTest]:
    """Make an environment, test it, and let it count. Runs for minutes; not for the main thread.

    Whatever happens, environments that are there stay as they are. What was fetched is kept until one is finished.

    Raises:
        Cancelled: nothing of the new environment is left.
        OrthomaskError: it failed, in words; nothing of the new environment is left.
    """
    with store.locked(plan.base):
        for folder in store.leftovers(plan.base):
            store.remove(folder)
        refuse_full_disk(plan)
        folder = store.new_folder(plan.base, version())
        try:
            made = _make(plan, folder, watcher, test)
        except OSError as error:
            raise failures.explain(str(error), str(folder)) from error
        finally:
            if not (folder / store.RECORD).exists():
                store.remove(folder)
        shutil.rmtree(plan.base / store.DOWNLOADS, ignore_errors=True)
        return made


def refuse_full_disk(plan: Plan) -> None:
    """Raise where the disk has too little room."""
    free_mb = store.free_mb(plan.base)
    if free_mb < plan.needed_mb:
        sentence = tr("The engine needs about {:.1f} GB of free space, and there are {:.1f} GB.")
        raise OrthomaskError(
            ErrorCode.DISK_FULL,
            sentence.format(plan.needed_mb / 1000, free_mb / 1000),
            tr("Make room on the disk with your QGIS profile, then try again."),
            str(plan.base),
        )


def _make(plan: Plan, folder: Path, watcher: Watcher, test: Tester) -> tuple[store.Environment, SelfTest]:
    pip = _Pip(plan, folder, watcher)
    python = plan.python
    if python is None:
        watcher.step(0, tr("Fetching Python"))
        python = managed.python(plan.helper, plan.base, pip.run)
    watcher.step(0.02, tr("Making the environment"))
    pip.run([python.path, "-m", "venv", str(folder)])
    pip.install([builds.table()["pip"]], upgrade=True)
    lines = folder / "requirements.txt"
    lines.write_text("\n".join(plan.requirements) + "\n", encoding="utf-8")
    if plan.build.index and not plan.wheels:  # that index is asked for nothing but PyTorch
        pip.install(["--no-deps", "--extra-index-url", plan.build.index, plan.build.torch], progress=True)
    pip.final = True
    pip.install(["-r", str(lines)], progress=True)
    watcher.step(UNPACKED, tr("Testing it on a built-in picture"))
    tested = test(str(store.python_of(folder)), watcher)
    record = store.Record(
        version=version(),
        lock=plan.lock,
        build=plan.build.name,
        base=python.path,
        python=".".join(map(str, python.version)),
        device=tested.device,
        seconds=tested.seconds,
        disk_mb=store.size_mb(folder),
        made=time.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    return store.finish(folder, record), tested


class _Pip:
    """Runs pip and its helpers, their downloads in a folder of ours that outlives a failure."""

    def __init__(self, plan: Plan, folder: Path, watcher: Watcher) -> None:
        self._plan, self._folder, self._watcher = plan, folder, watcher
        self._downloads = plan.base / store.DOWNLOADS
        self._counted = Downloads(plan.build.download_mb, plan.package_count)
        self.final = False
        """Whether pip is called for the last time, so that what it unpacks is the end."""
        shutil.rmtree(self._downloads / "tmp", ignore_errors=True)  # of one that was killed
        (self._downloads / "tmp").mkdir(parents=True)

    def install(self, arguments: Sequence[str], upgrade: bool = False, progress: bool = False) -> None:
        """Install packages into the environment; with `progress`, say how far it is."""
        plan = self._plan
        source = ["--no-index", "--find-links", plan.wheels] if plan.wheels else []
        options = ["--only-binary", ":all:", "--no-warn-script-location", "--disable-pip-version-check", "--no-input"]
        options += ["--upgrade"] if upgrade else []
        options += ["--progress-bar", "raw"] if progress and not plan.wheels else []
        python = str(store.python_of(self._folder))
        self.run(
            [python, "-m", "pip", "install", *options, *source, *arguments],
            downloads=self._counted if progress else None,
        )

    def run(
        self,
        command: Sequence[str],
        variables: Optional[Mapping[str, str]] = None,
        downloads: Optional[Downloads] = None,
    ) -> str:
        """Run a program to its end; returns what it printed.

        Raises:
            Cancelled: it has been ended.
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

    def _tell(self, downloads: Downloads) -> None:
        count, fetched = self._plan.package_count, FOUND if self._plan.wheels else FETCHED
        fraction, words = BEGUN + (fetched - BEGUN) * downloads.fraction, downloads.name
        if downloads.installing:
            there = min(count, self._unpacked())
            words = tr("Unpacking: {} of {} packages").format(there, count)
            fraction = fetched + (UNPACKED - fetched) * there / count if self.final else fraction
        elif downloads.done_mb >= 1:
            words = tr("{:.0f} of about {} MB · {}").format(downloads.done_mb, self._plan.build.download_mb, words)
        self._watcher.step(fraction, words)

    def _unpacked(self) -> int:
        """How many packages are there; pip says nothing while it unpacks."""
        libraries = (*self._folder.glob("lib/python*/site-packages"), self._folder / "Lib" / "site-packages")
        return sum(1 for library in libraries for _ in library.glob("*.dist-info"))

    def _variables(self) -> dict[str, str]:
        """Everything temporary on the disk of the profile: `/tmp` is often a small one."""
        place = str(self._downloads / "tmp")
        return {
            **self._plan.network.variables(self._downloads),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), place),
            "PIP_CACHE_DIR": str(self._downloads / "cache"),
            "PIP_NO_CACHE_DIR": "0",
            "PIP_USER": "0",
            "PIP_REQUIRE_VIRTUALENV": "0",
            "PIP_NO_COLOR": "1",
            "UV_CACHE_DIR": str(self._downloads / "uv"),
        }
