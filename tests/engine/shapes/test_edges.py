"""Objects at a region's edge: what neighbouring regions draw, together, is what one region of both draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rasterio.enums import MergeAlg
from rasterio.features import geometry_mask, rasterize
from rasterio.io import DatasetReader, MemoryFile
from scipy import ndimage
from shapely import Geometry

from orthomask.engine.images.grid import Lattice, select
from orthomask.engine.progress import Progress
from orthomask.engine.runs.runs import NODATA
from orthomask.engine.shapes import edges, tracing
from orthomask.engine.shapes.section import Section

SIDE, REACH = 48, 9
PHASES = (Phase.explicit, Phase.generate)
"""A smaller field says no more, and takes minutes to find."""


@contextmanager
def seen(field: np.ndarray, region: Geometry, reach: int = REACH) -> Iterator[tuple[DatasetReader, Geometry, tuple]]:
    """The raster of a run over a region, the region in its pixels, and its place on the lattice."""
    lattice = Lattice("", Affine.identity(), SIDE, SIDE, 64, 0)
    extent, computed = (selection := select(lattice, region, reach_px=reach)).extent, selection.geometry
    known = geometry_mask([computed], (SIDE, SIDE), Affine.identity(), invert=True)
    bands = np.where(known, field, NODATA)[:, extent.y : extent.y + extent.height, extent.x : extent.x + extent.width]
    options = {"driver": "GTiff", "count": len(bands), "dtype": "uint8", "nodata": NODATA}
    with MemoryFile() as file:
        with file.open(height=extent.height, width=extent.width, **options) as dataset:
            dataset.write(bands.astype(np.uint8))
        with file.open() as dataset:
            yield dataset, shapely.affinity.translate(selection.region, -extent.x, -extent.y), (extent.x, extent.y)


def drawn(field: np.ndarray, region: Geometry) -> list[tuple[int, bytes]]:
    """Class value and pixel-edge polygon, on the lattice, of each object."""
    with seen(field, region) as (dataset, place, origin):
        kept = edges.Kept(Section(dataset), 0.5, 1, place, REACH, Progress())
        batches = [objects for objects, _ in tracing.traced(Section(dataset), 0.5, 1, Progress(), kept)]
        return [
            (int(value), shapely.normalize(shapely.affinity.translate(polygon, *origin)).wkb)
            for objects in batches
            for value, polygon in zip(objects.values, objects.polygons)
        ]


def is_small(polygon: Geometry) -> bool:
    left, top, right, bottom = polygon.bounds
    return max(right - left, bottom - top) <= REACH


def pixels(found: list[tuple[int, bytes]]) -> np.ndarray:
    """Class values of the whole lattice; refuses overlaps."""
    values, times = np.zeros((2, SIDE, SIDE), np.uint8)
    shapes = [(shapely.from_wkb(wkb), value) for value, wkb in found]
    if shapes:
        rasterize(shapes, out=values)
        rasterize([(shape, 1) for shape, _ in shapes], out=times, merge_alg=MergeAlg.add)
    assert times.max() <= 1
    return values


@st.composite
def fields(draw: st.DrawFn) -> np.ndarray:
    """Two classes of smooth blobs, small and large."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    smooth = [ndimage.gaussian_filter(random.random((SIDE, SIDE)), draw(st.sampled_from([0.8, 1.5, 3]))) for _ in "ab"]
    share = draw(st.sampled_from([0.15, 0.3, 0.45]))
    return np.stack([np.where(band > np.quantile(band, 1 - share), 200, 50) for band in smooth])


