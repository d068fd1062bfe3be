"""Squares of a finished run, and the label project that they are added to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import shapely

from ...engine.images.raster import open_image
from ...engine.images.regions import reprojected, transformed
from ...engine.models.bundle import Bundle
from ...engine.progress import Progress
from ...engine.runs import finished
from ...engine.shapes.vector_files import (
    choose_layer,
    crs_of,
    fields_of,
    info_of,
    layers_of,
    read_column,
    require_field,
)
from ...protocol import (
    AREA_RANK,
    AREA_REASON,
    AREA_SECONDS,
    AREA_STATE,
    AREA_TODO,
    ErrorCode,
    OrthomaskError,
    PredictRequest,
    ProjectRequest,
    Split,
    SuggestRequest,
    usual_size_m,
)
from ...protocol.words import tr
from ..truth import project as projects
from ..truth.labels import image_grid
from ..truth.placing import Grid
from ..truth.vectors import read_polygons

RANDOM_SPLITS = (Split.VALIDATION.value, Split.TEST.value)
"""What squares that are drawn at random are for."""


class Square(NamedTuple):
    """A square of the run's raster: row and column in squares, and what its probabilities say.

    Attributes:
        entropy: mean over its pixels, as a share of the highest possible.
        unsure: share of its pixels with a probability that is neither low nor high.
    """

    row: int
    column: int
    entropy: float
    unsure: float


class Suggestion(NamedTuple):
    """A square to check, what for, and why."""

    square: Square
    split: Split
    reason: str


@dataclass(frozen=True)
class Run:
    """A finished run: its request, its model, and the side of a square in pixels of its rasters."""

    probabilities: Path
    request: PredictRequest
    bundle: Bundle
    size_m: float
    side: int


class There(NamedTuple):
    """What the project already has.

    Attributes:
        areas: `(N,)` those on the run's raster, in its pixels.
        total: of all areas.
        suggested, drawn: how many of them are squares, and how many of these were drawn at random.
        rank: the last square's.
    """

    areas: np.ndarray
    total: int = 0
    suggested: int = 0
    drawn: int = 0
    rank: int = 0


def open_run(request: SuggestRequest) -> Run:
    """The run in a folder, with its model.

    Raises:
        OrthomaskError: there is no finished run, or its model has changed since.
    """
    made = finished.read(request.run_dir)
    bundle, gsd_m = made.bundle(), made.gsd_m
    size_m = request.size_m or usual_size_m(gsd_m)
    return Run(made.probabilities, made.request, bundle, size_m, max(1, round(size_m / gsd_m)))


def look_at(made: Run, target: Path) -> There:
    """What is in the project, if there is one.

    Raises:
        OrthomaskError: it is no label project, or none of it lies on the run's image.
    """
    if not target.exists():
        return There(np.empty(0, object))
    path = str(target)
    for field in ("name", "split"):
        require_field(path, choose_layer(path, "areas", "areas"), field)
    _require_same_place(made, path)
    with rasterio.open(made.probabilities) as dataset:
        grid = Grid(dataset.crs.to_wkt(), dataset.transform, dataset.width, dataset.height)
    splits, fields = read_column(path, "areas", "split"), fields_of(path, "areas")
    reasons, ranks = (
        read_column(path, "areas", name) if name in fields else np.full(len(splits), "", object)
        for name in (AREA_REASON, AREA_RANK)
    )
    squares = reasons != ""
    return There(
        read_polygons(path, "areas", [], "", grid).geometries,
        len(splits),
        int(squares.sum()),
        int((squares & np.isin(splits, RANDOM_SPLITS)).sum()),
        max((int(rank) for rank in ranks if rank), default=0),
    )


def _require_same_place(made: Run, path: str) -> None:
    """Raise if the project has areas or labels, and none on the run's image; the run may map a part of it alone."""
    try:
        with open_image(made.request.image) as source:
            grid = image_grid(source)
    except OrthomaskError:
        return  # the image is gone: then it cannot be learnt from, either
    named = {"areas", "labels"} & set(layers_of(path))
    layers = [layer for layer in named if info_of(path, layer, force_feature_count=True)["features"]]
    if layers and not any(len(read_polygons(path, layer, [], "", grid).geometries) for layer in layers):
        raise OrthomaskError(
            ErrorCode.LABELS_OUTSIDE,
            tr("Nothing in “{}” lies on the image of this run.").format(Path(path).name),
            tr("Choose a run of the image that was labelled, or another label project."),
        )


def free(squares: Sequence[Square], made: Run, areas: np.ndarray) -> list[Square]:
    """The squares that touch none of the areas."""
    boxes = np.array([box(square, made.side) for square in squares], object)
    touched = set(shapely.STRtree(areas).query(boxes, predicate="intersects")[0].tolist()) if len(squares) else set()
    return [square for number, square in enumerate(squares) if number not in touched]


def box(square: Square, side: int) -> shapely.Geometry:
    """A square in pixels of the run's rasters."""
    x, y = square.column * side, square.row * side
    return shapely.box(x, y, x + side, y + side)


def add(made: Run, target: Path, suggestions: Sequence[Suggestion], there: There) -> None:
    """Add the squares to the project."""
    with rasterio.open(made.probabilities) as dataset:
        crs, transform = dataset.crs.to_wkt(), dataset.transform
    path, count = str(target), len(suggestions)
    if not target.exists():
        projects.run(ProjectRequest(path, crs, made.bundle.card.classes), Progress())
    projects.complete_areas(target)
    boxes = np.array([box(each.square, made.side) for each in suggestions], object)
    drawn, wanted = transformed(boxes, transform), crs_of(path, "areas").to_wkt()
    if wanted != crs:
        drawn = reprojected(drawn, crs, wanted)
    columns: dict[str, Sequence[Any]] = {
        "name": [f"square {number}" for number in range(there.total + 1, there.total + count + 1)],
        "split": [each.split.value for each in suggestions],
        AREA_STATE: [AREA_TODO] * count,
        AREA_REASON: [each.reason for each in suggestions],
        AREA_RANK: range(there.rank + 1, there.rank + count + 1),
        AREA_SECONDS: [0.0] * count,
    }
    projects.write_areas(target, shapely.to_wkb(shapely.multipolygons(drawn[:, None])), columns, wanted)
