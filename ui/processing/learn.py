"""`orthomask:learn`: a model that learnt from the checked areas of a label project, compared with its base."""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputBoolean,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ...protocol import (
    CheckLearningRequest,
    ErrorCode,
    Existing,
    LabelledImage,
    LearnRequest,
    LearnResult,
    OrthomaskError,
    from_json,
    to_json,
)
from ..client.engine_client import EngineClient, Feedback
from ..client.stages import Stage, told
from ..layers.vector_snapshot import PREPARATION_PERCENT
from ..models import own_models
from ..models.own_models import gsd_of
from ..toolkit.help import Section
from ..toolkit.words import in_digits, mark, time_in_words, tr
from ..train.data import DATA_DIR, REQUEST, FrozenLayers
from .base import Group, Paths, Values
from .labelled import LabelledAlgorithm


class LearnAlgorithm(LabelledAlgorithm):
    """A run folder with the candidate and the comparison."""

    NAME = "learn"
    TITLE = mark("Learn from checked areas")
    HELP = mark(
        "Makes a model better at one place without forgetting what it knew.\n\n"
        "It learns from the checked areas of a label project, and from images of the model's own training where the "
        "model has any. Then both models are compared on the checked validation and test areas, and on images that "
        "were learnt from by neither. The result is a folder with the new model (.safetensors)."
    )
    EXAMPLE = mark(
        "A town where “buildings” misses tin roofs: the image, the labels and areas layers of a label project with ten "
        "checked squares of 40 m."
    )
    TAGS = mark("fine-tuning,corrections,active learning,review,own model,labels")
    GROUP = Group.TRAIN
    SECTION = Section.TRAIN

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_labelled_image()
        self.add_reading()
        self.add_model()
        self.add(
            QgsProcessingParameterString("NAME", tr("Name"), optional=True),
            tr("Name of the new model. Leave empty for that of the model, and the number of the next version."),
        )
        whole = QgsProcessingParameterNumber.Type.Integer
        self.add(
            QgsProcessingParameterNumber("SEED", tr("Seed"), whole, 1, False, 0),
            tr("The same seed gives the same training."),
            advanced=True,
        )
        self.add_device()
        self.add_request_limit()
        self.add_existing(tr("If the folder already contains a training run"), resumable=True)
        self.add(
            QgsProcessingParameterBoolean("KEEP", tr("Add the model to your models"), False),
            tr("A copy of it then appears among the models in Orthomask's panel."),
        )
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the training run")),
            tr("The folder of this run."),
        )
        self._add_outputs()

    def engine(self) -> Any:
        """The engine, called once the copies of labels and areas are in the run folder."""
        return _Learner(self._client, self._feedback)

    def processAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """Say in the log what there is to learn from, then learn."""
        self._feedback = feedback
        return super().processAlgorithm(parameters, context, feedback)

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the layers, and whether to keep the model."""
        self._keep = self.parameterAsBool(parameters, "KEEP", context)
        return super().prepareAlgorithm(parameters, context, feedback)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Feedback], LearnRequest]]:
        """What `_Learner` calls to write the copies and make the request."""
        if self.parameterAsVectorLayer(parameters, "AREAS", context) is None:
            sentence, remedy = tr("No areas were given."), tr("Choose the areas of a label project.")
            raise OrthomaskError(ErrorCode.AREAS_EMPTY, sentence, remedy)
        model = self.model(parameters, context)
        frozen = self.frozen(parameters, context, gsd_of(model), makes_classes=False)
        existing = self.existing(parameters, context)
        build = functools.partial(
            LearnRequest,
            model=model,
            name=re.sub(r"[^\w.-]+", "-", self.parameterAsString(parameters, "NAME", context)),
            device=self.parameterAsString(parameters, "DEVICE", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
            existing=existing,
        )

        def prepare(paths: Paths, feedback: Feedback) -> LearnRequest:
            folder = Path(paths["OUTPUT"])
            begun = _begun(folder) if existing is Existing.RESUME else None
            return build(begun or _written(frozen, folder, feedback), output_dir=str(folder))

        return lambda paths: functools.partial(prepare, paths)

    def results(self, answer: LearnResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The candidate, and its scores beside its base's; it is copied to the own models if chosen."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        feedback.pushInfo(answer.verdict)
        here, home = answer.here, answer.home
        words = tr("IoU {} before, {} after; F1 of objects {} before, {} after, in {}.")
        numbers = (here.before.iou, here.after.iou, here.before.object_f1, here.after.object_f1)
        feedback.pushInfo(words.format(*(in_digits(each, 3) for each in numbers), time_in_words(answer.seconds)))
        if self._keep:
            feedback.pushInfo(tr("Copied to {}").format(own_models.adopt(Path(answer.model_path))))
        return {
            "OUTPUT": answer.run_dir, "CANDIDATE": answer.model_path, "BETTER": answer.better,
            "VERDICT": answer.verdict, "SHARE": answer.share, "IOU_BEFORE": numbers[0], "IOU_AFTER": numbers[1],
            "F1_BEFORE": numbers[2], "F1_AFTER": numbers[3], "HOME_BEFORE": home.before.iou if home else None,
            "HOME_AFTER": home.after.iou if home else None, "SECONDS": answer.seconds,
        }  # fmt: skip

    def _add_outputs(self) -> None:
        self.addOutput(QgsProcessingOutputFile("CANDIDATE", tr("Model")))
        self.addOutput(QgsProcessingOutputBoolean("BETTER", tr("Better than before")))
        self.addOutput(QgsProcessingOutputString("VERDICT", tr("The comparison in words")))
        for name, title in (
            ("SHARE", tr("Share of the newly learnt weights")),
            ("IOU_BEFORE", tr("Intersection over union before")),
            ("IOU_AFTER", tr("Intersection over union after")),
            ("F1_BEFORE", tr("F1 of objects before")),
            ("F1_AFTER", tr("F1 of objects after")),
            ("HOME_BEFORE", tr("Intersection over union at home before")),
            ("HOME_AFTER", tr("Intersection over union at home after")),
            ("SECONDS", tr("Seconds it took")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, title))


def _written(frozen: FrozenLayers, folder: Path, feedback: Feedback) -> LabelledImage:
    """Copies in the run folder, and a record of them, to resume with."""
    shutil.rmtree(folder / DATA_DIR, ignore_errors=True)
    (image,) = frozen.write(folder / DATA_DIR, feedback).projects
    (folder / DATA_DIR / REQUEST).write_text(json.dumps(to_json(image)), encoding="utf-8")
    return image


def _begun(folder: Path) -> Optional[LabelledImage]:
    """What the learning begun in a folder reads; None if none was."""
    try:
        return from_json(LabelledImage, json.loads((folder / DATA_DIR / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, OrthomaskError):
        return None


class _Learner:
    """The engine, for a request that is complete only once its files are written. It checks the data first."""

    def __init__(self, client: EngineClient, log: QgsProcessingFeedback) -> None:
        self._client, self._log = client, log

    def call(self, prepare: Callable[[Feedback], LearnRequest], feedback: Feedback) -> LearnResult:
        preparation = Stage(feedback, 0, PREPARATION_PERCENT)
        request = prepare(preparation)
        at = preparation.reached
        found = self._client.call(CheckLearningRequest(request), Stage(feedback, at, at))
        if found.problem:
            self._log.pushWarning(found.problem)
        elif found.seconds is not None:
            self._log.pushInfo(tr("About {} on {}").format(time_in_words(found.seconds), found.device))
        result: LearnResult = told(request, self._client.call(request, Stage(feedback, at, 100)))
        return result
