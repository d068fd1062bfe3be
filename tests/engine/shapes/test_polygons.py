from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely import Polygon

from conftest import UTM
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.engine.shapes import outlines, polygons, tracing
from orthomask.protocol import (
    ClassInfo,
    ErrorCode,
    Existing,
    OrthomaskError,
    Outline,
    PolygonizeRequest,
    PolygonOptions,
    to_json,
)

TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)
EVERYTHING = PolygonOptions(min_area_m2=0, min_hole_m2=0, simplify=False)


def write_probabilities(
    path: Path, bands: np.ndarray, outline: Outline = Outline.PIXELS, crs: str = UTM, transform: Affine = TRANSFORM
) -> Path:
    """A `probabilities.tif` as a run leaves it."""
    classes = [ClassInfo(i + 1, f"class {i + 1}", "#ff0000", outline) for i in range(len(bands))]
    with rasterio.open(
        path, "w", driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype="uint8",
        crs=crs, transform=transform, nodata=runs.NODATA,
    ) as dataset:  # fmt: skip
        dataset.write(bands)
        dataset.update_tags(ORTHOMASK=json.dumps({"run_id": "abc", "classes": [to_json(info) for info in classes]}))
    return path


def polygonized(path: Path, options: PolygonOptions = EVERYTHING, threshold: float = 0.5) -> tuple[dict, np.ndarray]:
    target = path.with_suffix(".gpkg")
    request = PolygonizeRequest(str(path), str(target), threshold, Existing.OVERWRITE, options)
    polygons.run(request, Progress())
    meta, _, geometries, columns = pyogrio.raw.read(target, layer="polygons")
    return dict(zip(meta["fields"], columns)), shapely.from_wkb(geometries)


def gdal_polygons(classes: np.ndarray) -> list[tuple[int, Polygon]]:
    shapes = rasterio.features.shapes(classes, (classes > 0) & (classes < runs.NODATA), 4, TRANSFORM)
    return [(int(value), shapely.geometry.shape(geometry)) for geometry, value in shapes]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(1, 90), st.integers(1, 90), st.integers(1, 3), st.sampled_from([8, 16, 33]))
