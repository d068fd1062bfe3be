"""Requests and results of training: what from, how, and how long. A recipe is such a request in TOML."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any

from .errors import require
from .ground_truth import require_numbered
from .labelled import LabelledData
from .network import Network
from .values import ClassInfo, Existing
from .words import tr


class Loss(str, enum.Enum):
    """What is minimised; several are added up by their weights."""

    CROSS_ENTROPY = "cross_entropy"
    BINARY_CROSS_ENTROPY = "binary_cross_entropy"
    DICE = "dice"
    FOCAL = "focal"
    TVERSKY = "tversky"
    JACCARD = "jaccard"


@dataclass(frozen=True)
class LossTerm:
    """A loss and its weight.

    Attributes:
        gamma: of the focal loss, how much less sure pixels count (Lin et al. 2017).
        false_positives: their weight in the Tversky loss; that of false negatives is 1 minus this
            (Salehi et al. 2017).
    """

    loss: Loss
    weight: float = 1.0
    gamma: float = 2.0
    false_positives: float = 0.3

    def __post_init__(self) -> None:
        sensible = self.weight > 0 and self.gamma >= 0 and 0 <= self.false_positives <= 1
        require(
            sensible, tr("A loss has values out of range."), tr("Use a weight above 0, and a share between 0 and 1.")
        )


@dataclass(frozen=True)
class Objective:
    """What a training minimises, over the pixels that are known.

    Attributes:
        class_weights: of background and each class, for the entropies and the focal loss; empty for 1 each.
        border_weight: extra weight of pixels between close objects (w0 of Ronneberger et al. 2015); 0 for none.
        label_smoothing: probability that is spread over all classes, for labels that are not quite right.
    """

    terms: tuple[LossTerm, ...] = (LossTerm(Loss.CROSS_ENTROPY), LossTerm(Loss.DICE))
    class_weights: tuple[float, ...] = ()
    border_weight: float = 0.0
    label_smoothing: float = 0.05

    def __post_init__(self) -> None:
        require(len(self.terms) > 0, tr("No loss was given."), tr("Specify at least one."))
        sensible = self.border_weight >= 0 and 0 <= self.label_smoothing < 1 and all(w >= 0 for w in self.class_weights)
        require(
            sensible,
            tr("A weight or the smoothing is out of range."),
            tr("Use weights of 0 or more, and a smoothing below 1."),
        )


@dataclass(frozen=True)
class Augmentation:
    """How far training images are changed at random; every strength may be 0, every range `[1, 1]`.

    Attributes:
        scale: range of the zoom, drawn evenly on a logarithmic scale; 2 shows everything twice as large.
        flip: mirror.
        rotate: turn by any angle; otherwise by right angles only.
        brightness: largest shift, as a part of the usual range of values.
        contrast, gamma, saturation: ranges of the factors.
        colour: largest difference of a band's gain from 1.
        blur: largest blend with a blurred copy; down to minus half of it, it sharpens.
        noise: largest standard deviation of the noise, as a part of the usual range of values.
        shade: largest darkening or lightening of large soft patches (haze, cloud shadow).
        cutout: chance of a hidden block, whose pixels become unknown (DeVries and Taylor 2017).
        blank: chance of a blank black or white block, labelled as background.
    """

    scale: tuple[float, ...] = (0.6, 1.7)
    flip: bool = True
    rotate: bool = True
    brightness: float = 0.08
    contrast: tuple[float, ...] = (0.75, 1.3)
    gamma: tuple[float, ...] = (0.75, 1.3)
    saturation: tuple[float, ...] = (0.4, 1.3)
    colour: float = 0.06
    blur: float = 0.6
    noise: float = 0.01
    shade: float = 0.15
    cutout: float = 0.0
    blank: float = 0.08

    def __post_init__(self) -> None:
        for name, least in (("scale", 0.1), ("contrast", 0.1), ("gamma", 0.1), ("saturation", 0.0)):
            limits = getattr(self, name)
            ordered = len(limits) == 2 and least <= limits[0] <= limits[1] <= 10
            require(
                ordered,
                tr("augmentation.{} = {} is not a valid range.").format(name, list(limits)),
                tr("Use {:g} to 10.").format(least),
            )
        strengths = (
            self.brightness, self.colour, self.blur, self.noise, self.shade, self.cutout, self.blank,
        )  # fmt: skip
        sensible = all(0 <= strength <= 1 for strength in strengths)
        require(sensible, tr("An augmentation strength is outside 0 to 1."), tr("Use numbers between 0 and 1."))


class Optimizer(str, enum.Enum):
    """How weights are updated."""

    ADAMW = "adamw"
    MUON = "muon"


class Decay(str, enum.Enum):
    """How the learning rate falls: to zero as a cosine, to a third when validation stalls, or not at all."""

    COSINE = "cosine"
    PLATEAU = "plateau"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        epochs: an epoch is `steps` optimizer steps; validation, checkpoint and resume happen at its end.
        batch: chips of `chip_px` x `chip_px` pixels in each step, on each device.
        learning_rate: at its peak, after `warmup_steps`.
        averaging: decay of the running average of the weights, which is validated and saved; 0 for none.
        patience: epochs without a better score after which training stops; 0 for never.
        clip_norm: gradients longer than this are shortened; 0 for never.
        frozen_epochs: first epochs, in which the encoder of the base model is not trained.
        precision: `auto`, or Lightning's name for it such as `bf16-mixed` or `32-true`.
        workers: processes that prepare chips; 0 prepares them in the main process.
    """

    epochs: int = 40
    steps: int = 100
    batch: int = 8
    chip_px: int = 256
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float = 0.001
    weight_decay: float = 0.02
    warmup_steps: int = 100
    decay: Decay = Decay.COSINE
    averaging: float = 0.99
    patience: int = 0
    clip_norm: float = 1.0
    frozen_epochs: int = 0
    precision: str = "auto"
    workers: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        some = min(self.epochs, self.steps, self.batch, self.chip_px) > 0
        require(some, tr("The schedule has no steps."), tr("Use numbers above 0."))
        require(
            0 < self.learning_rate < 1,
            tr("The learning rate {} is out of range.").format(self.learning_rate),
            tr("Try 0.001."),
        )
        least = min(self.warmup_steps, self.patience, self.clip_norm, self.frozen_epochs, self.workers) >= 0
        require(least and self.weight_decay >= 0, tr("A number in the schedule is negative."), tr("Use 0 or more."))
        require(0 <= self.averaging < 1, tr("The averaging is outside 0 to 1."), tr("Try 0.99."))


