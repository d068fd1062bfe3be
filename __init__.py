"""Orthomask: buildings and farmland from orthophotos, in QGIS and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgis.gui import QgisInterface

    from .plugin import OrthomaskPlugin


def classFactory(iface: QgisInterface) -> OrthomaskPlugin:  # noqa: N802 (QGIS calls it by this name)
    """Create the plugin, in the language of QGIS; QGIS calls this when it loads the folder."""
    from qgis.core import QgsApplication

    from .plugin import OrthomaskPlugin
    from .protocol.words import speak

    speak(QgsApplication.instance().translation() or QgsApplication.locale())

    return OrthomaskPlugin(iface)
