"""Training options: the few that matter, and the rest collapsed. The defaults are sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ...protocol import FINE_TUNING, Augmentation, Decay, Hardware, Loss, LossTerm, Network, Objective, Schedule
from ..runs.folder_chooser import FolderChooser
from ..toolkit.words import tr
from .defaults import FROM_SCRATCH, NO_AUGMENTATION, STRONG_AUGMENTATION

CHIP_SIZES_PX = (128, 192, 256, 384, 512)


class TrainingOptionsBox(QWidget):
    """Epochs, chips and learning rate; everything else is one click away."""

    changed = pyqtSignal()
    """Something that affects the time of a training has changed."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._defaults: Optional[Schedule] = None
        self.epochs = _whole(1, 10_000, tr("Number of epochs; a validation follows each"))
        self.chip_px = _choice({f"{size} px": size for size in CHIP_SIZES_PX}, tr("Side length of the training images"))
        self.learning_rate = _number(
            0.00001, 0.1, 5, tr("Step size; if it is too large, the model forgets or diverges")
        )
        self.advanced = AdvancedBox()
        few = QGroupBox(tr("Training"))
        form = QFormLayout(few)
        form.addRow(tr("Epochs"), self.epochs)
        form.addRow(tr("Chips"), self.chip_px)
        form.addRow(tr("Learning rate"), self.learning_rate)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(few)
        layout.addWidget(self.advanced)
        self._connect()
        self.suit(fine_tuning=False)

    def suit(self, *, fine_tuning: bool) -> None:
        """Set the defaults for fine-tuning or for a start from scratch, if that has changed."""
        defaults = FINE_TUNING if fine_tuning else FROM_SCRATCH
        self.advanced.network.setEnabled(not fine_tuning)
        self.advanced.attention.setEnabled(not fine_tuning)
        self.advanced.frozen_epochs.setEnabled(fine_tuning)
        if defaults is not self._defaults:
            self._defaults = defaults
            self.epochs.setValue(defaults.epochs)
            self.chip_px.setCurrentIndex(CHIP_SIZES_PX.index(defaults.chip_px))
            self.learning_rate.setValue(defaults.learning_rate)
            self.advanced.steps.setValue(defaults.steps)
            self.advanced.frozen_epochs.setValue(defaults.frozen_epochs)

    def _connect(self) -> None:
        more = self.advanced
        for number in (self.epochs, more.steps, more.batch, more.gsd_m):
            number.valueChanged.connect(self.changed)
        for choice in (self.chip_px, more.network, more.loss, more.device, more.precision):
            choice.currentIndexChanged.connect(self.changed)
        more.attention.toggled.connect(self.changed)

    def schedule(self) -> Schedule:
        """The training schedule."""
        defaults, steps = self._defaults or FROM_SCRATCH, self.advanced.steps.value()
        return replace(
            defaults,
            epochs=self.epochs.value(),
            chip_px=self.chip_px.currentData(),
            learning_rate=self.learning_rate.value(),
            warmup_steps=min(defaults.warmup_steps, steps),
            **self.advanced.schedule(),
        )


