"""Going through squares: a list of them by rank, and buttons and keys to accept or correct what lies in each."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.core import QgsCoordinateTransform, QgsCsException, QgsGeometry, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QGridLayout,
    QGroupBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...protocol import OrthomaskError, Split
from ..client.engine_client import EngineClient
from ..label.project import SPLIT_NAMES
from ..toolkit.icons import icon
from ..toolkit.present import present
from ..toolkit.words import in_digits, time_in_words, tr, tr_n
from .context import Context
from .drafts import Layout
from .keys import ReviewKeys, Step
from .session import Session, tidy_up
from .square_view import SquareView
from .squares import Square, seconds_left

PAUSE_MS, ROW_PX, SHOWN_ROWS = 200, 22, 5
ENOUGH = 4
"""Checked squares from which on it matters what they are for."""


class SquaresBox(QGroupBox):
    """The squares of the label project. Its `bar` of buttons belongs where it does not scroll.

    Args:
        iface: QGIS, for its map and layers.
        client: the engine; not needed here.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing can be saved."""
    target_changed = pyqtSignal()
    """There are drafts in view now, or none any more."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Squares"), parent)
        self._iface = iface
        self._context = Context()
        self._session: Optional[Session] = None
        self._watched: Optional[QgsVectorLayer] = None
        self.view = SquareView(iface.mapCanvas())
        self._keys = ReviewKeys(iface.mapCanvas(), lambda: self.drafts is not None or self._square is not None)
        self._keys.pressed.connect(self._take_key)
        self._timer = _later(self, PAUSE_MS, self.refresh)
        self._tidying = _later(self, 0, self._tidy_up)  # not while QGIS is reading the project
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Squares"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.words, self.reason = QLabel(), QLabel()
        self.bar = _Bar()
        layout = QVBoxLayout(self)
        for widget in (self.words, self.reason, self.list):
            layout.addWidget(widget)
        for words in (self.words, self.reason):
            words.setWordWrap(True)
        self.list.currentRowChanged.connect(self._show_row)
        for step, button in self.bar.buttons.items():
            button.clicked.connect(lambda _=False, step=step: self._press(step))
        self.bar.close_button.clicked.connect(self.close_square)
        QgsProject.instance().layersWillBeRemoved["QStringList"].connect(self._note_removed)
        QgsProject.instance().readProject.connect(self._tidying.start)
        self.refresh()

    def release(self) -> None:
        """Leave map and project as they were."""
        QgsProject.instance().layersWillBeRemoved["QStringList"].disconnect(self._note_removed)
        QgsProject.instance().readProject.disconnect(self._tidying.start)
        self._leave()
        self._tidy_up()
        self._keys.release()
        self.view.release()

    @property
    def drafts(self) -> Optional[QgsVectorLayer]:
        """The drafts of the square in view; None if there is none, or it is checked."""
        return self._session.drafts if self._session is not None else None

    def follow(self, context: Context) -> None:
        """Show the squares of this label project."""
        same = (context.polygons, context.project) == (self._context.polygons, self._context.project)
        self._context = context
        if same:
            return
        self._leave()
        if context.run is not None and context.polygons is not None and context.project is not None:
            self._session = Session(self._iface, Layout(context.run, context.polygons, context.project), self.view)
            self._session.changed.connect(self._show_state)
        if context.project is not None:
            self._watch(context.project.areas)
        self.refresh()

    def refresh(self) -> None:
        """Read the squares anew."""
        squares = self._squares
        self.list.blockSignals(True)
        self.list.clear()
        for square in squares:
            item = QListWidgetItem(icon("accept" if square.checked else "todo"), _title(square))
            item.setToolTip(f"{square.name}: {square.reason}")
            self.list.addItem(item)
        self.list.blockSignals(False)
        self._mark_row()
        self.list.setFixedHeight(min(max(len(squares), 1), SHOWN_ROWS) * max(ROW_PX, self.list.sizeHintForRow(0)) + 6)
        self.list.setVisible(bool(squares))
        if self._square is not None and self.list.currentRow() < 0:
            self.close_square()  # it has been deleted
        self._show_state()

    def close_square(self) -> None:
        """Leave the square in view; changed drafts are kept for the next time."""
        if self._session is not None:
            self._session.close()
            self._mark_row()
            self.target_changed.emit()

    @property
    def _square(self) -> Optional[Square]:
        return self._session.square if self._session is not None else None

    @property
    def _squares(self) -> list[Square]:
        return self._session.squares if self._session is not None else []

    def _leave(self) -> None:
        """Forget the session, and the layer that was watched."""
        if self._session is not None:
            self._session.changed.disconnect(self._show_state)
            self._session.close()
            self._session = None
        if self._watched is not None:
            self._connect_layer(self._watched, on=False)
            self._watched = None

    def _watch(self, areas: QgsVectorLayer) -> None:
        self._watched = areas
        self._connect_layer(areas, on=True)

    def _connect_layer(self, layer: QgsVectorLayer, *, on: bool) -> None:
        for signal in (
            layer.featureAdded, layer.featureDeleted, layer.attributeValueChanged, layer.editingStopped,
            layer.dataChanged, layer.afterRollBack,
        ):  # fmt: skip
            signal.connect(self._wait) if on else signal.disconnect(self._wait)

    def _wait(self, *_: object) -> None:
        self._timer.start()

    def _show_row(self, row: int) -> None:
        squares = self._squares
        if 0 <= row < len(squares):
            self._show_square(squares[row])

    def _show_square(self, square: Square) -> None:
        if self._session is None or self._missing_all:
            return
        self._session.show(square)
        self._mark_row()
        self.target_changed.emit()
        self._iface.mapCanvas().setFocus()

    def _mark_row(self) -> None:
        """Mark the square in view in the list."""
        numbers = [square.number for square in self._squares]
        row = numbers.index(self._square.number) if self._square and self._square.number in numbers else -1
        self.list.blockSignals(True)
        self.list.setCurrentRow(row)
        self.list.blockSignals(False)

    def _press(self, step: Step) -> None:
        """A button was pressed: the keys work again afterwards."""
        self._take_key(step)
        self._iface.mapCanvas().setFocus()

    def _take_key(self, step: Step) -> None:
        if self._session is None or not self.bar.buttons[step].isEnabled():
            return
        self.view.note_work()
        try:
            {
                Step.NEXT: lambda: self._move(1),
                Step.PREVIOUS: lambda: self._move(-1),
                Step.ACCEPT: self._accept,
                Step.REJECT: self._reject,
                Step.UNDO: self._session.undo,
            }[step]()
        except OrthomaskError as error:
            self.failed.emit(error)

    def _move(self, by: int) -> None:
        """Go to the next or previous square in the list; at first to the first that is to do."""
        squares = self._squares
        numbers = [square.number for square in squares]
        if self._square is None or self._square.number not in numbers:
            self._show_square(next((square for square in squares if not square.checked), squares[0]))
        else:
            self._show_square(squares[(numbers.index(self._square.number) + by) % len(squares)])

    def _accept(self) -> None:
        """Accept the square and go to the next that is to do; take a checked one back."""
        session, square = self._session, self._square
        if session is None or square is None:
            return
        if square.checked:
            session.take_back()
            self.refresh()
            self.target_changed.emit()
            return
        session.accept()
        squares = self._squares
        later = [
            each for each in squares if not each.checked and (each.rank, each.number) > (square.rank, square.number)
        ]
        left = later or [each for each in squares if not each.checked]
        if left:
            self._show_square(left[0])
        else:
            self.close_square()
        self.refresh()

    def _reject(self) -> None:
        """Remove the selected drafts, or the one under the cursor."""
        drafts = self.drafts
        if self._session is None or drafts is None:
            return
        numbers = list(drafts.selectedFeatureIds()) or self._session.drafts_at(self._cursor(drafts))
        if numbers:
            self._session.reject(numbers)

    def _cursor(self, layer: QgsVectorLayer) -> QgsGeometry:
        """Where the mouse is, in the CRS of a layer."""
        canvas = self._iface.mapCanvas()
        point = QgsGeometry.fromPointXY(present(canvas.getCoordinateTransform()).toMapCoordinates(canvas.mouseLastXY()))
        crs = canvas.mapSettings().destinationCrs()
        try:
            point.transform(QgsCoordinateTransform(crs, layer.crs(), QgsProject.instance()))
        except QgsCsException:
            return QgsGeometry()
        return point

    @property
    def _missing_all(self) -> bool:
        """Whether no class of the run is in the label project: accepting would say that nothing is there."""
        context = self._context
        return (
            context.run is not None
            and self._session is not None
            and len(self._session.missing_classes) == len(context.run.classes)
        )

    def _show_state(self) -> None:
        squares, square = self._squares, self._square
        self.words.setText(self._told(squares))
        self.reason.setText(self._told_of(square) if square is not None else "")
        self.reason.setVisible(bool(self.reason.text()))
        ready = bool(squares) and not self._missing_all
        drafts = self.drafts
        self.bar.show_state(ready, square, drafts)
        self.bar.setVisible(ready)

    def _told(self, squares: list[Square]) -> str:
        """How far the review is, in words; or why it cannot begin."""
        if self._session is None:
            return tr("Squares to check appear here.")
        missing = self._session.missing_classes
        if missing:
            words = tr_n(
                "The label project has no class {}: objects of it are left out.",
                "The label project has no classes {}: objects of them are left out.",
                len(missing),
            )
            named = words.format(", ".join(f"“{name}”" for name in missing))
            if self._missing_all:
                return " ".join([named, tr("Make a label project with the classes of the run.")])
            return f"{named} {_progress(squares)}"
        return _progress(squares)

    def _told_of(self, square: Square) -> str:
        """Why a square was suggested; or that this run does not know it."""
        if self._session is not None and not self._session.is_mapped:
            return tr("The run did not map {}: choose the run that it was suggested for.").format(square.name)
        return tr("{}: {}.").format(square.name, square.reason)

    def _note_removed(self, identities: list[str]) -> None:
        """The user removes the drafts: then no square is in view."""
        drafts = self.drafts
        if self._session is not None and drafts is not None and drafts.id() in identities:
            self._session.close(tuple(identities))
            self._mark_row()
            self.target_changed.emit()

    def _tidy_up(self) -> None:
        if self.drafts is None:
            tidy_up(QgsProject.instance())


