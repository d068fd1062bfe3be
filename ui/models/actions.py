"""The actions for the selected models, and why some are disabled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ...protocol import ModelSummary, why_not_joined
from ..toolkit.words import tr
from .own_models import Origin, origin_of


class ModelActions(QWidget):
    """A button for each action; performs none of them."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.use = QPushButton(tr("Use in Segment"))
        self.fine_tune = QPushButton(tr("Fine-tune"))
        self.evaluate = QPushButton(tr("Evaluate…"))
        self.rename = QPushButton(tr("Rename…"))
        self.duplicate = QPushButton(tr("Duplicate"))
        self.delete = QPushButton(tr("Delete…"))
        self.reveal = QPushButton(tr("Open folder"))
        self.add = QPushButton(tr("Add file…"))
        self.join = QPushButton(tr("Join…"))
        self.save_card = QPushButton(tr("Save card…"))
        self.import_onnx = QPushButton(tr("Import…"))
        self.export = QPushButton(tr("Export…"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for buttons in (
            (self.use, self.fine_tune),
            (self.evaluate, self.duplicate),
            (self.rename, self.reveal),
            (self.delete, self.add, self.join),
            (self.import_onnx, self.export),
            (self.save_card,),
        ):
            row = QHBoxLayout()
            for button in buttons:
                row.addWidget(button)
            layout.addLayout(row)
        self.suit(())

    def suit(self, models: Sequence[ModelSummary]) -> None:
        """Enable the actions for these models; tooltips say what a button does, or why it cannot."""
        one = "" if len(models) == 1 else tr("Select one model.")
        origin = origin_of(models[0].path) if len(models) == 1 else None
        kept = tr("Models that came with Orthomask cannot be renamed or deleted; duplicate the model instead.")
        elsewhere = tr("This file is not one of your models; duplicate it to get a copy of your own.")
        reasons = {Origin.EMBEDDED: kept, Origin.FILE: elsewhere}
        fixed = one or (reasons.get(origin, "") if origin else "")
        listed = origin is Origin.FILE
        _set(self.use, tr("Segment an image with this model"), one)
        imported = tr("Models imported from ONNX run and can be evaluated, nothing else.")
        foreign = imported if any(model.card.get("graph") for model in models) else ""
        _set(self.fine_tune, tr("Train it further with your own labels"), one or foreign)
        _set(self.evaluate, tr("Compare what it finds with labels"), one)
        _set(self.rename, tr("Give it another name"), fixed)
        _set(self.duplicate, tr("Copy it to your models"), one)
        _set(self.delete, tr("Move its file to the trash"), "" if listed else fixed)
        self.delete.setText(tr("Remove") if listed else tr("Delete…"))
        if listed:
            self.delete.setToolTip(tr("Remove it from this list; the file is kept"))
        _set(self.reveal, tr("Show its file"), one)
        _set(self.save_card, tr("Save the model's card as a STAC item, for a catalogue of models"), one)
        _set(self.add, tr("Add a model from a .safetensors file"), "")
        few = "" if len(models) > 1 else tr("Select two or more models with Ctrl.")
        different = next(filter(None, (why_not_joined(models[0], other) for other in models[1:])), "")
        _set(self.join, tr("Join them into one model that averages their probabilities"), few or foreign or different)
        _set(self.import_onnx, tr("Make a model of an ONNX file, such as one for Deepness"), "")
        _set(self.export, tr("Write it as an ONNX file, which Deepness and other programs run"), one or foreign)


def _set(button: QPushButton, does: str, cannot: str) -> None:
    button.setEnabled(not cannot)
    button.setToolTip(cannot or does)
