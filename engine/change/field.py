"""A smooth field of shifts through measured ones, most of which are right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from affine import Affine
from scipy import ndimage, stats

TURN, SCALE = np.radians(1.5), 0.01
"""The most that one date may be turned against the other, and scaled."""
DRAWN = 500
"""Hypotheses drawn, of each kind."""
CHANCE = 1e-4
"""An agreement that unrelated places would reach with this probability is none."""
SHARE = 1 / 3
"""At least this share of the places must agree."""
NEAREST = 0.1
"""Of equal agreements the nearer one is meant: the farthest counts this much less."""
OUTLIER, DEVIATION = 3.5, 1 / np.sqrt(2 * np.log(2))
"""A place further off than so many standard deviations is an outlier; one is that many medians of the distances."""
ROUNDS = 6
"""Times that outliers are looked for."""
FOLDS = 10
"""Parts in which places are held out to measure the error."""
GAIN = 0.95
"""A richer field must bring the held-out error to this share of the poorer one's."""
SPACINGS = (4.0, 2.0, 1.0)
"""Reach of the smooth residual, in mean distances between places."""
NOISE = 0.3
"""Variance of the measurement, in variances of the residual."""
NODES, MARGIN = 96, 2.0
"""Size of the grid on which the residual is kept, and of its square in half sizes of the places: there it has faded."""


class Measured(NamedTuple):
    """Shifts measured at places.

    Attributes:
        xy: places on the earlier date `(N, 2)`, metres.
        shift: metres east and north `(N, 2)`.
        group: which object or window each belongs to `(N,)`, ascending; only one of a group can be right.
    """

    xy: np.ndarray
    shift: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class Field:
    """Shifts everywhere: an affine transform, and a residual where the places support one.

    Attributes:
        origin, unit: centre `(2,)` and half size of the places, metres.
        terms: coefficients `(1 or 3, 2)` of 1, x, y.
        residual: metres `(2, NODES, NODES)` on a grid over the square around the places; None for none.
    """

    origin: np.ndarray
    unit: float
    terms: np.ndarray
    residual: np.ndarray | None = None

    def at(self, xy: np.ndarray) -> np.ndarray:
        """Metres east and north `(N, 2)` at places `(N, 2)`."""
        local = self._local(xy)
        found: np.ndarray = _design(local, len(self.terms)) @ self.terms
        if self.residual is not None:
            nodes = ((local / MARGIN + 1) * (NODES - 1) / 2).T
            found += np.stack(
                [ndimage.map_coordinates(part, nodes, order=1, mode="nearest") for part in self.residual], 1
            )
        return found

    def _local(self, xy: np.ndarray) -> np.ndarray:
        return np.asarray((xy - self.origin) / self.unit)

    @property
    def affine(self) -> Affine:
        """From coordinates of the earlier date to the later one's, without the residual."""
        shift = self._straight(np.zeros((1, 2)))[0]
        east, north = self._straight(np.eye(2)) - shift
        return Affine(1 + east[0], north[0], shift[0], east[1], 1 + north[1], shift[1])

    def _straight(self, xy: np.ndarray) -> np.ndarray:
        return np.asarray(_design(self._local(xy), len(self.terms)) @ self.terms)


class Fitted(NamedTuple):
    """A field, and how well it fits.

    Attributes:
        off: distance of each place `(N,)` to the field through the others, metres.
        error_m: root mean square of it over the used ones, and of the least error.
        used: places `(N,)` that are no outliers.
    """

    field: Field
    off: np.ndarray
    error_m: float
    used: np.ndarray


def agreement(measured: Measured, reach_m: float, tolerance_m: float) -> np.ndarray | None:
    """The shifts `(N,)` that agree on one move of the plane, or None where that could be chance.

    RANSAC (Fischler and Bolles 1981) over shifts alone and over pairs of places, which give turn and scale, too; both
    have to be small. The number that agree is compared to what unrelated shifts, spread evenly over the square of half
    side `reach_m`, would reach in the best of all hypotheses (a contrario: Moisan and Stival 2004).
    """
    groups, starts = np.unique(measured.group, return_index=True)
    if len(groups) < 3:
        return None
    places = measured.xy @ (1, 1j)
    origin = places.mean()
    places, targets = places - origin, places - origin + measured.shift @ (1, 1j)
    factors, offsets = _hypotheses(places, targets)
    best, best_score, scores = None, 0.0, 0
    for factor, offset in zip(np.array_split(factors, 30), np.array_split(offsets, 30)):
        near = np.abs(factor[:, None] * places + offset[:, None] - targets) <= tolerance_m
        counts = np.logical_or.reduceat(near, starts, axis=1).sum(axis=1)
        score = counts * (1 - NEAREST * np.minimum(np.abs(offset) / reach_m, 1))
        scores += len(score)
        if len(score) and score.max() > best_score:
            best, best_score = near[score.argmax()], float(score.max())
    if best is None:
        return None
    count = len(np.unique(measured.group[best]))
    alone = np.pi * tolerance_m**2 / (2 * reach_m) ** 2
    chance = 1 - (1 - min(alone, 1)) ** (len(places) / len(groups))
    logarithm = np.log(scores) + stats.binom.logsf(count - 3, len(groups) - 2, chance)
    return best if logarithm < np.log(CHANCE) and count >= SHARE * len(groups) else None


