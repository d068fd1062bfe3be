"""Choosing a folder, and whether it can be written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from qgis.gui import QgsFileWidget

from .words import tr


def choose_folders(widget: QgsFileWidget, tip: str) -> None:
    """Make `widget` choose a folder. The tip of its line asks for a file's name, and would cover `tip`."""
    widget.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
    widget.setToolTip(tip)
    widget.lineEdit().setToolTip("")


def why_unwritable(folder: str) -> str:
    """Why nothing can be written into a folder, which may not exist yet, and a remedy; empty if something can.

    Found by trying: the permissions that Windows reports for a folder say nothing.
    """
    path = Path(folder).absolute()
    try:
        there = next(place for place in (path, *path.parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError:
        sentence, remedy = tr("The folder {} cannot be written."), tr("Choose a folder that you can write to.")
        return f"{sentence.format(folder)} {remedy}"
