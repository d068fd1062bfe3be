"""Names for screen readers, for every control without text."""

from __future__ import annotations

from collections.abc import Iterator

from qgis.gui import QgsMessageBar
from qgis.PyQt.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QGroupBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QTabBar,
    QTextEdit,
    QWidget,
)

USED = (
    QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit, QAbstractItemView, QPlainTextEdit, QTextEdit, QProgressBar,
)  # fmt: skip
WHOLE = (QComboBox, QAbstractSpinBox, QLineEdit, QTabBar, QgsMessageBar)
"""Their children are parts of them."""


def used_widgets(root: QWidget) -> Iterator[QWidget]:
    """The controls inside `root`, visible or not, except buttons that get their text when shown."""
    for widget in root.findChildren(QWidget):
        blank = isinstance(widget, QPushButton) and not widget.text() and widget.icon().isNull()
        if isinstance(widget, USED) and not blank and not _is_part(widget):
            yield widget


def name_of(widget: QWidget) -> str:
    """What a screen reader calls it: its accessible name, or else its text; signs such as ▲ do not count."""
    words = widget.text() if isinstance(widget, QAbstractButton) else ""
    return str(widget.accessibleName() or (words if any(letter.isalpha() for letter in words) else ""))


def name_widgets(root: QWidget) -> None:
    """Name what has no name yet: by its label, else its tool tip, else the box that it is in."""
    labels = {label.buddy(): label.text() for label in root.findChildren(QLabel) if label.buddy() is not None}
    for widget in used_widgets(root):
        if not name_of(widget):
            widget.setAccessibleName(_name_for(widget, root, labels))


def _is_part(widget: QWidget) -> bool:
    """Whether it is a header, the corner of a table, or part of a compound control."""
    if isinstance(widget, QHeaderView) or isinstance(widget.parentWidget(), QAbstractItemView):
        return True
    place = widget.parentWidget()
    while place is not None and not isinstance(place, WHOLE):
        place = place.parentWidget()
    return place is not None


def _name_for(widget: QWidget, root: QWidget, labels: dict[QWidget, str]) -> str:
    around = list(_upwards(widget, root))
    label = next((labels[place] for place in around if place in labels), "")
    tip = next((place.toolTip() for place in around if place.toolTip()), "").partition("\n")[0]
    title = next((place.title() for place in around if isinstance(place, QGroupBox)), "")
    if isinstance(widget, QAbstractButton):  # one of several: they may share a label
        return ": ".join(filter(None, (label or ("" if tip else title), tip)))
    return label or tip or title


def _upwards(widget: QWidget, root: QWidget) -> Iterator[QWidget]:
    """The widget and its parents, up to the next box."""
    place = widget
    while place is not None and place is not root:
        yield place
        if isinstance(place, QGroupBox):
            return
        place = place.parentWidget()
