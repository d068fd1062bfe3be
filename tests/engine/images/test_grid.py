from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from orthomask.engine.images.grid import Lattice, blend_profile, select, window_count

sizes = st.integers(1, 700)
windows = st.sampled_from([64, 96, 128])


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    window = draw(windows)
    overlap = draw(st.integers(0, window // 2))
    return Lattice("", Affine.identity(), draw(sizes), draw(sizes), window, overlap)


@given(sizes, windows, st.data())
def test_windows_cover_the_size_and_none_is_superfluous(size: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window // 2))
    count = window_count(size, window, overlap)
    covered = count * (window - overlap) + overlap
    assert covered >= size
    assert count == 1 or covered - (window - overlap) < size


@given(sizes, windows, st.data())
def test_blend_weights_add_up_to_one_at_every_pixel(size: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window // 2))
    count = window_count(size, window, overlap)
    total = np.zeros(count * (window - overlap) + overlap)
    for index in range(count):
        start = index * (window - overlap)
        total[start : start + window] += blend_profile(index, count, window, overlap)
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(lattices())
def test_strips_follow_each_other_without_gap(lattice: Lattice) -> None:
    strips = [lattice.strip(row) for row in range(lattice.rows)]
    assert strips[0][0] == 0
    assert strips[-1][1] == lattice.height_px
    assert all(above[1] == below[0] for above, below in pairwise(strips))


@given(lattices())
def test_without_a_region_every_window_is_selected(lattice: Lattice) -> None:
    selection = select(lattice, None)
    assert selection.count == lattice.rows * lattice.columns
    assert selection.extent == (0, 0, lattice.width_px, lattice.height_px)


@given(lattices(), st.data())
def test_every_window_that_shares_pixels_with_the_region_is_selected(lattice: Lattice, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, lattice.width_px - 1)), data.draw(st.integers(0, lattice.height_px - 1))
    side = data.draw(st.integers(1, 200))
    region = shapely.Point(x + 0.5, y + 0.5).buffer(side)
    selection = select(lattice, region)
    for row in range(lattice.rows):
        for column in range(lattice.columns):
            window = lattice.window(row, column)
            box = shapely.box(window.x, window.y, window.x + window.width, window.y + window.height)
            shared = region.intersection(shapely.box(0, 0, lattice.width_px, lattice.height_px)).intersection(box)
            index = row - selection.first_row
            selected = 0 <= index < len(selection.columns) and column in selection.columns[index]
            assert selected or shared.area < 1e-9, (row, column)
            assert not selected or shared.distance(box) == 0
