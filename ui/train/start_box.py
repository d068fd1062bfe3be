"""What a training starts from, and the new model's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QFormLayout, QGroupBox, QLineEdit, QWidget

from ...protocol import ModelSummary
from ..models.own_models import titles_of
from ..toolkit.field_chooser import show_whole
from ..toolkit.words import tr

DEFAULT_NAME = "my-model"


class StartBox(QGroupBox):
    """Offers all models, and a start from scratch."""

    changed = pyqtSignal()
    """There is another model to start from."""
    named = pyqtSignal()
    """The name of the new model has changed."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("New model"), parent)
        self.chooser = QComboBox()
        self.chooser.setToolTip(
            tr(
                "A model that already knows something similar learns from a few areas.\nTraining from scratch needs "
                "many, and takes longer."
            )
        )
        show_whole(self.chooser)
        self.chooser.addItem(tr("From scratch"), None)
        self.chooser.currentIndexChanged.connect(self.changed)
        self.name = QLineEdit(DEFAULT_NAME)
        self.name.setToolTip(tr("Name of the new model, in lists and as a file"))
        self.name.textChanged.connect(self.named)
        layout = QFormLayout(self)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.addRow(tr("Start from"), self.chooser)
        layout.addRow(tr("Name"), self.name)

    @property
    def model(self) -> Optional[ModelSummary]:
        """The model to start from; None to start from scratch."""
        chosen: Optional[ModelSummary] = self.chooser.currentData()
        return chosen

    def show_models(self, models: Sequence[ModelSummary]) -> None:
        """Offer these models; keep the choice, at first the first one."""
        untouched, chosen = self.chooser.count() == 1, self.model
        self.chooser.blockSignals(True)
        self.chooser.clear()
        for title, model in zip(titles_of(models), models):
            self.chooser.addItem(title, model)
        self.chooser.addItem(tr("From scratch"), None)
        self.chooser.blockSignals(False)
        self.choose(models[0].path if untouched and models else chosen.path if chosen else "")
        self.changed.emit()

    def choose(self, path: str) -> None:
        """Start from the model in this file, or from scratch if there is none."""
        models = [self.chooser.itemData(index) for index in range(self.chooser.count())]
        paths = [model.path if model else "" for model in models]
        self.chooser.setCurrentIndex(paths.index(path) if path in paths else len(paths) - 1)
