"""Suggest where to check a run: squares where the model is unsure, unlike each other, and a quarter at random.

What is uncertain is found in two steps, so that a county takes minutes: the mean entropy of the probabilities in every
square, which only reads the run's raster, and for the most uncertain ones what the model says to the flipped picture.
The squares taken are far apart on the ground and in the encoder's features (core-sets, Sener and Savarese 2018). The
random ones become validation and test areas: the others are hard on purpose, so they would say nothing about the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
import torch
from rasterio.windows import Window as RasterWindow

from ...engine.compute import devices
from ...engine.images.grid import Window
from ...engine.images.raster import Reader, open_image, open_reader
from ...engine.images.regions import reprojected, transformed
from ...engine.models import bundle as bundles
from ...engine.models.bundle import Bundle
from ...engine.models.unet import Ensemble, UNet
from ...engine.outputs import refuse_in_use
from ...engine.progress import Progress
from ...engine.runs.runs import NODATA, SCALE
from ...protocol import (
    AREA_REASON,
    AREA_STATE,
    AREA_TODO,
    ErrorCode,
    OrthomaskError,
    PredictRequest,
    ProjectRequest,
    Split,
    SuggestRequest,
    SuggestResult,
    from_json,
)
from ...protocol.words import tr
from ..truth import project as projects
from ..truth.placing import Grid
from ..truth.vector_files import crs_of, fields_of, layers_of, read_column, require_field
from ..truth.vectors import read_polygons

LEAST_DATA = 0.95
"""Least share of a square's pixels that the run has predicted."""
SHORTLIST = 6
"""Squares looked at with the model, for each one wanted."""
RANDOM = 4
"""One square in so many is drawn at random."""
CONTEXT_PX = 64
"""Margin of picture that the model sees around a square."""
UNSURE = (0.25, 0.75)
"""Probabilities between these are called unsure, in words."""
APART = 2.0
"""Least distance between the centres of two squares, in sides."""
FLIPS = ((-1,), (-2,), (-1, -2))
"""Axes along which the picture is flipped."""


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


class Look(NamedTuple):
    """What the model says of a square: mean change of probability when flipped, and features `(channels,)`."""

    change: float
    features: np.ndarray


class Suggestion(NamedTuple):
    """A square to check, what for, and why."""

    square: Square
    split: Split
    reason: str


@dataclass(frozen=True)
class _Run:
    """A finished run: its request, its model, and the side of a square in pixels of its rasters."""

    probabilities: Path
    request: PredictRequest
    bundle: Bundle
    side: int


def run(request: SuggestRequest, progress: Progress) -> SuggestResult:
    """Add squares to check to a label project, which is created if missing; each says why it was chosen.

    Raises:
        OrthomaskError: there is no such run, its model or image is missing, or the project cannot be written.
    """
    made, target = _open(request), Path(request.output_path)
    refuse_in_use(target)
    has_areas = target.exists() and "areas" in layers_of(str(target))
    for field in ("name", "split") if has_areas else ():
        require_field(str(target), "areas", field)
    rng = np.random.default_rng(request.seed)
    free = _free(list(_squares(made, progress.part(0, 0.5))), made, target if has_areas else None)
    if not free:
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            tr("No square of {:g} m fits into what the run has mapped.").format(request.size_m),
            tr("Choose smaller squares, or another run."),
        )
    drawn = spread([free[number] for number in rng.permutation(len(free))], [], request.count // RANDOM)
    hard = sorted(set(free) - set(drawn), key=lambda square: -square.entropy)
    hard = hard[: SHORTLIST * (request.count - len(drawn))]
    looks = _looks(made, hard, request.device, progress.part(0.5, 0.95))
    chosen = farthest(hard, looks, drawn, request.count - len(drawn))
    suggestions = [*_at_random(drawn), *(_reasoned(hard[n], looks[n]) for n in chosen)]
    _write(made, target, suggestions)
    words = tr("Only {} of {} squares fit.").format(len(suggestions), request.count)
    return SuggestResult(str(target), len(suggestions), (words,) if len(suggestions) < request.count else ())


def _open(request: SuggestRequest) -> _Run:
    """The run in a folder, and its model.

    Raises:
        OrthomaskError: there is no finished run, or its model has changed since.
    """
    folder = Path(request.run_dir)
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        asked = from_json(PredictRequest, record["request"])
        sha256, gsd_m = record["model"]["sha256"], float(record["model"]["gsd_m"])
    except (OSError, ValueError, KeyError, TypeError, OrthomaskError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” is not the folder of a finished run.").format(folder),
            tr("Choose a folder that contains run.json and probabilities.tif."),
            str(error),
        ) from error
    bundle = bundles.load(asked.model)
    if bundle.sha256 != sha256:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The model “{}” has changed since the run.").format(asked.model),
            tr("Run it again, then ask for suggestions."),
        )
    return _Run(folder / "probabilities.tif", asked, bundle, max(1, round(request.size_m / gsd_m)))


