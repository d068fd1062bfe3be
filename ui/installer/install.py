"""Makes the engine's environment: a new folder, a `venv`, pip with the lock, a self-test, and only then its record."""

from __future__ import annotations

import shutil
import time
from configparser import ConfigParser
from pathlib import Path
from typing import Callable

from ...protocol import ErrorCode, OrthomaskError
from ..client import store
from ..toolkit.words import in_digits, tr
from . import failures, managed
from .pip import BEGUN, UNPACKED, Pip
from .plan import Plan
from .progress import Watcher
from .selftest import SelfTest

METADATA = Path(__file__).resolve().parents[2] / "metadata.txt"

Tester = Callable[[str, Watcher], SelfTest]


def version() -> str:
    """Orthomask's version."""
    metadata = ConfigParser(interpolation=None)
    metadata.read(METADATA, encoding="utf-8")
    return metadata["general"]["version"]


def install(plan: Plan, watcher: Watcher, test: Tester) -> tuple[store.Environment, SelfTest]:
    """Make an environment, test it, and record it. Runs for minutes; not for the main thread.

    Existing environments are never changed. Downloads are kept until an environment is finished.

    Raises:
        Cancelled: nothing of the new environment is left.
        OrthomaskError: it failed; nothing of the new environment is left.
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
    """Raise if the disk has too little space."""
    free_mb = store.free_mb(plan.base)
    if free_mb < plan.needed_mb:
        sentence = tr("The engine needs about {} GB of free space, but only {} GB are free.")
        raise OrthomaskError(
            ErrorCode.DISK_FULL,
            sentence.format(in_digits(plan.needed_mb / 1000, 1), in_digits(free_mb / 1000, 1)),
            tr("Free some space on the disk with your QGIS profile, then try again."),
            str(plan.base),
        )


def _make(plan: Plan, folder: Path, watcher: Watcher, test: Tester) -> tuple[store.Environment, SelfTest]:
    pip = Pip(plan, folder, watcher)
    python = plan.python
    if python is None:
        watcher.step(0, tr("Downloading Python"))
        python = managed.python(plan.helper, plan.base, pip.run)
    watcher.step(BEGUN / 2, tr("Creating the environment"))
    pip.run([python.path, "-m", "venv", str(folder)])
    pip.upgrade()
    pip.unpack(plan.wheels or pip.fetch())
    watcher.step(UNPACKED, tr("Testing it on a built-in image"))
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
