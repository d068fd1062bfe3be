"""A name and a note that a person gives a run, kept in its folder so that they go where it goes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ...protocol import ErrorCode, OrthomaskError
from ..toolkit.words import tr

NAME_FILE = "name.json"


@dataclass(frozen=True)
class Naming:
    """Both are empty unless a person wrote something."""

    name: str = ""
    note: str = ""


def read_naming(folder: Path) -> Naming:
    """What the run in a folder was named; nothing if that was never written, or is damaged. Any thread."""
    try:
        found = json.loads((folder / NAME_FILE).read_text(encoding="utf-8"))
        return Naming(str(found["name"]), str(found["note"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Naming()


def write_naming(folder: Path, naming: Naming) -> None:
    """Replace name and note of the run in a folder.

    Raises:
        OrthomaskError: the folder cannot be written to; the old ones are kept.
    """
    path, partial = folder / NAME_FILE, folder / f".{NAME_FILE}"
    try:
        partial.write_text(json.dumps(asdict(naming), ensure_ascii=False), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        sentence = tr("The name cannot be saved in “{}”.").format(folder)
        remedy = tr("Check that the folder is still there and that you can write to it.")
        raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, str(error)) from error
