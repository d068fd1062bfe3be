"""The lights of a check: what is wrong first, with buttons that help, and all that is fine folded into one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Optional

from qgis.PyQt.QtCore import QEvent, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from ...protocol import Level, Light
from ..toolkit.icons import icon
from ..toolkit.words import briefly, mark, tr

LIGHT_PX = 14
ASPECTS = (
    mark("bands"), mark("second image"), mark("pixel type"), mark("resolution"), mark("data"), mark("values"),
    mark("memory"), mark("place"),
)  # fmt: skip
"""The engine's names for its checks; the colours of its lights are below."""
COLOURS = (mark("green"), mark("amber"), mark("red"))
WORST_FIRST = (Level.RED, Level.AMBER, Level.GREEN)
FOLDED = 2
"""So many green lights, or more, share a line."""


class LightsView(QWidget):
    """Shows the lights of a check."""

    nodata_wanted = pyqtSignal(object)
    """Treat this value of the image as no data; None to use the image's own."""
    reading_wanted = pyqtSignal(bool)
    """Choose the bands or, if true, the stretch."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._lights: tuple[Light, ...] = ()
        self._nodata: Optional[float] = None
        self._unfolded = False
        self._row = 0
        self._rows = QGridLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setColumnStretch(1, 1)

    def show_lights(self, lights: Sequence[Light], nodata: Optional[float] = None) -> None:
        """Show these instead.

        Args:
            nodata: the value of the image that is treated as no data.
        """
        self._lights, self._nodata = tuple(lights), nodata
        self._fill()

    def changeEvent(self, event: QEvent) -> None:
        """Show them in another theme's colours."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._fill()

    @property
    def warnings(self) -> tuple[Light, ...]:
        """The lights that are not green, worst first."""
        found = (light for light in self._lights if light.level is not Level.GREEN)
        return tuple(sorted(found, key=lambda light: WORST_FIRST.index(light.level)))

    def _fill(self) -> None:
        while self._rows.count():
            gone = self._rows.takeAt(0).widget()
            gone.hide()  # else visible until it is deleted
            gone.deleteLater()
        self._row = 0
        fine = [light for light in self._lights if light.level is Level.GREEN]
        plain = [light for light in fine if self._help(light) is None]
        folded = plain if len(plain) >= FOLDED else []
        for light in (*self.warnings, *(light for light in fine if light not in folded)):
            self._add_light(light)
        if folded:
            self._add_fold(folded)
        self.setVisible(bool(self._lights))

    def _add_fold(self, fine: Sequence[Light]) -> None:
        names, more = ", ".join(tr(light.name) for light in fine), tr("Less") if self._unfolded else tr("Details")
        fine_words = tr("OK: {}").format(names)
        words = self._add_row(Level.GREEN, fine_words)
        words.ensurePolished()
        colour = words.palette().color(words.foregroundRole()).name()  # dark themes leave that of links as it is
        words.setText(f'{fine_words} · <a href="#" style="color: {colour}">{more}</a>')
        links = Qt.TextInteractionFlag.LinksAccessibleByMouse | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        words.setTextInteractionFlags(links)
        words.linkActivated.connect(self._fold)
        if self._unfolded:
            for light in fine:
                self._add_light(light)

    def _fold(self, _: str) -> None:
        self._unfolded = not self._unfolded
        self._fill()

    def _add_light(self, light: Light) -> None:
        words = self._add_row(light.level, light.reason)
        words.setTextFormat(Qt.TextFormat.PlainText)
        words.setToolTip(tr(light.name))
        help_ = self._help(light)
        if help_ is not None:
            button = QPushButton(help_[0])
            button.clicked.connect(help_[1])
            self._rows.addWidget(button, self._row, 1)
            self._row += 1

    def _add_row(self, level: Level, text: str) -> QLabel:
        lamp, words = QLabel(), QLabel(text)
        lamp.setPixmap(icon(f"light-{level.value}").pixmap(LIGHT_PX, LIGHT_PX))
        lamp.setToolTip(tr(level.value))
        lamp.setAccessibleName(tr(level.value))
        words.setWordWrap(True)
        self._rows.addWidget(lamp, self._row, 0, Qt.AlignmentFlag.AlignTop)
        self._rows.addWidget(words, self._row, 1)
        self._row += 1
        return words

    def _help(self, light: Light) -> Optional[tuple[str, Callable[[], None]]]:
        """The text of a button that mends what the light says, or leads to where it is mended; and what it does."""
        if light.name == "data" and light.nodata is not None:
            words = tr("Treat {} as no data").format(briefly(light.nodata))
            return words, lambda: self.nodata_wanted.emit(light.nodata)
        if light.name == "data" and self._nodata is not None:
            return tr("Treat {} as data again").format(briefly(self._nodata)), lambda: self.nodata_wanted.emit(None)
        if light.name == "bands" and light.level is not Level.GREEN:
            return tr("Choose bands…"), lambda: self.reading_wanted.emit(False)
        if light.name == "second image":
            return tr("Choose the second image…"), lambda: self.reading_wanted.emit(False)
        if light.name in ("pixel type", "values") and light.level is not Level.GREEN:
            return tr("Choose a stretch…"), lambda: self.reading_wanted.emit(True)
        return None
