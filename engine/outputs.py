"""Write files whole or not at all, and explain why one could not be written."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import rasterio
from filelock import FileLock, Timeout
from rasterio._err import CPLE_BaseError

from ..protocol import ErrorCode, OrthomaskError
from ..protocol.words import tr

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOCK = ".lock"
"""Lock file in a folder that one process may use."""
LOCKLESS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors from file systems without locks."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any error while writing `path` into a sentence and a remedy."""
    try:
        yield
    except (rasterio.errors.RasterioError, CPLE_BaseError) as error:  # rasterio.shutil raises GDAL's own errors
        raise output_error(path, OSError(errno.EIO, str(error.__cause__ or error))) from error
    except OSError as error:  # after rasterio's, some of which are OSErrors without a number
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OrthomaskError:
    """The `OrthomaskError` for an operating system error."""
    folder = path if os.path.isdir(path) else path.parent
    if error.errno in FULL or (error.errno == errno.EIO and _is_full(folder)):
        return OrthomaskError(
            ErrorCode.DISK_FULL,
            tr("There is no space left for “{}”.").format(path.name),
            tr("Free some space, then run it again."),
            str(error),
        )
    if isinstance(error, PermissionError) and path.exists() and os.access(folder, os.W_OK):
        return _in_use(path, str(error))
    return OrthomaskError(
        ErrorCode.OUTPUT_UNWRITABLE,
        tr("“{}” cannot be written.").format(path),
        tr("Choose a folder that you can write to."),
        str(error),
    )


def refuse_in_use(path: Path) -> None:
    """Raise if another program is writing the GeoPackage: replacing it then would destroy it."""
    if not path.exists():
        return
    connection = sqlite3.connect(path, timeout=0)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        connection.rollback()
    except sqlite3.OperationalError as error:
        raise _in_use(path, str(error)) from error
    except sqlite3.DatabaseError:
        return  # not a database: then nobody has it open as one
    finally:
        connection.close()


@contextmanager
def locked(lock: Path, target: Path) -> Iterator[None]:
    """Keep other processes from writing `target`. The system releases the lock however the process ends.

    Args:
        lock: the file to lock; created, and removed afterwards.

    Raises:
        OrthomaskError: another process is writing `target`, or it cannot be written.
    """
    held = FileLock(lock, timeout=0, thread_local=False)
    with writing(target):
        try:
            held.acquire()
        except Timeout as error:
            raise OrthomaskError(
                ErrorCode.OUTPUT_IN_USE,
                tr("Another run is writing to “{}”.").format(target),
                tr("Wait until it ends, or choose another folder."),
                str(error),
            ) from error
        except OSError as error:
            if error.errno not in LOCKLESS:
                raise
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # before the release: a process that has it open already sees that its name is gone
        held.release()


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other processes from writing `target`; create its folder if missing.

    Raises:
        OrthomaskError: another process is writing it, or it cannot be written.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock"), target):
        yield


@contextmanager
def claimed(folder: Path, within: Path | None = None) -> Iterator[None]:
    """Reserve a folder for this process. It is created if missing, and removed again if left empty.

    Args:
        within: the visible folder, if this one is hidden inside it.

    Raises:
        OrthomaskError: another process has it, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK, within or folder):
            yield
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there, even when the power fails."""
    with written_atomically(path) as file:
        file.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write bit by bit, which is there under its name only once it is whole.

    Raises:
        OrthomaskError: there is no space, or it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_shared(path: Path, content: bytes) -> None:
    """Write a file atomically, even when others write the same one."""
    mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    write_atomically(mine, content)
    with writing(path):
        os.replace(mine, path)


@contextmanager
def building(target: Path, keep: Callable[[str], bool] = lambda _: False) -> Iterator[Path]:
    """A folder next to `target` that takes its name on success and is deleted otherwise.

    Only one process at a time can use it. What a killed process left is removed first, and the content that `target`
    had before is put back.

    Args:
        keep: whether to keep a file of the old `target`, by its name; the others are deleted at the very end.

    Raises:
        OrthomaskError: there is no space, it cannot be written, or another process has it.
    """
    aside = target.with_name(f".{target.name}.partial")
    new, old = aside / "new", aside / "old"
    with alone(target):
        with writing(target):
            _settle(target, old, keep)
            shutil.rmtree(aside, ignore_errors=True)
            new.mkdir(parents=True)
        try:
            yield new
            with writing(target):
                if target.exists():
                    os.replace(target, old)
                try:
                    os.replace(new, target)
                finally:
                    _settle(target, old, keep)
        finally:
            if target.exists() or not old.exists():  # else the old content could not be put back
                shutil.rmtree(aside, ignore_errors=True)


def _settle(target: Path, old: Path, keep: Callable[[str], bool]) -> None:
    """Put `old` back if nothing took its place; else move over the files to keep."""
    if old.exists() and not target.exists():
        os.replace(old, target)
    for path in old.iterdir() if old.exists() else ():
        if keep(path.name) and not (target / path.name).exists():
            os.replace(path, target / path.name)


def _in_use(path: Path, details: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.OUTPUT_IN_USE,
        tr("“{}” is open in another program.").format(path.name),
        tr("Close it there (in QGIS: remove the layer), or choose another folder."),
        details,
    )


def _is_full(folder: Path) -> bool:
    """Whether another megabyte cannot be written, due to disk space or a quota."""
    while not os.path.isdir(folder):
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        return error.errno in FULL
    return False
