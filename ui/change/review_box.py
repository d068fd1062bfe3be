"""Going through changes: each fills the map, and a key says whether it is right."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Optional

from qgis.core import QgsMapLayer, QgsProject, QgsVectorLayer
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ...protocol import Change, OrthomaskError, Review
from ..label.project import LabelProject, open_projects
from ..layers.map_keys import StepKeys
from ..layers.spotlight import Spotlight
from ..toolkit.icons import icon
from ..toolkit.words import in_digits, tr, tr_n
from .answers import Answers, Found
from .keys import Step
from .layers import KINDS
from .to_learn import add_area, remove_areas

ROOM, LEAST_M = 2.0, 20.0
"""The view: so many sides of the change, and at least so many metres."""
SAID = {Step.RIGHT: Review.RIGHT, Step.WRONG: Review.WRONG, Step.UNSURE: Review.UNSURE}


class Said(NamedTuple):
    """An answer that can be undone: what was said before, and the areas that were added."""

    number: int
    before: Review
    project: Optional[LabelProject]
    areas: list[int]


class ChangeReviewBox(QGroupBox):
    """The changes of one layer. Its `bar` of buttons belongs where it does not scroll.

    Args:
        iface: QGIS, for its map.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing can be saved."""

    def __init__(self, iface: QgisInterface, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Review"), parent)
        self._canvas = iface.mapCanvas()
        self._layer: Optional[QgsVectorLayer] = None
        self._answers: Optional[Answers] = None
        self._found: Optional[Found] = None
        self._done: list[Said] = []
        self.view = Spotlight(self._canvas, ROOM, LEAST_M)
        self._keys = StepKeys(self._canvas, Step, lambda: self._found is not None and self.isVisible())
        self._keys.pressed.connect(self._take_key)
        self.words = QLabel()
        self.project_chooser = QComboBox()
        self.project_chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.project_chooser.setToolTip(
            tr("Changes found right or wrong become areas to check in this label project, for the model to learn from")
        )
        self.bar = ReviewBar()
        form, layout = QFormLayout(), QVBoxLayout(self)
        form.addRow(tr("Areas to check in"), self.project_chooser)
        layout.addWidget(self.words)
        layout.addLayout(form)
        self.words.setWordWrap(True)
        for step, button in self.bar.buttons.items():
            button.clicked.connect(lambda _=False, step=step: self._press(step))
        self.bar.close_button.clicked.connect(self.close_change)
        project = QgsProject.instance()
        project.layersAdded.connect(self._note_added)
        project.layersWillBeRemoved["QStringList"].connect(self._find_projects)
        self._find_projects()
        self.follow(None)

    def release(self) -> None:
        """Leave the canvas as it was."""
        project = QgsProject.instance()
        project.layersAdded.disconnect(self._note_added)
        project.layersWillBeRemoved["QStringList"].disconnect(self._find_projects)
        self._keys.release()
        self.follow(None)

    @property
    def project(self) -> Optional[LabelProject]:
        """The label project that areas are added to; None for none."""
        return self.project_chooser.currentData()  # type: ignore[no-any-return]

    @property
    def found(self) -> Optional[Found]:
        """The change in view; None if there is none."""
        return self._found

    def follow(self, layer: Optional[QgsVectorLayer], kind: Optional[Change] = None) -> None:
        """Review the changes of this layer, or those of one kind; None for none."""
        self.close_change()
        if layer != self._layer:
            self._done = []
        self._layer = layer
        self._answers = Answers(layer, kind) if layer is not None else None
        self.setVisible(layer is not None)
        self.bar.setVisible(layer is not None)
        self._show_state()

    def close_change(self) -> None:
        """Leave the change in view."""
        self.view.hide()
        self._found = None
        self._show_state()

    def _press(self, step: Step) -> None:
        """A button was pressed: the keys work afterwards."""
        self._take_key(step)
        self._canvas.setFocus()

    def _take_key(self, step: Step) -> None:
        if self._answers is None or not self.bar.buttons[step].isEnabled():
            return
        try:
            if step in SAID:
                self._say(SAID[step])
            elif step is Step.UNDO:
                self._undo()
            else:
                by = 1 if step is Step.NEXT else -1
                self._show(self._answers.step(self._found.number if self._found is not None else None, by))
        except OrthomaskError as error:
            self.failed.emit(error)

    def _show(self, number: Optional[int]) -> None:
        """Bring a change into view; without one, none is."""
        found = self._answers.found(number) if self._answers is not None and number is not None else None
        if found is None or self._layer is None:
            self.close_change()
            return
        self._found = found
        self.view.show(found.geometry, self._layer.crs())
        self._show_state()

    def _say(self, review: Review) -> None:
        """Save the answer, with its area, and go on; if the answer cannot be saved, no area is added."""
        found, answers, layer = self._found, self._answers, self._layer
        if found is None or answers is None or layer is None:
            return
        answers.say(found.number, review)
        project = self.project if review in (Review.RIGHT, Review.WRONG) else None
        try:
            areas = add_area(project, found, review, layer.crs()) if project is not None else []
        except OrthomaskError:
            answers.say(found.number, found.review)
            raise
        self._done.append(Said(found.number, found.review, project, areas))
        self._show(answers.next_open(found.number))

    def _undo(self) -> None:
        """Take the last answer back, and the area that came with it; its change comes into view."""
        if self._answers is None:
            return
        said = self._done[-1]
        self._answers.say(said.number, said.before)
        self._done.pop()
        if said.project is not None and said.areas and self._is_there(said.project):
            remove_areas(said.project, said.areas)
        self._show(said.number)

    def _is_there(self, project: LabelProject) -> bool:
        """Whether a label project is still open."""
        return any(each.areas == project.areas for each in open_projects(QgsProject.instance()))

    def _show_state(self) -> None:
        found = self._found
        self.words.setText(_progress(self._answers) if self._answers is not None else "")
        there = self._answers is not None and bool(self._answers.reviews)
        self.bar.show_state(there, found, undoable=bool(self._done))

    def _note_added(self, layers: list[QgsMapLayer]) -> None:
        self._find_projects()

    def _find_projects(self, removed: Collection[str] = ()) -> None:
        """Offer the open label projects; what is chosen stays so while it is there."""
        chosen = self.project
        self.project_chooser.blockSignals(True)
        self.project_chooser.clear()
        self.project_chooser.addItem(tr("none"), None)
        for each in open_projects(QgsProject.instance()):
            if not {each.labels.id(), each.areas.id()} & set(removed):
                self.project_chooser.addItem(each.name, each)
                if chosen is not None and each.areas == chosen.areas:
                    self.project_chooser.setCurrentIndex(self.project_chooser.count() - 1)
        self.project_chooser.blockSignals(False)


class ReviewBar(QWidget):
    """The change in view in words, a button for each step, and one to close the change."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.buttons = {
            Step.PREVIOUS: QPushButton(tr("Previous")),
            Step.RIGHT: QPushButton(icon("accept"), tr("Right")),
            Step.NEXT: QPushButton(tr("Next")),
            Step.WRONG: QPushButton(tr("Wrong")),
            Step.UNSURE: QPushButton(tr("Unsure")),
            Step.UNDO: QPushButton(tr("Undo")),
        }
        told = {
            Step.PREVIOUS: tr("Go to the change before. Key {} on the map"),
            Step.RIGHT: tr("The change is as told. Key {} on the map"),
            Step.NEXT: tr("Go to the next change. Key {} on the map"),
            Step.WRONG: tr("Nothing has changed, or something else has. Key {} on the map"),
            Step.UNSURE: tr("It cannot be seen. Key {} on the map"),
            Step.UNDO: tr("Take the last answer back. Key {} on the map"),
        }
        self.close_button = QPushButton(tr("Close"))
        self.close_button.setToolTip(tr("Leave the change; answers are saved already"))
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.reason, 0, 0, 1, 3)
        for place, (step, button) in enumerate(self.buttons.items()):
            button.setToolTip(told[step].format(step.key))
            layout.addWidget(button, 1 + place // 3, place % 3)
        layout.addWidget(self.close_button, 3, 2)

    def show_state(self, there: bool, found: Optional[Found], *, undoable: bool) -> None:
        """Enable what can be done now."""
        for step, button in self.buttons.items():
            button.setEnabled(undoable if step is Step.UNDO else found is not None if step in SAID else there)
        self.reason.setText(_told(found) if found is not None else "")
        for widget in (self.reason, self.close_button):
            widget.setVisible(found is not None)


def _progress(answers: Answers) -> str:
    total, counts = len(answers.reviews), answers.counts
    if not total:
        return tr("There is nothing to review.")
    done = total - counts[Review.NONE]
    words = tr_n("{} of {} change reviewed", "{} of {} changes reviewed", total).format(
        in_digits(done), in_digits(total)
    )
    if not done:
        return f"{words}."
    told = tr("{}: {} right, {} wrong, {} unsure.")
    return told.format(words, *(in_digits(counts[each]) for each in (Review.RIGHT, Review.WRONG, Review.UNSURE)))


def _told(found: Found) -> str:
    """The change in view, why it is one, and what was said of it."""
    said = {
        Review.NONE: "", Review.RIGHT: tr("reviewed: right"), Review.WRONG: tr("reviewed: wrong"),
        Review.UNSURE: tr("reviewed: unsure"),
    }[found.review]  # fmt: skip
    return " · ".join(filter(None, (f"<b>{tr(KINDS[found.kind])}</b>", found.reason, said)))
