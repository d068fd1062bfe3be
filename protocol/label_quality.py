"""Requests and results of label quality: labels that are probably missing, wrong, double or shifted."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from .errors import require
from .labelled import Areas, Labels
from .values import Existing, Image
from .words import tr

FINDINGS = "findings"
"""The layer of an `InspectRequest`'s output, worst first: `kind` (a `Fault`), `severity` (0 to 1), `class`, `reason` in
words, `layer` of the labels with the feature ids `label` and `other` (-1 for none), and for a shift how far to move
labels: `east_m` and `north_m`, and `x` and `y` in the units of the layer's CRS (else null)."""


class Fault(str, enum.Enum):
    """What is probably wrong."""

    SHIFTED = "shifted"
    """The labels lie beside what the image shows."""
    UNLABELLED = "unlabelled"
    """The model is sure of an object that nobody labelled."""
    CONTRADICTED = "contradicted"
    """The model is sure that something else is there."""
    DOUBLE = "double"
    """Two labels cover the same ground."""


@dataclass(frozen=True)
class InspectRequest:
    """List the probable faults of labels in a GeoPackage, worst first, by what a model says and by the image's edges.

    Attributes:
        labels: layers of polygons.
        areas: where the labels are complete; None for the whole image. Nothing outside is inspected.
        image: None for that of the run.
        model: embedded model or bundle to run; not used with a run.
        run_dir: folder of a finished run, instead of running the model.
        moved_path: GeoPackage for a copy of the labels moved by their shift; empty for none.
    """

    labels: tuple[Labels, ...]
    output_path: str
    areas: Optional[Areas] = None
    image: Optional[Image] = None
    model: str = "buildings"
    run_dir: str = ""
    moved_path: str = ""
    device: str = "auto"
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(len(self.labels) > 0, tr("No labels were given."), tr("Choose at least one layer of labels."))
        for path in (self.output_path, *filter(None, [self.moved_path])):
            require(path.lower().endswith(".gpkg"), tr("The result is a GeoPackage."), tr("End its name in .gpkg."))
        require(
            bool(self.run_dir or (self.image and self.model)),
            tr("Neither an image nor a run was given."),
            tr("Choose the image of the labels, or a finished run on it."),
        )
        apart = self.moved_path not in {self.output_path, *(labels.path for labels in self.labels)}
        require(apart, tr("The moved labels need a file of their own."), tr("Choose another name."))
        one = not self.moved_path or len(self.labels) == 1
        require(one, tr("Only one layer of labels can be moved."), tr("Inspect the layers one by one."))


@dataclass(frozen=True)
class Shift:
    """How far labels have to be moved to lie on what the image shows.

    Attributes:
        margin_m: half of the longer side of its 95% confidence interval.
        labels: how many it was estimated from.
        x, y: the same in the units of the CRS of the first layer of labels.
    """

    east_m: float
    north_m: float
    margin_m: float
    labels: int
    x: float
    y: float

    @property
    def margin_in_words(self) -> str:
        """In metres, never less than the tenth to which all is rounded."""
        return f"± {max(0.1, self.margin_m):.1f} m"

    @property
    def in_words(self) -> str:
        """For example “1.2 m east, 0.4 m south”."""
        directions = (
            (self.east_m, tr("{} m east"), tr("{} m west")),
            (self.north_m, tr("{} m north"), tr("{} m south")),
        )
        told = [(forth if metres > 0 else back).format(f"{abs(metres):.1f}") for metres, forth, back in directions]
        small = [abs(metres) < 0.05 for metres, _, _ in directions]
        return ", ".join(words for words, is_small in zip(told, small) if not is_small)


@dataclass(frozen=True)
class InspectResult:
    """What was found.

    Attributes:
        counts: findings by `Fault`.
        labels: how many labels were inspected.
        shift: of all labels; None if they lie on what the image shows, or if that cannot be told.
        moved_path: the copy of the labels; empty if there was no shift.
    """

    findings_path: str
    counts: dict[str, int]
    labels: int
    shift: Optional[Shift]
    moved_path: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
