"""A row of tools on the map that are quicker than drawing: add, remove, split, merge, square up."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from qgis.core import QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QSize, pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from ....protocol import OrthomaskError
from ...client.tasks import Client
from ...toolkit.icons import icon
from ...toolkit.words import tr
from ..context import Context
from .adding import Adding
from .editing import Merging, Removing, Splitting, Squaring
from .tool_keys import ToolKeys
from .work import Work

ICON_PX = 20


class ToolsBox(QGroupBox):
    """Corrects a polygon layer by clicks on the map.

    Args:
        iface: QGIS, for its canvas.
        client: the engine.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing was changed."""

    def __init__(self, iface: QgisInterface, client: Client, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Tools"), parent)
        self._iface, self._canvas = iface, iface.mapCanvas()
        self._context = Context()
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(2)
        self.words = QLabel()
        self.words.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addLayout(self._buttons)
        layout.addWidget(self.words)
        self._tools: dict[QToolButton, Work] = {}
        self.add_button = self._add_tool(
            tr("Add"), "grow", "G", tr("click a missed object; the wheel makes it larger or smaller"),
            Adding(self._canvas, client, self),
        )  # fmt: skip
        self.remove_button = self._add_tool(
            tr("Remove"), "remove", "D", tr("click an object"), Removing(self._canvas, self)
        )
        self.split_button = self._add_tool(
            tr("Split"), "split", "C", tr("draw a line across an object"), Splitting(self._canvas, self)
        )
        self.merge_button = self._add_tool(
            tr("Merge"), "merge", "M", tr("click two objects"), Merging(self._canvas, self)
        )
        self.square_button = self._add_tool(
            tr("Square up"), "square", "R", tr("click an object to give it right angles"),
            Squaring(self._canvas, client, self),
        )  # fmt: skip
        self._buttons.addStretch()
        self._keys = ToolKeys(self._canvas, list(self._tools), self._is_usable)
        self._canvas.mapToolSet.connect(self._note_tool)
        QgsProject.instance().layersWillBeRemoved["QStringList"].connect(self._forget_removed)
        self._show()

    def follow(self, context: Context) -> None:
        """Work on this layer and this run from now on."""
        if self._context.target is not None and context.target is not self._context.target:
            self._leave_all()
        self._context = context
        for work in self._tools.values():
            work.follow(context)
        self._show()

    def release(self) -> None:
        """Leave the canvas as it was; the box is unusable afterwards."""
        self._canvas.mapToolSet.disconnect(self._note_tool)
        QgsProject.instance().layersWillBeRemoved["QStringList"].disconnect(self._forget_removed)
        self._keys.release()
        for work in self._tools.values():
            work.release()

    def _add_tool(self, name: str, picture: str, key: str, tip: str, work: Work) -> QToolButton:
        button = QToolButton(self)
        button.setObjectName(picture)
        button.setIcon(icon(picture))
        button.setIconSize(QSize(ICON_PX, ICON_PX))
        button.setAutoRaise(True)
        button.setCheckable(True)
        button.setProperty("key", key)
        button.setToolTip(tr("{}: {} (key {} on the map)").format(name, tip, key))
        button.setAccessibleName(f"{name}: {tip}")
        button.clicked.connect(lambda on: self._use(work) if on else work.tool.leave())
        work.tool.given_up.connect(work.tool.leave)
        work.failed.connect(self.failed)
        work.said.connect(self.words.setText)
        self._buttons.addWidget(button)
        self._tools[button] = work
        return button

    def _forget_removed(self, identities: list[str]) -> None:
        """Let go of the layer while it still exists."""
        target = self._context.target
        if target is not None and target.id() in identities:
            self.follow(replace(self._context, target=None))

    def _note_tool(self, now: object, _before: object) -> None:
        """Press the button of the tool in use."""
        for button, work in self._tools.items():
            button.setChecked(now is work.tool)
        self._show()

    def _use(self, work: Work) -> None:
        layer = self._context.target
        if layer is None:
            self._show()
            return
        try:
            work.begin()
        except OrthomaskError as error:
            self.failed.emit(error)
            self._note_tool(self._canvas.mapTool(), None)
            return
        self._iface.setActiveLayer(layer)  # QGIS undoes what was done in the active layer
        self._canvas.setMapTool(work.tool)

    def _leave_all(self) -> None:
        for work in self._tools.values():
            work.tool.leave()

    def _is_usable(self) -> bool:
        return self.isVisible() and self._context.target is not None

    def _show(self) -> None:
        """Say what the tool in use does, or what is missing."""
        target, run = self._context.target, self._context.run
        for button in self._tools:
            button.setEnabled(target is not None and (button is not self.add_button or run is not None))
        used = next((work for work in self._tools.values() if self._canvas.mapTool() is work.tool), None)
        if target is None:
            self.words.setText(tr("Choose a run: the tools change its polygons, or the drafts in view."))
        elif used is None:
            self.words.setText(tr("The tools change the layer {}.").format(target.name()))
        else:
            self.words.setText(used.advice)