FINE_TUNING = Schedule(
    epochs=10, steps=30, chip_px=128, learning_rate=0.002, warmup_steps=20, averaging=0.95, frozen_epochs=3
)
"""Suits a training that starts from a model, on a few small areas (`benchmarks/finetune.py`)."""


class Tracker(str, enum.Enum):
    """Where curves go besides `metrics.csv` and TensorBoard's files, which are always written."""

    WANDB = "wandb"
    MLFLOW = "mlflow"


@dataclass(frozen=True)
class Hardware:
    """What Lightning trains on: which device, how many of them on how many machines, and by which strategy."""

    device: str = "auto"
    devices: int = 1
    machines: int = 1
    strategy: str = "auto"


@dataclass(frozen=True)
class TrainRequest:
    """Train a U-Net, from scratch or from a bundle, into the run folder `output_dir`.

    Attributes:
        model: embedded model or bundle to start from; empty to start from random weights.
        name: of the new model, and the stem of its bundle.
        gsd_m: resolution that the model works at; 0 for that of `model`, or else of the finest image.
        bands: names or numbers; empty for those of `model`, or else all of the first image.
        classes: empty for those of the labels, or else of `model`.
        network: of a model from scratch; one that starts from a bundle has the bundle's.
        threshold: the finished model's, 0.1 to 0.9; 0 for the one with the highest IoU in validation.
        existing: RESUME continues from the last checkpoint of the run folder.
    """

    data: LabelledData
    output_dir: str
    model: str = ""
    name: str = "model"
    title: str = ""
    gsd_m: float = 0.0
    bands: tuple[str, ...] = ()
    classes: tuple[ClassInfo, ...] = ()
    network: Network = Network()
    objective: Objective = Objective()
    threshold: float = 0.0
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    hardware: Hardware = Hardware()
    trackers: tuple[Tracker, ...] = ()
    licence: str = ""
    attribution: str = ""
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(bool(self.output_dir), tr("No run folder was given."), tr("Choose a folder for the run."))
        plain = bool(self.name) and not set(self.name) & set('/\\:*?"<>|')
        require(plain, tr("“{}” is not a valid file name.").format(self.name), tr("Use letters, digits and dashes."))
        require(
            self.gsd_m == 0 or 0.005 <= self.gsd_m <= 1000,
            tr("{} m per pixel is out of range.").format(self.gsd_m),
            tr("Specify the resolution in metres."),
        )
        sensible = self.threshold == 0 or 0.1 <= self.threshold <= 0.9
        require(
            sensible,
            tr("The threshold {} is out of range.").format(self.threshold),
            tr("Use 0.1 to 0.9, or 0 to find the best one."),
        )
        if self.classes:
            require_numbered(self.classes)


@dataclass(frozen=True)
class TrainResult:
    """The best model of a training, and how it got there.

    Attributes:
        scores: of the best epoch on the validation areas: `iou`, `f1`, `precision`, `recall`.
        base_scores: of the model it started from, on the same areas, before it learnt; empty if from scratch, or if
            that model knows none of the classes.
        waiting_share: part of the training time in which the device waited for chips.
        stopped: why it ended: `finished`, `early` (patience), `diverged`.
    """

    model_path: str
    run_dir: str
    epochs: int
    best_epoch: int
    scores: dict[str, float]
    threshold: float
    images_per_second: float
    waiting_share: float
    seconds: float
    stopped: str = "finished"
    warnings: tuple[str, ...] = ()
    base_scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchOption:
    """A field of the training and the values to try, each as JSON.

    Attributes:
        name: path of the field, such as `schedule.learning_rate`.
    """

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        require(len(self.values) > 0, tr("“{}” has no values to try.").format(self.name), tr("Specify one or more."))

    def parsed(self) -> list[Any]:
        """The values."""
        try:
            return [json.loads(value) for value in self.values]
        except ValueError:
            return list(self.values)


@dataclass(frozen=True)
class SearchRequest:
    """Train with every combination of some options, or with some drawn at random, and compare them.

    Attributes:
        training: what is common to all; its `output_dir` holds a run folder for each trial.
        trials: how many combinations to draw at random; 0 tries all.
    """

    training: TrainRequest
    options: tuple[SearchOption, ...]
    trials: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        require(len(self.options) > 0, tr("There is nothing to search."), tr("Specify at least one option."))
        require(self.trials >= 0, tr("The number of trials is negative."), tr("Use 0 for all."))


@dataclass(frozen=True)
class Trial:
    """One combination and how good it was. `error` says why there is no score."""

    options: dict[str, Any]
    run_dir: str
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class SearchResult:
    """All trials, the best first; also in `trials.csv`."""

    table_path: str
    trials: tuple[Trial, ...]
