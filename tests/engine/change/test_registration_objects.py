from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from orthomask.engine.change import registration
from orthomask.engine.progress import Progress

UTM = CRS.from_epsg(32645)
CORNER = np.array([500_000.0, 3_000_000.0])


def houses(middles: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Corners `(N, 4, 2)` of turned rectangles of 7 to 16 m."""
    sides, angles = random.uniform(7, 16, (len(middles), 2)), random.uniform(0, np.pi, len(middles))
    corners = sides[:, None] * [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    turned = corners @ (1, 1j) * np.exp(1j * angles)[:, None]
    return np.stack([turned.real, turned.imag], axis=-1) + middles[:, None]


def streets(count: int, size_m: float, random: np.random.Generator) -> np.ndarray:
    """Middles of houses, roughly in rows."""
    across = int(np.ceil(count**0.5))
    step = size_m / max(across, 1)
    grid = np.stack(np.meshgrid(*[np.arange(across) * step] * 2), axis=-1).reshape(-1, 2)
    return CORNER + (grid + random.normal(0, step / 6, grid.shape))[random.permutation(len(grid))[:count]]


def moved(xy: np.ndarray, move: Affine) -> np.ndarray:
    a, b, c, d, e, f = move[:6]
    return xy @ np.array([[a, d], [b, e]]) + [c, f]


def side(corners: np.ndarray, noise_m: float, random: np.random.Generator, size_m: float) -> registration.Side:
    polygons = shapely.polygons(corners + random.normal(0, noise_m, corners.shape))
    return registration.Side(polygons, None, shapely.box(*CORNER, *(CORNER + size_m)), UTM)


def corners_of(area: shapely.Geometry) -> np.ndarray:
    return shapely.get_coordinates(area.envelope)[:4]


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6), count=st.sampled_from([60, 200, 500]), size_m=st.sampled_from([300.0, 1000.0]),
    east_m=st.floats(-3, 3), north_m=st.floats(-3, 3), turn=st.floats(-1, 1), noise_m=st.floats(0, 0.4),
)  # fmt: skip
def test_a_shift_and_a_turn_are_found_though_a_fifth_changed(
    seed: int, count: int, size_m: float, east_m: float, north_m: float, turn: float, noise_m: float
) -> None:
    random = np.random.default_rng(seed)
    before = houses(streets(count, size_m, random), random)
    move = Affine.translation(east_m, north_m) @ Affine.rotation(turn, tuple(CORNER + size_m / 2))
    fresh = houses(streets(count // 5, size_m, random), random)
    after = random.permutation(np.concatenate([moved(before[count // 5 :], move), fresh]))
    sides = side(before, noise_m, random, size_m), side(after, noise_m, random, size_m)
    shifts = registration.register(*sides, 5.0, Progress())
    assert shifts.registration.source == "objects"
    places = corners_of(sides[0].covered)
    off = np.hypot(*(shifts.at(places) - (moved(places, move) - places)).T)
    assert off.max() < 1.0
    inner = shapely.get_coordinates(sides[0].covered.centroid)
    assert np.hypot(*(shifts.at(inner) - (moved(inner, move) - inner)).T).max() < max(0.35, 2 * shifts.error_m)


def test_the_same_objects_have_no_shift(random: np.random.Generator) -> None:
    before = side(houses(streets(100, 300, random), random), 0, random, 300)
    shifts = registration.register(before, before, 5.0, Progress())
    assert shifts.registration.source == "objects"
    assert shifts.registration.largest_m == pytest.approx(0, abs=1e-9)
    assert shifts.error_m == pytest.approx(0.01)
    assert shapely.equals_exact(shifts.moved(before.objects), before.objects, 1e-9).all()


@pytest.mark.parametrize("count", [0, 1, 8, 40, 400])
def test_unrelated_objects_have_no_known_shift(count: int, random: np.random.Generator) -> None:
    before, after = (side(houses(streets(count, 300, random), random), 0, random, 300) for _ in range(2))
    shifts = registration.register(before, after, 5.0, Progress())
    assert shifts.registration.source == ""
    assert (shifts.registration.size_m, shifts.registration.largest_m, shifts.registration.error_m) == (None,) * 3
    assert not len(shifts.points)
    assert shifts.moved(before.objects) is before.objects


def test_a_small_overlap_is_enough(random: np.random.Generator) -> None:
    before = houses(streets(5000, 2000, random), random)
    near = (before.mean(axis=1) < CORNER + 250).all(axis=1)
    whole, part = side(before, 0.2, random, 2000), side(before[near] + np.array((2.0, 1.0)), 0.2, random, 250)
    shifts = registration.register(whole, part, 5.0, Progress())
    assert shifts.registration.source == "objects"
    assert shifts.registration.tried < 200
    assert np.hypot(*(shifts.at(CORNER[None] + 125) - np.array((2.0, 1.0))).T).max() < 0.2
    apart = part._replace(covered=shapely.box(0, 0, 1, 1))
    assert registration.register(whole, apart, 5.0, Progress()).registration.tried == 0


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(17)
