"""The box *Why?*: explains an object of a run that is clicked, and shows where the run is weak."""

from __future__ import annotations

import html
from typing import Any, Optional, Protocol, Union

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsVectorLayer,
)
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ...protocol import (
    Cancelled,
    Existing,
    ExplainRequest,
    ExplainResult,
    Explanation,
    OrthomaskError,
    UncertaintyRequest,
    UncertaintyResult,
)
from ..client.tasks import Client
from ..layers.map_tools import PointTool
from ..layers.objects import object_at
from ..runs.results import Run
from ..runs.uncertainty import MEANINGS
from ..toolkit.icons import icon
from ..toolkit.run_bar import RunBar
from ..toolkit.scrolling import scroll_to
from ..toolkit.words import briefly, mark, tr
from . import weakness
from .asking import Explaining, questions
from .explanations import title
from .shown import ShownExplanations

ADVICE = mark("Click an object, or a place where the model missed one. Esc ends.")
TIPS = {
    Explanation.GRAD_CAM: mark("Where the network sees features that raise the probability; a second or two"),
    Explanation.OCCLUSION: mark("How much the probability falls when a part of the image is hidden; some seconds"),
    Explanation.ACTIVATIONS: mark("The three channels of a stage of the network that respond most to the object"),
}

USUAL_STAGE = "decoder.0"
"""What the engine takes if none is named."""


class Reviewed(Protocol):
    """What is reviewed: a run, and the layer of its polygons."""

    @property
    def run(self) -> Optional[Run]:
        """The run."""

    @property
    def polygons(self) -> Optional[QgsVectorLayer]:
        """Its objects."""