def _squares(made: _Run, progress: Progress) -> Iterator[Square]:
    """All squares that the run has predicted, row by row."""
    side = made.side
    with rasterio.open(made.probabilities) as dataset:
        rows, columns = dataset.height // side, dataset.width // side
        for row in range(rows):
            progress.report(row / rows, tr("Looking for uncertain squares"))
            window = RasterWindow(0, row * side, columns * side, side)
            strip = dataset.read(window=window)
            for column in range(columns):
                found = strip[:, :, column * side : (column + 1) * side]
                if np.mean(found[0] != NODATA) >= LEAST_DATA:
                    yield Square(row, column, *_uncertainty(found))


def _uncertainty(found: np.ndarray) -> tuple[float, float]:
    """Mean entropy, 0 to 1, and share of unsure pixels, of probabilities `(K, H, W)` of 0 to `SCALE`."""
    p = found[:, found[0] != NODATA].astype(np.float32) / SCALE
    every = np.concatenate([p, np.clip(1 - p.sum(axis=0, keepdims=True), 0, 1)])
    entropy = -np.sum(every * np.log(np.maximum(every, 1e-6)), axis=0) / math.log(len(every))
    low, high = UNSURE
    return float(entropy.mean()), float(np.mean((p.max(axis=0) > low) & (p.max(axis=0) < high)))


def _free(squares: Sequence[Square], made: _Run, target: Path | None) -> list[Square]:
    """The squares that touch none of the project's areas."""
    if target is None or not squares:
        return list(squares)
    with rasterio.open(made.probabilities) as dataset:
        grid = Grid(dataset.crs.to_wkt(), dataset.transform, dataset.width, dataset.height)
    there = shapely.STRtree(read_polygons(str(target), "areas", [], "", grid).geometries)
    boxes = np.array([_box(square, made.side) for square in squares], object)
    touched = set(there.query(boxes, predicate="intersects")[0].tolist())
    return [square for number, square in enumerate(squares) if number not in touched]


def _box(square: Square, side: int) -> shapely.Geometry:
    """A square in pixels of the run's rasters."""
    x, y = square.column * side, square.row * side
    return shapely.box(x, y, x + side, y + side)


def are_apart(one: Square, other: Square) -> bool:
    """Whether at least one square fits between the centres of two."""
    return math.hypot(one.row - other.row, one.column - other.column) >= APART


def spread(squares: Sequence[Square], taken: Sequence[Square], count: int) -> list[Square]:
    """The first squares, in their order, that are apart from each other and from those taken."""
    found: list[Square] = []
    for square in squares:
        if len(found) < count and all(are_apart(square, other) for other in (*taken, *found)):
            found.append(square)
    return found


def _looks(made: _Run, squares: Sequence[Square], device: str, progress: Progress) -> list[Look]:
    """What the model says of squares of the image."""
    network = _first_member(made.bundle).to(devices.choose(device).torch)
    with rasterio.open(made.probabilities) as dataset:
        shift = dataset.transform
    with open_image(made.request.image) as source:
        lattice = source.lattice(made.bundle.card.gsd_m, 0, 0)
        x, y = (round(place) for place in ~lattice.transform @ (shift.c, shift.f))
        numbers = source.bands([band.name for band in made.bundle.card.bands])
        with open_reader(source, lattice, numbers) as reader:
            found = []
            for number, square in enumerate(squares):
                progress.report(number / len(squares), tr("Comparing squares: {} of {}").format(number, len(squares)))
                found.append(_look(network, made, reader, square, (x, y)))
    return found


def _first_member(bundle: Bundle) -> UNet:
    network = bundle.model()
    return network.members[0] if isinstance(network, Ensemble) else network  # type: ignore[return-value]


