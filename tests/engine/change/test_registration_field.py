from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from orthomask.engine.change import correlation, field

SIDE_PX = 64


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def texture(random: np.random.Generator, side: int = SIDE_PX) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(random.normal(0, 1, (side, side)), 1.5) * 200 + 100)


def displaced(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    return np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(picture), (y, x))).real


def peak(before: np.ndarray, after: np.ndarray, valid: np.ndarray | None = None) -> correlation.Peak:
    whole = np.ones(before.shape, bool) if valid is None else valid
    return correlation.correlate(*(correlation.edges(part[None], whole) for part in (before, after)), 16)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (3.0, -5.0), (0.5, 0.25), (-7.3, 2.8)])
@pytest.mark.parametrize("contrast", [1.0, 0.4, -1.0])
def test_a_window_is_measured_to_a_part_of_a_pixel(
    x: float, y: float, contrast: float, random: np.random.Generator
) -> None:
    before = texture(random)
    found = peak(before, displaced(before, x, y) * contrast + 300)
    assert found.shift_px == pytest.approx((x, y), abs=0.1)
    assert found.reliability > 0.4


@pytest.mark.parametrize("kind", ["flat", "noise", "rows", "no data"])
def test_a_window_without_something_unique_is_not_reliable(kind: str, random: np.random.Generator) -> None:
    flat = np.full((SIDE_PX, SIDE_PX), 80.0)
    rows = flat + 40 * np.sin(np.arange(SIDE_PX) * 2 * np.pi / 8)
    before, after = {
        "flat": (flat, flat),
        "noise": (random.normal(80, 9, flat.shape), random.normal(80, 9, flat.shape)),
        "rows": (rows, np.roll(rows, 2, axis=1)),
        "no data": (texture(random), texture(random)),
    }[kind]
    valid = np.indices(flat.shape)[1] > 20 if kind == "no data" else np.ones(flat.shape, bool)
    assert peak(np.where(valid, before, 0), np.where(valid, after, 0), valid).reliability < 0.25


def places(count: int, random: np.random.Generator) -> np.ndarray:
    return random.uniform(0, 600, (count, 2)) + np.array((500_000, 3_000_000))


def moves(xy: np.ndarray, east_m: float = 2.0, north_m: float = -1.0, turn: float = 0.5) -> np.ndarray:
    move = Affine.translation(east_m, north_m) @ Affine.rotation(turn, (500_300, 3_000_300))
    return np.array([move @ place for place in xy]) - xy


def test_shifts_of_which_most_are_wrong_agree_on_the_right_ones(random: np.random.Generator) -> None:
    xy = places(150, random)
    shift = moves(xy) + random.normal(0, 0.1, xy.shape)
    wrong = random.random(len(xy)) < 0.6
    shift[wrong] = random.uniform(-15, 15, (wrong.sum(), 2))
    agreed = field.agreement(field.Measured(xy, shift, np.arange(len(xy))), 15, 0.75)
    assert agreed is not None
    assert not agreed[wrong & (np.hypot(*(shift - moves(xy)).T) > 1.5)].any()
    assert agreed[~wrong].mean() > 0.9


@pytest.mark.parametrize("count", [0, 2, 5, 30, 250])
def test_unrelated_shifts_do_not_agree(count: int) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        measured = field.Measured(places(count, random), random.uniform(-15, 15, (count, 2)), np.arange(count))
        assert field.agreement(measured, 15, 0.75) is None


@pytest.mark.parametrize(("turn", "terms"), [(0.0, 1), (0.5, 3)])
def test_a_field_is_no_richer_than_its_places_support(turn: float, terms: int, random: np.random.Generator) -> None:
    xy = places(60, random)
    shift = moves(xy, turn=turn) + random.normal(0, 0.2, xy.shape)
    shift[::5] += 4
    fitted = field.fit(xy, shift, 0.01)
    assert len(fitted.field.terms) == terms
    assert not fitted.used[::5].any()
    assert fitted.error_m == pytest.approx(0.2 * 2**0.5, rel=0.3)
    there = places(100, random)
    assert np.hypot(*(fitted.field.at(there) - moves(there, turn=turn)).T).max() < 0.25
    near = np.array([(500_300.0, 3_000_300.0)])
    assert near + fitted.field.at(near) == pytest.approx(np.array([fitted.field.affine @ near[0]]), abs=0.15)


def test_a_field_bends_where_the_ground_does_and_fades_where_nothing_was_measured(random: np.random.Generator) -> None:
    xy = places(200, random)

    def bend(at: np.ndarray) -> np.ndarray:
        return np.sin((at - 500_000) / 80) * [1.0, 0.0]

    fitted = field.fit(xy, moves(xy) + bend(xy) + random.normal(0, 0.05, xy.shape), 0.01)
    there = places(100, random)
    off = np.hypot(*(fitted.field.at(there) - moves(there) - bend(there)).T)
    assert np.median(off) < 0.1
    assert np.sqrt(np.mean(off**2)) < 1.5 * fitted.error_m
    assert fitted.used.mean() > 0.9
    far = np.array([502_500.0, 3_003_000.0])
    assert far + fitted.field.at(far[None])[0] == pytest.approx(fitted.field.affine @ far, abs=0.01)
