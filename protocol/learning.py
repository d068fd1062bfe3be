"""Requests and results of the loop: where to check, and what is learnt from what was checked."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import require
from .words import tr


@dataclass(frozen=True)
class SuggestRequest:
    """Add the squares of a run that are most worth checking to the layer `areas` of a label project.

    Attributes:
        run_dir: folder of the run.
        output_path: GeoPackage; a new label project with the model's classes if it does not exist.
        size_m: side of a square, metres.
    """

    run_dir: str
    output_path: str
    count: int = 10
    size_m: float = 40.0
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
            0.5 <= self.size_m <= 100_000,
            tr("A square of {:g} m is out of range.").format(self.size_m),
            tr("Use a size between 0.5 m and 100 km."),
        )


@dataclass(frozen=True)
class SuggestResult:
    """How many squares were added to the areas, and what the user should know."""

    areas_path: str
    count: int
    warnings: tuple[str, ...] = ()
