"""How sure the model is of its objects: counted in the background, drawn over the slider of the threshold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Optional

from qgis.PyQt.QtCore import QRectF, QSize
from qgis.PyQt.QtGui import QPainter, QPaintEvent, QPalette, QPen
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QSlider, QStyle, QWidget

from ....protocol import ErrorCode, OrthomaskError
from ...client.engine_client import Feedback
from ...runs.generations import opened
from ...toolkit.words import tr

STEPS = 100
"""Classes of confidence, of a hundredth each."""
HEIGHT_PX = 48
FAINT = 0.35


class Counts(NamedTuple):
    """Numbers of objects.

    Attributes:
        steps: by confidence, from 0 to 1.
        kept: those that a person added or corrected, whatever their confidence.
    """

    steps: tuple[int, ...] = (0,) * (STEPS + 1)
    kept: int = 0

    def reaching(self, hundredths: int) -> int:
        """How many are kept, or are at least that sure."""
        return sum(self.steps[hundredths:]) + self.kept


class ConfidenceCounter:
    """Counts objects by their confidence, in a task's thread; called like the engine."""

    def call(self, path: Path, feedback: Feedback) -> Counts:
        """The numbers of objects in the GeoPackage.

        Raises:
            OrthomaskError: it cannot be read.
        """
        query = (
            "SELECT CASE WHEN confidence IS NULL OR outline IN ('added', 'corrected') THEN -1 "
            "ELSE MIN(MAX(CAST(ROUND(confidence * ?) AS INTEGER), 0), ?) END AS step, COUNT(*) "
            "FROM polygons GROUP BY step"
        )
        try:
            with closing(opened(path)) as database:
                found = dict(database.execute(query, (STEPS, STEPS)))
        except sqlite3.Error as error:
            sentence = tr("“{}” cannot be read.").format(path.name)
            remedy = tr("Close the programs that use it, and choose the run again.")
            raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy, str(error)) from error
        return Counts(tuple(found.get(step, 0) for step in range(STEPS + 1)), found.get(-1, 0))


class Histogram(QLabel):
    """Numbers of objects by confidence; those that the threshold leaves out are faint.

    It is a label because QGIS's dark themes colour the text of labels, and not that of plain widgets.

    Args:
        slider: of the threshold in hundredths, as wide as this; the histogram stands over its values.
    """

    def __init__(self, slider: QSlider, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._slider, self._counts = slider, Counts()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        slider.valueChanged.connect(lambda _: self.update())

    def show_counts(self, counts: Counts) -> None:
        """Show how many objects there are of each hundredth."""
        self._counts = counts
        self.update()

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(0, HEIGHT_PX)

    def paintEvent(self, event: Optional[QPaintEvent]) -> None:
        """Draw bars, and the threshold as a line."""
        colors, line = self.palette(), round(self._x(self._slider.value()))
        bar, bars = colors.color(QPalette.ColorRole.Highlight), self._bars()
        most, floor = max(bars.values()), self.height() - 1
        painter = QPainter(self)
        for step, count in bars.items():
            bar.setAlphaF(1.0 if step >= self._slider.value() else FAINT)
            height, left, right = floor * count / max(1, most), self._x(step - 0.5), self._x(step + 0.5)
            painter.fillRect(QRectF(left, floor - height, right - left, height), bar)
        painter.setPen(QPen(colors.color(QPalette.ColorRole.WindowText)))
        painter.drawLine(0, floor, self.width(), floor)
        painter.drawLine(line, 0, line, floor)
        painter.end()

    def _bars(self) -> dict[int, int]:
        """Numbers of objects over the slider's values; the last has those beyond, too."""
        low, high = self._slider.minimum(), self._slider.maximum()
        return {**{step: self._counts.steps[step] for step in range(low, high)}, high: sum(self._counts.steps[high:])}

    def _x(self, value: float) -> float:
        """Where the middle of the slider's handle is at a value."""
        handle = self._slider.style().pixelMetric(QStyle.PixelMetric.PM_SliderLength, None, self._slider)
        low, high = self._slider.minimum(), self._slider.maximum()
        return handle / 2 + (value - low) / (high - low) * (self.width() - handle)
