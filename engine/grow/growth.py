"""Growing an object from a pixel: arrays in, arrays out.

What is like its surroundings is near, what lies beyond an edge is far: the geodesic distance from the click, over
colours, features and probabilities (Criminisi et al. 2008, by Dijkstra 1959), puts all pixels in an order. The pixels
up to any distance are a possible object, and these are nested: a larger one contains the smaller. Proposed is the one
whose outline follows edges best, for its size and shape; a factor leads on to the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely
from scipy import ndimage, sparse
from scipy.sparse import csgraph

COLOURS, FEATURES, ODDS, ODDS_ALONE = 0.7, 2.0, 0.1, 1.0
"""Weights of a step in colour, in features and in the logarithm of the odds, also where that is all there is."""
UNLIKE = 0.2
"""Share of a pixel's unlikeness to the click that is added to the step onto it."""
STEP = 0.02
"""Least cost of a step: it keeps objects compact where nothing tells pixels apart."""
POWER = 1.5
"""More than 1: many small steps, which noise makes, cost less than one across an edge."""
SEED_PX = 3
"""Half side of the square around the click whose median is what the object is like."""
BLUR_PX = 0.5
"""Scale of noise in colours."""
LEAST_PX = 32
"""Pixels of the smallest proposal."""
SPAN, GROWTH, STEPS = (1 / 16, 8.0), 1.3, 32
"""The smallest and the largest proposal, in usual objects; the ratio of each to the one before; and how many sizes are
tried around the best."""
THIN_PX = 2
"""Branches of at most twice this width are cut off."""
SHARPNESS, COLOUR_EDGE, FEATURE_EDGE, SOLIDITY, UNUSUAL = 0.25, 0.08, 0.03, 0.75, 0.027
"""Of an outline, the quantile of edge strength that counts; and what a proposal's traits are worth, see `_worth`."""