class AdvancedBox(QgsCollapsibleGroupBox):
    """Collapsed at first."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("More options"), parent)
        sound = Schedule()
        self.folder_chooser = FolderChooser(tr("Each training run creates a new folder in this one"))
        self.gsd_m = _number(0.0, 1000.0, 3, tr("Metres per pixel that the model works at"), tr("automatic"))
        self.batch = _whole(1, 1024, tr("Chips in each step"), sound.batch)
        self.steps = _whole(1, 100_000, tr("Steps in each epoch"))
        self.loss = _choice(_losses(), tr("The loss to minimise"))
        self.border_weight = _number(0.0, 20.0, 1, tr("Extra weight of the gaps between close objects"), tr("off"))
        self.augmentation = _choice(
            {tr("standard"): Augmentation(), tr("strong"): STRONG_AUGMENTATION, tr("none"): NO_AUGMENTATION},
            tr("How much training images are varied at random"),
        )
        self.decay = _choice({entry.value: entry for entry in Decay}, tr("How the learning rate decreases"))
        self.patience = _whole(0, 10_000, tr("Stop after this many epochs without a better score"), 0, tr("never"))
        self.frozen_epochs = _whole(0, 10_000, tr("Epochs in which only the decoder learns"), 0, tr("none"))
        self.network = _choice(_networks(), tr("Size of a network from scratch"))
        self.attention = QCheckBox(tr("Attention gates"))
        self.seed = _whole(0, 2**31 - 1, tr("The same seed gives the same training"), sound.seed)
        self.device = _choice({name: name for name in ("auto", "cpu", "cuda", "mps")}, tr("Device to train on"))
        precisions = ("auto", "32-true", "bf16-mixed", "16-mixed")
        self.precision = _choice({name: name for name in precisions}, tr("Numeric precision: auto suits the device"))
        self._lay_out()

    def folder(self) -> str:
        """The parent folder of trainings."""
        return self.folder_chooser.folder()

    def schedule(self) -> dict[str, Any]:
        """The part of the schedule chosen here."""
        return {
            "steps": self.steps.value(),
            "batch": self.batch.value(),
            "decay": Decay(self.decay.currentData()),
            "patience": self.patience.value(),
            "frozen_epochs": self.frozen_epochs.value() if self.frozen_epochs.isEnabled() else 0,
            "precision": self.precision.currentData(),
            "seed": self.seed.value(),
        }

    def others(self) -> dict[str, Any]:
        """The other parts of a training's request."""
        return {
            "gsd_m": self.gsd_m.value(),
            "network": replace(self.network.currentData(), attention=self.attention.isChecked()),
            "objective": Objective(terms=self.loss.currentData(), border_weight=self.border_weight.value()),
            "augmentation": self.augmentation.currentData(),
            "hardware": Hardware(device=self.device.currentData()),
        }

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for words, field in (
            (tr("Save in"), self.folder_chooser),
            (tr("Resolution (m)"), self.gsd_m),
            (tr("Batch"), self.batch),
            (tr("Steps per epoch"), self.steps),
            (tr("Loss"), self.loss),
            (tr("Border weight"), self.border_weight),
            (tr("Augmentation"), self.augmentation),
            (tr("Decay"), self.decay),
            (tr("Early stop after"), self.patience),
            (tr("Frozen encoder"), self.frozen_epochs),
            (tr("Network"), self.network),
            ("", self.attention),
            (tr("Seed"), self.seed),
            (tr("Device"), self.device),
            (tr("Precision"), self.precision),
        ):
            form.addRow(words, field)
        self.setCollapsed(True)


def _losses() -> dict[str, tuple[LossTerm, ...]]:
    entropy, dice = LossTerm(Loss.CROSS_ENTROPY), LossTerm(Loss.DICE)
    return {
        tr("cross-entropy + Dice"): (entropy, dice),
        tr("cross-entropy + Jaccard"): (entropy, LossTerm(Loss.JACCARD)),
        tr("cross-entropy"): (entropy,),
        tr("Dice"): (dice,),
        tr("focal + Dice"): (LossTerm(Loss.FOCAL), dice),
        tr("Tversky (finds more)"): (LossTerm(Loss.TVERSKY),),
    }


def _networks() -> dict[str, Network]:
    return {
        tr("medium"): Network(),
        tr("small"): Network(widths=(16, 32, 64, 96), blocks=1, detail=16),
        tr("large"): Network(widths=(48, 72, 144, 240, 336)),
    }


def _choice(entries: dict[str, Any], tip: str) -> QComboBox:
    box = QComboBox()
    for words, value in entries.items():
        box.addItem(words, value)
    box.setToolTip(tip)
    return box


def _whole(low: int, high: int, tip: str, value: Optional[int] = None, at_least: str = "") -> QSpinBox:
    """A whole number; `at_least` is the text of its minimum."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setSpecialValueText(at_least)
    box.setToolTip(tip)
    box.setValue(low if value is None else value)
    return box


def _number(low: float, high: float, decimals: int, tip: str, at_least: str = "") -> QDoubleSpinBox:
    """A number; `at_least` is the text of its minimum."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep(10.0**-decimals * (10 if decimals > 3 else 1))
    box.setSpecialValueText(at_least)
    box.setToolTip(tip)
    return box
