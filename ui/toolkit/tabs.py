"""Tabs that show their names where these fit, else icons and the name of the one in front."""

from __future__ import annotations

from typing import Optional

from qgis.PyQt.QtCore import QEvent, QSize, Qt
from qgis.PyQt.QtGui import QIcon, QResizeEvent
from qgis.PyQt.QtWidgets import QTabBar, QTabWidget, QWidget

from .icons import icon


class NamedTabs(QTabWidget):
    """Shows all names or, where these do not fit, icons, with the name of the tab in front if that fits.

    Tool tips and accessible names say what each tab is.
    """

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._names: list[tuple[str, str]] = []
        self.setTabBar(_NarrowBar())
        self.setDocumentMode(True)
        self.setUsesScrollButtons(False)  # a narrow dock shows icons rather than hide tabs
        self.setElideMode(Qt.TextElideMode.ElideRight)  # else the names would keep it from getting narrow
        self.currentChanged.connect(self._fit)

    def add(self, panel: QWidget, title: str, picture: str) -> None:
        """Add a panel with its title and the name of its icon."""
        index = self.addTab(panel, title)
        self._names.append((title, picture))
        self.setTabToolTip(index, title)
        self.tabBar().setAccessibleTabName(index, title)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show names or icons, as fits."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """The same with another font or style."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self, *_: object) -> None:
        """Show as many names as there is room for: all, that of the tab in front, or none."""
        everything = set(range(len(self._names)))
        for named in (everything, {self.currentIndex()}, set()):
            self._show(named)
            if self.tabBar().sizeHint().width() <= self.width():
                return

    def _show(self, named: set[int]) -> None:
        for index, (title, picture) in enumerate(self._names):
            self.setTabText(index, title if index in named else "")
            self.setTabIcon(index, QIcon() if index in named and len(named) > 1 else icon(picture))


class _NarrowBar(QTabBar):
    """As narrow as it is made: the names it shows now keep nothing from getting narrower."""

    def minimumSizeHint(self) -> QSize:
        """No least width."""
        return QSize(0, super().minimumSizeHint().height())
