"""The versions of a label project's model: a table of its GeoPackage that points to bundles.

A version is put in use, changed for another or forgotten in one transaction; no bundle is ever moved or changed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from ...engine.models import bundle as bundles
from ...engine.models.bundle import MODELS_DIR, Bundle
from ...engine.progress import Progress
from ...protocol import (
    ErrorCode,
    Gain,
    OrthomaskError,
    Version,
    VersionsRequest,
    VersionsResult,
    from_json,
    to_json,
)
from ...protocol.words import tr
from ..truth.project_file import opened

TABLE = "orthomask_versions"
BASE, NONE, NEXT = 0, -1, -2
"""Numbers of the base, of no version, and of one that has none yet."""
LEARNING = "learning"
"""Where a candidate's card says what it learnt from, in its training summary: see `Learnt`."""
CREATE = """CREATE TABLE orthomask_versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, beside TEXT NOT NULL, path TEXT NOT NULL, title TEXT NOT NULL,
    sha256 TEXT NOT NULL, predecessor INTEGER NOT NULL, share REAL NOT NULL, squares INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, minutes REAL NOT NULL, made_at TEXT NOT NULL, here TEXT, home TEXT,
    current BOOLEAN NOT NULL
)"""
"""`beside` is the path relative to the project's folder, so that both may move together; empty on another drive."""


@dataclass(frozen=True)
class Base:
    """What a candidate learnt on top of."""

    name: str
    sha256: str
    path: str


@dataclass(frozen=True)
class Learnt:
    """What a candidate's card says about its learning.

    Attributes:
        squares: fingerprint of what was learnt from.
        areas: how many that were.
        minutes: of labelling.
    """

    base: Base
    share: float
    here: Gain
    home: Optional[Gain]
    squares: str
    areas: int
    minutes: float


def run(request: VersionsRequest, progress: Progress) -> VersionsResult:
    """Put a version in use, or forget one, if that is wanted; then list them all.

    Raises:
        OrthomaskError: it is no label project, another program is writing it or it cannot be written, there is no such
            version, its bundle is gone, or it is none of this project.
    """
    project = Path(request.project)
    progress.report(0)
    with opened(project, write=False) as file:
        wanted = _looked_up(file, project, request)
    if wanted is not None:
        with opened(project, write=True) as file:
            if isinstance(wanted, Bundle):
                _promote(file, project, wanted)
            elif request.use:
                _point_to(file, wanted)
            else:
                _forget(file, wanted)
    with opened(project, write=False) as file:
        return _listed(file, project)


def _looked_up(file: sqlite3.Connection, project: Path, request: VersionsRequest) -> Bundle | int | None:
    """The candidate to promote, or the number of the version to use or forget; None for neither."""
    text = request.use or request.remove
    if not text:
        return None
    if request.use and not text.isdecimal():
        candidate = bundles.load(text)
        return _number_of(file, candidate) or _required(candidate, file)
    number, known = int(text) if text.isdecimal() else NONE, _numbers(file)
    if number not in known:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("There is no version {}.").format(text),
            tr("Choose one of: {}.").format(", ".join(map(str, known))) if known else tr("Use a candidate first."),
        )
    version = next(each for each in _listed(file, project).versions if each.number == number)
    if request.use and version.missing:
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("The file of version {} is no longer at “{}”, or has changed.").format(number, version.model_path),
            tr("Put it back there, or use another version."),
        )
    return number


def _required(candidate: Bundle, file: sqlite3.Connection) -> Bundle:
    """The candidate, if it learnt from a label project of these classes."""
    learnt(candidate)
    names = {str(name).casefold() for (name,) in file.execute("SELECT name FROM orthomask_classes")}
    strange = [info.name for info in candidate.card.classes if info.name.casefold() not in names]
    if strange:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("“{}” finds classes that the label project does not have: {}.").format(
                candidate.path.name, ", ".join(strange)
            ),
            tr("Use a candidate that learnt from this project."),
        )
    return candidate


def learnt(candidate: Bundle) -> Learnt:
    """What a candidate learnt from.

    Raises:
        OrthomaskError: it did not learn from a label project.
    """
    said = candidate.card.training.get(LEARNING)
    known = {each.name for each in fields(Learnt)}
    try:
        return from_json(Learnt, {name: value for name, value in dict(said or {}).items() if name in known})
    except (OrthomaskError, TypeError, ValueError) as error:
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("“{}” did not learn from the checked squares of a label project.").format(candidate.path.name),
            tr("Learn from the project, then use the result."),
            str(error),
        ) from error


def _promote(file: sqlite3.Connection, project: Path, candidate: Bundle) -> None:
    """Add the candidate as the next version, and point to it; before the first one comes its base."""
    facts, title = learnt(candidate), candidate.card.title or candidate.card.name
    _require_table(file)
    base, now = facts.base, _now()
    if BASE not in _numbers(file):
        _insert(file, project, Version(BASE, base.path, _title(base), base.sha256, NONE, 0.0, 0, 0.0, now))
    version = Version(
        NEXT, str(candidate.path), title, candidate.sha256, _current(file), facts.share, facts.areas, facts.minutes,
        now, facts.here, facts.home,
    )  # fmt: skip
    _point_to(file, _insert(file, project, version, facts.squares))


