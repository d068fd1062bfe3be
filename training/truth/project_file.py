"""The GeoPackage of a label project as a database: tables that Orthomask reads and changes in one transaction."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...engine.outputs import output_error
from ...engine.shapes.vector_files import CLASS_TABLE
from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr

WAIT_SECONDS = 2.0
"""How long another program may be writing the project."""


@contextmanager
def opened(project: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """The GeoPackage of a label project; what is written to it is written whole, or not at all.

    Raises:
        OrthomaskError: it is no label project, or cannot be written now.
    """
    if not project.is_file():
        raise _no_project(project, "")
    mode = "rw" if write else "ro"
    try:
        with closing(_connected(project, mode)) as file:
            if not file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (CLASS_TABLE,)).fetchone():
                raise _no_project(project, CLASS_TABLE)
            file.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield file
                file.execute("COMMIT")
            finally:
                if file.in_transaction:
                    file.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        raise _explained(project, error) from error


def _connected(project: Path, mode: str) -> sqlite3.Connection:
    uri = project.absolute().as_uri()
    file = sqlite3.connect(f"{uri}?mode={mode}", uri=True, timeout=WAIT_SECONDS, isolation_level=None)
    file.row_factory = sqlite3.Row
    try:
        file.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError as error:
        file.close()
        if mode != "ro" or "locked" in str(error):
            raise
        # it is in WAL mode in a folder that cannot be written, where nobody else writes it
        file = sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
        file.row_factory = sqlite3.Row
    return file


def _explained(project: Path, error: sqlite3.DatabaseError) -> OrthomaskError:
    """A database error as a sentence and a remedy."""
    text = str(error)
    if "locked" in text or "busy" in text:
        sentence = tr("“{}” is being changed in another window or program.").format(project.name)
        return OrthomaskError(
            ErrorCode.OUTPUT_IN_USE, sentence, tr("Save or end the edits there, then try again."), text
        )
    if "readonly" in text or "unable to open" in text:
        remedy = tr("Copy the label project to a folder of your own, and open it there.")
        return OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, tr("“{}” cannot be written.").format(project), remedy, text)
    if "not a database" in text or "malformed" in text:
        return _no_project(project, text)
    return output_error(project, OSError(errno.ENOSPC if "full" in text else errno.EIO, text))


def _no_project(project: Path, details: str) -> OrthomaskError:
    sentence = tr("{} is not a label project.").format(project.name)
    remedy = tr("Choose a GeoPackage that was made with “New label project”, or make one.")
    return OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy, details)
