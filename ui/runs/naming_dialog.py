"""The window in which a person names a run; its layers in the project follow."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsLayerTreeGroup, QgsProject
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLineEdit, QPlainTextEdit, QWidget

from ..toolkit.words import tr
from .deletion import layers_of
from .naming import Naming
from .results import Run, layer_name

NAMELESS = Naming()
LONGEST_NAME = 80
NOTE_PX = 90


class NamingDialog(QDialog):
    """Asks for name and note of a run."""

    def __init__(self, naming: Naming = NAMELESS, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Orthomask: name and note"))
        self.name = QLineEdit(naming.name)
        self.name.setMaxLength(LONGEST_NAME)
        self.name.setToolTip(tr("Comes first in the names of its group and layers"))
        self.name.setAccessibleName(tr("Name"))
        self.note = QPlainTextEdit(naming.note)
        self.note.setTabChangesFocus(True)
        self.note.setMinimumHeight(NOTE_PX)
        self.note.setAccessibleName(tr("Note"))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QFormLayout(self)
        layout.addRow(tr("Name"), self.name)
        layout.addRow(tr("Note"), self.note)
        layout.addRow(buttons)

    @property
    def naming(self) -> Naming:
        """What was written, without blanks around."""
        return Naming(self.name.text().strip(), self.note.toPlainText().strip())


def rename(project: QgsProject, before: Run, after: Run) -> None:
    """Rename the group and the layers of a run in the project, unless the user has given them names of their own."""
    for layer in layers_of(project, before.folder):
        node = project.layerTreeRoot().findLayer(layer.id())
        group = node.parent() if node is not None else None
        if isinstance(group, QgsLayerTreeGroup) and group.name() == before.title:
            group.setName(after.title)
        ending = layer_name("", before)
        if layer.name().endswith(ending):
            layer.setName(layer_name(layer.name()[: -len(ending)], after))