def _title(base: Base) -> str:
    """The base's title while its bundle can be read, else its name."""
    try:
        return bundles.load(base.path).card.title or base.name
    except OrthomaskError:
        return base.name


def _insert(file: sqlite3.Connection, project: Path, version: Version, fingerprint: str = "") -> int:
    """Add a row that is not in use; its number."""
    path = Path(version.model_path)
    row = {
        **vars(version),
        "number": None if version.number == NEXT else version.number,
        "beside": _beside(path, project),
        "path": str(path.absolute()),
        "fingerprint": fingerprint,
        "here": _text(version.here),
        "home": _text(version.home),
    }
    added = file.execute(
        "INSERT INTO orthomask_versions VALUES (:number, :beside, :path, :title, :sha256, :predecessor, :share, "
        ":squares, :fingerprint, :minutes, :made_at, :here, :home, FALSE)",
        row,
    )
    return int(added.lastrowid or 0)


def _text(gain: Gain | None) -> str | None:
    return json.dumps(to_json(gain)) if gain else None


def _beside(path: Path, project: Path) -> str:
    """A path relative to the project's folder; empty if there is none."""
    try:
        return Path(os.path.relpath(path.absolute(), project.absolute().parent)).as_posix()
    except ValueError:
        return ""


def _require_table(file: sqlite3.Connection) -> None:
    """Make the table if it is missing, and register it, so that QGIS and GDAL read it."""
    if _has_table(file):
        return
    file.execute(CREATE)
    file.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change) VALUES (?, 'attributes', ?, ?)",
        (TABLE, TABLE, _now("milliseconds")),
    )


def _point_to(file: sqlite3.Connection, number: int) -> None:
    file.execute("UPDATE orthomask_versions SET current = (number = ?)", (number,))
    _touch(file)


def _forget(file: sqlite3.Connection, number: int) -> None:
    """Delete a version's row; its bundle stays."""
    if number == BASE:
        sentence = tr("The base cannot be forgotten: every version is compared with it.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Choose another version."))
    if number == _current(file):
        sentence = tr("Version {} is in use.").format(number)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Use another version first, then forget this one."))
    file.execute("DELETE FROM orthomask_versions WHERE number = ?", (number,))
    _touch(file)


def _touch(file: sqlite3.Connection) -> None:
    file.execute("UPDATE gpkg_contents SET last_change = ? WHERE table_name = ?", (_now("milliseconds"), TABLE))


def _now(precision: str = "seconds") -> str:
    return datetime.now(timezone.utc).isoformat(timespec=precision).replace("+00:00", "Z")


def _has_table(file: sqlite3.Connection) -> bool:
    return file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone() is not None


def _numbers(file: sqlite3.Connection) -> list[int]:
    if not _has_table(file):
        return []
    return [number for (number,) in file.execute("SELECT number FROM orthomask_versions ORDER BY number")]


def _number_of(file: sqlite3.Connection, candidate: Bundle) -> int | None:
    """The version that a bundle already is; None if it is none."""
    if not _has_table(file):
        return None
    query = "SELECT number FROM orthomask_versions WHERE sha256 = ? AND number > ?"
    found = file.execute(query, (candidate.sha256, BASE)).fetchone()
    return int(found[0]) if found else None


def _current(file: sqlite3.Connection) -> int:
    """The version in use, for a new one the base."""
    found = file.execute("SELECT number FROM orthomask_versions WHERE current").fetchone()
    return int(found[0]) if found else BASE


def _listed(file: sqlite3.Connection, project: Path) -> VersionsResult:
    if not _has_table(file):
        return VersionsResult((), NONE)
    rows = file.execute("SELECT * FROM orthomask_versions ORDER BY number").fetchall()
    return VersionsResult(tuple(_version(row, project) for row in rows), _current(file) if rows else NONE)


def _version(row: sqlite3.Row, project: Path) -> Version:
    found = _found(row, project)
    here, home = (from_json(Gain, json.loads(row[name])) if row[name] else None for name in ("here", "home"))
    return Version(
        number=row["number"],
        model_path=str(found or row["path"]),
        title=row["title"],
        sha256=row["sha256"],
        predecessor=row["predecessor"],
        share=float(row["share"]),
        squares=row["squares"],
        minutes=float(row["minutes"]),
        made_at=row["made_at"],
        here=here,
        home=home,
        missing=found is None,
    )


def _found(row: sqlite3.Row, project: Path) -> Path | None:
    """A version's bundle: beside the project, where it was, or among the embedded ones; None if none is unchanged."""
    beside = [project.absolute().parent / row["beside"]] if row["beside"] else []
    for path in (*beside, Path(row["path"]), MODELS_DIR / Path(row["path"]).name):
        if path.is_file() and _is_same(path, row["sha256"]):
            return Path(os.path.normpath(path))
    return None


def _is_same(path: Path, sha256: str) -> bool:
    try:
        return bundles.load(str(path)).sha256 == sha256
    except OrthomaskError:
        return False
