"""Curves of a training: validation IoU and loss over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

from qgis.PyQt.QtCore import QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qgis.PyQt.QtWidgets import QToolTip, QWidget

from ..toolkit.plots import GAP_PX, Plot, height_of, nice_ticks
from ..toolkit.words import in_digits, tr
from .run import Epoch, best_epoch

RIGHT_PX, PLOT_PX = 8, 74


class Curve(NamedTuple):
    """One plot: its title, its colour, the value of an epoch, and the minimum range of its axis."""

    title: str
    color: str
    value: Callable[[Epoch], float]
    low: float
    high: float


class Curves(Plot):
    """Validation IoU above, loss below it, over the epochs; the best epoch is marked."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._epochs: Sequence[Epoch] = ()
        self._total = 1
        self._base: Optional[Epoch] = None
        self._curves = (
            Curve(tr("Validation IoU"), "#1b9e77", lambda epoch: epoch.iou, 0.0, 0.1),
            Curve(tr("Loss"), "#d95f02", lambda epoch: epoch.loss, 0.0, 0.1),
        )

    def show_epochs(self, epochs: Sequence[Epoch], total: int, base: Optional[Epoch] = None) -> None:
        """Draw these epochs, out of `total`, and as a dashed line the score of the model before it learnt.

        Args:
            total: 0 if it is not known.
        """
        self._epochs, self._base = epochs, base
        self._total = total or max((epoch.epoch for epoch in epochs), default=1)
        self.update()

    def sizeHint(self) -> QSize:
        line = self.metrics().height()
        return QSize(300, len(self._curves) * (line + 2 * GAP_PX + PLOT_PX) + line)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw one plot below the other."""
        painter = self.painter()
        for row, curve in enumerate(self._curves):
            self._draw(painter, curve, self._plot(row))
        self._draw_epoch_axis(painter, self._plot(len(self._curves) - 1))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Show the numbers of the epoch under the mouse."""
        near = min(self._epochs, key=lambda epoch: abs(self._x(epoch.epoch) - event.pos().x()), default=None)
        if near is not None:
            numbers = tr("Epoch {}\nIoU {}\nF1 {}\nLoss {}")
            text = numbers.format(near.epoch, *(in_digits(value, 3) for value in (near.iou, near.f1, near.loss)))
            QToolTip.showText(self.mapToGlobal(event.pos()), text, self)

    def _plot(self, row: int) -> QRectF:
        """The rectangle of a row's plot, without title and axes."""
        line, left = self.metrics().height(), self.metrics().horizontalAdvance("0.000")
        height, title = (self.height() - line) / len(self._curves), line + GAP_PX
        return QRectF(left, row * height + title, self.width() - left - RIGHT_PX, height - title - GAP_PX)

    def _x(self, epoch: int) -> float:
        plot = self._plot(0)
        return plot.left() + plot.width() * (epoch - 1) / max(self._total - 1, 1)

    def _draw(self, painter: QPainter, curve: Curve, plot: QRectF) -> None:
        drawn = [epoch for epoch in self._epochs if math.isfinite(curve.value(epoch))]
        base = math.nan if self._base is None else curve.value(self._base)
        bases = [base] if math.isfinite(base) else []
        ticks = nice_ticks([curve.low, curve.high, *bases, *(curve.value(epoch) for epoch in drawn)])

        def y(value: float) -> float:
            return height_of(value, ticks, plot)

        self.draw_grid(painter, plot, ticks)
        for value in bases:
            self._draw_base(painter, plot, value, y(value))
        painter.setPen(QPen(QColor(curve.color), 2))
        painter.drawPolyline(QPolygonF([QPointF(self._x(epoch.epoch), y(curve.value(epoch))) for epoch in drawn]))
        best = best_epoch(drawn)
        if best is not None:
            painter.setBrush(QColor(curve.color))
            painter.drawEllipse(QPointF(self._x(best.epoch), y(curve.value(best))), 3.5, 3.5)
        title = f"{curve.title}  {in_digits(curve.value(drawn[-1]), 3)}" if drawn else curve.title
        painter.drawText(QPointF(plot.left(), plot.top() - GAP_PX), title)

    def _draw_base(self, painter: QPainter, plot: QRectF, value: float, y: float) -> None:
        words = self.palette().windowText().color()
        painter.setPen(QPen(words, 1, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
        painter.setPen(words)
        text = in_digits(value, 3)
        left = plot.right() - painter.fontMetrics().horizontalAdvance(text)
        painter.drawText(QPointF(left, plot.top() - GAP_PX), text)

    def _draw_epoch_axis(self, painter: QPainter, plot: QRectF) -> None:
        painter.setPen(self.palette().windowText().color())
        base = self.height() - painter.fontMetrics().descent()
        painter.drawText(QPointF(plot.left(), base), tr("Epoch 1"))
        last = str(self._total)
        painter.drawText(QPointF(plot.right() - painter.fontMetrics().horizontalAdvance(last), base), last)
