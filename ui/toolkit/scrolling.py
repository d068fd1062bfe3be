"""How a panel is laid out: boxes that scroll, and a fixed bar below them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget


def scroll_to(widget: QWidget) -> None:
    """Bring a widget of a panel into view, once it is laid out: what it is in may just have been opened."""
    area = widget.parentWidget()
    while area is not None and not isinstance(area, QScrollArea):
        area = area.parentWidget()
    if area is not None:
        QTimer.singleShot(0, partial(area.ensureWidgetVisible, widget))


def lay_out(panel: QWidget, boxes: Iterable[QWidget], bar: QWidget) -> None:
    """Fill a panel."""
    inner = QWidget()
    inner_layout = QVBoxLayout(inner)
    for box in boxes:
        inner_layout.addWidget(box)
    inner_layout.addStretch()
    scroll = QScrollArea()
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidgetResizable(True)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # its children take the focus
    scroll.setWidget(inner)
    layout = QVBoxLayout(panel)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(scroll, 1)
    layout.addWidget(bar)
