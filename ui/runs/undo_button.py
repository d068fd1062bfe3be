"""Undo of a run's layers: removes exactly what it added from the project; the files stay."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Optional

from qgis.core import QgsApplication, QgsLayerTreeGroup, QgsMapLayer, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface, QgsMessageBarItem
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QMessageBox, QPushButton, QWidget

from ...protocol import ErrorCode, OrthomaskError
from ..toolkit.messages import show_error, show_success
from ..toolkit.words import tr

MARK = "orthomask/added"
"""Custom property that identifies a group: QGIS recreates a group when it is moved."""
CHOICES = QMessageBox.StandardButton


class UndoButton(QPushButton):
    """Shown while a run's layers can be removed: until the next run, or until the project is closed.

    Args:
        iface: QGIS, whose message bar shows what it did.
    """

    forgotten = pyqtSignal()
    """It is no longer offered; the message that it was offered in is gone."""

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(QgsApplication.getThemeIcon("/mActionUndo.svg"), tr("Undo: remove the layers"), parent)
        self.setToolTip(tr("Remove from the project the layers that the run added; their files are kept"))
        self.clicked.connect(self.undo)
        self.hide()
        self._iface = iface
        self._mark = ""
        self._ids: frozenset[str] = frozenset()

    def offer(self, group: QgsLayerTreeGroup) -> QPushButton:
        """Offer to remove this group and its layers; returns a second button, for a message."""
        self.forget()
        self._mark, self._ids = uuid.uuid4().hex, frozenset(group.findLayerIds())
        group.setCustomProperty(MARK, self._mark)
        QgsProject.instance().cleared.connect(self.forget)
        QgsProject.instance().layersRemoved.connect(self._note_removed)
        self.show()
        button = _MessageButton(tr("Undo"))
        button.setToolTip(self.toolTip())
        button.clicked.connect(self.undo)
        self.forgotten.connect(button.dismiss)
        return button

    def forget(self) -> None:
        """Stop offering it."""
        if not self._mark:
            return
        self._mark, self._ids = "", frozenset()
        QgsProject.instance().cleared.disconnect(self.forget)
        QgsProject.instance().layersRemoved.disconnect(self._note_removed)
        self.hide()
        self.forgotten.emit()

    def undo(self) -> None:
        """Remove the layers, and their group if nothing else is in it. Ask about unsaved changes."""
        layers, mark = self._layers(), self._mark
        try:
            may_go = _end_editing(layers, self)
        except OrthomaskError as error:
            show_error(self._iface.messageBar(), error)
            return
        if not may_go:
            return
        self.forget()
        QgsProject.instance().removeMapLayers([layer.id() for layer in layers])
        for group in list(_groups(QgsProject.instance().layerTreeRoot())):
            parent = group.parent()
            if group.customProperty(MARK) == mark and not group.children() and isinstance(parent, QgsLayerTreeGroup):
                parent.removeChildNode(group)
        self._iface.mapCanvas().refresh()  # it ignores removed layers by itself
        words = tr("The layers were removed from the project; their files are kept.")
        show_success(self._iface.messageBar(), words)

    def _layers(self) -> list[QgsMapLayer]:
        """The layers still in the project."""
        found = QgsProject.instance().mapLayers()
        return [found[name] for name in sorted(self._ids) if name in found]

    def _note_removed(self) -> None:
        if not self._layers():
            self.forget()


class _MessageButton(QPushButton):
    """A button in a message, which it can take away."""

    def dismiss(self) -> None:
        """Remove the message from its bar, if it is in one."""
        item: Optional[QWidget] = self
        while item is not None and not isinstance(item, QgsMessageBarItem):
            item = item.parentWidget()
        if item is not None:
            item.dismiss()


def _groups(parent: QgsLayerTreeGroup) -> Iterator[QgsLayerTreeGroup]:
    for node in parent.children():
        if isinstance(node, QgsLayerTreeGroup):
            yield node
            yield from _groups(node)


def _end_editing(layers: Sequence[QgsMapLayer], parent: QWidget) -> bool:
    """Save or discard changes as the user chooses; False to leave everything unchanged.

    Raises:
        OrthomaskError: changes cannot be saved.
    """
    edited = [layer for layer in layers if isinstance(layer, QgsVectorLayer) and layer.isEditable()]
    changed = [layer for layer in edited if layer.isModified()]
    choice = _ask([layer.name() for layer in changed], parent) if changed else CHOICES.Discard
    if choice == CHOICES.Cancel:
        return False
    for layer in edited:
        if choice == CHOICES.Discard or layer not in changed:
            layer.rollBack()
        elif not layer.commitChanges():
            sentence = tr("The changes to “{}” cannot be saved.").format(layer.name())
            remedy = tr("The layers stay in the project: see the details, and try again.")
            raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, "\n".join(layer.commitErrors()))
    return True


def _ask(names: Sequence[str], parent: QWidget) -> QMessageBox.StandardButton:
    text = tr("“{}” has unsaved changes.").format("”, “".join(names))
    box = QMessageBox(QMessageBox.Icon.Question, tr("Orthomask: undo"), text, parent=parent)
    box.setInformativeText(tr("Save them to its file before the layers are removed from the project?"))
    box.setStandardButtons(CHOICES.Save | CHOICES.Discard | CHOICES.Cancel)
    box.setDefaultButton(CHOICES.Save)
    return CHOICES(box.exec())
