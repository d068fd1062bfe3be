"""Progress of a training: facts, curves, and the model's results on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.PyQt.QtCore import QSize, Qt
from qgis.PyQt.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from qgis.PyQt.QtWidgets import QDialog, QGroupBox, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ..toolkit.present import present
from ..toolkit.words import in_digits, tr
from .curves import Curves
from .run import Epoch, best_epoch

FOCUS_PX = 4
SCREEN_SHARE = 0.85
"""Of the screen's height and width, the most that the window of pictures takes."""
WAITING_SHARE = 0.1
"""A device that waits longer than this for images is worth a word."""


class TrainingView(QGroupBox):
    """Shows what a run folder holds; empty at first."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Progress"), parent)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.curves = Curves()
        self.picture = Picture()
        self.picture.setToolTip(tr("Click for a window of its own"))
        self.caption = QLabel(tr("Validation: image with true outlines, prediction"))
        self.caption.setWordWrap(True)
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

    def show_epochs(self, epochs: Sequence[Epoch], total: int, base: Optional[Epoch] = None) -> None:
        """Show the curves so far and the latest numbers, out of `total` epochs, beside the score before the first.

        Args:
            total: 0 if it is not known.
        """
        self.curves.show_epochs(epochs, total, base)
        self.facts.setText(_facts(epochs, total, base))

    def show_picture(self, path: str) -> None:
        """Show the validation pictures in this file."""
        self.picture.show_file(path)
        self.caption.setVisible(self.picture.isVisibleTo(self))


class Picture(QWidget):
    """A picture as wide as possible, opened in a window of its own by a click or the space bar."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.window_of_own: Optional[PictureWindow] = None
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
            self._pixels = pixels
            if self.window_of_own is not None:
                self.window_of_own.show_pixels(pixels)
            self.show()
            self.updateGeometry()
            self.update()

    def forget(self) -> None:
        """Show nothing."""
        if self.window_of_own is not None:
            self.window_of_own.close()
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
        """Open the window."""
        self._open()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the window with the space bar, as a button would."""
        if event.key() == Qt.Key.Key_Space:
            self._open()
        else:
            super().keyPressEvent(event)

    def _open(self) -> None:
        """Open the window, or bring the open one to the front."""
        if self.window_of_own is None:
            self.window_of_own = PictureWindow(self.accessibleName(), self)
        self.window_of_own.show_pixels(self._pixels)
        self.window_of_own.show()
        self.window_of_own.raise_()


class PictureWindow(QDialog):
    """A picture as large as its window allows; it follows the training."""

    def __init__(self, title: str, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self._pixels = QPixmap()

    def show_pixels(self, pixels: QPixmap) -> None:
        """Show this picture; the first one sets the size of the window."""
        if self._pixels.isNull():
            room = present(self.screen()).availableSize() * SCREEN_SHARE
            self.resize(pixels.size().scaled(room, Qt.AspectRatioMode.KeepAspectRatio))
        self._pixels = pixels
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the picture in the middle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        place = self.rect()
        place.setSize(self._pixels.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio))
        place.moveCenter(self.rect().center())
        painter.drawPixmap(place, self._pixels)


def _facts(epochs: Sequence[Epoch], total: int, base: Optional[Epoch]) -> str:
    words = _so_far(epochs, total)
    if base is None:
        return words
    return tr("{} Dashed: IoU {} of the model it starts from.").format(words, in_digits(base.iou, 3))


def _so_far(epochs: Sequence[Epoch], total: int) -> str:
    best = best_epoch(epochs)
    if not epochs or best is None:
        return tr("The first validation comes at the end of the first epoch.")
    now = epochs[-1]
    scores = in_digits(now.iou, 3), in_digits(best.iou, 3), best.epoch
    if total:
        words = tr("Epoch {} of {} · IoU {}, best {} in epoch {}.").format(now.epoch, total, *scores)
    else:
        words = tr("Epoch {} · IoU {}, best {} in epoch {}.").format(now.epoch, *scores)
    if not now.waiting_share > WAITING_SHARE:
        return words
    waiting = f"{in_digits(100 * now.waiting_share)}%"
    return tr("{} The device waits for images {} of the time.").format(words, waiting)
