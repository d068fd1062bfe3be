from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from truth_data import PIXELS, UTM, box, read_layer, write_image, write_layer

from orthomask.engine.images import regions
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    AreasRequest,
    AreasResult,
    ClassInfo,
    ErrorCode,
    Image,
    Labels,
    OrthomaskError,
    ProjectRequest,
    Region,
    Sampling,
)
from orthomask.training.truth import areas, project


def place(image: Path, target: Path, **options: Any) -> AreasResult:
    return areas.run(AreasRequest(Image(str(image)), str(target), **{"size_m": 6.0, **options}), Progress())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("image") / "image.tif", 200, 300)


@given(
    st.sampled_from([Sampling.GRID, Sampling.RANDOM]), st.integers(1, 12), st.floats(1, 20), st.floats(0, 10),
    st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_areas_are_squares_on_pixels_apart_from_each_other(
    image: Path,
    tmp_path_factory: pytest.TempPathFactory,
    method: Sampling,
    count: int,
    size: float,
    gap: float,
    seed: int,
) -> None:
    target = tmp_path_factory.mktemp("areas") / "areas.gpkg"
    options = {"sampling": method, "count": count, "size_m": size, "min_distance_m": gap}
    placed = place(image, target, **options, seed=seed).count
    with contextlib.suppress(OrthomaskError):  # beside the first ones none may fit
        placed += place(image, target, **options, seed=seed + 1).count
    found, _ = read_layer(target, "areas")
    bounds = shapely.bounds(found)
    assert len(found) == placed
    assert np.allclose(bounds, np.round(bounds), atol=1e-5)
    assert np.allclose(bounds[:, 2:] - bounds[:, :2], max(1, round(size / 0.3)), atol=1)  # UTM's scale is not quite 1
    assert (bounds[:, :2] >= -1e-6).all()
    assert (bounds[:, 2:] <= [300 + 1e-6, 200 + 1e-6]).all()
    boxes = np.array([shapely.box(*np.round(each)) for each in bounds], object)
    for index, area in enumerate(boxes):
        others = np.delete(boxes, index)
        assert all(area.touches(other) or area.disjoint(other) for other in others)
        assert all(area.distance(other) * 0.3 >= gap * 0.999 for other in others)


def test_the_same_seed_places_the_same_areas(image: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        place(image, tmp_path / f"{name}.gpkg", seed=seed, shares=(0.5, 0.2, 0.0))
    a, b, c = (read_layer(tmp_path / f"{name}.gpkg", "areas") for name in "abc")
    assert a[1] == b[1]
    assert all(one.equals(two) for one, two in zip(a[0], b[0]))
    assert not all(one.equals(two) for one, two in zip(a[0], c[0]))


def test_shares_are_dealt_and_the_rest_is_to_do(image: Path, tmp_path: Path) -> None:
    place(image, tmp_path / "a.gpkg", count=10, shares=(0.5, 0.2, 0.1))
    splits = read_layer(tmp_path / "a.gpkg", "areas")[1]["split"]
    assert {split: splits.count(split) for split in set(splits)} == {"train": 5, "validation": 2, "test": 1, "todo": 2}


@pytest.mark.parametrize("nodata", [0, None])
def test_areas_lie_in_the_region_and_where_there_is_data(tmp_path: Path, nodata: int | None) -> None:
    data = np.ones((200, 300), bool)
    data[:, 150:] = False
    image = write_image(tmp_path / "half.tif", 200, 300, data=data)
    with rasterio.open(image, "r+") as dataset:
        dataset.nodata = nodata
    triangle = shapely.Polygon([(0, 0), (300, 0), (0, 200)])
    region = Region(regions.transformed(triangle, PIXELS).wkt, UTM)
    for method in (Sampling.RANDOM, Sampling.GRID):
        place(image, tmp_path / f"{method.value}.gpkg", sampling=method, count=12, region=region)
        found, _ = read_layer(tmp_path / f"{method.value}.gpkg", "areas")
        allowed = triangle.intersection(shapely.box(0, 0, 151, 200)).buffer(0.01)
        assert len(found) > 4
        assert all(area.within(allowed) for area in found)


def test_fewer_areas_than_asked_are_told_and_none_is_refused(image: Path, tmp_path: Path) -> None:
    result = place(image, tmp_path / "a.gpkg", count=50, size_m=20)
    assert result.warnings == (f"Only {result.count} of 50 areas fit.",)
    refused(ErrorCode.AREAS_EMPTY, image, tmp_path / "b.gpkg", size_m=200)
    assert not (tmp_path / "b.gpkg").exists()


def test_strata_get_the_same_number_of_areas(image: Path, tmp_path: Path) -> None:
    labels = write_layer(
        tmp_path / "l.gpkg", [shapely.box(0, 0, 250, 200), shapely.box(260, 0, 300, 200)], kind=["a", "b"]
    )
    strata = Labels(str(labels), class_field="kind")
    place(image, tmp_path / "a.gpkg", sampling=Sampling.STRATIFIED, count=8, size_m=3, strata=strata)
    middles = [area.centroid.x for area in read_layer(tmp_path / "a.gpkg", "areas")[0]]
    assert sum(x < 251 for x in middles) == 4
    assert sum(x > 259 for x in middles) == 4


def test_places_are_drawn_by_weight(image: Path, tmp_path: Path) -> None:
    people = np.zeros((20, 30), np.float32)
    people[:, 20:], people[:, 10:20] = 3, 1
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 20, "width": 30, "nodata": -1}
    raster = tmp_path / "people.tif"
    with rasterio.open(raster, "w", **profile, crs=UTM, transform=PIXELS @ PIXELS.scale(10)) as dataset:
        dataset.write(people, 1)
    squares = [shapely.box(100, 0, 200, 200), shapely.box(200, 0, 300, 200)]
    vector = write_layer(tmp_path / "people.gpkg", squares, density=[1.0, 3.0])
    for path, field in ((raster, ""), (vector, "density")):
        target = tmp_path / f"{path.name}.areas.gpkg"
        place(image, target, count=200, size_m=0.6, weight_path=str(path), weight_field=field)
        middles = np.array([area.centroid.x for area in read_layer(target, "areas")[0]])
        assert (middles > 99).all()
        assert 0.65 < (middles > 200).mean() < 0.85
    refused(ErrorCode.LABELS_CLASSES, image, tmp_path / "x.gpkg", weight_path=str(vector), weight_field="typo")


def test_other_layers_of_a_project_stay_as_they_are(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "project.gpkg"
    project.run(ProjectRequest(str(target), "EPSG:4326", (ClassInfo(1, "building", "#ff0000"),)), Progress())
    write_layer(target, [box(1, 1, 5)], layer="mine", note=["keep"])
    place(image, target, count=3)
    place(image, target, count=3, seed=2)
    found, columns = read_layer(target, "areas")
    assert columns["name"] == [f"area {number}" for number in range(1, 7)]
    assert read_layer(target, "mine")[1] == {"note": ["keep"]}
    ground = regions.reprojected(regions.transformed(np.array(found, object), PIXELS), "EPSG:4326", UTM)
    inside = shapely.bounds(regions.transformed(ground, ~PIXELS))
    assert (inside >= -0.01).all()
    assert (inside <= 300.01).all()


def test_a_project_that_another_program_writes_is_left_alone(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "project.gpkg"
    place(image, target, count=3)
    hold = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('BEGIN EXCLUSIVE'); print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        refused(ErrorCode.OUTPUT_IN_USE, image, target)
        other.communicate(b"\n")
    assert len(read_layer(target, "areas")[0]) == 3


def refused(code: ErrorCode, image: Path, target: Path, **options: Any) -> None:
    with pytest.raises(OrthomaskError) as caught:
        place(image, target, **options)
    assert caught.value.code is code
    assert caught.value.remedy
