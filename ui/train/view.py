"""Progress of a training: facts, curves, and the model's results on validation images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import QSize, Qt, QUrl
from qgis.PyQt.QtGui import QDesktopServices, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from qgis.PyQt.QtWidgets import QGroupBox, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ..toolkit.words import in_digits, tr
from .curves import Curves
from .run import Epoch, best_epoch

FOCUS_PX = 4


class TrainingView(QGroupBox):
    """Shows what a run folder holds; empty at first."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Progress"), parent)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.curves = Curves()
        self.picture = Picture()
        self.picture.setToolTip(tr("Click for full size"))
        self.caption = QLabel(tr("Validation: image, truth, prediction"))
        self.picture.setAccessibleName(self.caption.text())
        layout = QVBoxLayout(self)
        layout.addWidget(self.facts)
        layout.addWidget(self.curves)
        layout.addWidget(self.caption)
        layout.addWidget(self.picture)
        self.hide()

    def begin(self) -> None:
        """Show that there is nothing yet."""
        self.picture.forget()
        self.caption.hide()
        self.show_epochs((), 1)
        self.show()

    def show_epochs(self, epochs: Sequence[Epoch], total: int) -> None:
        """Show the curves so far and the latest numbers, out of `total` epochs."""
        self.curves.show_epochs(epochs, total)
        self.facts.setText(_facts(epochs, total))

    def show_picture(self, path: str) -> None:
        """Show the validation pictures in this file."""
        self.picture.show_file(path)
        self.caption.setVisible(self.picture.isVisibleTo(self))


class Picture(QWidget):
    """A picture as wide as possible, opened in full size by a click or the space bar."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._path = ""
        self._pixels = QPixmap()
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.hide()

    @property
    def pixels(self) -> QPixmap:
        """The picture that is shown."""
        return self._pixels

    def show_file(self, path: str) -> None:
        """Show the picture in this file; if it cannot be read, keep the last one."""
        pixels = QPixmap()
        if pixels.load(path):
            self._path, self._pixels = path, pixels
            self.show()
            self.updateGeometry()
            self.update()

    def forget(self) -> None:
        """Show nothing."""
        self._pixels = QPixmap()
        self.hide()

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return round(width * self._pixels.height() / max(self._pixels.width(), 1))

    def sizeHint(self) -> QSize:
        return QSize(300, self.heightForWidth(300))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the picture across the width."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(0, 0, self.width(), self.heightForWidth(self.width()), self._pixels)
        if self.hasFocus():
            painter.setPen(QPen(self.palette().highlight().color(), FOCUS_PX))
            painter.drawRect(self.rect())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Open the file."""
        self._open()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the file with the space bar, as a button would."""
        if event.key() == Qt.Key.Key_Space:
            self._open()
        else:
            super().keyPressEvent(event)

    def _open(self) -> None:
        """Open it in the system's image viewer."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._path))


def _facts(epochs: Sequence[Epoch], total: int) -> str:
    best = best_epoch(epochs)
    if not epochs or best is None:
        return tr("The first validation comes at the end of the first epoch.")
    now = epochs[-1]
    words = tr("Epoch {} of {} · IoU {}, best {} in epoch {} · {}")
    return words.format(now.epoch, total, in_digits(now.iou, 3), in_digits(best.iou, 3), best.epoch, _speed(now))


def _speed(epoch: Epoch) -> str:
    speed = in_digits(epoch.images_per_second, 1)
    if math.isnan(epoch.waiting_share):
        return tr("{} images/s").format(speed)
    return tr("{} images/s, {}% waiting for them").format(speed, in_digits(100 * epoch.waiting_share))