@torch.inference_mode()
def _look(network: UNet, made: _Run, reader: Reader, square: Square, corner: tuple[int, int]) -> Look:
    divisor, side = network.arguments.divisor, made.side
    window_px = math.ceil((side + 2 * CONTEXT_PX) / divisor) * divisor
    x, y = corner[0] + square.column * side - CONTEXT_PX, corner[1] + square.row * side - CONTEXT_PX
    image = torch.from_numpy(made.bundle.normalise(*reader.read(Window(x, y, window_px, window_px))))[None]
    image = image.to(next(network.parameters()).device)
    core = (..., slice(CONTEXT_PX, CONTEXT_PX + side), slice(CONTEXT_PX, CONTEXT_PX + side))
    straight = network(image).float().softmax(dim=1)
    turned = [network(image.flip(axes)).float().softmax(dim=1).flip(axes) for axes in FLIPS]
    change = torch.stack([(each - straight)[core].abs().sum(dim=1).mean() / 2 for each in turned]).mean()
    return Look(float(change), network.features(image)[0].mean(dim=(1, 2)).cpu().numpy())


def farthest(squares: Sequence[Square], looks: Sequence[Look], taken: Sequence[Square], count: int) -> list[int]:
    """Numbers of the squares to check: uncertain, unlike those before in the encoder's features, and apart.

    Each is the one with the highest product of its uncertainty, the mean of its ranks by entropy and by change, and its
    distance in features from the nearest one before, at most the median distance.
    """
    entropy, change = (np.array([s.entropy for s in squares]), np.array([look.change for look in looks]))
    uncertainty = (_ranks(entropy) + _ranks(change)) / 2
    features = np.array([look.features for look in looks]).reshape(len(looks), -1)
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    usual = float(np.median(distances)) or 1.0
    chosen: list[int] = []
    while len(chosen) < count:
        before = [*taken, *(squares[n] for n in chosen)]
        left = [n for n in range(len(squares)) if all(are_apart(squares[n], other) for other in before)]
        if not left:
            break
        unlike = np.minimum(distances[:, chosen].min(axis=1) / usual, 1) if chosen else np.ones(len(squares))
        chosen.append(max(left, key=lambda n: uncertainty[n] * unlike[n]))
    return chosen


def _ranks(values: np.ndarray) -> np.ndarray:
    """The share of values that are not above each."""
    return np.asarray(np.searchsorted(np.sort(values), values, side="right") / len(values))


def _at_random(squares: Sequence[Square]) -> list[Suggestion]:
    reason = tr("Drawn at random, to estimate accuracy")
    splits = (Split.VALIDATION, Split.TEST)
    return [Suggestion(square, splits[number % 2], reason) for number, square in enumerate(squares)]


def _reasoned(square: Square, look: Look) -> Suggestion:
    unsure, change = (f"{100 * share:.0f}%" for share in (square.unsure, look.change))
    reason = tr("Unsure of {} of the pixels; flipping the picture changes {}").format(unsure, change)
    return Suggestion(square, Split.TRAIN, reason)


def _write(made: _Run, target: Path, suggestions: Sequence[Suggestion]) -> None:
    """Add the squares to the project."""
    with rasterio.open(made.probabilities) as dataset:
        crs, transform = dataset.crs.to_wkt(), dataset.transform
    path = str(target)
    if not target.exists():
        projects.run(ProjectRequest(path, crs, made.bundle.card.classes), Progress())
    boxes = np.array([_box(each.square, made.side) for each in suggestions], object)
    drawn, wanted = transformed(boxes, transform), crs_of(path, "areas").to_wkt()
    if wanted != crs:
        drawn = reprojected(drawn, crs, wanted)
    first, fields = len(read_column(path, "areas", "split")) + 1, fields_of(path, "areas")
    columns = {
        "name": [f"square {number}" for number in range(first, first + len(suggestions))],
        "split": [each.split.value for each in suggestions],
        AREA_STATE: [AREA_TODO] * len(suggestions),
        AREA_REASON: [each.reason for each in suggestions],
    }
    there = {name: values for name, values in columns.items() if name in fields}  # older projects lack the last two
    projects.write_areas(target, shapely.to_wkb(shapely.multipolygons(drawn[:, None])), there, wanted)