def test_polygons_are_gdals_joined_across_seams(
    tmp_path: Path, seed: int, height: int, width: int, count: int, tile: int
) -> None:
    random = np.random.default_rng(seed)
    rough = random.random((count, -(-height // 3), -(-width // 3)))
    bands = (np.kron(rough, np.ones((1, 3, 3)))[:, :height, :width] * 254).astype(np.uint8)
    bands[:, random.random((height, width)) < 0.05] = runs.NODATA
    path = write_probabilities(tmp_path / "p.tif", bands)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TILE_PX", tile)
        fields, found = polygonized(path)
    expected = gdal_polygons(runs.classify(bands, 0.5))
    ours = sorted(zip(fields["class_value"].tolist(), found), key=place)
    assert len(ours) == len(expected)
    for (value, one), (other_value, other) in zip(ours, sorted(expected, key=place)):
        assert value == other_value
        assert one.equals(other)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10_000), st.sampled_from([Outline.PIXELS, Outline.SQUARED]), st.sampled_from([7, 16, 40]),
    st.sampled_from([1, 50, 1000]), st.sampled_from([1, 20_000]),
)  # fmt: skip
def test_they_are_the_same_whatever_is_traced_and_written_at_a_time(
    tmp_path: Path, seed: int, outline: Outline, tile: int, corners: int, size: int
) -> None:
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).random((2, 90, 100)), (0, 2, 2))
    bands = np.where(rough > np.quantile(rough, 0.6), rough * 254, 0).astype(np.uint8)
    path = write_probabilities(tmp_path / "p.tif", bands, outline)
    options = PolygonOptions(min_area_m2=2, min_hole_m2=1)
    whole = in_order(*polygonized(path, options, threshold=0.3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TILE_PX", tile)
        patch.setattr(tracing, "BATCH_CORNERS", corners)
        patch.setattr(polygons, "WRITE_BYTES", size)
        fields, found = polygonized(path, options, threshold=0.3)
    assert fields["id"].tolist() == list(range(1, len(found) + 1))
    assert in_order(fields, found) == whole


def in_order(fields: dict[str, np.ndarray], found: np.ndarray) -> list[tuple[object, ...]]:
    """All that there is of each polygon but its number."""
    columns = [fields[name].tolist() for name in polygons.FIELDS if name != "id"]
    return sorted(zip(shapely.to_wkb(found).tolist(), *columns))


def place(pair: tuple[int, Polygon]) -> tuple[float, ...]:
    return (*pair[1].bounds, pair[1].area, pair[0])


def test_attributes_are_ellipsoidal_measures_and_mean_probability(tmp_path: Path) -> None:
    bands = np.zeros((1, 40, 60), np.uint8)
    bands[0, 10:20, 10:30] = 200
    bands[0, 12:14, 12:14] = 254
    fields, found = polygonized(write_probabilities(tmp_path / "p.tif", bands))
    assert set(fields) == set(polygons.FIELDS)
    geographic = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    outline = shapely.transform(found[0], geographic.transform, interleaved=False)
    area, perimeter = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(outline)
    assert fields["area_m2"][0] == pytest.approx(abs(area), abs=0.01)
    assert fields["perimeter_m"][0] == pytest.approx(perimeter, abs=0.01)
    assert fields["confidence"][0] == pytest.approx((196 * 200 + 4 * 254) / 200 / 254, abs=0.001)
    assert (fields["id"][0], fields["class"][0], fields["outline"][0], fields["run"][0]) == (
        1,
        "class 1",
        "pixels",
        "abc",
    )


def test_provenance_table_comes_with_the_polygons(tmp_path: Path) -> None:
    path = write_probabilities(tmp_path / "p.tif", np.full((1, 10, 10), 254, np.uint8))
    polygonized(path, threshold=0.25)
    with sqlite3.connect(path.with_suffix(".gpkg")) as database:
        rows = database.execute("SELECT run, threshold, source FROM orthomask_runs").fetchall()
        kinds = dict(database.execute("SELECT table_name, data_type FROM gpkg_contents").fetchall())
    assert rows == [("abc", "0.25", str(path))]
    assert kinds == {"polygons": "features", "orthomask_runs": "attributes"}


def test_nothing_found_is_an_empty_layer(tmp_path: Path) -> None:
    fields, found = polygonized(write_probabilities(tmp_path / "p.tif", np.zeros((1, 10, 10), np.uint8)))
    assert len(found) == 0
    assert set(fields) == set(polygons.FIELDS)


def test_small_objects_are_dropped_and_small_holes_filled(tmp_path: Path) -> None:
    bands = np.zeros((1, 60, 60), np.uint8)
    bands[0, 5:25, 5:25] = 254
    bands[0, 8:10, 8:10] = 0  # a hole of 1 m²
    bands[0, 14:20, 14:20] = 0  # a hole of 9 m²
    bands[0, 40:43, 40:43] = 254  # an object of 2.25 m²
    options = PolygonOptions(min_area_m2=4, min_hole_m2=4, simplify=False)
    _, found = polygonized(write_probabilities(tmp_path / "p.tif", bands), options)
    assert [len(polygon.interiors) for polygon in found] == [1]
    assert found[0].area == pytest.approx((400 - 36) * 0.25)


def test_polygons_lie_on_the_pixels_they_came_from(tmp_path: Path) -> None:
    bands = np.zeros((1, 40, 60), np.uint8)
    bands[0, 10:20, 10:30] = 254
    _, found = polygonized(write_probabilities(tmp_path / "p.tif", bands))
    left, top = TRANSFORM @ (10, 10)
    right, bottom = TRANSFORM @ (30, 20)
    assert found[0].bounds == (left, bottom, right, top)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.sampled_from([32, 57, 2048]), st.sampled_from([1, 300, 1 << 17]))
def test_fields_share_their_borders_also_across_seams(tmp_path: Path, seed: int, tile: int, corners: int) -> None:
    random = np.random.default_rng(seed)
    which = ndimage.gaussian_filter(random.random((4, 150, 130)), (0, 9, 9)).argmax(axis=0)
    bands = np.stack([np.where(which == k, 254, 0) for k in range(1, 4)]).astype(np.uint8)
    path = write_probabilities(tmp_path / "p.tif", bands, Outline.SHARED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TILE_PX", tile)
        patch.setattr(tracing, "BATCH_CORNERS", corners)
        fields, found = polygonized(path, PolygonOptions(0, 0))
    assert set(fields["outline"]) == {"shared"}
    assert shapely.coverage_is_valid(found)
    pixels = np.count_nonzero(which)
    assert shapely.area(found).sum() == pytest.approx(pixels * 0.25, rel=0.05)
    _, stairs = polygonized(path)
    assert shapely.get_num_coordinates(found).sum() < shapely.get_num_coordinates(stairs).sum() / 2


def rotated_l(angle: float) -> np.ndarray:
    """An L-shaped building on pixels, turned by `angle` degrees."""
    shape = Polygon([(40, 40), (110, 40), (110, 70), (75, 70), (75, 110), (40, 110)])
    turned = shapely.affinity.rotate(shape, angle, origin=(75, 75))
    return rasterio.features.rasterize([(turned, 254)], (150, 150), dtype="uint8")[None]


@pytest.mark.parametrize("angle", [0, 7, 30, 45, 61])
def test_buildings_get_right_angles(tmp_path: Path, angle: float) -> None:
    path = write_probabilities(tmp_path / "p.tif", rotated_l(angle), Outline.SQUARED)
    fields, found = polygonized(path, PolygonOptions())
    assert fields["outline"].tolist() == ["squared"]
    corners = shapely.get_coordinates(found[0].exterior)
    edges = np.diff(corners, axis=0)
    following = np.roll(edges, -1, axis=0)
    cosines = (edges * following).sum(axis=1) / np.linalg.norm(edges, axis=1) / np.linalg.norm(following, axis=1)
    np.testing.assert_allclose(cosines, 0, atol=1e-6)
    assert len(edges) == 6
    assert shapely.area(found[0]) == pytest.approx((70 * 70 - 35 * 40) * 0.25, rel=0.04)


def test_a_round_building_keeps_its_shape(tmp_path: Path) -> None:
    y, x = np.mgrid[0:100, 0:100]
    ring = ((x - 50) ** 2 + (y - 50) ** 2 < 40**2) & ((x - 50) ** 2 + (y - 50) ** 2 > 30**2)
    path = write_probabilities(tmp_path / "p.tif", np.where(ring, 254, 0).astype(np.uint8)[None], Outline.SQUARED)
    fields, found = polygonized(path, PolygonOptions())
    assert fields["outline"].tolist() == ["kept"]
    assert len(found[0].interiors) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_a_squared_outline_is_valid_and_overlaps_the_pixels_well(seed: int) -> None:
    random = np.random.default_rng(seed)
    blob = ndimage.gaussian_filter(random.random((60, 60)), 4)
    labels, _ = ndimage.label(blob > np.quantile(blob, 0.7))
    shapes = rasterio.features.shapes(labels.astype(np.int32), labels > 0, 4)
    polygons = np.array([shapely.geometry.shape(geometry) for geometry, _ in shapes], object)
    drawn, is_squared = outlines.squared(polygons)
    assert shapely.is_valid(drawn).all()
    for polygon, square in zip(polygons[is_squared], drawn[is_squared]):
        assert len(square.interiors) == len(polygon.interiors)
        common = square.intersection(polygon).area
        assert common / (square.area + polygon.area - common) >= outlines.SQUARE_IOU


def test_a_raster_of_someone_else_is_refused(tmp_path: Path, make_raster: Callable[..., Path]) -> None:
    with pytest.raises(OrthomaskError) as caught:
        polygonized(make_raster())
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE


def test_a_damaged_record_beside_the_raster_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run_id": "ab')
    path = write_probabilities(tmp_path / "p.tif", np.full((1, 10, 10), 254, np.uint8))
    attributes, _ = polygonized(path)
    assert list(attributes["run"]) == ["abc"]


def test_an_existing_geopackage_is_left_alone_unless_asked(tmp_path: Path) -> None:
    path = write_probabilities(tmp_path / "p.tif", np.full((1, 10, 10), 254, np.uint8))
    target = tmp_path / "mine.gpkg"
    target.write_bytes(b"precious")
    with pytest.raises(OrthomaskError) as caught:
        polygons.run(PolygonizeRequest(str(path), str(target), 0.5), Progress())
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    assert target.read_bytes() == b"precious"
