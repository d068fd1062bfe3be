"""Orthomask: buildings and farmland from orthophotos, in QGIS and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgis.gui import QgisInterface

    from .plugin import OrthomaskPlugin


def classFactory(iface: QgisInterface) -> OrthomaskPlugin:  # noqa: N802 (QGIS calls it by this name)
    """Create the plugin; QGIS calls this when it loads the folder."""
    from .plugin import OrthomaskPlugin

    return OrthomaskPlugin(iface)
