"""`orthomask:train`: a model from an image, its labels and its areas."""

from __future__ import annotations

import functools
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ...protocol import (
    FINE_TUNING,
    CheckTrainingRequest,
    CheckTrainingResult,
    Existing,
    Hardware,
    Level,
    Schedule,
    TrainRequest,
    TrainResult,
)
from ..client.engine_client import EngineClient, Feedback
from ..client.stages import Stage, told
from ..layers.vector_snapshot import PREPARATION_PERCENT
from ..models import own_models
from ..models.own_models import gsd_of
from ..toolkit.help import Section
from ..toolkit.words import briefly, in_digits, mark, time_in_words, tr
from ..train.data import DATA_DIR, recorded_data
from ..train.defaults import FROM_SCRATCH
from .base import Group, Paths, Values
from .labelled import LabelledAlgorithm
from .model_choice import DEFAULT_MODEL, model_named, model_names

SCRATCH = "from scratch"
WHOLE, REAL = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double


class TrainAlgorithm(LabelledAlgorithm):
    """A run folder with the best model."""

    NAME = "train"
    TITLE = mark("Train model")
    HELP = mark(
        "Trains a model on labels, from scratch or from an existing model.\n\n"
        "Only what lies inside an area counts: the model learns from the training areas, and the validation areas show "
        "which epoch is best. The result is a folder with the best model (.safetensors), metrics.csv, preview.png, "
        "TensorBoard's files and run.json. To resume a cancelled training run, run it again into the same folder with "
        "“Resume”."
    )
    EXAMPLE = mark(
        "Roofs that “buildings” misses: the image, the labels and areas layers of a label project with some twenty "
        "squares, start from “buildings”, 30 epochs."
    )
    TAGS = mark("training,fine-tuning,transfer learning,deep learning,u-net,own model,labels")
    GROUP = Group.TRAIN
    SECTION = Section.TRAIN

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_labelled_image()
        self.add_reading()
        self.add(
            QgsProcessingParameterEnum(
                "START", tr("Start from"), [*model_names(), SCRATCH], defaultValue=DEFAULT_MODEL, usesStaticStrings=True
            ),
            tr(
                "A model that already knows something similar learns from a few areas; training from scratch needs "
                "many, and takes longer."
            ),
        )
        self.add(
            QgsProcessingParameterFile("MODEL_FILE", tr("Model file"), extension="safetensors", optional=True),
            tr("The file of another model to start from."),
        )
        self.add(
            QgsProcessingParameterString("NAME", tr("Name"), "my-model"),
            tr("Name of the new model, in lists and as a file."),
        )
        self._add_schedule()
        self._add_number(
            "GSD", tr("Resolution (m)"), None, 0,
            tr("Metres per pixel that the model works at. Leave empty for those of the model, or else of the image."),
            kind=REAL, advanced=True,
        )  # fmt: skip
        self.add_device()
        self.add_request_limit()
        self.add_existing(tr("If the folder already contains a training run"), resumable=True)
        self.add(
            QgsProcessingParameterBoolean("KEEP", tr("Add the model to your models"), True),
            tr("A copy of it then appears among the models in Orthomask's panel."),
        )
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the training run")),
            tr("The folder of this run."),
        )
        self.addOutput(QgsProcessingOutputFile("MODEL", tr("Model")))
        for name, title in (
            ("IOU", tr("Intersection over union, on the validation areas")),
            ("F1", tr("F1, on the validation areas")),
            ("THRESHOLD", tr("Best threshold")),
            ("BEST_EPOCH", tr("Best epoch")),
            ("SECONDS", tr("Seconds it took")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, title))

    def engine(self) -> Any:
        """The engine, called once the copies of labels and areas are in the run folder."""
        return _Trainer(self._client, self._feedback)

    def processAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Values:
        """Say in the log what there is to learn from, then train."""
        self._feedback = feedback
        return super().processAlgorithm(parameters, context, feedback)

    def model(self, parameters: Values, context: QgsProcessingContext) -> str:
        """The model to start from; empty to start from scratch."""
        file = self.parameterAsFile(parameters, "MODEL_FILE", context)
        start = self.parameterAsString(parameters, "START", context)
        return file or ("" if start == SCRATCH else model_named(start))

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the layers, and whether to keep the model."""
        self._keep = self.parameterAsBool(parameters, "KEEP", context)
        return super().prepareAlgorithm(parameters, context, feedback)

    def request(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Callable[[Paths], Callable[[Feedback], TrainRequest]]:
        """What `_Trainer` calls to write the copies and make the request."""
        title = self.parameterAsString(parameters, "NAME", context)
        model = self.model(parameters, context)
        gsd_m = self.parameterAsDouble(parameters, "GSD", context)
        frozen = self.frozen(parameters, context, gsd_m or gsd_of(model), makes_classes=True)
        existing = self.existing(parameters, context)
        build = functools.partial(
            TrainRequest,
            model=model,
            name=re.sub(r"[^\w.-]+", "-", title),
            title=title,
            classes=frozen.classes,
            gsd_m=gsd_m,
            schedule=self._schedule(parameters, context, bool(model)),
            hardware=Hardware(device=self.parameterAsString(parameters, "DEVICE", context)),
            existing=existing,
        )

        def prepare(paths: Paths, feedback: Feedback) -> TrainRequest:
            folder = Path(paths["OUTPUT"])
            begun = None if existing is Existing.OVERWRITE else recorded_data(folder)
            if begun is not None:  # resume with the original data; the engine says whether it may
                return build(begun, str(folder))
            shutil.rmtree(folder / DATA_DIR, ignore_errors=True)
            return build(frozen.write(folder / DATA_DIR, feedback), str(folder))

        return lambda paths: functools.partial(prepare, paths)

    def results(self, answer: TrainResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The model and its scores; it is copied to the own models if chosen."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        iou, f1 = answer.scores.get("iou", 0.0), answer.scores.get("f1", 0.0)
        words = tr("Best in epoch {} of {}: IoU {}, F1 {}, after {}.")
        time = time_in_words(answer.seconds)
        scores = in_digits(iou, 3), in_digits(f1, 3)
        feedback.pushInfo(words.format(answer.best_epoch, answer.epochs, *scores, time))
        if self._keep:
            feedback.pushInfo(tr("Copied to {}").format(own_models.adopt(Path(answer.model_path))))
        return {
            "OUTPUT": answer.run_dir, "MODEL": answer.model_path, "IOU": iou, "F1": f1, "THRESHOLD": answer.threshold,
            "BEST_EPOCH": answer.best_epoch, "SECONDS": answer.seconds,
        }  # fmt: skip

    def _add_schedule(self) -> None:
        either = tr("Leave empty for {} when starting from a model, {} from scratch.")
        few, many, sound = FINE_TUNING, FROM_SCRATCH, Schedule()
        self._add_number("EPOCHS", tr("Epochs"), None, 1, either.format(few.epochs, many.epochs))
        rate = either.format(briefly(few.learning_rate), briefly(many.learning_rate))
        self._add_number("LEARNING_RATE", tr("Learning rate"), None, 0, rate, kind=REAL)
        steps = either.format(few.steps, many.steps)
        self._add_number("STEPS", tr("Steps per epoch"), None, 1, steps, advanced=True)
        chips = tr("Side length of the training images, a multiple of 32. {}").format(
            either.format(few.chip_px, many.chip_px)
        )
        self._add_number("CHIP_PX", tr("Chips (px)"), None, 32, chips, advanced=True)
        frozen = tr("Epochs in which only the decoder learns. {}").format(
            either.format(few.frozen_epochs, many.frozen_epochs)
        )
        self._add_number("FROZEN_EPOCHS", tr("Frozen encoder"), None, 0, frozen, advanced=True)
        for name, title, value, least, help_ in (
            ("BATCH", tr("Batch"), sound.batch, 1, tr("Chips in each step.")),
            (
                "PATIENCE",
                tr("Early stop after"),
                0,
                0,
                tr("Stop after this many epochs without a better score; 0 for never."),
            ),
            ("SEED", tr("Seed"), sound.seed, 0, tr("The same seed gives the same training.")),
        ):
            self._add_number(name, title, value, least, help_, advanced=True)

    def _add_number(
        self, name: str, title: str, value: Optional[int], least: int, help_: str, *, kind: Any = WHOLE,
        advanced: bool = False,
    ) -> None:  # fmt: skip
        parameter = QgsProcessingParameterNumber(name, title, kind, value, value is None, least)
        self.add(parameter, help_, advanced=advanced)

    def _schedule(self, parameters: Values, context: QgsProcessingContext, fine_tuning: bool) -> Schedule:
        defaults = FINE_TUNING if fine_tuning else FROM_SCRATCH

        def given(name: str, read: Callable[..., Any], otherwise: Any) -> Any:
            return otherwise if parameters.get(name) is None else read(parameters, name, context)

        steps = given("STEPS", self.parameterAsInt, defaults.steps)
        return replace(
            defaults,
            epochs=given("EPOCHS", self.parameterAsInt, defaults.epochs),
            steps=steps,
            batch=self.parameterAsInt(parameters, "BATCH", context),
            chip_px=given("CHIP_PX", self.parameterAsInt, defaults.chip_px),
            learning_rate=given("LEARNING_RATE", self.parameterAsDouble, defaults.learning_rate),
            warmup_steps=min(defaults.warmup_steps, steps),
            patience=self.parameterAsInt(parameters, "PATIENCE", context),
            frozen_epochs=given("FROZEN_EPOCHS", self.parameterAsInt, defaults.frozen_epochs),
            seed=self.parameterAsInt(parameters, "SEED", context),
        )


class _Trainer:
    """The engine, for a request that is complete only once its files are written. It checks the data first."""

    def __init__(self, client: EngineClient, log: QgsProcessingFeedback) -> None:
        self._client, self._log = client, log

    def call(self, prepare: Callable[[Feedback], TrainRequest], feedback: Feedback) -> TrainResult:
        preparation = Stage(feedback, 0, PREPARATION_PERCENT)
        request = prepare(preparation)
        self._say(
            self._client.call(CheckTrainingRequest(request), Stage(feedback, preparation.reached, preparation.reached))
        )
        result: TrainResult = told(request, self._client.call(request, Stage(feedback, preparation.reached, 100)))
        return result

    def _say(self, found: CheckTrainingResult) -> None:
        for light in found.lights:
            say = self._log.pushInfo if light.level is Level.GREEN else self._log.pushWarning
            say(f"{tr(light.level.value)}: {light.reason}")
        if found.seconds is not None:
            self._log.pushInfo(tr("About {} on {}").format(time_in_words(found.seconds), found.device))
