"""A trained model, and what to do with it next."""

from __future__ import annotations

from typing import Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..toolkit.words import tr


class FinishedBox(QGroupBox):
    """Hidden until a training has ended."""

    segment_wanted = pyqtSignal()
    evaluate_wanted = pyqtSignal()
    folder_wanted = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Trained model"), parent)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.use = QPushButton(tr("Use in Segment"))
        self.use.clicked.connect(self.segment_wanted)
        self.evaluate = QPushButton(tr("Evaluate…"))
        self.evaluate.clicked.connect(self.evaluate_wanted)
        self.folder = QPushButton(tr("Open folder"))
        self.folder.setToolTip(tr("The run folder, with curves, images and the request"))
        self.folder.clicked.connect(self.folder_wanted)
        buttons = QHBoxLayout()
        buttons.addWidget(self.evaluate)
        buttons.addWidget(self.folder)
        layout = QVBoxLayout(self)
        layout.addWidget(self.words)
        layout.addWidget(self.use)
        layout.addLayout(buttons)
        self.hide()

    def show_words(self, words: str) -> None:
        """Show it, with these words about the model."""
        self.words.setText(words)
        self.show()
