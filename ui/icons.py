"""The plugin's icons: SVG files, no compiled resources."""

from __future__ import annotations

from pathlib import Path

from qgis.PyQt.QtGui import QIcon

ICONS_DIR = Path(__file__).resolve().parent.parent / "resources" / "icons"


def icon(name: str) -> QIcon:
    """The icon of that file name, without `.svg`."""
    return QIcon(str(ICONS_DIR / f"{name}.svg"))
