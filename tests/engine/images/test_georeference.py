"""Where rasters lie: turned, mirrored, by control points, in any CRS, across the antimeridian."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint

from conftest import UTM, CancelAfter, scene
from orthomask.engine import predict
from orthomask.engine.images.georeference import doubt, ground, stretch
from orthomask.engine.images.grid import Lattice, Window
from orthomask.engine.images.raster import open_image, open_reader
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import Cancelled, ErrorCode, Existing, Image, OrthomaskError, PredictRequest
from orthomask.training.accuracy.area_estimate import pixel_m2
from orthomask.training.truth.vectors import Grid, read_polygons

CORNER = Affine.translation(500_000, 3_000_000)
PIXEL = Affine.scale(0.3, -0.3)
QUARTERS = {
    "unturned": Affine.identity(),
    "90": Affine.rotation(90),
    "180": Affine.rotation(180),
    "270": Affine.rotation(270),
    "south-up": Affine.scale(1, -1),
    "mirrored": Affine.scale(-1, 1),
    "transposed": Affine(0, 1, 0, 1, 0, 0),
    "transposed the other way": Affine(0, -1, 0, -1, 0, 0),
}


def read(path: Path, gsd_m: float = 0.3, crs: str = "") -> tuple[np.ndarray, np.ndarray, Lattice]:
    with open_image(Image(str(path), crs)) as source:
        lattice = source.lattice(gsd_m, 64, 16)
        with open_reader(source, lattice, tuple(range(1, source.dataset.count + 1))) as reader:
            return *reader.read(Window(0, 0, lattice.width_px, lattice.height_px)), lattice


@pytest.mark.parametrize("turn", QUARTERS)
def test_quarter_turns_and_mirrors_are_read_to_the_pixel(make_raster: Callable[..., Path], turn: str) -> None:
    pixels = scene(50, 70)
    mask = np.full((50, 70), 255, np.uint8)
    mask[:10, 20:40] = 0
    transform = CORNER @ QUARTERS[turn] @ PIXEL
    found, valid, lattice = read(make_raster(pixels, transform=transform, mask=mask))
    columns, rows = np.meshgrid(np.arange(lattice.width_px) + 0.5, np.arange(lattice.height_px) + 0.5)
    column, row = ~transform @ lattice.transform @ (columns, rows)
    at = np.floor(row).astype(int), np.floor(column).astype(int)
    assert lattice.transform.b == lattice.transform.d == 0
    assert lattice.transform.a > 0 > lattice.transform.e
    np.testing.assert_array_equal(valid, mask[at] > 0)
    np.testing.assert_array_equal(found, np.where(valid, pixels[(slice(None), *at)], 0))


@pytest.mark.parametrize("turn", QUARTERS)
def test_windows_of_a_turned_raster_are_parts_of_the_whole(make_raster: Callable[..., Path], turn: str) -> None:
    path = make_raster(scene(50, 70), transform=CORNER @ QUARTERS[turn] @ PIXEL)
    whole, _, lattice = read(path)
    with open_image(Image(str(path))) as source, open_reader(source, lattice, (1, 2, 3)) as reader:
        pixels, valid = reader.read(Window(11, 5, 64, 64))
    expected = whole[:, 5:69, 11:75]
    np.testing.assert_array_equal(pixels[:, : expected.shape[1], : expected.shape[2]], expected)
    assert valid.sum() == expected[0].size


@pytest.mark.parametrize("degrees", [1, 30, 45, 89.5, 137])
@pytest.mark.parametrize("shear", [0, 20])
def test_any_turn_and_shear_is_one_bilinear_resampling(
    make_raster: Callable[..., Path], degrees: float, shear: float
) -> None:
    pixels = scene(90, 60).astype(np.float32)
    transform = CORNER @ Affine.rotation(degrees) @ Affine.shear(shear) @ PIXEL
    found, valid, lattice = read(make_raster(pixels, transform=transform))
    columns, rows = np.meshgrid(np.arange(lattice.width_px) + 0.5, np.arange(lattice.height_px) + 0.5)
    column, row = (~transform @ lattice.transform) @ (columns, rows)
    column, row = column - 0.5, row - 0.5
    inside = (column > 0) & (row > 0) & (column < 59) & (row < 89)
    left, top = np.floor(column[inside]).astype(int), np.floor(row[inside]).astype(int)
    x, y = column[inside] - left, row[inside] - top
    expected = (
        pixels[:, top, left] * (1 - x) * (1 - y) + pixels[:, top, left + 1] * x * (1 - y)
        + pixels[:, top + 1, left] * (1 - x) * y + pixels[:, top + 1, left + 1] * x * y
    )  # fmt: skip
    assert valid[inside].all()
    np.testing.assert_allclose(found[:, inside], expected, atol=0.5)
    assert valid.sum() == pytest.approx(60 * 90 * abs(transform.determinant) / 0.09, rel=0.05)


def test_a_turned_raster_is_averaged_down_like_an_unturned_one(make_raster: Callable[..., Path]) -> None:
    upright, _, _ = read(make_raster((90, 60)), gsd_m=0.9)
    turned, _, _ = read(make_raster((90, 60), transform=CORNER @ Affine.rotation(-90) @ PIXEL), gsd_m=0.9)
    np.testing.assert_allclose(np.rot90(turned, 1, (1, 2)), upright, atol=3)


@pytest.mark.parametrize("profile", [{}, {"rpcs": True}])
def test_a_raster_without_any_place_is_refused(
    make_raster: Callable[..., Path], tmp_path: Path, profile: dict[str, bool]
) -> None:
    path = make_raster((20, 20), transform=None)
    if profile:
        numbers = " ".join(["0"] * 20)
        tags = {f"{axis}_{part}_COEFF": numbers for axis in ("LINE", "SAMP") for part in ("NUM", "DEN")}
        for axis in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT"):
            tags |= {f"{axis}_OFF": "1", f"{axis}_SCALE": "1"}
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(ns="RPC", **tags)
    with pytest.raises(OrthomaskError) as caught, open_image(Image(str(path), crs=UTM)):
        pass
    assert caught.value.code is ErrorCode.IMAGE_CRS
    assert ("RPC" in caught.value.sentence) == bool(profile)


def with_points(path: Path, transform: Affine, crs: str | None, bend: float = 0.0) -> Path:
    pixels = scene(40, 60)
    places = [(row, column) for row in (0, 20, 40) for column in (0, 60)]
    points = [
        GroundControlPoint(row, column, *np.add(transform @ (column, row), (bend * (row == column == 0), 0)))
        for row, column in places
    ]
    with rasterio.open(path, "w", driver="GTiff", count=3, height=40, width=60, dtype="uint8") as dataset:
        dataset.write(pixels)
        dataset.gcps = points, rasterio.crs.CRS.from_user_input(crs) if crs else rasterio.crs.CRS()
    return path


def test_control_points_place_a_raster_in_their_own_crs(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    transform = CORNER @ Affine.rotation(30) @ PIXEL
    path = with_points(tmp_path / "points.tif", transform, UTM)
    expected = read(make_raster(scene(40, 60), transform=transform))
    for crs in ("", UTM, "EPSG:25832"):
        found = read(path, crs=crs)
        assert found[2].crs == expected[2].crs
        np.testing.assert_allclose(found[2].transform[:6], expected[2].transform[:6], atol=1e-6)
        assert np.abs(found[0].astype(int) - expected[0]).mean() < 0.1
    with open_image(Image(str(path), crs="EPSG:25832")) as source:
        assert "control points" in source.notes[0]


def test_control_points_without_crs_take_the_one_that_is_given(tmp_path: Path) -> None:
    path = with_points(tmp_path / "points.tif", CORNER @ PIXEL, None)
    assert pyproj.CRS(read(path, crs=UTM)[2].crs) == pyproj.CRS(UTM)
    with pytest.raises(OrthomaskError), open_image(Image(str(path))):
        pass


def test_control_points_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = with_points(tmp_path / "points.tif", CORNER @ PIXEL, UTM, bend=3.0)
    with pytest.raises(OrthomaskError, match="do not fit"), open_image(Image(str(path))):
        pass


@pytest.mark.parametrize(
    ("crs", "place", "unit_m"),
    [
        ("EPSG:27572", (600_000, 2_200_000), 1),
        ("EPSG:2263", (1_000_000, 200_000), 0.3048006),
        ("+proj=utm +zone=32 +datum=WGS84 +units=ft", (1_640_000, 18_000_000), 0.3048),
        ("EPSG:2053", (10_000, 2_900_000), 1),
        ("EPSG:25832+5783", (500_000, 5_600_000), 1),
        ("EPSG:5514", (-700_000, -1_050_000), 1),
    ],
)
def test_pixels_are_measured_in_metres_in_any_unit(
    make_raster: Callable[..., Path], crs: str, place: tuple[float, float], unit_m: float
) -> None:
    transform = Affine.translation(*place) @ Affine.scale(0.3 / unit_m, -0.3 / unit_m)
    with open_image(Image(str(make_raster((20, 20), transform=transform)), crs=crs)) as source:
        assert source.gsd_m == pytest.approx((0.3, 0.3), rel=2e-3)


def test_grads_from_paris_are_measured_on_the_ellipsoid(make_raster: Callable[..., Path]) -> None:
    crs, step = pyproj.CRS("EPSG:4807"), 1e-5
    with open_image(
        Image(str(make_raster((20, 20), transform=Affine(step, 0, 0, 0, -step, 54))), "EPSG:4807")
    ) as source:
        north = 0.9 * math.radians(step) * 6_365_000
        assert source.gsd_m[1] == pytest.approx(north, rel=3e-3)
        assert source.gsd_m[0] == pytest.approx(north * math.cos(math.radians(54 * 0.9)), rel=5e-3)
    assert crs.get_geod() is not None


def test_a_south_orientated_crs_is_read_north_up(make_raster: Callable[..., Path]) -> None:
    """Its coordinates grow to the west and to the south."""
    pixels = scene(30, 50)
    path = make_raster(pixels, crs="EPSG:2053", transform=Affine(-0.3, 0, 10_000, 0, 0.3, 2_900_000))
    found, _, lattice = read(path)
    np.testing.assert_array_equal(found, pixels)
    assert (lattice.transform.a, lattice.transform.e) == (-0.3, 0.3)
    east, north = ground(pyproj.CRS("EPSG:2053"), lattice.transform, 5, 5)
    assert east[0] == pytest.approx(0.3, rel=1e-3)
    assert north[1] == pytest.approx(-0.3, rel=1e-3)


def test_a_crs_that_shears_the_ground_is_resampled_in_utm(make_raster: Callable[..., Path]) -> None:
    """In a sinusoidal projection a pixel of equal sides is a lozenge on the ground, far from the middle."""
    transform = Affine(0.3, 0, 4_000_000, 0, -0.3, 5_500_000)
    with open_image(Image(str(make_raster((20, 20), crs="ESRI:54008", transform=transform)))) as source:
        largest, smallest = stretch(ground(source.crs, source.transform, 10, 10))
        assert largest / smallest > 1.2
        assert pyproj.CRS(source.lattice(0.3, 64, 16).crs).utm_zone


def test_a_pixel_size_that_varies_over_the_image_is_said(make_raster: Callable[..., Path]) -> None:
    small = make_raster((20, 20), crs="EPSG:3857", transform=Affine(0.9, 0, 1e6, 0, -0.9, 1.1e7))
    with open_image(Image(str(small))) as source:
        latitude = pyproj.Transformer.from_crs(3857, 4326).transform(1e6, 1.1e7)[0]
        assert source.gsd_m[0] == pytest.approx(0.9 * math.cos(math.radians(latitude)), rel=0.01)
        assert source.notes == ()
    large = make_raster((20, 20), crs="EPSG:3857", transform=Affine(9e4, 0, 1e6, 0, -9e4, 1.1e7))
    with open_image(Image(str(large))) as source:
        assert "at its corners" in source.notes[0]


def test_a_shift_without_its_grid_is_told_with_its_error() -> None:
    around = (490_000.0, 4_400_000.0, 510_000.0, 4_420_000.0)
    (told,) = doubt(pyproj.CRS("EPSG:4267"), pyproj.CRS("EPSG:32615"), around)
    assert " m here" in told
    assert ".tif" in told
    (told,) = doubt(pyproj.CRS("+proj=longlat +ellps=bessel"), pyproj.CRS("EPSG:32632"), around)
    assert "hundreds" in told
    assert doubt(pyproj.CRS("EPSG:4326"), pyproj.CRS("EPSG:25832"), around) == ()


@pytest.mark.parametrize("left", [179.999, 190.0, -180.001, 359.9985, -0.0015])
def test_longitudes_of_any_count_are_read_whole(make_raster: Callable[..., Path], left: float) -> None:
    pixels = np.full((1, 60, 1000), 7, np.uint8)
    path = make_raster(pixels, crs="EPSG:4326", transform=Affine(3e-6, 0, left, 0, -3e-6, 50))
    _, valid, lattice = read(path, 0.3)
    metres = 60 * 3e-6 * 111_230 * 1000 * 3e-6 * 71_700
    assert valid.sum() * lattice.transform.a**2 == pytest.approx(metres, rel=0.02)


@pytest.mark.parametrize("code", [4807, 27572])
def test_areas_of_pixels_in_grads_from_paris_are_true(code: int) -> None:
    crs = pyproj.CRS.from_epsg(code)
    size, place = (1e-5, (0.2, 54.0)) if code == 4807 else (1.0, (620_000, 2_400_000))
    transform = Affine.translation(*place) @ Affine.scale(size, -size)
    found = pixel_m2(crs, transform, Window(0, 0, 40, 40))
    assert found == pytest.approx(abs(np.linalg.det(ground(crs, transform, 20, 20))), rel=1e-4)


@pytest.mark.parametrize("turns", [-1, 0, 1])
@pytest.mark.parametrize("size", [0.0003, 170.0, 179.9])
def test_labels_meet_an_image_however_longitudes_are_counted(tmp_path: Path, turns: int, size: float) -> None:
    path, left = tmp_path / "labels.gpkg", 190.0005
    square = shapely.box(left + 360 * turns, 10 - 0.0005, left + 360 * turns + size, 10)
    write_layer(path, "labels", {"id": np.array([1])}, shapely.to_wkb(np.array([square])), "Polygon", "EPSG:4326")
    grid = Grid(pyproj.CRS(4326).to_wkt(), Affine(1e-5, 0, 190, 0, -1e-5, 10), 100, 100)
    (found,) = read_polygons(str(path), "labels", [], "", grid).geometries
    width = min(size, 0.0005) / 1e-5
    assert found.intersection(grid.box).bounds == pytest.approx((50, 0, 50 + width, 50), abs=1e-3)


def test_a_resampled_run_that_an_older_version_began_is_not_mixed_with_a_new_one(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    image = make_raster((300, 200), transform=Affine(0.2, 0, 500_000, 0, -0.2, 3_000_000))
    request = PredictRequest(Image(str(image)), str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16)
    with pytest.raises(Cancelled):
        predict.run(request, CancelAfter(0.6))
    path = tmp_path / "out/.orthomask/state.json"
    state = json.loads(path.read_text())
    del state["grid"]
    path.write_text(json.dumps(state))
    with pytest.raises(OrthomaskError, match="older version"):
        predict.run(request, Progress())
    again = predict.run(replace(request, existing=Existing.OVERWRITE), Progress())
    fresh = predict.run(replace(request, output_dir=str(tmp_path / "fresh")), Progress())
    assert Path(again.probabilities_path).read_bytes() == Path(fresh.probabilities_path).read_bytes()


def test_labels_say_that_their_shift_is_not_known_well(tmp_path: Path) -> None:
    path = tmp_path / "labels.gpkg"
    square = shapely.box(-93.001, 39.749, -92.999, 39.751)
    write_layer(path, "labels", {"id": np.array([1])}, shapely.to_wkb(np.array([square])), "Polygon", "EPSG:4267")
    grid = Grid(pyproj.CRS(32615).to_wkt(), Affine(1, 0, 499_500, 0, -1, 4_400_500), 1000, 1000)
    (told,) = read_polygons(str(path), "labels", [], "", grid).tally.warnings(on_image=True)
    assert "NAD27" in told
    assert " m here" in told