class WhyBox(QgsCollapsibleGroupBox):
    """Collapsed at first.

    Args:
        iface: QGIS, for its map.
        client: the engine.
    """

    failed = pyqtSignal(object)
    """The `OrthomaskError` that says why nothing can be explained."""

    def __init__(self, iface: QgisInterface, client: Client, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Why?"), parent)
        self._canvas = iface.mapCanvas()
        self._run: Optional[Run] = None
        self._polygons: Optional[QgsVectorLayer] = None
        self._tool = PointTool(self._canvas)
        self._shown = ShownExplanations()
        self._explaining = Explaining(client, self)
        self._told: list[str] = []
        self.methods = {method: QCheckBox(title(method)) for method in Explanation}
        self.stage = QLineEdit()
        self.words = QLabel()
        self.run_bar = RunBar()
        self.clear_button = QPushButton(tr("Clear"))
        self.weak_button = QPushButton(tr("Where is it weak?"))
        self.mirror = QCheckBox(tr("Mirror the image, too"))
        self._lay_out()
        self._connect()
        self._show_ready()
        self.setCollapsed(True)

    def follow(self, reviewed: Reviewed) -> None:
        """Explain objects of this run from now on; explanations of another one are removed."""
        before = self._run.folder if self._run else None
        self._run, self._polygons = reviewed.run, reviewed.polygons
        if before != (self._run.folder if self._run else None):
            self._tool.leave()
            self.clear()
            self._show_ready()

    def clear(self) -> None:
        """Stop what runs, and remove the explanations."""
        self._explaining.stop()
        self._shown.clear()
        self._told = []
        self._say("")
        self.run_bar.stop("")

    def release(self) -> None:
        """Stop what runs, and leave map and project as they were."""
        self._canvas.mapToolSet.disconnect(self._note_tool)
        self._tool.leave()
        self._tool.deleteLater()
        self.clear()

    def _lay_out(self) -> None:
        for method, check in self.methods.items():
            check.setChecked(method is not Explanation.ACTIVATIONS)
            check.setToolTip(tr(TIPS[method]))
        self.stage.setPlaceholderText(USUAL_STAGE)
        self.stage.setToolTip(
            tr("Of Grad-CAM and activations: a name in the drawing of the network, such as encoder.4; empty: decoder.0")
        )
        self.clear_button.setToolTip(tr("Remove the explanations from the map"))
        self.weak_button.setToolTip(tr("Add a layer that shows where in this run the model is unsure"))
        self.mirror.setToolTip(tr("Also run the model on the mirrored image: takes four times as long as the run"))
        self.run_bar.run_button.setIcon(icon("explain"))
        self.run_bar.run_button.setCheckable(True)
        self.run_bar.cancel_button.setToolTip(tr("Stop now"))
        self.run_bar.add_button(self.clear_button)
        self.words.setWordWrap(True)
        body = QWidget()  # expanding a box shows all its children, but not theirs
        form, layout = QFormLayout(), QVBoxLayout(body)
        for check in self.methods.values():
            check.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            form.addRow(check)
        form.addRow(tr("Stage"), self.stage)
        layout.addLayout(form)
        for widget in (self.run_bar, self.words, self.weak_button, self.mirror):
            layout.addWidget(widget)
        layout.setContentsMargins(0, 0, 0, 0)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(4, 4, 4, 4)
        outer.addWidget(body)

    def _connect(self) -> None:
        for check in self.methods.values():
            check.toggled.connect(lambda _: self._show_ready())
        self.run_bar.run_wanted.connect(self._use_tool)
        self.run_bar.cancel_wanted.connect(self._cancel)
        self.clear_button.clicked.connect(self.clear)
        self.weak_button.clicked.connect(self._ask_where_weak)
        self._tool.hovered.connect(self._hover)
        self._tool.clicked.connect(self._click)
        self._tool.given_up.connect(self._tool.leave)
        self._canvas.mapToolSet.connect(self._note_tool)
        self._explaining.begun.connect(self.run_bar.start)
        self._explaining.reported.connect(self.run_bar.report)
        self._explaining.answered.connect(self._take)
        self._explaining.failed.connect(self._fail)
        self._explaining.ended.connect(self._end)

    def _use_tool(self) -> None:
        if self._canvas.mapTool() is self._tool:
            self._tool.leave()
        else:
            self._canvas.setMapTool(self._tool)

    def _note_tool(self, now: object, _before: object) -> None:
        self.run_bar.run_button.setChecked(now is self._tool)
        if now is self._tool and not self._told:
            self._say(tr(ADVICE))

    def _show_ready(self) -> None:
        """Offer what can be done now, or say what is missing."""
        missing = ""
        if self._run is None or self._polygons is None:
            missing = tr("Choose a run.")
        elif not any(check.isChecked() for check in self.methods.values()):
            missing = tr("Choose what to show.")
        self.run_bar.run_button.setText(tr("Explain an object"))
        self.run_bar.enable(not missing, missing or tr(ADVICE))
        self.weak_button.setEnabled(self._run is not None)
        self.mirror.setEnabled(self._run is not None)

    def _hover(self, place: QgsPointXY) -> None:
        """Show the object under the pointer."""
        there = self._on_layer(place)
        feature = object_at(self._polygons, there) if self._polygons is not None and there is not None else None
        shape = None if feature is None else self._moved(feature.geometry(), self._polygons, back=True)
        self._tool.show_shape(shape)

    def _click(self, place: QgsPointXY) -> None:
        """Explain what is clicked, instead of what is being explained."""
        run, layer, there = self._run, self._polygons, self._on_layer(place)
        chosen = [method for method, check in self.methods.items() if check.isChecked()]
        if run is None or layer is None or there is None or not chosen:
            self._tool.say(
                tr("This place has no coordinates in the layer's CRS.") if chosen else tr("Choose what to show.")
            )
            return
        try:
            asked = questions(
                run, layer, there, object_at(layer, there), chosen, self.stage.text().strip(), self._shown.new_folder()
            )
        except OrthomaskError as error:
            self.failed.emit(error)
            return
        self._told = []
        self._explaining.ask(asked, tr("Orthomask: explaining an object"))

    def _on_layer(self, place: QgsPointXY) -> Optional[QgsPointXY]:
        """A place of the map in the CRS of the polygons; None if it has none there."""
        if self._polygons is None:
            return None
        moved = self._moved(QgsGeometry.fromPointXY(place), self._polygons, back=False)
        return moved.asPoint() if moved is not None else None

    def _moved(self, geometry: QgsGeometry, layer: Optional[QgsVectorLayer], *, back: bool) -> Optional[QgsGeometry]:
        """A geometry of the map in the CRS of a layer, or back; None if it has no place there."""
        if layer is None:
            return None
        crs: list[QgsCoordinateReferenceSystem] = [self._canvas.mapSettings().destinationCrs(), layer.crs()]
        result = QgsGeometry(geometry)
        try:
            result.transform(QgsCoordinateTransform(crs[back], crs[not back], QgsProject.instance()))
        except QgsCsException:
            return None
        return result

    def _ask_where_weak(self) -> None:
        run = self._run
        if run is None:
            return
        self._told = []
        if weakness.is_made(run, 1 + self.mirror.isChecked()):
            self._show_weak(run)
            return
        weakness.remove(run)
        request = UncertaintyRequest(str(run.folder), flips=self.mirror.isChecked(), existing=Existing.OVERWRITE)
        self._explaining.ask([request], tr("Orthomask: where the run is weak"))

    def _cancel(self) -> None:
        self.run_bar.cancel_button.setEnabled(False)
        self.run_bar.status.setText(tr("Cancelling…"))
        self._explaining.cancel()

    def _take(self, asked: Union[ExplainRequest, UncertaintyRequest], answer: Any) -> None:
        if isinstance(asked, ExplainRequest):
            self._show_explanation(asked.method, answer)
        elif self._run is not None:
            self._show_weak(self._run, answer)

    def _show_explanation(self, method: Explanation, result: ExplainResult) -> None:
        self._shown.add(method, result)
        warned = [
            warning for warning in result.warnings if not any(html.escape(warning) in told for told in self._told)
        ]
        self._tell(title(method), result.sentence, *warned)

    def _show_weak(self, run: Run, answer: Optional[UncertaintyResult] = None) -> None:
        weakness.show(run)
        words = [tr(MEANINGS[0])]
        if answer is not None:
            percent = briefly(round(100 * answer.unsure_share, 1))
            words = [tr("Pixels of which the model is unsure: {}%").format(percent), *words, *answer.warnings]
        self._tell(tr("Where is it weak?"), *words)

    def _fail(self, error: OrthomaskError) -> None:
        self.run_bar.stop(error.sentence if isinstance(error, Cancelled) else "")
        self._note_tool(self._canvas.mapTool(), None)
        if not isinstance(error, Cancelled):
            self.failed.emit(error)

    def _end(self) -> None:
        self.run_bar.stop("")

    def _tell(self, head: str, *sentences: str) -> None:
        self._told.append(f"<p><b>{html.escape(head)}</b>: {html.escape(' '.join(sentences))}</p>")
        self._say("".join(self._told))
        scroll_to(self.words)

    def _say(self, words: str) -> None:
        self.words.setText(words)
        self.words.setVisible(bool(words))
