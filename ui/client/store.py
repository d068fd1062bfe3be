"""Where environments are kept: a folder of the QGIS profile, never the plugin's own.

An environment counts only if it holds `orthomask.json`, which is written last, after its self-test. So what a
cancelled, killed or failed set-up leaves is never used, and the next one deletes it. Nothing is renamed at the end:
an environment works only where it was made, and on Windows a virus scanner can hold a new folder open.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QLockFile

from ...protocol import ErrorCode, OrthomaskError
from ..toolkit.words import tr

RECORD = "orthomask.json"
DOWNLOADS = "downloads"
_LOCK = "setup.lock"
_PREFIX = "engine-"


@dataclass(frozen=True)
class Record:
    """What an environment was made of, and how its self-test went."""

    version: str
    lock: str
    build: str
    base: str
    python: str
    device: str
    seconds: float
    disk_mb: int
    made: str


@dataclass(frozen=True)
class Environment:
    """A finished environment."""

    folder: Path
    record: Record

    @property
    def python(self) -> str:
        """The path of its Python."""
        return str(python_of(self.folder))


def base_folder() -> Path:
    """The folder that holds all environments of this profile."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "orthomask"


def python_of(folder: Path) -> Path:
    """The Python of the environment in `folder`."""
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


def environments(base: Optional[Path] = None) -> tuple[Environment, ...]:
    """The finished environments, newest first."""
    found = [_read(folder) for folder in _folders(base or base_folder())]
    whole = [environment for environment in found if environment is not None]
    return tuple(sorted(whole, key=lambda environment: environment.record.made, reverse=True))


def leftovers(base: Path) -> tuple[Path, ...]:
    """Folders of environments that were never finished."""
    return tuple(folder for folder in _folders(base) if _read(folder) is None)


def new_folder(base: Path, version: str) -> Path:
    """A free path for an environment."""
    names = (f"{_PREFIX}{version}{f'-{number}' if number > 1 else ''}" for number in range(1, 1000))
    return next(folder for folder in (base / name for name in names) if not folder.exists())


def finish(folder: Path, record: Record) -> Environment:
    """Record it as finished."""
    unfinished = folder / f"{RECORD}.new"
    unfinished.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    os.replace(unfinished, folder / RECORD)
    return Environment(folder, record)


def remove(folder: Path) -> bool:
    """Delete an environment, record first, so that a partial one never counts. False if some of it is in use."""
    try:
        (folder / RECORD).unlink()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    if folder.exists():
        shutil.rmtree(folder, onerror=_force)
    return not folder.exists()


def size_mb(folder: Path) -> int:
    """Disk space that a folder uses."""
    return round(sum(map(_bytes, folder.rglob("*"))) / 1e6)


def free_mb(folder: Path) -> int:
    """Free space on the disk that holds or will hold `folder`."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return round(shutil.disk_usage(there).free / 1e6)


@contextmanager
def locked(base: Path) -> Iterator[None]:
    """Keep other QGIS processes out while environments change. A dead QGIS's lock is taken over.

    Raises:
        OrthomaskError: another one holds it, or the folder is not writable.
    """
    base.mkdir(parents=True, exist_ok=True)
    lock = QLockFile(str(base / _LOCK))
    lock.setStaleLockTime(0)
    if not lock.tryLock(0):
        raise _busy(lock, base)
    try:
        yield
    finally:
        lock.unlock()


def _busy(lock: QLockFile, base: Path) -> OrthomaskError:
    if lock.error() == QLockFile.LockError.PermissionError:
        sentence, remedy = tr("The folder {} cannot be written."), tr("Allow writing there, then try again.")
        return OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence.format(base), remedy)
    _, pid, host, _ = lock.getLockInfo()
    sentence, remedy = tr("Another QGIS (process {}) is setting up the engine."), tr("Wait for it, or cancel it there.")
    return OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence.format(pid), remedy, f"{host}: {base}")


def _folders(base: Path) -> list[Path]:
    return sorted(folder for folder in base.glob(f"{_PREFIX}*") if folder.is_dir())


def _read(folder: Path) -> Optional[Environment]:
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Environment(folder, Record(**{field.name: content[field.name] for field in fields(Record)}))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _force(delete: Callable[[str], Any], path: str, _: Any) -> None:
    """Delete a write-protected file; one in use stays."""
    try:
        os.chmod(path, stat.S_IRWXU)
        delete(path)
    except OSError:
        pass
