"""Plots drawn with Qt alone: QGIS's Python may lack a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import QPointF, QRectF, Qt
from qgis.PyQt.QtGui import QFont, QFontMetrics, QPainter, QPen, QTextOption
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QWidget

GAP_PX = 6
TICKS = 4
SMALLER = 0.85
"""Font size, relative to other labels."""


class Plot(QLabel):
    """A widget as wide as there is room, in small print, that answers the mouse.

    It is a label because QGIS's dark themes colour the text of labels, and not that of plain widgets.
    """

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def painter(self) -> QPainter:
        """A painter of this widget, with its font."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(self.small())
        return painter

    def small(self) -> QFont:
        """The font."""
        font = QFont(self.font())
        font.setPointSizeF(SMALLER * font.pointSizeF())
        return font

    def metrics(self) -> QFontMetrics:
        """Sizes in the font."""
        return QFontMetrics(self.small())

    def draw_grid(self, painter: QPainter, plot: QRectF, ticks: Sequence[float]) -> None:
        """Draw a line at each tick, with its number to the left of the plot."""
        words, line = self.palette().windowText().color(), self.palette().mid().color()
        height = painter.fontMetrics().height()
        right = QTextOption(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for tick in ticks:
            y = height_of(tick, ticks, plot)
            painter.setPen(QPen(line, 0.5))
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(words)
            painter.drawText(QRectF(0, y - height / 2, plot.left() - 5, height), f"{tick:g}", right)


def height_of(value: float, ticks: Sequence[float], plot: QRectF) -> float:
    """Where a value is, from the top of the widget, if the first and last tick are the plot's bottom and top."""
    return plot.bottom() - plot.height() * (value - ticks[0]) / (ticks[-1] - ticks[0])


def nice_ticks(values: Sequence[float]) -> list[float]:
    """Three to six round numbers at equal steps, from below the minimum to above the maximum."""
    low, high = min(values), max(values)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
