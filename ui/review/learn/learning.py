"""Learning from the checked squares: what is frozen for it, and the job, remembered until its result is used."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional

from qgis.PyQt.QtCore import QObject

from ....protocol import (
    BACKGROUND,
    OVERLAP_PX,
    UNKNOWN,
    CheckLearningRequest,
    ClassInfo,
    ClassValue,
    ErrorCode,
    Existing,
    Image,
    LearnRequest,
    LearnResult,
    OrthomaskError,
    PredictRequest,
    from_json,
    to_json,
)
from ....protocol.matching import finds_any, fitted
from ...client.engine_client import EngineClient, Feedback
from ...label.project import CLASS_FIELD, LabelProject
from ...label.sources import FrozenAreas, GroundTruth, LabelSource, Rendering
from ...layers.reading import with_access
from ...models.own_models import bands_of, base_of, classes_of, gsd_of
from ...runs.folders import new_folder
from ...runs.results import Run
from ...segment.repeating import Layer, layer_of, require_file
from ...toolkit.settings import DEVICE, LEARNING
from ...toolkit.words import tr
from ...train.data import DATA_DIR, FrozenLayers
from ...train.job import LongJob, is_complete

FOLDER = "Orthomask"
"""Next to a label project: the run folders of its learnings, which hold its versions."""


@dataclass(frozen=True)
class Learning:
    """A learning, and what its result is for.

    Attributes:
        project: path of the label project.
        run: folder of the run that was reviewed.
        result: None until it has ended.
    """

    request: LearnRequest
    project: str
    run: str
    result: Optional[LearnResult] = None


def remembered() -> Optional[Learning]:
    """The last learning, unless its result was used or discarded."""
    try:
        return from_json(Learning, json.loads(LEARNING.get() or "null"))
    except (OrthomaskError, ValueError):
        return None


class LearningJob(LongJob):
    """One learning at a time. A finished one stays in `learning` until it is used or discarded."""

    def __init__(self, client: EngineClient, parent: Optional[QObject] = None) -> None:
        self.learning = remembered()
        super().__init__(client, parent)

    def learn(self, plan: Plan, project: LabelProject, run: Run) -> None:
        """Learn into a new run folder beside the project."""
        folder = Path(new_folder(str(Path(project.path).parent / FOLDER), project.name, "learning"))

        self._about = project.path, str(run.folder)
        self.start(lambda feedback: plan.request(folder, folder / DATA_DIR, feedback))

    def settle(self) -> None:
        """Forget the learning; its files stay."""
        self.learning = None
        LEARNING.reset()

    def _title(self, request: LearnRequest) -> str:
        return tr("Orthomask: learning from {}").format(request.data.place)

    def _unfinished(self) -> Optional[LearnRequest]:
        learning = self.learning
        if learning is None or learning.result is not None:
            return None
        request = learning.request
        return request if is_complete(request.output_dir, [request.data]) else None

    def _remember(self, request: LearnRequest) -> None:
        self._keep(Learning(request, *self._about))

    def _keep(self, learning: Learning) -> None:
        self.learning = learning
        LEARNING.set(json.dumps(to_json(learning)))

    def _finish(self, result: LearnResult) -> None:
        if self.learning is not None:
            self._keep(replace(self.learning, result=result))
        super()._finish(result)

    def _forget(self) -> None:
        self.request = None
        if self.learning is not None and self.learning.result is None:
            self.settle()

    def _halt(self) -> None:
        """Let the engine compare the best so far with the base."""
        if self.request is not None:
            request = replace(self.request, existing=Existing.RESUME, stop=True)
            self._run(self._title(request), self._client, request, self._finish)


@dataclass(frozen=True)
class Plan:
    """What would be learnt from now, frozen from QGIS's layers, and on top of which model.

    Attributes:
        project: path of the label project.
    """

    layers: FrozenLayers
    model: str
    project: str

    @classmethod
    def of(cls, run: Run, project: LabelProject) -> Plan:
        """Freeze labels and areas, with unsaved edits. Main thread only.

        Raises:
            OrthomaskError: the run's image or the base is gone, the project is read-only, or a layer cannot be used.
        """
        _require_writable(project.path)
        request = run_request(run)
        model = base_of(request.model)
        truth = truth_on(request.image, project, _mapping(project.classes, classes_of(model)), model)
        return cls(FrozenLayers(project.name, truth), model, project.path)

    def request(self, folder: Path, data: Path, feedback: Feedback, *, rendered: bool = True) -> LearnRequest:
        """Write copies into the folder `data`, and make the request to learn into `folder`; any thread.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: a copy cannot be written.
        """
        (image,) = self.layers.write(data, feedback, rendered=rendered).projects
        return LearnRequest(image, self.model, str(folder), project=self.project, device=DEVICE.get())

    def check(self) -> Callable[[Path, Feedback], CheckLearningRequest]:
        """What `SnapshotClient` calls to ask what there is to learn from."""
        return functools.partial(_check, self)


def _require_writable(path: str) -> None:
    """Raise if a label project is read-only: what is learnt could not be used."""
    if not (os.access(path, os.W_OK) and os.access(Path(path).parent, os.W_OK)):
        remedy = tr("Copy the label project to a folder of your own, and open it there.")
        raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, tr("“{}” cannot be written.").format(path), remedy)


def _check(plan: Plan, folder: Path, feedback: Feedback) -> CheckLearningRequest:
    return CheckLearningRequest(plan.request(folder, folder, feedback, rendered=False))


def run_request(run: Run) -> PredictRequest:
    """What a run was asked for, with what is needed to open its image. Main thread only.

    Raises:
        OrthomaskError: this version cannot read it.
    """
    request = from_json(PredictRequest, run.record["request"])
    return replace(request, image=with_access(request.image))


def truth_on(image: Image, project: LabelProject, mapping: tuple[ClassValue, ...], model: str) -> GroundTruth:
    """The labels and areas of a project on a run's image, as a model reads it. Main thread only.

    Raises:
        OrthomaskError: the image is gone, or a layer cannot be used.
    """
    source = LabelSource(project.labels, CLASS_FIELD, mapping)
    if image.rendered is None:
        require_file(image)
        return GroundTruth(image, (source.freeze(),), FrozenAreas.of(project.areas))
    layer, rendering = rendered_layer(image), Rendering(gsd_of(model), OVERLAP_PX)
    truth = GroundTruth.of(layer, [source], project.areas, rendering=rendering)
    return truth.read_as_chosen(layer, bands_of(model))


def rendered_layer(image: Image) -> Layer:
    """The layer that a run's picture was rendered from. Main thread only.

    Raises:
        OrthomaskError: the QGIS project does not have it.
    """
    layer = layer_of(image)
    if layer is None:
        sentence = tr("The layer “{}” that the run was made from is not in the project.")
        name = image.rendered.name if image.rendered else image.path
        remedy = tr("Add it to the project, then try again.")
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence.format(name), remedy)
    return layer


def _mapping(classes: Sequence[ClassInfo], known: Sequence[ClassInfo]) -> tuple[ClassValue, ...]:
    """The model's class for each value of the labels, by name; none for a model that the engine cannot read, either.

    Raises:
        OrthomaskError: none is a class of the model.
    """
    if not known:
        return ()
    plain = [(text, text) for text in (str(BACKGROUND), str(UNKNOWN), "")]
    mapping = fitted([*plain, *((str(info.value), info.name) for info in classes)], known)
    if not finds_any(mapping):
        names = ", ".join(f"“{info.name}”" for info in classes)
        sentence = tr("The model finds no class of the labels: {}.").format(names)
        remedy = tr("Choose a model of these classes, or other labels.")
        raise OrthomaskError(ErrorCode.LABELS_CLASSES, sentence, remedy)
    return mapping
