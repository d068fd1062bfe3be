"""The plugin's icons: SVG files, no compiled resources."""

from __future__ import annotations

from pathlib import Path

from qgis.PyQt.QtGui import QIcon

ICONS_DIR = Path(__file__).resolve().parents[2] / "resources" / "icons"


def icon_path(name: str) -> str:
    """The file of an icon; `name` is without `.svg`."""
    return str(ICONS_DIR / f"{name}.svg")


def icon(name: str) -> QIcon:
    """An icon by its file name, without `.svg`."""
    return QIcon(icon_path(name))
