"""How a panel is laid out: boxes that scroll, and a fixed bar below them."""

from __future__ import annotations

from collections.abc import Iterable

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget


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
