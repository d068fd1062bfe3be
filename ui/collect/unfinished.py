"""The folder of a collection: a new one each time, except that an unfinished collection goes on in its own."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ...protocol import CollectRequest, Existing, to_json
from ..runs.folders import new_folder
from ..toolkit.settings import UNFINISHED_COLLECTION


def unfinished_folder(request: CollectRequest) -> Optional[str]:
    """The folder where this same collection was begun but not finished; None if there is none.

    It is kept in QGIS's settings, and so survives a crash of QGIS.
    """
    begun: dict[str, Any] = {}
    with suppress(ValueError):
        begun = json.loads(UNFINISHED_COLLECTION.get() or "{}")
    folder = str(begun.get("folder", ""))
    return folder if folder and begun.get("request") == to_json(request) and Path(folder).is_dir() else None


def begin(request: CollectRequest, name: str) -> CollectRequest:
    """`request`, whose folder is the parent of all, with its own folder; remembered until `end`."""
    folder = unfinished_folder(request) or new_folder(request.output_dir, name, "collected")
    UNFINISHED_COLLECTION.set(json.dumps({"request": to_json(request), "folder": folder}))
    return replace(request, output_dir=folder, existing=Existing.RESUME)


def end() -> None:
    """Forget the last collection: it has its results."""
    UNFINISHED_COLLECTION.reset()
