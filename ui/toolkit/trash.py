"""The system's trash, if there is one."""

from __future__ import annotations

import sys
from pathlib import Path

from qgis.PyQt.QtCore import QFile, QStandardPaths


def moved_to_trash(path: Path) -> bool:
    """Move a file or a folder to the trash; False if that is not possible, and then it stays where it is."""
    if not hasattr(QFile, "moveToTrash"):  # new in Qt 5.15
        return False
    return _has_trash() and QFile(str(path)).moveToTrash()


def _has_trash() -> bool:
    """Whether there is a trash; makes it if it is missing.

    Qt moves to `files` in the current folder if it cannot make the trash that freedesktop.org specifies.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    trash = Path(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)) / "Trash"
    try:
        for name in ("files", "info"):
            (trash / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return True
