"""A comparison made before, at any door: what is known of it from its file alone."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

from ...protocol import REPORT_FILE, Change, ChangesResult, ErrorCode, OrthomaskError, Registration, Tally
from ..runs.generations import opened
from ..toolkit.words import tr

STEPS = "SELECT step, date_before, date_after FROM changes GROUP BY step ORDER BY step"
TALLIES = """SELECT step, kind, count(*), sum(coalesce(area_after_m2, area_before_m2)) FROM changes
WHERE object_id NOT IN (SELECT object_id FROM ledger WHERE flickers > 0) GROUP BY step, kind"""
OBJECTS = "SELECT count(*), coalesce(sum(flickers > 0), 0) FROM ledger"
OFFSETS = "SELECT east_m, north_m, error_m, used FROM offsets WHERE step = ?"


def read_changes(path: str) -> tuple[ChangesResult, list[str]]:
    """The result in a file, and its dates; the ground that was compared, and intervals, are in its report alone.

    Raises:
        OrthomaskError: the file holds no changes.
    """
    try:
        with closing(opened(Path(path))) as database:
            steps = database.execute(STEPS).fetchall()
            tallies = [Tally(step, Change(kind), *rest) for step, kind, *rest in database.execute(TALLIES)]
            objects, flickering = database.execute(OBJECTS).fetchone()
            shifts = tuple(_registration(database, number) for number, *_ in steps)
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise _no_changes(path, str(error)) from error
    if not steps:
        raise _no_changes(path, "")
    dates = [steps[0][1], *(after for _, _, after in steps)]
    report = str(Path(path).with_name(REPORT_FILE))
    nothing = (0.0,) * len(steps)
    return ChangesResult(path, report, shifts, tuple(tallies), nothing, nothing, objects, flickering), dates


def _registration(database: sqlite3.Connection, step: int) -> Registration:
    """The shift of a step, from the places where it was measured."""
    places = database.execute(OFFSETS, (step,)).fetchall()
    used = [(math.hypot(east, north), error) for east, north, error, is_used in places if is_used]
    if not used:
        return Registration("", 0.0, 0.0, 0.0, 0, len(places))
    sizes, errors = zip(*used)
    error_m = math.sqrt(sum(error**2 for error in errors) / len(used))
    return Registration("places", sum(sizes) / len(used), max(sizes), error_m, len(used), len(places))


def _no_changes(path: str, details: str) -> OrthomaskError:
    sentence = tr("The file {} holds no changes.").format(Path(path).name)
    remedy = tr("Choose the changes.gpkg of a comparison.")
    return OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy, details)
