from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from orthomask.engine.images.regions import reprojected
from orthomask.engine.progress import Progress
from orthomask.protocol import OrthomaskError, Sampled
from orthomask.training.collect import places, weights
from orthomask.training.collect.grids import ground_scale, nearest_zoom, pixel_size, quadkey, tiles_of
from orthomask.training.collect.weights import People

CELL = Affine(0.1, 0, 5.0, 0, -0.1, 46.0)
"""0.1 degrees."""


def write_raster(path: Path, values: np.ndarray, crs: str = "EPSG:4326", transform: Affine = CELL) -> str:
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=height, width=width, dtype=values.dtype, nodata=-99, crs=crs,
        transform=transform,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return str(path)


def write_polygons(path: Path, polygons: list[shapely.Geometry], crs: str = "EPSG:4326") -> str:
    names = np.array([f"n{number}" for number in range(len(polygons))], object)
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(polygons, object)), [names], ["name"], layer="land", driver="GPKG",
        geometry_type="Polygon", crs=crs,
    )  # fmt: skip
    return str(path)


def counts(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    columns, rows = ~CELL @ points.T
    found = np.zeros(shape)
    np.add.at(found, (rows.astype(int), columns.astype(int)), 1)
    return found


@settings(max_examples=8)
@given(
    npst.arrays(np.float32, (6, 5), elements=st.sampled_from([-99.0, 0.0, 1.0, 3.0, 10.0, np.nan])), st.integers(0, 9)
)
def test_points_fall_by_the_people_of_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, seed: int
) -> None:
    path = write_raster(tmp_path_factory.mktemp("people") / "people.tif", values)
    expected = np.where(values > 0, values, 0).astype(float)  # NaN and nodata are nobody
    if not expected.any():
        with pytest.raises(OrthomaskError):
            People(path, None, False, Progress())
        return
    points = People(path, None, False, Progress()).draw(np.random.default_rng(seed), 4000, Progress())
    found = counts(points, values.shape) / len(points)
    expected /= expected.sum()
    assert (found[expected == 0] == 0).all()
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max() / len(points))


def test_only_what_is_inside_the_polygons_counts_and_strips_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster(tmp_path / "people.tif", np.ones((6, 5), np.float32))
    region = shapely.box(5.05, 45.4, 5.5, 45.9)  # half of the first column, and not the first row
    whole = People(path, region, False, Progress()).draw(np.random.default_rng(1), 6000, Progress())
    monkeypatch.setattr(weights, "STRIP_PX", 5)
    strips = People(path, region, False, Progress()).draw(np.random.default_rng(1), 6000, Progress())
    assert np.array_equal(whole, strips)
    assert shapely.contains_xy(region, *whole.T).all()
    found = counts(whole, (6, 5))[1:].sum(axis=0)
    assert found[0] / found[1:].mean() == pytest.approx(0.5, abs=0.06)
    with pytest.raises(OrthomaskError, match="no number above 0"):
        People(path, shapely.box(50, 0, 51, 1), False, Progress())


def test_a_density_counts_the_ground_of_a_pixel(tmp_path: Path) -> None:
    tall = Affine(1, 0, 0, 0, -30, 75.0)
    path = write_raster(tmp_path / "density.tif", np.ones((2, 1), np.float32), transform=tall)
    shares = []
    for density in (False, True):
        points = People(path, None, density, Progress()).draw(np.random.default_rng(1), 4000, Progress())
        shares.append(float(np.mean(points[:, 1] > 45)))
    ground = np.cos(np.radians([60, 30]))
    assert shares == pytest.approx([0.5, ground[0] / ground.sum()], abs=0.03)


def sample(**options: Any) -> list[places.Place]:
    side = pixel_size(17) * 256
    found, _ = places.sampled(
        Sampled(**{"count": 30, "seed": 4, **options}), lambda _: (side, pixel_size(17)), Progress()
    )
    return found


def test_squares_lie_inside_apart_and_on_the_pixels(tmp_path: Path) -> None:
    land = shapely.box(5, 45, 5.3, 45.3).difference(shapely.box(5.1, 45.1, 5.2, 45.2))
    within = write_polygons(tmp_path / "land.gpkg", [land, shapely.box(30, 0, 31, 1)])
    found = sample(within=within, within_where="name = 'n0'", min_distance_m=400.0)
    assert [place.name for place in found[:2]] == ["area 1", "area 2"]
    assert sorted(place.split for place in found) == ["test"] * 4 + ["train"] * 21 + ["validation"] * 5
    bounds = reprojected(shapely.segmentize(land, 0.01), "EPSG:4326", "EPSG:3857")
    squares = [place.polygon for place in found]
    assert all(bounds.covers(square) for square in squares)
    gaps = [a.distance(b) / ground_scale(a.centroid.y) for n, a in enumerate(squares) for b in squares[:n]]
    assert min(gaps) >= 400 * 0.999
    corners = np.array([square.bounds for square in squares]) / pixel_size(17)
    assert np.abs(corners - corners.round()).max() < 1e-3
    assert [
        place.polygon for place in sample(within=within, within_where="name = 'n0'", min_distance_m=400.0)
    ] == squares


def test_the_ground_is_sampled_evenly_at_all_latitudes(tmp_path: Path) -> None:
    within = write_polygons(tmp_path / "land.gpkg", [shapely.box(0, 0, 10, 75)])
    found = sample(within=within, count=600)
    y = np.array([place.polygon.centroid.y for place in found])
    half = reprojected(shapely.Point(0, np.degrees(np.arcsin(np.sin(np.radians(75)) / 2))), "EPSG:4326", "EPSG:3857").y
    assert np.mean(y > half) == pytest.approx(0.5, abs=0.07)


def test_what_cannot_be_sampled_is_said(tmp_path: Path) -> None:
    within = write_polygons(tmp_path / "land.gpkg", [shapely.box(5, 45, 5.001, 45.001)])
    with pytest.raises(OrthomaskError, match="No area fits"):
        sample(within=within)
    with pytest.raises(OrthomaskError, match="not a condition"):
        sample(within=within, within_where="nome = 'n0'")
    with pytest.raises(OrthomaskError, match="is left to sample in"):
        sample(within=within, within_where="name = 'France'")
    with pytest.raises(OrthomaskError, match="cannot be read as weights"):
        sample(within=within, weights=within)
    with pytest.raises(OrthomaskError, match="does not exist"):
        sample(within=str(tmp_path / "none.gpkg"))


@given(st.integers(0, 20), st.floats(-1.9e7, 1.9e7), st.floats(-1.9e7, 1.9e7), st.floats(1, 1e5))
def test_tiles_cover_bounds(zoom: int, x: float, y: float, size: float) -> None:
    tiles = tiles_of((x, y, x + size, y + size), zoom)
    side = pixel_size(zoom) * 256
    half = pixel_size(0) * 128
    assert tiles.left * side - half <= x + 1e-6 * side
    assert tiles.right * side - half >= x + size - 1e-6 * side
    assert half - tiles.bottom * side <= y + 1e-6 * side
    assert half - tiles.top * side >= y + size - 1e-6 * side
    assert tiles.number <= (size / side + 2) ** 2


def test_zooms_and_quadkeys() -> None:
    assert nearest_zoom(0.3, 0, 24) == 19
    assert nearest_zoom(0.3, 8_400_000, 24) == 18  # 60° north, where pixels are half as large on the ground
    assert quadkey(3, 3, 5) == "213"  # Microsoft's own example
