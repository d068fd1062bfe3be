"""The plugin as QGIS sees it: wiring only."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt

# Imported by name so that QGIS drops them on unload: a package left loaded would be the old version's.
from .ui import (  # noqa: F401
    change,
    client,
    collect,
    evaluate,
    explain,
    installer,
    label,
    layers,
    models,
    review,
    runs,
    segment,
    setup,
    toolkit,
    train,
)
from .ui.actions import Actions
from .ui.client import network, store
from .ui.client.engine_client import EngineClient
from .ui.client.environment import worker_command
from .ui.client.tasks import Hush
from .ui.dock import OrthomaskDock
from .ui.processing import provider as processing
from .ui.review import learn, quality, remake, tools  # noqa: F401 (as above)
from .ui.settings_page import SettingsFactory
from .ui.toolkit.present import present
from .ui.toolkit.settings import SEEN


class OrthomaskPlugin:
    """Actions, dock, settings page and Processing provider, around one engine client.

    Args:
        iface: QGIS; None in `qgis_process`, which calls `initProcessing` alone.
    """

    def __init__(self, iface: Optional[QgisInterface]) -> None:
        self.iface = iface
        self.client = EngineClient(worker_command, network.of_qgis().variables(store.base_folder()))
        self.provider: Optional[processing.OrthomaskProvider] = None
        self.actions: Optional[Actions] = None
        self.dock: Optional[OrthomaskDock] = None
        self.settings: Optional[SettingsFactory] = None
        self.hush: Optional[Hush] = None

    def initProcessing(self) -> None:
        """Add the algorithms to the toolbox."""
        self.provider = processing.OrthomaskProvider(self.client)
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Add everything; `unload` removes it."""
        self.initProcessing()
        iface = present(self.iface)
        self.hush = Hush(present(iface.messageBar()))
        self.dock = OrthomaskDock(iface, self.client, iface.mainWindow())
        self.actions = Actions(iface, self.dock)
        self.settings = SettingsFactory(self.dock)
        iface.registerOptionsWidgetFactory(self.settings)
        iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.dock.setVisible(not SEEN.get())
        SEEN.set(True)

    def unload(self) -> None:
        """Remove everything that `initGui` added, and end the engine."""
        if self.hush is not None:
            self.hush.release()
            self.hush = None
        if self.iface is not None and self.dock is not None and self.actions is not None:
            SEEN.set(self.dock.isHidden())  # if it was open, an upgrade opens it again
            self.iface.unregisterOptionsWidgetFactory(self.settings)
            self.actions.release()
            self.dock.release()
            self.iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = self.actions = self.settings = None
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        self.client.close()
