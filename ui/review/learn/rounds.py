"""IoU and F1 over the rounds of learning: what an hour of labelling has brought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

from qgis.PyQt.QtCore import QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF, QTextOption
from qgis.PyQt.QtWidgets import QToolTip, QWidget

from ....protocol import Marks, VersionsResult
from ...toolkit.plots import GAP_PX, Plot, height_of, nice_ticks
from ...toolkit.words import in_digits, tr

RIGHT_PX, PLOT_PX, DOT_PX = 12, 80, 3.5
LEAST = 0.1
"""The least range of the axis."""
IOU = (QColor("#1b9e77"), Qt.PenStyle.SolidLine)
F1 = (QColor("#7570b3"), Qt.PenStyle.DashLine)


class Round(NamedTuple):
    """A version, the minutes of labelling up to it, and how well it does on the squares checked by then."""

    number: int
    minutes: float
    marks: Marks


def rounds_of(found: VersionsResult) -> list[Round]:
    """The base, then each version that was measured."""
    measured = [(each, each.here) for each in found.versions if each.here is not None]
    base = [Round(0, 0.0, here.before) for _, here in measured[:1] if here is not None]
    return base + [Round(each.number, each.minutes, here.after) for each, here in measured if here is not None]


class RoundsPlot(Plot):
    """One plot over the minutes of labelling; each round is a dot with its number."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._rounds: Sequence[Round] = ()

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Draw these; hide with fewer than two."""
        self._rounds = rounds
        self.setAccessibleName("; ".join(map(_words, rounds)))
        self.setVisible(len(rounds) > 1)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, PLOT_PX + 3 * self.metrics().height() + 2 * GAP_PX)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the grid, then both lines; nothing before there are rounds."""
        if not self._rounds:
            return
        painter = self.painter()
        ticks = nice_ticks(
            [0.0, LEAST, *(value for each in self._rounds for value in (each.marks.iou, each.marks.object_f1))]
        )
        plot = self._plot()
        self.draw_grid(painter, plot, ticks)
        left = plot.left()
        for title, values, style in (
            ("IoU", [each.marks.iou for each in self._rounds], IOU),
            ("F1", [each.marks.object_f1 for each in self._rounds], F1),
        ):
            points = [
                QPointF(self._x(each), height_of(value, ticks, plot)) for each, value in zip(self._rounds, values)
            ]
            left = self._draw_line(painter, title, points, style, left)
        self._draw_minutes(painter)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Show the numbers of the round under the mouse."""
        near = min(self._rounds, key=lambda each: abs(self._x(each) - event.pos().x()), default=None)
        if near is not None:
            QToolTip.showText(self.mapToGlobal(event.pos()), _words(near), self)

    def _plot(self) -> QRectF:
        """The rectangle inside title and axes."""
        line, left = self.metrics().height(), self.metrics().horizontalAdvance("0.000")
        return QRectF(left, line + GAP_PX, self.width() - left - RIGHT_PX, self.height() - 3 * line - 2 * GAP_PX)

    def _x(self, each: Round) -> float:
        """Over the minutes; over the rounds where no time was taken."""
        plot, last = self._plot(), self._rounds[-1]
        if last.minutes > 0:
            return plot.left() + plot.width() * each.minutes / max(other.minutes for other in self._rounds)
        return plot.left() + plot.width() * self._rounds.index(each) / max(len(self._rounds) - 1, 1)

    def _draw_line(
        self, painter: QPainter, title: str, points: Sequence[QPointF], style: tuple[QColor, Qt.PenStyle], left: float
    ) -> float:
        """Draw a line with its dots, and its name above the plot from `left` on; where the next name begins."""
        color, dashes = style
        painter.setPen(QPen(color, 2, dashes))
        painter.drawPolyline(QPolygonF(list(points)))
        painter.setPen(QPen(color, 1))
        painter.setBrush(color)
        for point in points:
            painter.drawEllipse(point, DOT_PX, DOT_PX)
        top = self._plot().top() - GAP_PX
        painter.drawText(QPointF(left, top), title)
        return left + painter.fontMetrics().horizontalAdvance(title) + 3 * GAP_PX

    def _draw_minutes(self, painter: QPainter) -> None:
        """The versions' numbers below their dots, and what the axis is."""
        painter.setPen(self.palette().windowText().color())
        line, bottom = painter.fontMetrics().height(), self._plot().bottom()
        middle = QTextOption(Qt.AlignmentFlag.AlignHCenter)
        for each in self._rounds:
            place = QRectF(self._x(each) - 20, bottom + GAP_PX / 2, 40, line)
            painter.drawText(place, str(each.number), middle)
        timed = self._rounds and self._rounds[-1].minutes > 0
        text = tr("version, over minutes of labelling") if timed else tr("version")
        painter.drawText(QRectF(0, bottom + line, self.width(), 1.5 * line), text, middle)


def _words(each: Round) -> str:
    words = tr("Version {}, {} min of labelling: IoU {}, F1 {}")
    marks = in_digits(each.marks.iou, 2), in_digits(each.marks.object_f1, 2)
    return words.format(each.number, in_digits(each.minutes), *marks)
