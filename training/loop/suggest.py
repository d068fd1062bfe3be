"""Suggest where to check a run: squares where the model is unsure, unlike each other, and a quarter at random.

What is uncertain is found in two steps, so that a county takes minutes: the mean entropy of the probabilities in every
square, which only reads the run's raster, and for the most uncertain ones what the model says to the flipped picture.
The squares taken are far apart on the ground and in the encoder's features (core-sets, Sener and Savarese 2018). The
random ones become validation and test areas: the others are hard on purpose, so they would say nothing about the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import torch
from rasterio.windows import Window as RasterWindow

from ...engine.compute import devices
from ...engine.explain.measures import disagreement, entropy, views
from ...engine.images.grid import Window
from ...engine.images.raster import Reader, open_image, open_reader
from ...engine.models.bundle import Bundle
from ...engine.models.unet import Ensemble, UNet
from ...engine.outputs import refuse_in_use
from ...engine.progress import Progress
from ...engine.runs.runs import NODATA, SCALE
from ...protocol import ErrorCode, OrthomaskError, Split, SuggestRequest, SuggestResult
from ...protocol.words import tr
from .squares import Run, Square, Suggestion, add, free, look_at, open_run

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


class Look(NamedTuple):
    """What the model says of a square: mean change of probability when flipped, and features `(channels,)`."""

    change: float
    features: np.ndarray


def run(request: SuggestRequest, progress: Progress) -> SuggestResult:
    """Add squares to check to a label project, which is created if missing; each says why it was chosen.

    Raises:
        OrthomaskError: there is no such run, its model is missing, the project is of another image, or cannot be
            written.
    """
    made, target = open_run(request), Path(request.output_path)
    refuse_in_use(target)
    there = look_at(made, target)
    rng = np.random.default_rng(request.seed)
    left = free(list(_squares(made, progress.part(0, 0.5))), made, there.areas)
    if not left:
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            tr("No square of {:g} m fits into what the run has mapped.").format(made.size_m),
            tr("Choose smaller squares, or another run."),
        )
    wanted = min(max((there.suggested + request.count) // RANDOM - there.drawn, 0), request.count)
    drawn = spread([left[number] for number in rng.permutation(len(left))], [], wanted)
    hard = sorted(set(left) - set(drawn), key=lambda square: -square.entropy)
    hard = hard[: SHORTLIST * (request.count - len(drawn))]
    looks, warnings = _looks(made, hard, request.device, progress.part(0.5, 0.95))
    chosen = farthest(hard, looks, drawn, request.count - len(drawn))
    reasoned = [_reasoned(hard[n], looks[n] if not warnings else None) for n in chosen]
    suggestions = mixed(_at_random(drawn, there.drawn), reasoned)
    add(made, target, suggestions, there)
    words = tr("Only {} of {} squares fit.").format(len(suggestions), request.count)
    few = (words,) if len(suggestions) < request.count else ()
    return SuggestResult(str(target), len(suggestions), (*warnings, *few))


def _squares(made: Run, progress: Progress) -> Iterator[Square]:
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
    low, high = UNSURE
    return float(entropy(p).mean()), float(np.mean((p.max(axis=0) > low) & (p.max(axis=0) < high)))


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


def _looks(made: Run, squares: Sequence[Square], device: str, progress: Progress) -> tuple[list[Look], tuple[str, ...]]:
    """What the model says of squares of the image; without an image nothing, and a warning."""
    if made.bundle.card.graph:
        words = tr("The model was imported: squares are chosen by the run's probabilities alone.")
        return [Look(0.0, np.zeros(1))] * len(squares), (words,)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open_image(made.request.image))
        except OrthomaskError as error:
            words = tr("{} Squares are chosen by the run's probabilities alone.").format(error.sentence)
            return [Look(0.0, np.zeros(1))] * len(squares), (words,)
        network = _first_member(made.bundle).to(devices.choose(device).torch)
        with rasterio.open(made.probabilities) as dataset:
            shift = dataset.transform
        lattice = source.lattice(made.bundle.card.gsd_m, 0, 0)
        x, y = (round(place) for place in ~lattice.transform @ (shift.c, shift.f))
        numbers = source.bands([band.name for band in made.bundle.card.bands])
        reader, found = stack.enter_context(open_reader(source, lattice, numbers)), []
        for number, square in enumerate(squares):
            progress.report(number / len(squares), tr("Comparing squares: {} of {}").format(number, len(squares)))
            found.append(_look(network, made, reader, square, (x, y)))
        return found, ()


def _first_member(bundle: Bundle) -> UNet:
    network = bundle.model()
    return network.members[0] if isinstance(network, Ensemble) else network  # type: ignore[return-value]


@torch.inference_mode()
def _look(network: UNet, made: Run, reader: Reader, square: Square, corner: tuple[int, int]) -> Look:
    divisor, side = network.arguments.divisor, made.side
    window_px = math.ceil((side + 2 * CONTEXT_PX) / divisor) * divisor
    x, y = corner[0] + square.column * side - CONTEXT_PX, corner[1] + square.row * side - CONTEXT_PX
    image = torch.from_numpy(made.bundle.normalise(*reader.read(Window(x, y, window_px, window_px))))[None]
    image = image.to(next(network.parameters()).device)
    core = (..., slice(CONTEXT_PX, CONTEXT_PX + side), slice(CONTEXT_PX, CONTEXT_PX + side))
    every = torch.cat(views(image))  # at once: small networks wait for their threads
    found = network(every).float().softmax(dim=1)[:, 1:].split(1)
    change = disagreement(found)[core].mean()
    return Look(float(change), network.features(image)[0].mean(dim=(1, 2)).cpu().numpy())


def farthest(squares: Sequence[Square], looks: Sequence[Look], taken: Sequence[Square], count: int) -> list[int]:
    """Numbers of the squares to check: uncertain, unlike those before in the encoder's features, and apart.

    Each is the one with the highest product of its uncertainty, the mean of its ranks by entropy and by change, and its
    distance in features from the nearest one before, at most the median distance.
    """
    if not squares:
        return []
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


def mixed(drawn: Sequence[Suggestion], reasoned: Sequence[Suggestion]) -> list[Suggestion]:
    """All suggestions in the order of checking: whoever stops early has some of both kinds."""
    every = [((number + 0.5) / len(part), each) for part in (reasoned, drawn) for number, each in enumerate(part)]
    return [each for _, each in sorted(every, key=lambda placed: placed[0])]


def _at_random(squares: Sequence[Square], before: int) -> list[Suggestion]:
    """Squares for validation and test in turn, after so many that are there."""
    reason = tr("Drawn at random, to estimate accuracy")
    splits = (Split.VALIDATION, Split.TEST)
    return [Suggestion(square, splits[number % 2], reason) for number, square in enumerate(squares, before)]


def _reasoned(square: Square, look: Look | None) -> Suggestion:
    unsure = f"{100 * square.unsure:.0f}%"
    if look is None:
        return Suggestion(square, Split.TRAIN, tr("Unsure of {} of the pixels").format(unsure))
    reason = tr("Unsure of {} of the pixels; flipping the picture changes {}").format(
        unsure, f"{100 * look.change:.0f}%"
    )
    return Suggestion(square, Split.TRAIN, reason)
