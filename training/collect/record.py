"""The record of a collection, and whether one may go on with it, or replace it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shapely

from ...engine.compute.devices import version
from ...engine.outputs import refuse_in_use, write_atomically, writing
from ...protocol import (
    COLLECTED_IMAGES,
    COLLECTED_PROJECT,
    COLLECTION_FILE,
    CollectRequest,
    CollectResult,
    ErrorCode,
    Existing,
    OrthomaskError,
    to_json,
)
from ...protocol.words import tr
from . import places, privacy
from .places import Place

MADE = (f"{COLLECTED_IMAGES}/*/area_*.tif", "zoom_*.toml", "gsd_*.toml", "original.toml")
"""Files of a collection besides the label project and the answers of servers."""


def write(folder: Path, request: CollectRequest, found: Sequence[Place], result: CollectResult | None) -> None:
    """Write down what was asked and, in the end, found; no secrets.

    Args:
        found: of a collection that begins, its areas.
    """
    before = _read(folder) if result else None
    drawn = before["places"] if before else fingerprint(found)
    record = {"request": _public(request), "places": drawn, "result": result and to_json(result), "version": version()}
    write_atomically(folder / COLLECTION_FILE, json.dumps(record, ensure_ascii=False, indent=1).encode())


def is_resumed(folder: Path, request: CollectRequest) -> bool:
    """Whether the folder holds this collection already, which goes on.

    Raises:
        OrthomaskError: it holds another one, or one that may not be touched, or a label project of the user's.
    """
    target = folder / COLLECTED_PROJECT
    if not target.exists():
        return False
    before = _read(folder)
    if request.existing is Existing.REFUSE or before is None:
        remedy = tr("Choose another folder, overwrite it, or resume it.") if before else tr("Choose another folder.")
        sentence = tr("“{}” already holds a collection.") if before else tr("“{}” already exists.")
        raise OrthomaskError(ErrorCode.OUTPUT_EXISTS, sentence.format(folder if before else target), remedy)
    if request.existing is Existing.OVERWRITE:
        refuse_in_use(target)
        return False
    if not (_labels_of(before["request"]) == _labels_of(_public(request)) and _is_same_place(before, request)):
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” holds a collection of other places or labels.").format(folder),
            tr("Choose another folder, or overwrite it."),
        )
    return True


def remove(folder: Path, *patterns: str) -> None:
    """Delete files that an earlier collection made."""
    with writing(folder):
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()


def _read(folder: Path) -> dict[str, Any] | None:
    """The record of an earlier run; None if there is none."""
    try:
        record = json.loads((folder / COLLECTION_FILE).read_text(encoding="utf-8"))
        return record if isinstance(record["request"]["vectors"], list) and "places" in record else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _labels_of(asked: dict[str, Any]) -> list[object]:
    """What decides which labels are collected; layers of QGIS have another path each time, but a name."""
    names = ("class_field", "class_name", "classes", "subtract")
    return [asked["osm"], *([v["name"] or v["path"], *(v[name] for name in names)] for v in asked["vectors"])]


def _is_same_place(before: dict[str, Any], request: CollectRequest) -> bool:
    """Whether the areas are those of an earlier run; the file of polygons may be a copy with another name."""
    if request.areas:
        return bool(before["places"] == fingerprint(places.existing(request.areas)[0]))
    copied = ("within", "within_layer", "within_crs")
    pair = (before["request"]["sample"], _public(request)["sample"])
    one, other = ({name: value for name, value in (of or {}).items() if name not in copied} for of in pair)
    return one == other


def fingerprint(found: Sequence[Place]) -> str:
    """Twelve hexadecimal digits that change with any area."""
    drawn = b"".join(shapely.to_wkb(shapely.normalize(place.polygon)) for place in found)
    return hashlib.sha256(drawn).hexdigest()[:12]


def _public(request: CollectRequest) -> dict[str, Any]:
    """A request as JSON, without secrets."""
    asked = to_json(request)
    for part in (asked["imagery"], *asked["vectors"]):
        for name in ("url", "path"):
            if part and name in part:
                part[name] = privacy.public(part[name])
    return asked
