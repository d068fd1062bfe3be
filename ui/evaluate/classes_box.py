"""A table to map the values of labels to a model's classes, shown where they do not match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from qgis.core import QgsVectorLayer
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QGroupBox, QLabel, QVBoxLayout, QWidget

from ...protocol import ClassInfo, ClassValue, OrthomaskError
from ...protocol.matching import finds_any, lacking
from ..label.class_table import MappingTable
from ..toolkit.words import tr
from .classes import fitting, nothing_fits

SHOWN = 5


class ClassesBox(QGroupBox):
    """Hidden while every value of the labels is a class of the model.

    Args:
        classes: the model's; empty if they are not known, and then nothing is mapped.
    """

    changed = pyqtSignal()

    def __init__(self, classes: Sequence[ClassInfo], parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Classes"), parent)
        self._classes = tuple(classes)
        self._mapping: tuple[ClassValue, ...] = ()
        self._key: tuple[str, str, tuple[ClassInfo, ...]] = ("", "", ())
        self._chosen: dict[tuple[str, str, tuple[ClassInfo, ...]], dict[str, int]] = {}
        self._error: Optional[OrthomaskError] = None
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.table = MappingTable()
        self.table.changed.connect(self._note_choice)
        layout = QVBoxLayout(self)
        layout.addWidget(self.words)
        layout.addWidget(self.table)
        self.hide()

    @property
    def mapping(self) -> tuple[ClassValue, ...]:
        """The class of each value, as chosen; empty if nothing has to be mapped."""
        chosen = self._chosen.get(self._key, {})
        return tuple(
            ClassValue(entry.source, chosen.get(entry.source, entry.value), entry.called) for entry in self._mapping
        )

    def look(
        self, labels: Optional[QgsVectorLayer], field: str, own: Sequence[ClassInfo], *, again: bool = False
    ) -> None:
        """Match the values of an attribute with the model's classes, and show the table if some do not.

        Args:
            own: the classes of the label project, if there is one.
            again: read the values again even of the same layer: some providers take long.
        """
        key = (labels.id() if labels is not None else "", field, tuple(own))
        if key == self._key and not again:
            return
        self._key, self._mapping, self._error = key, (), None
        if labels is not None and field and self._classes:
            try:
                self._mapping = fitting(labels, field, own, self._classes)
            except OrthomaskError as error:
                self._error = error
        self._show(labels is not None and not field)

    def problem(self) -> str:
        """Why nothing can be evaluated, with the remedy; empty if it can."""
        error = self._error
        if error is None and self._mapping and not finds_any(self.mapping):
            error = nothing_fits(self._key[1], self._classes)
        return f"{error.sentence} {error.remedy}" if error else ""

    def _show(self, all_of_one: bool) -> None:
        """Show the values to map, or that all labels are of one class though the model has several."""
        strange = bool(lacking(self._mapping))
        if strange:
            self.table.show_mapping(self.mapping, self._classes)
        self.table.setVisible(strange)
        told = tr("All labels count as “{}”.").format(self._classes[0].name) if len(self._classes) > 1 else ""
        self.words.setText(told if all_of_one else self._words())
        self.setVisible(bool(self.words.text()))

    def _words(self) -> str:
        names = lacking(self.mapping)
        told = ", ".join(f"“{name}”" for name in names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        return self.problem() or (
            tr("The model has no class for {}: counted as background.").format(told) if names else ""
        )

    def _note_choice(self) -> None:
        self._chosen[self._key] = {entry.source: entry.value for entry in self.table.mapping}
        self.words.setText(self._words())
        self.changed.emit()
