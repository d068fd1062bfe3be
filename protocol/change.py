"""Request and result of comparing the objects of two or more dates."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from .errors import require
from .values import Existing, Image
from .words import tr

CHANGES_FILE = "changes.gpkg"
CHANGES_LAYER = "changes"
"""One feature for each object that is there before or after a step from one date to the next (both, where it stayed):
geometry: of the later date, of the earlier one where it is gone. Fields: `object_id`, `kind` (a `Change`), `step` (from
1), `class`, `date_before`, `date_after`, `area_before_m2`, `area_after_m2`, `iou`, `offset_m`, `confidence_before`,
`confidence_after` (0 to 1, null where not known), `before_ids` and `after_ids` (the objects' ids in their sources,
separated by commas), `reason` in words, `review` (a `Review`), `reviewed_at`."""
LEDGER_LAYER = "ledger"
"""One feature for each object, over all dates: `object_id`, `class`, `first_seen`, `last_seen`, `times_seen`,
`flickers`, `history` (its kinds, step by step), `area_m2` at the last date it was seen."""
OFFSETS_LAYER = "offsets"
"""Points where a shift was measured: `step`, `east_m`, `north_m` (what moves the earlier date on the later one),
`error_m`, `used`."""
PROVENANCE_TABLE = "orthomask_dates"
"""One row for each date: `date`, `path`, `model`, `model_sha256`, `run_id`, `run` (its record as JSON)."""
REPORT_FILE = "changes.html"


class Change(str, enum.Enum):
    """What became of an object; the rules, with their numbers, are in `engine/change/kinds.py`."""

    UNCHANGED = "unchanged"
    NEW = "new"
    REMOVED = "removed"
    GROWN = "grown"
    SHRUNK = "shrunk"
    SPLIT = "split"
    MERGED = "merged"
    MOVED = "moved"
    REPLACED = "replaced"
    UNSURE = "unsure"


class Review(str, enum.Enum):
    """What a person says of a change."""

    NONE = ""
    RIGHT = "right"
    WRONG = "wrong"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Survey:
    """The objects of one date.

    Attributes:
        path: folder of a finished run, or a file of polygons, as GDAL names it.
        layer: of the file; empty for the first one with polygons.
        date: ISO 8601, such as `2024-05-31`, `2024-05` or `2024`; empty for the run's image date, if it has one.
        class_field: attribute of the file that names the class; empty if all are of one.
        crs: to assume where the file has none.
        image: what the objects were taken from; None for that of the run, or for none.
        name: what its layer is called, where the file is a temporary copy; for the record.
        region: a polygon layer's extent, as WKT in its CRS, within which it is complete; empty for a run's own, or for
            the convex hull of the polygons.
    """

    path: str
    layer: str = ""
    date: str = ""
    class_field: str = ""
    crs: str = ""
    image: Optional[Image] = None
    region: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        require(bool(self.path), tr("A date has no objects."), tr("Choose the folder of a run, or a polygon layer."))


@dataclass(frozen=True)
class ChangesRequest:
    """Find what changed from each date to the next; the output folder gets `CHANGES_FILE` and `REPORT_FILE`.

    Attributes:
        surveys: in the order of their dates, at least two.
        register: measure the shift between dates first, and compare objects after it; without, as they lie.
        limit_m: a shift larger than this, or an unknown one, is an error.
        anyway: go on beyond that.
    """

    surveys: tuple[Survey, ...]
    output_dir: str
    register: bool = True
    limit_m: float = 5.0
    anyway: bool = False
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(
            len(self.surveys) > 1, tr("A change needs two dates."), tr("Choose objects of an earlier and a later date.")
        )
        places = [(survey.path, survey.layer) for survey in self.surveys]
        require(
            len(set(places)) == len(places),
            tr("The same objects were given twice."),
            tr("Choose those of another date."),
        )
        require(self.limit_m > 0, tr("The largest shift is not a length."), tr("Use metres, such as 5."))


@dataclass(frozen=True)
class Registration:
    """The shift from one date to the next, on ground that stayed.

    Attributes:
        source: `images`, `objects`, or empty where it could not be measured or was not asked for; then the lengths are
            None.
        size_m: mean length of the shift.
        largest_m: at the place where it is longest.
        error_m: what remains of it, root mean square over the places that were used.
        places: how many were used.
        tried: how many were looked at.
    """

    source: str
    size_m: Optional[float]
    largest_m: Optional[float]
    error_m: Optional[float]
    places: int
    tried: int

    def exceeds(self, limit_m: float) -> bool:
        """Whether it is known to be longer somewhere."""
        return self.largest_m is not None and self.largest_m > limit_m


@dataclass(frozen=True)
class Tally:
    """How much there is of a kind in a step: objects and their area, and a 95% interval of their number.

    Attributes:
        area_m2: after; before, where the objects are gone.
        low, high: None where the accuracy of both dates is not known.
    """

    step: int
    kind: Change
    count: int
    area_m2: float
    low: Optional[float] = None
    high: Optional[float] = None


@dataclass(frozen=True)
class ChangesResult:
    """What changed.

    Attributes:
        registrations: of each step.
        compared_km2: ground on which both dates of a step have data, of each step.
        compared_share: of all ground that either date covers, of each step.
        flickering: objects that were there, gone and there again (or the other way round); in no other count.
    """

    changes_path: str
    report_path: str
    registrations: tuple[Registration, ...]
    tallies: tuple[Tally, ...]
    compared_km2: tuple[float, ...]
    compared_share: tuple[float, ...]
    objects: int
    flickering: int
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
