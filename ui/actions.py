"""Keyboard actions that work wherever the focus is, listed in QGIS's *Keyboard Shortcuts*."""

from __future__ import annotations

from typing import Any

from qgis.gui import QgisInterface, QgsGui
from qgis.PyQt import QtGui, QtWidgets
from qgis.PyQt.QtGui import QKeySequence

from .dock import OrthomaskDock
from .toolkit.help import GuideLinks, Section, show_help
from .toolkit.icons import icon
from .toolkit.words import tr

QAction = getattr(QtGui, "QAction", None) or getattr(QtWidgets, "QAction")  # noqa: B009 (Qt 6 has moved it)
MENU = "Orthomask"
DOCK_KEYS, DRAW_KEYS, RUN_KEYS, CANCEL_KEYS = "Ctrl+Shift+O", "F8", "F9", "Shift+F9"
"""None of them is taken in QGIS 3.22, 3.40 or 3.44."""


class Actions:
    """The dock's button and actions for the panel in front, in toolbar and menus until `release`.

    Args:
        iface: QGIS.
        dock: their target.
    """

    def __init__(self, iface: QgisInterface, dock: OrthomaskDock) -> None:
        self._iface, self._links = iface, GuideLinks()
        self._all: list[Any] = []
        self.dock = self._add("Dock", "orthomask", "Orthomask", DOCK_KEYS)
        self.dock.setCheckable(True)
        self.dock.setToolTip(tr("Find buildings or farmland in an orthophoto"))
        dock.setToggleVisibilityAction(self.dock)
        self.draw = self._add("Draw", "rectangle", tr("Orthomask: draw region"), DRAW_KEYS)
        self.draw.triggered.connect(dock.draw_region)
        self.run = self._add("Run", "run", tr("Orthomask: run"), RUN_KEYS)
        self.run.triggered.connect(dock.run)
        self.cancel = self._add("Cancel", "clear", tr("Orthomask: cancel"), CANCEL_KEYS)
        self.cancel.triggered.connect(dock.cancel)
        self.collect = self._add("Collect", "collect", tr("Orthomask: collect labels and images…"))
        self.collect.triggered.connect(dock.collect)
        self.guide = self._add("Guide", "help", tr("Orthomask: user guide"))
        self.guide.triggered.connect(lambda: show_help(Section.TOP, iface.mainWindow()))
        iface.addRasterToolBarIcon(self.dock)
        iface.pluginHelpMenu().addAction(self.guide)

    def release(self) -> None:
        """Remove everything."""
        self._iface.pluginHelpMenu().removeAction(self.guide)
        self._iface.removeRasterToolBarIcon(self.dock)
        self._links.release()
        for action in self._all:
            QgsGui.shortcutsManager().unregisterAction(action)
            self._iface.removePluginRasterMenu(MENU, action)
            action.deleteLater()

    def _add(self, name: str, picture: str, title: str, keys: str = "") -> Any:
        """Add an action to the menu; keys that are already taken stay as they are."""
        action = QAction(icon(picture), title, self._iface.mainWindow())
        action.setObjectName(f"Orthomask{name}")
        shortcuts = QgsGui.shortcutsManager()
        shortcuts.registerAction(action, "" if shortcuts.objectForSequence(QKeySequence(keys)) else keys)
        self._iface.addPluginToRasterMenu(MENU, action)
        self._all.append(action)
        return action
