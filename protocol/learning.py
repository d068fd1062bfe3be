"""Requests and results of the loop: where to check, and what is learnt from what was checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .errors import require
from .labelled import LabelledImage
from .values import Existing
from .words import tr


def usual_size_m(gsd_m: float) -> float:
    """The side of a square for a model of this resolution: 40 m, or 400 m for farmland and the like."""
    return 40.0 if gsd_m <= 1 else 400.0


@dataclass(frozen=True)
class SuggestRequest:
    """Add the squares of a run that are most worth checking to the layer `areas` of a label project.

    Attributes:
        run_dir: folder of the run.
        output_path: GeoPackage; a new label project with the model's classes if it does not exist.
        size_m: side of a square, metres; None for the usual one of the run's model.
    """

    run_dir: str
    output_path: str
    count: int = 10
    size_m: Optional[float] = None
    seed: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        require(bool(self.run_dir), tr("No run was given."), tr("Choose the folder of a run."))
        require(
            self.output_path.lower().endswith(".gpkg"),
            tr("A label project is a GeoPackage."),
            tr("End its name in .gpkg."),
        )
        require(0 < self.count <= 1000, tr("{} squares are out of range.").format(self.count), tr("Use 1 to 1,000."))
        require(
            self.size_m is None or 0.5 <= self.size_m <= 100_000,
            tr("A square of {:g} m is out of range.").format(self.size_m or 0),
            tr("Use a size between 0.5 m and 100 km."),
        )


@dataclass(frozen=True)
class SuggestResult:
    """How many squares were added to the areas, and what the user should know."""

    areas_path: str
    count: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LearnRequest:
    """Learn from the checked areas of a label project, starting from `model`, without forgetting what it knew.

    Attributes:
        data: the image, its labels, and the areas; only checked ones are learnt from.
        model: embedded model or bundle, the base.
        name: of the candidate, and the stem of its bundle; empty for the base's name and the next version's number.
        project: GeoPackage of the label project whose versions it may join; empty if the labels are one.
        existing: RESUME continues from the last checkpoint of the run folder.
        stop: learn no further: compare what the run folder holds.
    """

    data: LabelledImage
    model: str
    output_dir: str
    name: str = ""
    project: str = ""
    device: str = "auto"
    seed: int = 1
    existing: Existing = Existing.REFUSE
    stop: bool = False

    def __post_init__(self) -> None:
        require(bool(self.model), tr("No model was given."), tr("Choose the model to start from."))
        require(bool(self.output_dir), tr("No run folder was given."), tr("Choose a folder for the run."))
        require(self.data.areas is not None, tr("No areas were given."), tr("Choose the areas of a label project."))


@dataclass(frozen=True)
class Marks:
    """How well a model does on some areas, or chips."""

    iou: float
    object_precision: float
    object_recall: float
    object_f1: float


@dataclass(frozen=True)
class Gain:
    """A base and a candidate on the same areas.

    Attributes:
        areas: how many there are; of a replay set, chips.
        low, high: the 95% interval of the gain in IoU, over areas.
    """

    before: Marks
    after: Marks
    areas: int
    low: float
    high: float


@dataclass(frozen=True)
class LearnResult:
    """The candidate, and how it compares with its base.

    Attributes:
        share: of the tuned weights in the candidate, 0 to 1; 0 is the base itself.
        here: on the checked validation and test areas.
        home: on chips of the base's own training that were kept out; None without a replay set.
        better: whether it is worth using.
        verdict: the comparison in a sentence or two; why, if it is no better.
        squares: fingerprint of the areas and labels that were learnt from.
    """

    model_path: str
    run_dir: str
    share: float
    here: Gain
    home: Optional[Gain]
    better: bool
    verdict: str
    squares: str
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckLearningRequest:
    """What would be learnt from, and how long would it take?"""

    learning: LearnRequest


@dataclass(frozen=True)
class CheckLearningResult:
    """What there is to learn from.

    Attributes:
        counts: checked areas by split; unchecked ones as `todo`.
        problem: what is missing, and how long that takes, in words; empty if it can start.
        seconds: what learning is expected to take; None where that is not known.
    """

    counts: dict[str, int]
    problem: str
    seconds: Optional[float]
    device: str


@dataclass(frozen=True)
class CompareRequest:
    """Compare the objects of two runs over the same ground: gained, lost or reshaped, and whether that is right.

    Attributes:
        before, after: folders of the runs.
        truth: labels and areas; in checked areas each difference is right or wrong. None if nothing is known.
        output_path: GeoPackage for the layer `differences`.
    """

    before: str
    after: str
    output_path: str
    truth: Optional[LabelledImage] = None
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(bool(self.before and self.after), tr("Two runs are needed."), tr("Choose the folders of two runs."))
        require(
            self.output_path.lower().endswith(".gpkg"), tr("The result is a GeoPackage."), tr("End its name in .gpkg.")
        )


@dataclass(frozen=True)
class CompareResult:
    """The differences between two runs.

    Attributes:
        counts: objects by `kind`: `gained`, `lost`, `reshaped`.
        right, wrong: of these, how many are known to be an improvement, or not.
    """

    path: str
    counts: dict[str, int]
    right: int
    wrong: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionsRequest:
    """The versions of a project's model; with `use`, put one in use first; with `remove`, forget one.

    Attributes:
        project: GeoPackage of the label project.
        use: number of a version, 0 for the base, or the path of a candidate, which becomes the next version.
        remove: number of a version that is not in use; its bundle stays where it is.
    """

    project: str
    use: str = ""
    remove: str = ""

    def __post_init__(self) -> None:
        require(bool(self.project), tr("No label project was given."), tr("Choose the GeoPackage of a label project."))
        require(not (self.use and self.remove), tr("A version is either used or removed."), tr("Choose one of them."))


@dataclass(frozen=True)
class Version:
    """A model that was put in use for a project.

    Attributes:
        number: from 1; 0 is the base.
        here, home: `Gain` of its learning; None for the base, or without a replay set.
        minutes: of labelling, up to it.
        made_at: ISO 8601, UTC.
        missing: its bundle is no longer where it was.
    """

    number: int
    model_path: str
    title: str
    sha256: str
    predecessor: int
    share: float
    squares: int
    minutes: float
    made_at: str
    here: Optional[Gain] = None
    home: Optional[Gain] = None
    missing: bool = False


@dataclass(frozen=True)
class VersionsResult:
    """All versions, the base first, and the number of the one in use; -1 if the project has none."""

    versions: tuple[Version, ...]
    current: int
