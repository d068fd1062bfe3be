"""The box *Threshold*: other polygons from a run's own probabilities, at once, without running the model."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsApplication, QgsVectorLayer
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from ....protocol import SPECK_PX, OrthomaskError, PolygonOptions
from ...client.engine_client import EngineClient
from ...client.tasks import EngineTask
from ...runs import generations
from ...runs.generations import Made
from ...runs.results import PROBABILITIES, Run
from ...segment.options_box import area_box
from ...toolkit.words import briefly, in_digits, tr, tr_n
from ..context import Context
from .histogram import ConfidenceCounter, Counts, Histogram
from .remaking import Remaking
from .sketch import Sketch

LOWEST, HIGHEST = 5, 95
"""The slider's range, in hundredths."""
REST_MS = 300
"""The slider rests when it has not moved for so long."""
REFRESH_MS = 3000
"""The map is drawn again within so long, or not at all."""


class ThresholdBox(QgsCollapsibleGroupBox):
    """A slider with the objects' confidences over it, and the other choices that polygons depend on.

    While the slider moves, the map shows the pixels that reach the threshold; when it rests, the polygons in view, and
    then the layer itself. What a person changed in it is kept.

    Args:
        iface: QGIS.
        client: the engine; another one is started for this, so that neither waits for the other.
    """

    failed = pyqtSignal(object)

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Threshold"), parent)
        self._canvas = iface.mapCanvas()
        self._client = client.another()
        self._remaking: Optional[Remaking] = None
        self._sketch: Optional[Sketch] = None
        self._run: Optional[Run] = None
        self._key: tuple[str, str] = ("", "")
        self._present = self._own = Made(0.5)
        self._counts = Counts()
        self._counting: Optional[EngineTask] = None
        self._cold = True
        self.problem, self.words = QLabel(), QLabel()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.histogram = Histogram(self.slider)
        self.min_area, self.min_hole = (
            area_box(tr("Smaller polygons are dropped")),
            area_box(tr("Smaller holes are filled")),
        )
        self.simplify = QCheckBox(tr("Tidy outlines"))
        self.reset_button = QPushButton(tr("Reset"))
        self._rest, self._refreshed = QTimer(self), QTimer(self)
        self._body = QWidget()
        self._lay_out()
        self._connect()
        self.follow(Context())

    def follow(self, context: Context) -> None:
        """Work on the chosen run and its polygons."""
        problem = _problem(context)
        run, polygons = context.run, context.polygons
        key = ("", "") if problem or run is None or polygons is None else (str(run.folder), polygons.id())
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        self._body.setVisible(not problem)
        if key == self._key:
            return
        self._take_down()
        self._key = key
        if run is not None and polygons is not None and not problem:
            self._take_up(run, polygons)

    def release(self) -> None:
        """Stop what runs, and leave the canvas as it was."""
        self._take_down()
        self._client.close()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Start the engine before it is needed."""
        super().showEvent(event)
        self._warm_up()

    def enterEvent(self, event: Any) -> None:
        """Prepare the map for what the pointer is about to do."""
        super().enterEvent(event)
        if self._sketch is not None:
            self._sketch.prepare()

    def _lay_out(self) -> None:
        self.slider.setRange(LOWEST, HIGHEST)
        self.slider.setPageStep(5)
        self.slider.setAccessibleName(tr("Threshold"))
        self.slider.setToolTip(tr("Lower finds more, and makes more errors; the model does not run again"))
        self.histogram.setToolTip(tr("How many objects there are of each confidence"))
        self.simplify.setToolTip(tr("Straight walls and right angles instead of pixel steps"))
        for words in (self.problem, self.words):
            words.setWordWrap(True)
        form, line, body, layout = QFormLayout(), QHBoxLayout(), QVBoxLayout(self._body), QVBoxLayout(self)
        form.addRow(tr("Smallest polygon"), self.min_area)
        form.addRow(tr("Smallest hole"), self.min_hole)
        line.addWidget(self.simplify, 1)
        line.addWidget(self.reset_button)
        for part in (self.histogram, self.slider, self.words):
            body.addWidget(part)
        body.addLayout(form)
        body.addLayout(line)
        body.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.problem)
        layout.addWidget(self._body)

    def _connect(self) -> None:
        self.slider.valueChanged.connect(self._slide)
        for box in (self.min_area, self.min_hole):
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._change)
        self.simplify.toggled.connect(self._change)
        self.reset_button.clicked.connect(lambda: self._show(self._own))
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._settle)
        self._refreshed.setSingleShot(True)
        self._refreshed.setInterval(REFRESH_MS)
        self._refreshed.timeout.connect(self._unveil)

    def _take_up(self, run: Run, polygons: QgsVectorLayer) -> None:
        self._run = run
        self._remaking = Remaking(self._canvas, self._client, run, polygons)
        self._remaking.seen.connect(self._show_view)
        self._remaking.reported.connect(self._report)
        self._remaking.made.connect(self._finish)
        self._remaking.failed.connect(self._fail)
        self._sketch = Sketch(self._canvas, str(run.folder / PROBABILITIES), run.classes, polygons)
        self._own = generations.made_by(run.record)
        self._present = self._remaking.present
        speck = tr("automatic: {} m²").format(briefly(SPECK_PX * run.record["model"].get("gsd_m", 0) ** 2, 2))
        for box in (self.min_area, self.min_hole):
            box.setSpecialValueText(speck if run.record["model"].get("gsd_m") else tr("automatic"))
        self.reset_button.setToolTip(tr("Back to the run's own threshold, {}").format(briefly(self._own.threshold)))
        self._return()
        self._count()
        self._warm_up()

    def _take_down(self) -> None:
        """Leave the run that was followed."""
        self._rest.stop()
        self._refreshed.stop()
        if self._counting is not None:
            self._counting.abandon()
            self._counting = None
        if self._remaking is not None:
            self._remaking.release()
        if self._sketch is not None:
            self._unveil()
            self._sketch.release()
        self._remaking = self._sketch = self._run = None

    def _warm_up(self) -> None:
        if self._cold and self._remaking is not None and self.isVisible():
            self._cold = False
            self._remaking.warm_up()

    @property
    def _wanted(self) -> Made:
        """What is chosen now; what is only shown rounded stays as it is."""
        known = (self._present, self._own)
        exact = [made.threshold for made in known if _hundredths(made.threshold) == self.slider.value()]
        areas = []
        for name, box in (("min_area_m2", self.min_area), ("min_hole_m2", self.min_hole)):
            stored = [getattr(made.options, name) for made in known]
            same = [area for area in stored if round(area or 0.0, box.decimals()) == round(box.value(), box.decimals())]
            areas.append(same[0] if same else box.value() or None)
        options = PolygonOptions(areas[0], areas[1], self.simplify.isChecked())
        return Made(exact[0] if exact else self.slider.value() / 100, options)

    def _show(self, made: Made) -> None:
        self.min_area.setValue(made.options.min_area_m2 or 0)
        self.min_hole.setValue(made.options.min_hole_m2 or 0)
        self.simplify.setChecked(made.options.simplify)
        self.slider.setValue(_hundredths(made.threshold))
        self._tell()

    def _return(self) -> None:
        """Show how the polygons are now, and the map as it is."""
        choices = (self.slider, self.min_area, self.min_hole, self.simplify)
        for choice in choices:
            choice.blockSignals(True)
        self._show(self._present)
        for choice in choices:
            choice.blockSignals(False)
        self.histogram.update()
        self._rest.stop()
        self._unveil()

    def _slide(self) -> None:
        self._change()
        if self._sketch is not None:
            self._sketch.show_threshold(self.slider.value() / 100)

    def _change(self) -> None:
        self._tell()
        self._refreshed.stop()
        if self._remaking is not None:
            self._remaking.stop()
            self._rest.start()

    def _settle(self) -> None:
        """Make the polygons, now that nothing moves any more."""
        if self._remaking is None:
            return
        wanted = self._wanted
        if wanted == self._present:
            self._return()
            return
        try:
            self._remaking.start(wanted)
        except OrthomaskError as error:
            self._fail(error)

    def _show_view(self, polygons: QgsVectorLayer) -> None:
        if self._sketch is not None:
            self._sketch.show_polygons(polygons)

    def _report(self, fraction: float) -> None:
        self._tell(tr("Making all polygons: {}%").format(round(100 * fraction)))

    def _finish(self, _: int) -> None:
        if self._remaking is None:
            return
        self._present = self._remaking.present
        self._tell()
        self._count()
        self._canvas.mapCanvasRefreshed.connect(self._unveil)
        self._refreshed.start()

    def _unveil(self) -> None:
        """Show the map as it is."""
        self._refreshed.stop()
        if self._sketch is not None:
            self._sketch.clear()
        try:
            self._canvas.mapCanvasRefreshed.disconnect(self._unveil)
        except TypeError:  # it was not waited for
            return

    def _fail(self, error: OrthomaskError) -> None:
        self._return()
        self.failed.emit(error)

    def _count(self) -> None:
        """Count the objects by their confidence, in the background."""
        if self._remaking is None:
            return
        if self._counting is not None:
            self._counting.abandon()
        self._counting = EngineTask(tr("Orthomask: confidences"), ConfidenceCounter(), self._remaking.path)
        self._counting.answered.connect(self._show_counts)
        self._counting.failed.connect(self._fail_to_count)
        QgsApplication.taskManager().addTask(self._counting)

    def _fail_to_count(self, error: OrthomaskError) -> None:
        self._counting = None
        self.failed.emit(error)

    def _show_counts(self, counts: Counts) -> None:
        self._counting, self._counts = None, counts
        self.histogram.show_counts(counts)
        self._tell()

    def _tell(self, doing: str = "") -> None:
        """Say in words what the slider shows, also to those who cannot see it."""
        value, present = self.slider.value(), _hundredths(self._present.threshold)
        total, threshold = self._counts.reaching(0), in_digits(value / 100, 2)
        if value > present:
            reaching = self._counts.reaching(value)
            words = tr("{}: about {} of {} objects").format(threshold, in_digits(reaching), in_digits(total))
        elif value < present:
            words = tr("{}: counted when the slider rests").format(threshold)  # neighbours may grow together
        else:
            words = tr_n("{}: {} object", "{}: {} objects", total).format(threshold, in_digits(total))
        self.words.setText(". ".join(filter(None, (words, doing))))
        self.slider.setAccessibleDescription(words)


def _hundredths(threshold: float) -> int:
    return min(max(round(100 * threshold), LOWEST), HIGHEST)


def _problem(context: Context) -> str:
    """Why there is nothing to change, and what helps."""
    if context.run is None:
        return tr("Choose a run whose threshold you want to change.")
    if not (context.run.folder / PROBABILITIES).exists():
        return tr("The run's probabilities.tif is missing. Put it back into {}, or run the model again.").format(
            context.run.folder
        )
    if context.polygons is None or not context.polygons.isValid():
        return tr("The run's polygons are not in the project. Add them from the run history.")
    return ""
