"""The polygons of a run: its own GeoPackage, and those made later at other thresholds, each in a file of its own.

A new file never replaces one that a layer shows: whatever happens meanwhile, layers and edits stay as they are.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol import OrthomaskError, PolygonOptions, from_json
from ...protocol.run_files import LATER, POLYGONS, later, newest

__all__ = ["LATER", "POLYGONS", "Made", "later", "made", "made_by", "newest", "next_path", "opened"]

BUSY_SECONDS = 1.0


@dataclass(frozen=True)
class Made:
    """How polygons were made from the probabilities."""

    threshold: float
    options: PolygonOptions = PolygonOptions()


def next_path(folder: Path) -> Path:
    """A GeoPackage that is not there yet; its number is the highest."""
    match = LATER.fullmatch(newest(folder).name)
    return folder / f"polygons-{int(match[1]) + 1 if match else 2}.gpkg"


def made_by(record: dict[str, Any]) -> Made:
    """How a run made its polygons, as its record says."""
    try:
        options = from_json(PolygonOptions, record["request"]["polygons"])
    except (OrthomaskError, KeyError, TypeError):
        options = PolygonOptions()
    return Made(float(record["threshold"]), options)


def made(path: Path, record: dict[str, Any]) -> Made:
    """How the polygons in a GeoPackage of a run were made; as the run made its own if the file does not say."""
    whole = made_by(record)
    try:
        with closing(opened(path)) as database:
            query = "SELECT threshold, request FROM orthomask_runs ORDER BY fid DESC"
            threshold, request = database.execute(query).fetchone()
            options = json.loads(request).get("polygons")
            return Made(float(threshold), whole.options if options is None else from_json(PolygonOptions, options))
    except (sqlite3.Error, OrthomaskError, TypeError, ValueError, AttributeError):
        return whole


def opened(path: Path) -> sqlite3.Connection:
    """A GeoPackage, only to read from; raises `sqlite3.Error` if it is none."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
