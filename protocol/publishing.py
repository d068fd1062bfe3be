"""Requests that write results and models in formats that other programs read."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from .errors import require
from .values import Existing
from .words import tr


class RunFormat(str, enum.Enum):
    """A format for the objects of a run."""

    COCO = "coco"
    FIBOA = "fiboa"


SUFFIXES = {RunFormat.COCO: (".json",), RunFormat.FIBOA: (".geojson", ".json", ".parquet")}
"""Endings of file names, the usual one first."""


@dataclass(frozen=True)
class PageRequest:
    """Make one HTML file of a finished run.

    Attributes:
        run_dir: the folder of the run.
        credit: whose image it is, and its licence; shown on the page.
    """

    run_dir: str
    output_path: str
    credit: str = ""
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        _require_suffix(self.output_path, (".html", ".htm"))


@dataclass(frozen=True)
class PageResult:
    """A page.

    Attributes:
        objects: of the run.
        shown: those on the page.
    """

    path: str
    objects: int
    shown: int
    size_bytes: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportRunRequest:
    """Write the objects of a finished run in another format.

    Attributes:
        run_dir: the folder of the run.
        classes: names of the classes to write; empty for all, or for fiboa those that are fields.
    """

    run_dir: str
    output_path: str
    format: RunFormat
    classes: tuple[str, ...] = ()
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        _require_suffix(self.output_path, SUFFIXES[self.format])


@dataclass(frozen=True)
class ExportRunResult:
    """The written file."""

    path: str
    objects: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelItemRequest:
    """Write the card of a model as a STAC item.

    Attributes:
        model: name of an embedded model, or path of a bundle.
        href: address of the bundle, for the item; empty if it is beside the item, or deeper.
    """

    model: str
    output_path: str
    href: str = ""
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        _require_suffix(self.output_path, (".json", ".geojson"))


@dataclass(frozen=True)
class ModelItemResult:
    """The written item."""

    path: str
    warnings: tuple[str, ...] = ()


def _require_suffix(path: str, suffixes: tuple[str, ...]) -> None:
    """Raise unless a file name ends as its format does."""
    fits = Path(path).suffix.lower() in suffixes
    sentence = tr("“{}” is not a name for such a file.").format(Path(path).name)
    require(fits, sentence, tr("Use a file name that ends in {}.").format(suffixes[0]))