class _Bar(QWidget):
    """A button for each step, and one to close the square."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons = {
            Step.ACCEPT: QPushButton(icon("accept"), tr("Accept")),
            Step.REJECT: QPushButton(tr("Reject")),
            Step.UNDO: QPushButton(tr("Undo")),
            Step.PREVIOUS: QPushButton(tr("Previous")),
            Step.NEXT: QPushButton(tr("Next")),
        }
        self.close_button = QPushButton(tr("Close"))
        self.close_button.setToolTip(tr("Leave the square; changed drafts are kept for the next time"))
        told = {
            Step.ACCEPT: tr("The square is right now: its drafts become labels. Key {} on the map"),
            Step.REJECT: tr("Remove the draft under the cursor, or those selected. Key {} or Delete on the map"),
            Step.UNDO: tr("Undo the last change of drafts. Key {} on the map"),
            Step.PREVIOUS: tr("Go to the square before. Key {} on the map"),
            Step.NEXT: tr("Go to the next square. Key {} on the map"),
        }
        for step, button in self.buttons.items():
            button.setToolTip(told[step].format(step.key))
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        places = (Step.PREVIOUS, Step.ACCEPT, Step.NEXT, Step.REJECT, Step.UNDO)
        for place, step in enumerate(places):
            layout.addWidget(self.buttons[step], place // 3, place % 3)
        layout.addWidget(self.close_button, 1, 2)

    def show_state(self, ready: bool, square: Optional[Square], drafts: Optional[QgsVectorLayer]) -> None:
        """Enable what can be done now."""
        accept = self.buttons[Step.ACCEPT]
        accept.setText(tr("Check again") if square is not None and square.checked else tr("Accept"))
        accept.setEnabled(drafts is not None or (square is not None and square.checked))
        self.buttons[Step.REJECT].setEnabled(drafts is not None)
        self.buttons[Step.UNDO].setEnabled(drafts is not None and present(drafts.undoStack()).canUndo())
        for step in (Step.PREVIOUS, Step.NEXT):
            self.buttons[step].setEnabled(ready)
        self.close_button.setEnabled(square is not None)


def _later(owner: QWidget, pause_ms: int, call: Callable[[], None]) -> QTimer:
    """A timer that calls once, so long after it was last started."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(pause_ms)
    timer.timeout.connect(call)
    return timer


def _title(square: Square) -> str:
    state = tr("checked") if square.checked else tr("to do")
    return f"{in_digits(square.rank)}   {state} · {tr(SPLIT_NAMES[square.split])}"


def _progress(squares: list[Square]) -> str:
    checked = [square for square in squares if square.checked]
    count = len(checked)
    if not squares:
        return tr("No squares yet: suggest some above.")
    words = tr("{} of {} checked").format(in_digits(count), in_digits(len(squares)))
    left = seconds_left(squares)
    if count == len(squares):
        words = tr("All {} squares are checked").format(in_digits(count))
    elif left:
        words = tr("{}, about {} left").format(words, time_in_words(left))
    return f"{words}. {_one_sided(checked)}".strip()


def _one_sided(checked: list[Square]) -> str:
    """What is missing if all checked squares are for the same."""
    to_learn = sum(square.split is Split.TRAIN for square in checked)
    if len(checked) < ENOUGH or 0 < to_learn < len(checked):
        return ""
    if to_learn:
        return tr("All are for training: check one for validation or test, too, else accuracy stays unknown.")
    return tr("None is for training: check one that is, too, else there is nothing to learn from.")
