"""What is asked of the engine about an object, and its answers, one method after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from qgis.core import QgsApplication, QgsFeature, QgsPointXY, QgsVectorLayer
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ...protocol import ErrorCode, Existing, ExplainRequest, Explanation, OrthomaskError, PredictRequest, from_json
from ..client.tasks import Client, EngineTask
from ..layers.sources import crs_name
from ..runs.results import Run
from ..toolkit.present import present
from ..toolkit.words import tr


def questions(
    run: Run, layer: QgsVectorLayer, place: QgsPointXY, feature: Optional[QgsFeature],
    methods: Sequence[Explanation], stage: str, folder: Path,
) -> list[ExplainRequest]:  # fmt: skip
    """What to ask about an object of a run, or about a place where it has none.

    Args:
        place: in the layer's CRS.
        folder: for the answers.

    Raises:
        OrthomaskError: the run's record does not say what it was made from.
    """
    try:
        made = from_json(PredictRequest, run.record["request"])
    except OrthomaskError as error:
        sentence = tr("This run does not say which image and which model it was made with.")
        remedy = tr("Run the model again.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy, str(error)) from error
    asked: dict[str, Any] = {
        "image": made.image, "model": made.model, "model_sha256": run.record["model"]["sha256"],
        "x": place.x(), "y": place.y(), "crs": crs_name(layer.crs()), "stage": stage, "existing": Existing.OVERWRITE,
    }  # fmt: skip
    if feature is not None:
        asked |= {"object_wkt": feature.geometry().asWkt(), "class_value": _class_value(run, feature)}
    return [
        ExplainRequest(output_path=str(folder / f"{method.value}.tif"), method=method, **asked) for method in methods
    ]


def _class_value(run: Run, feature: QgsFeature) -> int:
    """The object's class in the run's model; 0 if it is none of these."""
    index = feature.fieldNameIndex("class_value")
    value = feature.attribute(index) if index >= 0 else None
    return next((info.value for info in run.classes if info.value == value), 0)


class Explaining(QObject):
    """Asks questions one by one; new ones take the place of those that are not answered.

    Args:
        client: the engine.
    """

    begun = pyqtSignal()
    """Another question is being asked."""
    answered = pyqtSignal(object, object)
    """The question, and its answer."""
    failed = pyqtSignal(object)
    """The `OrthomaskError` that ended them."""
    reported = pyqtSignal(float, str)
    """Fraction of the present one that is done, and what is being done."""
    ended = pyqtSignal()
    """All are answered."""

    def __init__(self, client: Client, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._client = client
        self._task: Optional[EngineTask] = None
        self._waiting: list[Any] = []

    @property
    def busy(self) -> bool:
        """Whether something is asked."""
        return self._task is not None

    def ask(self, asked: Sequence[Any], title: str) -> None:
        """Ask these requests of the protocol, in this order."""
        self.stop()
        self._waiting = list(asked)
        self._title = title
        self._next()

    def cancel(self) -> None:
        """Stop at the user's wish, which `failed` reports."""
        self._waiting = []
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """Forget what is asked; nothing is reported any more."""
        self._waiting = []
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _next(self) -> None:
        if not self._waiting:
            self.ended.emit()
            return
        asked = self._waiting.pop(0)
        self.begun.emit()
        self._task = EngineTask(self._title, self._client, asked)
        self._task.reported.connect(self.reported)
        self._task.answered.connect(lambda answer: self._take(asked, answer))
        self._task.failed.connect(self._fail)
        present(QgsApplication.taskManager()).addTask(self._task)

    def _take(self, asked: Any, answer: Any) -> None:
        self._task = None
        self.answered.emit(asked, answer)
        self._next()

    def _fail(self, error: OrthomaskError) -> None:
        self._task, self._waiting = None, []
        self.failed.emit(error)
