"""The number of warnings of the preflight beside Run, which may be all that is seen of it on a small screen."""

from __future__ import annotations

from typing import Optional

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QToolButton, QWidget

from ..toolkit.icons import icon
from ..toolkit.scrolling import scroll_to
from ..toolkit.words import tr, tr_n
from .preflight_box import PreflightBox


class WarningsButton(QToolButton):
    """Leads to the lights; hidden while all are green.

    Args:
        preflight: the lights.
    """

    def __init__(self, preflight: PreflightBox, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._preflight = preflight
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setAutoRaise(True)
        self.setToolTip(tr("Show the warnings"))
        self.clicked.connect(lambda: scroll_to(preflight))
        preflight.checked.connect(self._count)
        self._count()

    def _count(self) -> None:
        found = self._preflight.lights.warnings
        self.setVisible(bool(found))
        if found:
            self.setIcon(icon(f"light-{found[0].level.value}"))
            self.setText(tr_n("{} warning", "{} warnings", len(found)).format(len(found)))
