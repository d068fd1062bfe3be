"""Choosing an attribute. Unlike QGIS's own widget it keeps the choice when the layer's fields are set again."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsMapLayer, QgsVectorLayer
from qgis.PyQt.QtWidgets import QComboBox, QSizePolicy, QWidget

from .words import tr

WHOLE_CHARACTERS = 14


def show_whole(chooser: QComboBox) -> None:
    """Let a chooser of long names ask for some width, so that in a narrow form it gets a row of its own."""
    chooser.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    chooser.setMinimumContentsLength(WHOLE_CHARACTERS)


class FieldChooser(QComboBox):
    """The attributes of a layer, after a first line for none.

    Args:
        nothing: its text.
        only_numbers: offer numeric attributes only.
    """

    def __init__(self, nothing: str, *, only_numbers: bool = False, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._nothing, self._only_numbers = nothing, only_numbers
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(tr("An attribute of the layer"))

    @property
    def field(self) -> str:
        """The chosen attribute; empty for none."""
        return self.currentData() or ""

    def show_fields(self, layer: Optional[QgsMapLayer], chosen: str = "") -> None:
        """Offer the attributes of this layer."""
        self.blockSignals(True)
        self.clear()
        self.addItem(self._nothing, "")
        for field in layer.fields().toList() if isinstance(layer, QgsVectorLayer) else ():
            if field.isNumeric() or not self._only_numbers:
                self.addItem(field.displayName(), field.name())
        self.setCurrentIndex(max(0, self.findData(chosen)))
        self.blockSignals(False)
