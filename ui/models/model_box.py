"""Choosing the model and its threshold, with the main facts about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from ...protocol import ModelSummary
from ..toolkit.icons import icon
from ..toolkit.words import briefly, tr
from .own_models import titles_of

LOWEST = 0.01


class ModelBox(QGroupBox):
    """Shows the models that the engine has found."""

    changed = pyqtSignal()
    """The chosen model changed."""
    file_wanted = pyqtSignal(str)
    """The user has chosen a model file for the engine to read."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Model"), parent)
        self.chooser = QComboBox()
        self.chooser.setToolTip(tr("What to look for"))
        self.chooser.setAccessibleName(tr("Model"))
        self.chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.chooser.currentIndexChanged.connect(self._show_model)
        self._thresholds: dict[str, float] = {}  # by path, of models that the engine is reading
        self._facts = QLabel(tr("Waiting for the engine…"))
        self._facts.setWordWrap(True)
        self._facts.setTextFormat(Qt.TextFormat.RichText)
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.0, 0.99)
        self.threshold.setSpecialValueText("–")  # until there is a model
        self.threshold.setSingleStep(0.05)
        self.threshold.setToolTip(
            tr("The minimum probability for a pixel to count.\nLower finds more, higher makes fewer mistakes.")
        )
        self._lay_out()
        self.setEnabled(False)

    @property
    def model(self) -> Optional[ModelSummary]:
        """The chosen model; None before the engine has reported any."""
        chosen: Optional[ModelSummary] = self.chooser.currentData()
        return chosen

    @property
    def models(self) -> list[ModelSummary]:
        """All models offered."""
        return [self.chooser.itemData(index) for index in range(self.chooser.count())]

    def explain(self, text: str) -> None:
        """Say why there is no model to choose yet."""
        if self.model is None:
            self._facts.setText(text)

    def show_models(self, models: Sequence[ModelSummary]) -> None:
        """Fill the chooser; keep choice and threshold if the model still exists, even if only as a file."""
        chosen, threshold = self.model, self.threshold.value()
        if chosen and Path(chosen.path).exists() and chosen.path not in {model.path for model in models}:
            models = [*models, chosen]
        self.chooser.blockSignals(True)
        self.chooser.clear()
        for title, model in zip(titles_of(models), models):
            self.chooser.addItem(title, model)
        paths = [model.path for model in models]
        kept = chosen is not None and chosen.path in paths
        self.chooser.setCurrentIndex(paths.index(chosen.path) if chosen is not None and kept else 0)
        self.chooser.blockSignals(False)
        self.setEnabled(True)
        self._show_model()
        if kept:
            self.threshold.setValue(threshold)

    def add_model(self, model: ModelSummary) -> None:
        """Add a model from a file, and choose it."""
        self.chooser.addItem(model.title, model)
        self.chooser.setCurrentIndex(self.chooser.count() - 1)
        self.threshold.setValue(self._thresholds.pop(model.path, model.threshold))

    def choose(self, path: str, threshold: Optional[float] = None) -> None:
        """Choose the model in this file; if it is not listed, the engine reads it first.

        Args:
            threshold: overrides the model's own.
        """
        paths = [model.path for model in self.models]
        if path not in paths:
            if threshold is not None:
                self._thresholds[path] = threshold
            self.file_wanted.emit(path)
            return
        self.chooser.setCurrentIndex(paths.index(path))
        if threshold is not None:
            self.threshold.setValue(threshold)

    def _lay_out(self) -> None:
        file_button = QToolButton()
        file_button.setIcon(icon("open"))
        file_button.setAutoRaise(True)
        file_button.setToolTip(tr("Use a model file…"))
        file_button.clicked.connect(self._ask_for_file)
        row = QHBoxLayout()
        row.addWidget(self.chooser, 1)
        row.addWidget(file_button)
        layout = QFormLayout(self)
        layout.addRow(row)
        layout.addRow(self._facts)
        layout.addRow(tr("Threshold"), self.threshold)

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, tr("Model file"), "", tr("Models (*.safetensors)"))
        if path:
            self.file_wanted.emit(path)

    def _show_model(self) -> None:
        model = self.model
        if model is None:
            self._facts.setText(tr("No model is installed. Use a model file."))
        else:
            self.threshold.setSpecialValueText("")
            self.threshold.setMinimum(LOWEST)
            self.threshold.setValue(model.threshold)
            self._facts.setText(_facts(model))
            facts = tr("Bands: {}\nLicence: {}\n{}")
            self._facts.setToolTip(facts.format(", ".join(model.bands), model.licence, model.attribution))
        self.changed.emit()


def _facts(model: ModelSummary) -> str:
    swatches = ", ".join(f'<span style="color:{c.color}">■</span> {c.name}' for c in model.classes)
    return tr("{} · {} m per pixel · {}").format(swatches, briefly(model.gsd_m), model.licence.split(";")[0])