class Edges(NamedTuple):
    """How strongly values change at each pixel, and where to: a structure tensor (Di Zenzo 1986), each `(H, W)`."""

    down: np.ndarray
    mixed: np.ndarray
    across: np.ndarray

    def along(self, rows: np.ndarray, columns: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
        """The strength at some pixels in given directions `(N,)` each."""
        squared = (
            self.down[rows, columns] * down**2
            + 2 * self.mixed[rows, columns] * down * across
            + self.across[rows, columns] * across**2
        )
        return np.asarray(np.sqrt(np.maximum(squared, 0)))


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of the pixels around a click.

    Attributes:
        colours: `(C, H, W)` in standard deviations of the training images; C is 0 without the image.
        features: `(F, H, W)`, a unit vector at each pixel; F is 0 without the model.
        probability: `(K, H, W)` of the classes, 0 to 1.
        valid: `(H, W)`, where the run has data.
    """

    colours: np.ndarray
    features: np.ndarray
    probability: np.ndarray
    valid: np.ndarray

    @cached_property
    def layers(self) -> list[tuple[float, np.ndarray]]:
        """What pixels are compared by, with weights."""
        p = np.clip(self.probability, 1 / 512, 1 - 1 / 512)
        smooth = ndimage.gaussian_filter(self.colours, (0, BLUR_PX, BLUR_PX)) if len(self.colours) else self.colours
        odds = ODDS if len(self.colours) else ODDS_ALONE
        layers = [(COLOURS, smooth), (FEATURES, self.features), (odds, np.log(p / (1 - p)))]
        return [(weight, values.astype(np.float32)) for weight, values in layers if len(values)]

    @cached_property
    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The cost of a step down from each pixel `(H-1, W)`, and of one to the right `(H, W-1)`."""
        down, across = (
            np.sum([weight * np.linalg.norm(np.diff(values, axis=axis), axis=0) for weight, values in self.layers], 0)
            for axis in (1, 2)
        )
        return STEP + down**POWER, STEP + across**POWER

    @cached_property
    def edges(self) -> tuple[Edges, Edges]:
        """Of the colours and of the features; without these, of the probabilities."""
        found = [_edges(values) for values in (self.colours, self.features) if len(values)]
        found = found or [_edges(self.layers[-1][1])]
        return found[0], found[-1]


def _edges(values: np.ndarray) -> Edges:
    """The edges of values `(C, H, W)`, between means of 3 x 3 pixels at a distance of four."""
    mean = ndimage.uniform_filter(values, (0, 3, 3))
    padded = np.pad(mean, ((0, 0), (2, 2), (2, 2)), "edge")
    down = padded[:, 4:, 2:-2] - padded[:, :-4, 2:-2]
    across = padded[:, 2:-2, 4:] - padded[:, 2:-2, :-4]
    return Edges((down**2).sum(axis=0), (down * across).sum(axis=0), (across**2).sum(axis=0))


class Growth:
    """The nested objects around one pixel.

    Args:
        look: the pixels around it.
        seed: its row and column.
        free: `(H, W)`, where an object may grow.
    """

    def __init__(self, look: Look, seed: tuple[int, int], free: np.ndarray) -> None:
        self.look, self._seed, self._shape = look, seed, free.shape
        distance = _distances(look, seed, free).ravel()
        order = np.argsort(distance, kind="stable")[: int(np.isfinite(distance).sum())]
        self._sorted = distance[order]
        rank = np.full(free.size, len(order), np.int64)
        rank[order] = np.arange(len(order))
        self._rank = rank.reshape(free.shape)
        rows, columns = np.divmod(order, free.shape[1])
        self._low = np.minimum.accumulate(rows), np.minimum.accumulate(columns)
        self._high = np.maximum.accumulate(rows), np.maximum.accumulate(columns)
        self.reach = len(order)

    def nearest(self, pixels: int) -> tuple[slice, slice]:
        """Rows and columns of the nearest pixels, and a margin."""
        last, margin = min(pixels, self.reach) - 1, 2 * THIN_PX
        rows, columns = (
            slice(max(0, int(low[last]) - margin), int(high[last]) + margin + 1)
            for low, high in zip(self._low, self._high)
        )
        return rows, columns

    def object(self, pixels: int) -> np.ndarray:
        """The object `(H, W)` of about the nearest `pixels`: one piece around the seed, no holes, no thin branches.

        More pixels give an object that contains the smaller one.
        """
        box, whole = self.nearest(pixels), np.zeros(self._shape, bool)
        whole[box] = self._piece(pixels, box)
        return whole

    def _piece(self, pixels: int, box: tuple[slice, slice]) -> np.ndarray:
        inside = _filled(self._rank[box] < min(pixels, self.reach))
        row, column = (place - part.start for place, part in zip(self._seed, box))
        core = np.zeros_like(inside)
        core[row, column] = True
        opened = _dilated(_eroded(inside, THIN_PX), THIN_PX) | (inside & _dilated(core, THIN_PX))
        labels, _ = ndimage.label(opened)
        return np.asarray(labels == labels[row, column])

    def proposed(self, typical: float) -> int:
        """How many of the nearest pixels look most like an object.

        Args:
            typical: pixels of a usual object.
        """
        best = max(self._sizes(typical), key=lambda pixels: self._traits(pixels).worth(typical))
        return self._steepest(round(best / math.sqrt(GROWTH)), round(best * GROWTH))

    def _steepest(self, fewest: int, most: int) -> int:
        """Within a range of sizes the one after which distances rise fastest: the edge itself."""
        sizes = np.unique(np.geomspace(max(1, fewest), max(1, most), STEPS).astype(int))
        low, high = ((sizes * factor).astype(int).clip(0, self.reach - 1) for factor in (0.99, 1.03))
        rise = self._sorted[high] - self._sorted[low]
        return int(sizes[rise.argmax()].clip(1, self.reach))

    def _sizes(self, typical: float) -> list[int]:
        """Pixels of proposals, the smallest first, at most half of all that can be reached."""
        first, most = max(LEAST_PX, typical * SPAN[0]), min(self.reach / 2, typical * SPAN[1])
        steps = max(0, int(math.log(max(most, 1) / first, GROWTH)))
        return [min(round(first * GROWTH**step), self.reach) for step in range(steps + 1)]

    def _traits(self, pixels: int) -> _Traits:
        box = self.nearest(pixels)
        return _Traits.of(self.look, self._piece(pixels, box), box)


class _Traits(NamedTuple):
    """What tells an object from any other set of pixels.

    Attributes:
        edges: strength of the weaker part of the outline, in colours and in features.
        solidity: its share of its convex hull.
    """

    pixels: int
    edges: tuple[float, float]
    solidity: float

    @classmethod
    def of(cls, look: Look, piece: np.ndarray, box: tuple[slice, slice]) -> _Traits:
        padded = np.pad(piece, 3)
        rim = piece & ~_eroded(piece, 1)
        rows, columns = np.nonzero(rim)
        blurred = ndimage.uniform_filter(padded.astype(np.float32), 5)
        down, across = (np.asarray(part)[3:-3, 3:-3][rim] for part in np.gradient(blurred))
        length = np.hypot(down, across) + 1e-6
        place = rows + box[0].start, columns + box[1].start
        first, second = (
            float(np.quantile(edges.along(*place, down / length, across / length), SHARPNESS)) for edges in look.edges
        )
        hull = shapely.convex_hull(shapely.multipoints(np.stack([columns, rows], axis=1))).buffer(0.5)
        pixels = int(piece.sum())
        return cls(pixels, (first, second), min(1.0, pixels / hull.area))

    def worth(self, typical: float) -> float:
        """An estimate of the IoU with the object that was meant, up to a constant."""
        colour, feature = (math.log(strength + 0.05) for strength in self.edges)
        unusual = math.log(self.pixels / typical) ** 2
        return COLOUR_EDGE * colour + FEATURE_EDGE * feature + SOLIDITY * self.solidity - UNUSUAL * unusual


def _eroded(inside: np.ndarray, times: int) -> np.ndarray:
    """Pixels `(H, W)` all of whose four neighbours are inside, and so on; many times faster than SciPy's."""
    for _ in range(times):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside


def _dilated(inside: np.ndarray, times: int) -> np.ndarray:
    """Pixels `(H, W)` one of whose four neighbours is inside, and so on."""
    for _ in range(times):
        padded = np.pad(inside, 1)
        inside = inside | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return inside


def _filled(inside: np.ndarray) -> np.ndarray:
    """The pixels `(H, W)` and their holes."""
    outside, _ = ndimage.label(~np.pad(inside, 1))
    return np.asarray(outside != outside[0, 0])[1:-1, 1:-1]


def _distances(look: Look, seed: tuple[int, int], free: np.ndarray) -> np.ndarray:
    """The geodesic distance `(H, W)` of every pixel from the seed; infinite where none leads."""
    near = tuple(slice(max(0, place - SEED_PX), place + SEED_PX + 1) for place in seed)
    unlike = np.zeros(free.shape, np.float32)
    for weight, values in look.layers:
        typical = np.median(values[(slice(None), *near)].reshape(len(values), -1), axis=1)
        unlike += weight * UNLIKE * np.linalg.norm(values - typical[:, None, None], axis=0)
    down, across = look.steps
    down, across = down + (unlike[1:] + unlike[:-1]) / 2, across + (unlike[:, 1:] + unlike[:, :-1]) / 2
    place = np.arange(free.size, dtype=np.int32).reshape(free.shape)
    downwards, sideways = free[1:] & free[:-1], free[:, 1:] & free[:, :-1]
    begin = np.concatenate([place[:-1][downwards], place[:, :-1][sideways]])
    end = np.concatenate([place[1:][downwards], place[:, 1:][sideways]])
    costs = np.concatenate([down[downwards], across[sideways]])
    graph = sparse.csr_array((costs, (begin, end)), (free.size, free.size))
    found = csgraph.dijkstra(graph, directed=False, indices=int(place[seed]))
    return np.asarray(found).reshape(free.shape)
