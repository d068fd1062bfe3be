"""Requests and results of evaluating, copying and joining models."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from .errors import require, require_threshold
from .labelled import LabelledData, Split
from .prediction import ModelSummary
from .values import Existing
from .words import tr


class Dependence(str, enum.Enum):
    """What of an image a diagnosis changes."""

    RESOLUTION = "resolution"
    """Pixels so many times as large as the model's."""
    BRIGHTNESS = "brightness"
    """All values higher or lower, by a share of the usual range of the band."""
    CONTRAST = "contrast"
    """All values so many times as far from the band's mean."""
    BLUR = "blur"
    """A Gaussian blur; its standard deviation in pixels of the model."""
    BANDS = "bands"
    """Each band replaced by its mean."""
    ORDER = "order"
    """Two bands exchanged."""


@dataclass(frozen=True)
class Probe:
    """The model's scores on a changed image.

    Attributes:
        label: what was changed, in words.
        value: how far; the number of the band or of the exchange where that is no number.
    """

    label: str
    value: float
    iou: float
    object_f1: float


@dataclass(frozen=True)
class Curve:
    """How the scores depend on one property of the image.

    Attributes:
        sentence: what it says, in plain words.
    """

    dependence: Dependence
    probes: tuple[Probe, ...]
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """What a model depends on, measured on a sample of what was evaluated.

    Attributes:
        iou: of the unchanged sample, the mean of its classes; object_f1 likewise.
        sentence: what matters most, in plain words.
        images, pixels: size of the sample.
    """

    iou: float
    object_f1: float
    curves: tuple[Curve, ...]
    sentence: str
    images: int
    pixels: int


@dataclass(frozen=True)
class EvaluateRequest:
    """Compare what a model finds with labels, and write a report into `output_dir`.

    Attributes:
        diagnosis: also measure what the model depends on, on a sample of the areas: `Diagnosis`.
        split: which areas count.
        threshold: probability from which a pixel belongs to a class; None for the model's own.
        map_path: `classes.tif` of a run in which to estimate the area of each class; empty for the areas themselves.
    """

    model: str
    data: LabelledData
    output_dir: str
    split: Split = Split.TEST
    threshold: Optional[float] = None
    map_path: str = ""
    device: str = "auto"
    existing: Existing = Existing.REFUSE
    diagnosis: bool = False

    def __post_init__(self) -> None:
        require(bool(self.model), tr("No model was given."), tr("Choose a model."))
        require(bool(self.output_dir), tr("No output folder was given."), tr("Choose a folder for the report."))
        require_threshold(self.threshold)


@dataclass(frozen=True)
class PixelScores:
    """Agreement of the pixels of one class, or of all foreground (`all`), or of all foreground in one place.

    Attributes:
        pixels: true pixels of the class or, for a place, labelled pixels.
    """

    name: str
    iou: float
    f1: float
    precision: float
    recall: float
    pixels: int


@dataclass(frozen=True)
class ObjectScores:
    """Agreement of objects of one class, matched where they overlap by an IoU of 0.5 or more."""

    name: str
    precision: float
    recall: float
    f1: float
    average_precision: float
    matched: int
    missed: int
    false: int


@dataclass(frozen=True)
class AreaEstimate:
    """The true area of a class, estimated from the map and its errors (Olofsson et al. 2014).

    Attributes:
        mapped_m2: area in the map.
        estimated_m2: corrected for the map's errors; `margin_m2` is half of its 95% confidence interval.
    """

    name: str
    mapped_m2: float
    estimated_m2: float
    margin_m2: float


@dataclass(frozen=True)
class EvaluateResult:
    """How good the model is; the report has all of it, with curves and pictures.

    Attributes:
        confusion: pixel counts, row = true class, column = predicted class, background first; `classes` names both.
        errors_path: raster of right, false and missed pixels of the first image (those of the others are named
            `errors-2.tif` and so on); empty for pictures without georeference.
        objects_path: GeoPackage of matched, missed and false objects; empty for pictures without georeference.
        best_threshold: the one with the highest IoU on the areas of `tuned_on`.
        best_iou: that of the evaluated areas at this threshold.
        tuned_on: validation if a test has such areas too; else the evaluated split, whose score it flatters.
        calibration_error: mean gap between probability and frequency, weighted by pixels (Guo et al. 2017).
    """

    report_path: str
    json_path: str
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float
    kappa: float
    pixels: tuple[PixelScores, ...]
    places: tuple[PixelScores, ...]
    objects: tuple[ObjectScores, ...]
    areas: tuple[AreaEstimate, ...]
    threshold: float
    best_threshold: float
    best_iou: float
    calibration_error: float
    errors_path: str = ""
    objects_path: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    tuned_on: Split = Split.TEST
    diagnosis: Optional[Diagnosis] = None


@dataclass(frozen=True)
class CopyModelRequest:
    """Copy a bundle under another name and title."""

    model: str
    output_path: str
    title: str = ""
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(
            self.output_path.endswith(".safetensors"),
            tr("The copy is not a bundle."),
            tr("Use a file name that ends in .safetensors."),
        )


@dataclass(frozen=True)
class EnsembleRequest:
    """Join bundles into one, whose probabilities are the mean of theirs."""

    models: tuple[str, ...]
    output_path: str
    title: str = ""
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(len(self.models) > 1, tr("An ensemble needs at least two models."), tr("Choose two or more bundles."))
        require(
            self.output_path.endswith(".safetensors"),
            tr("The ensemble is not a bundle."),
            tr("Use a file name that ends in .safetensors."),
        )


def why_not_joined(first: ModelSummary, other: ModelSummary) -> str:
    """Why two models cannot be one ensemble, as a sentence; empty if they can.

    The statistics of their bands may differ: a member of an ensemble normalises the image by its own.
    """
    classes = ([(info.value, info.name) for info in model.classes] for model in (first, other))
    conditions = (
        (first.bands == other.bands, tr("“{}” and “{}” read different bands.")),
        (
            first.card.get("dtype") == other.card.get("dtype"),
            tr("“{}” and “{}” expect different values in their bands."),
        ),
        (first.gsd_m == other.gsd_m, tr("“{}” and “{}” work at different resolutions.")),
        (next(classes) == next(classes), tr("“{}” and “{}” find different classes.")),
    )
    return next((sentence.format(other.title, first.title) for holds, sentence in conditions if not holds), "")