@st.composite
def neighbours(draw: st.DrawFn) -> list[Geometry]:
    """Two or three regions that share edges, straight or slanted, well within the image or up to its edge."""
    a, b, c = (draw(st.floats(8, 40)) for _ in range(3))
    low, high = draw(st.sampled_from([(0, SIDE), (10.3, 37.6)]))
    whole = shapely.box(low, low, high, high)
    left = whole.intersection(shapely.Polygon([(-1, -1), (a, -1), (b, SIDE + 1), (-1, SIDE + 1)]))
    right = whole.difference(left)
    upper = right.intersection(shapely.Polygon([(-1, -1), (SIDE + 1, -1), (SIDE + 1, c), (-1, c + 0.77)]))
    parts = [left, *([right] if draw(st.booleans()) else [upper, right.difference(upper)])]
    return [part for part in parts if part.area > 30]


@pytest.fixture(autouse=True, params=[25, 1024])
def _tiles(request, monkeypatch):
    monkeypatch.setattr(tracing, "TILE_PX", request.param)


@settings(max_examples=5, deadline=None, phases=PHASES)
@given(fields(), neighbours())
def test_neighbouring_regions_draw_what_one_region_of_both_draws(field: np.ndarray, parts: list[Geometry]) -> None:
    apart = [one for part in parts for one in drawn(field, part)]
    joint = drawn(field, shapely.union_all(parts))
    np.testing.assert_array_equal(pixels(apart), pixels(joint))
    everywhere = drawn(field, shapely.box(0, 0, SIDE, SIDE))
    small = {one for one in everywhere if is_small(shapely.from_wkb(one[1]))}
    assert set(apart) & small == set(joint) & small


@settings(max_examples=5, deadline=None, phases=PHASES)
@given(fields(), neighbours())
def test_each_object_is_drawn_whole_or_not_at_all_and_a_large_one_is_cut(
    field: np.ndarray, parts: list[Geometry]
) -> None:
    """Against scipy's labels of the whole image."""
    region = parts[0]
    inside = geometry_mask([region], (SIDE, SIDE), Affine.identity(), invert=True)
    values = np.where(field.max(axis=0) >= 127, field.argmax(axis=0) + 1, 0)
    found = pixels(drawn(field, region))
    for value in (1, 2):
        labels, _ = ndimage.label(values == value)
        for label, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            its = labels == label
            small = max(rows.stop - rows.start, columns.stop - columns.start) <= REACH
            if small and its[inside].any() and not inside[its].all():
                assert (found[its] == value).all() or not found[its].any()
            else:
                np.testing.assert_array_equal(found[its] == value, inside[its])


def test_a_house_belongs_to_the_side_on_which_most_of_it_lies() -> None:
    field = np.full((1, SIDE, SIDE), 50)
    field[0, 20:26, 20:28] = 200
    for x, is_whole in ((23, False), (25, True), (19, False), (29, True)):
        found = drawn(field, shapely.box(0, 0, x, SIDE))
        assert (found != []) == is_whole
        assert all(shapely.from_wkb(wkb).area == 48 for _, wkb in found)


def test_an_object_around_a_corner_of_another_region_belongs_to_one_of_them() -> None:
    """The centre of gravity of an L lies outside it; then its first pixel decides."""
    field = np.full((1, SIDE, SIDE), 50)
    field[0, 20:28, 20] = field[0, 27, 20:28] = 200
    regions = [shapely.box(0, 0, 22, SIDE), shapely.box(22, 0, SIDE, SIDE)]
    assert [len(drawn(field, region)) for region in regions] == [1, 0]


@settings(max_examples=5, deadline=None)
@given(neighbours(), st.integers(1, 20))
def test_a_region_is_widened_by_a_square(parts: list[Geometry], reach: int) -> None:
    """Against scipy's dilation; a pixel may differ where its square only touches the region."""
    region = parts[0]
    near = geometry_mask([region], (SIDE, SIDE), Affine.identity(), invert=True)
    wide = ndimage.binary_dilation(near, np.ones((2 * reach + 1, 2 * reach + 1)))
    lattice = Lattice("", Affine.identity(), SIDE, SIDE, 64, 0)
    computed = geometry_mask(
        [select(lattice, region, reach_px=reach).geometry], (SIDE, SIDE), Affine.identity(), invert=True
    )
    assert not (wide & ~computed).any()