def _hypotheses(places: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves `z -> factor * z + offset` of the plane, as complex numbers `(M,)`: shifts, and small turns and scales."""
    random = np.random.default_rng(0)
    alone = random.permutation(len(places))[:DRAWN]
    first, second = random.integers(0, len(places), (2, 8 * DRAWN))
    apart = places[second] - places[first]
    first, second, apart = (part[np.abs(apart) > 0] for part in (first, second, apart))
    factor = (targets[second] - targets[first]) / apart
    small = (np.abs(np.angle(factor)) <= TURN) & (np.abs(np.abs(factor) - 1) <= SCALE)
    factor, first = factor[small][:DRAWN], first[small][:DRAWN]
    factors = np.concatenate([np.ones(len(alone)), factor])
    return factors, np.concatenate([targets[alone] - places[alone], targets[first] - factor * places[first]])


def fit(
    xy: np.ndarray, shift: np.ndarray, least_m: float, agreed: np.ndarray | None = None, near_m: float = 0.0
) -> Fitted:
    """The field through shifts `(N, 2)` at places `(N, 2)`, without outliers.

    The richest of a constant shift, an affine one, and one with a smooth residual whose error is clearly the smallest.
    The error is that of each place to the field through nine tenths of the others (ten-fold cross-validation): what the
    field is off by where nothing was measured, and the scatter of the measurement itself. To that adds `least_m`, what
    all measurements may have in common; nothing as near as that is an outlier.

    Args:
        agreed: places `(N,)` to begin with; None for all.
        near_m: others join in the first rounds where the field comes as near as this.
    """
    first = used = np.ones(len(xy), bool) if agreed is None else agreed
    for number in range(ROUNDS):
        field, held_out = _chosen(xy[used], shift[used], least_m)
        off = np.hypot(*(field.at(xy) - shift).T)
        error_m = float(np.sqrt(np.mean(held_out**2) + least_m**2))
        fitted = Fitted(field, _replaced(off, used, held_out), error_m, used)
        joining = near_m > 0 and number < ROUNDS // 2
        kept = off <= max(OUTLIER * DEVIATION * np.median(off[first]), least_m, near_m * joining)
        if kept.sum() < 3 or (not joining and (kept == used).all()):
            break
        used = kept
    return fitted


def _replaced(values: np.ndarray, where: np.ndarray, others: np.ndarray) -> np.ndarray:
    result = values.copy()
    result[where] = others
    return result


class _Kind(NamedTuple):
    """A family of fields: number of terms, and reach of the residual in mean distances between places (0: none)."""

    terms: int
    spacing: float


def _chosen(xy: np.ndarray, shift: np.ndarray, least_m: float) -> tuple[Field, np.ndarray]:
    """The best kind of field for these places, and their distances `(N,)` to it when they are held out."""
    kinds = [_Kind(1, 0.0)]
    if len(xy) >= 6:
        kinds.append(_Kind(3, 0.0))
    if len(xy) >= 30:
        kinds += [_Kind(3, spacing) for spacing in SPACINGS]
    chosen, best = kinds[0], _held_out(xy, shift, kinds[0])
    for kind in kinds[1:]:
        off = _held_out(xy, shift, kind)
        if np.mean(off**2) + least_m**2 < GAIN**2 * (np.mean(best**2) + least_m**2):
            chosen, best = kind, off
    return _through(xy, shift, chosen), best


def _held_out(xy: np.ndarray, shift: np.ndarray, kind: _Kind) -> np.ndarray:
    """Distance of each place `(N,)` to the field through the other folds."""
    fold = np.random.default_rng(0).permutation(len(xy)) % FOLDS
    off = np.zeros(len(xy))
    for number in np.unique(fold):
        out = fold == number
        rest = ~out if (~out).any() else out
        off[out] = np.hypot(*(_through(xy[rest], shift[rest], kind).at(xy[out]) - shift[out]).T)
    return off


def _design(local: np.ndarray, terms: int) -> np.ndarray:
    return np.column_stack([np.ones(len(local)), local])[:, :terms]


def _through(xy: np.ndarray, shift: np.ndarray, kind: _Kind) -> Field:
    """The field of one kind by least squares."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    origin, unit = (low + high) / 2, max(float((high - low).max()) / 2, 1.0)
    local = (xy - origin) / unit
    terms = np.linalg.lstsq(_design(local, kind.terms), shift, rcond=None)[0]
    field = Field(origin, unit, terms)
    if not kind.spacing:
        return field
    reach = kind.spacing * 2 / np.sqrt(len(xy))
    return replace(field, residual=_residual(local, shift - field.at(xy), reach))


def _residual(local: np.ndarray, rest: np.ndarray, reach: float) -> np.ndarray:
    """What is left `(N, 2)`, smoothed, on the grid `(2, NODES, NODES)`; it fades where no place is.

    Kriging with a Gaussian covariance and noise (Rasmussen and Williams 2006, equation 2.25).
    """
    apart = ((local[:, None] - local) ** 2).sum(axis=-1)
    weights = np.linalg.solve(np.exp(-apart / (2 * reach**2)) + NOISE * np.eye(len(local)), rest)
    axis = np.linspace(-MARGIN, MARGIN, NODES)[:, None]
    across, down = (np.exp(-((axis - part) ** 2) / (2 * reach**2)) for part in local.T)
    return np.stack([(across * part) @ down.T for part in weights.T])
