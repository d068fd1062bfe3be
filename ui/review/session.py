"""A review of one run into one label project: squares come into view, their drafts are corrected and accepted."""

from __future__ import annotations

from functools import partial
from typing import Optional

from qgis.core import QgsGeometry, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ...protocol import ErrorCode, OrthomaskError
from ..label.attributes import (
    AREA_ATTRIBUTES,
    LABEL_ATTRIBUTES,
    complete,
    delete_features,
    require_free,
    write_features,
)
from ..label.project import ROLE, edit
from ..toolkit.present import present
from ..toolkit.words import tr
from .draft_store import DraftStore
from .drafts import DRAFTS, Layout
from .square_view import SquareView
from .squares import Square, mark_checked, squares_of, take_back

HIDDEN = "orthomask/hidden"
"""Property in the layer tree of polygons that are hidden while a square is in view."""
KEEP_MS = 1000
"""Delay after a change of drafts until they are kept for the case of a crash."""


class Session(QObject):
    """At most one square is in view. Its drafts are in a layer of the QGIS project, unless it is checked.

    Args:
        iface: QGIS.
        layout: the run, and the label project.
        view: the map.
    """

    changed = pyqtSignal()
    """Another square is in view, or its drafts have changed."""

    def __init__(self, iface: QgisInterface, layout: Layout, view: SquareView) -> None:
        super().__init__()
        self._iface, self._layout, self._view = iface, layout, view
        self._store = DraftStore(layout)
        self._spent: dict[int, float] = {}
        self.square: Optional[Square] = None
        """The one in view."""
        self.is_mapped = True
        """Whether the run says anything about it."""
        self.drafts: Optional[QgsVectorLayer] = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(KEEP_MS)
        self._timer.timeout.connect(self.keep)

    @property
    def missing_classes(self) -> list[str]:
        """Names of the run's classes that the label project lacks."""
        return self._layout.missing_classes

    @property
    def squares(self) -> list[Square]:
        """All squares of the label project, in the order of checking."""
        return squares_of(self._layout.project.areas)

    def show(self, square: Square) -> None:
        """Bring a square into view, with drafts if it is to do and mapped; changed drafts of the last one are kept."""
        self._leave_square()
        self.square = square
        self._hide_polygons()
        self._view.show(square.geometry, self._layout.project.areas)
        self.is_mapped = square.checked or self._layout.is_mapped(square)
        if square.checked or not self.is_mapped:
            self._drop_drafts()
        else:
            drafts = self.drafts or self._new_drafts()
            self._layout.lay_out(drafts, square, [each for each in self.squares if each.checked])
            self._store.restore(square.number, drafts)
            self._iface.setActiveLayer(drafts)
        self.changed.emit()

    def accept(self) -> None:
        """Save the drafts as labels, then the square as checked; if the latter fails, neither.

        Raises:
            OrthomaskError: they cannot be saved; the drafts are as they were.
        """
        labels, areas = self._layout.project.labels, self._layout.project.areas
        square, drafts = present(self.square), present(self.drafts)
        self._view.note_work()
        self._require_to_do(square)
        require_free(areas)
        complete(labels, LABEL_ATTRIBUTES)
        complete(areas, AREA_ATTRIBUTES)
        added = write_features(labels, self._layout.labels_of(drafts))
        try:
            mark_checked(areas, square, self._view.seconds + self._spent.get(square.number, 0.0))
        except OrthomaskError:
            delete_features(labels, added)
            raise
        self._store.forget(square.number)
        self._spent.pop(square.number, None)
        self._view.seconds = 0.0
        self._timer.stop()
        drafts.rollBack()

    def take_back(self) -> None:
        """Save that the square in view is to be checked again; its labels stay.

        Raises:
            OrthomaskError: it cannot be saved.
        """
        square = present(self.square)
        take_back(self._layout.project.areas, square)
        self.show(next(each for each in self.squares if each.number == square.number))

    def reject(self, numbers: list[int]) -> None:
        """Remove drafts, by their IDs, as one edit."""
        drafts = present(self.drafts)
        edit(drafts)
        drafts.beginEditCommand(tr("Reject"))
        drafts.deleteFeatures(numbers)
        drafts.endEditCommand()
        drafts.triggerRepaint()

    def undo(self) -> None:
        """Undo the last edit of the drafts."""
        drafts = present(self.drafts)
        present(drafts.undoStack()).undo()
        drafts.triggerRepaint()

    def drafts_at(self, point: QgsGeometry) -> list[int]:
        """The smallest draft at a point of the labels' CRS."""
        found = [each for each in present(self.drafts).getFeatures() if each.geometry().contains(point)]
        return [min(found, key=lambda draft: draft.geometry().area()).id()] if found else []

    def keep(self) -> None:
        """Keep changed drafts of the square in view in the profile."""
        self._timer.stop()
        if self.square is not None and self.drafts is not None:
            self._store.keep(self.square.number, self.drafts)

    def close(self, removed: tuple[str, ...] = ()) -> None:
        """Leave the square in view; changed drafts are kept.

        Args:
            removed: IDs of layers that QGIS is about to remove.
        """
        self._leave_square()
        self._view.hide()
        self.square = None
        self._drop_drafts(removed)
        _show_polygons(QgsProject.instance())
        self.changed.emit()

    def _require_to_do(self, square: Square) -> None:
        """Raise if somebody else has checked or deleted the square: its labels would be there twice."""
        if not any(each.number == square.number and not each.checked for each in self.squares):
            sentence = tr("{} has been checked or deleted elsewhere.").format(square.name)
            remedy = tr("Go on to the next square; your drafts are kept.")
            raise OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence, remedy)

    def _leave_square(self) -> None:
        """Keep what was done in the square in view, and how long that took."""
        self.keep()
        if self.square is not None and self.drafts is not None:
            self._spent[self.square.number] = self._spent.get(self.square.number, 0.0) + self._view.seconds
            self._view.seconds = 0.0

    def _new_drafts(self) -> QgsVectorLayer:
        """An empty layer of drafts, on top of all."""
        project, drafts = QgsProject.instance(), self._layout.new_layer()
        project.addMapLayer(drafts, addToLegend=False)
        project.layerTreeRoot().insertLayer(0, drafts)
        present(drafts.undoStack()).indexChanged.connect(self._note_edit)
        self.drafts = drafts
        return drafts

    def _drop_drafts(self, removed: tuple[str, ...] = ()) -> None:
        """Remove the layer, later: QGIS may be removing layers right now."""
        if self.drafts is None:
            return
        self._timer.stop()
        present(self.drafts.undoStack()).indexChanged.disconnect(self._note_edit)
        if self.drafts.id() not in removed:
            self.drafts.rollBack()
            timer = QTimer(self.drafts)  # which ends with the layer: another one may get its ID
            timer.setSingleShot(True)
            timer.timeout.connect(partial(_remove, self.drafts.id()))
            timer.start(0)
        self.drafts = None

    def _hide_polygons(self) -> None:
        """Hide the run's polygons: drafts and labels are the same outlines."""
        node = QgsProject.instance().layerTreeRoot().findLayer(self._layout.polygons.id())
        if node is not None and node.itemVisibilityChecked():
            node.setItemVisibilityChecked(False)
            node.setCustomProperty(HIDDEN, True)

    def _note_edit(self) -> None:
        self._timer.start()
        self.changed.emit()


def tidy_up(project: QgsProject) -> None:
    """Undo what a QGIS project that was saved with a square in view has brought along."""
    project.removeMapLayers([key for key, layer in project.mapLayers().items() if layer.customProperty(ROLE) == DRAFTS])
    _show_polygons(project)


def _show_polygons(project: QgsProject) -> None:
    for node in project.layerTreeRoot().findLayers():
        if node.customProperty(HIDDEN):
            node.setItemVisibilityChecked(True)
            node.removeCustomProperty(HIDDEN)


def _remove(identity: str) -> None:
    if QgsProject.instance().mapLayer(identity) is not None:
        QgsProject.instance().removeMapLayer(identity)
