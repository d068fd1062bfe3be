from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rasterio.vrt
import rasterio.warp
import shapely
from affine import Affine
from rasterio.crs import CRS

from conftest import CancelAfter
from orthomask.engine.change import pictures, registration
from orthomask.engine.progress import Progress
from orthomask.protocol import Cancelled, Image

SAMPLES = Path(__file__).parents[3] / "resources" / "sample"
UTM = CRS.from_epsg(32645)
SIDE_PX, GSD_M = 512, 0.3
LEFT, TOP = 500_000.0, 3_000_000.0
PLACED = Affine(GSD_M, 0, LEFT, 0, -GSD_M, TOP)
GROUND = shapely.box(LEFT, TOP - SIDE_PX * GSD_M, LEFT + SIDE_PX * GSD_M, TOP)


@pytest.fixture(scope="module")
def town() -> np.ndarray:
    """Houses `(3, 512, 512)`, at 0.3 m."""
    with rasterio.open(SAMPLES / "banepa.tif") as dataset:
        return np.asarray(dataset.read(window=((400, 912), (400, 912))))


def moved(pixels: np.ndarray, move: Affine, gsd_m: float = GSD_M) -> np.ndarray:
    """The picture after its ground was moved, at a pixel size; 0 where nothing is known."""
    side = round(SIDE_PX * GSD_M / gsd_m)
    result = np.zeros((3, side, side), np.uint8)
    scale = min(1, GSD_M / gsd_m)
    rasterio.warp.reproject(
        pixels, result, src_transform=move @ PLACED, src_crs=UTM, dst_crs=UTM, tolerance=0, XSCALE=scale, YSCALE=scale,
        dst_transform=Affine(gsd_m, 0, LEFT, 0, -gsd_m, TOP), resampling=rasterio.enums.Resampling.cubic,
    )  # fmt: skip
    return result


def repainted(pixels: np.ndarray, random: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """Another day: darker, noisier, and some squares hold something else."""
    changed = pixels * 0.7 + 30 + random.normal(0, 5, pixels.shape)
    step = pixels.shape[1] // 12
    for row in range(0, pixels.shape[1], step):
        for column in range(0, pixels.shape[2], step):
            if random.random() < share:
                changed[:, row : row + step, column : column + step] = random.uniform(0, 255, (3, 1, 1))
    return np.where(pixels.any(axis=0), np.clip(changed, 1, 255), 0).astype(np.uint8)


def worst_m(shifts: registration.Shifts, move: Affine) -> float:
    """The largest error of a field at the corners of the ground."""
    places = shapely.get_coordinates(GROUND)
    truth = np.array([move @ place for place in places]) - places
    return float(np.hypot(*(shifts.at(places) - truth).T).max())


@pytest.fixture
def register(make_raster: Callable[..., Path]) -> Callable[..., registration.Shifts]:
    def run(before: np.ndarray, after: np.ndarray, gsd_m: float = GSD_M) -> registration.Shifts:
        paths = (
            make_raster(before, name="before.tif", transform=PLACED, nodata=0),
            make_raster(after, name="after.tif", transform=Affine(gsd_m, 0, LEFT, 0, -gsd_m, TOP), nodata=0),
        )
        none = np.array([], object)
        sides = [registration.Side(none, Image(str(path)), GROUND, UTM) for path in paths]
        return registration.register(*sides, 5.0, Progress())

    return run


@pytest.mark.parametrize(
    ("east_m", "north_m", "turn", "gsd_m"), [(2.0, -2.2, 0.0, 0.3), (-3.0, 0.4, 1.0, 0.3), (1.2, 2.5, -1.0, 0.51)]
)
def test_a_shift_and_a_turn_are_found_in_another_light(
    east_m: float,
    north_m: float,
    turn: float,
    gsd_m: float,
    town: np.ndarray,
    register: Callable[..., registration.Shifts],
) -> None:
    move = Affine.translation(east_m, north_m) @ Affine.rotation(turn, (LEFT + 77, TOP - 77))
    after = repainted(moved(town, move, gsd_m), np.random.default_rng(5))
    shifts = register(town, after, gsd_m)
    assert shifts.registration.source == "images"
    assert worst_m(shifts, move) < 0.2 * gsd_m
    assert 0 < shifts.error_m < gsd_m / 2
    assert shifts.registration.size_m == pytest.approx(np.hypot(east_m, north_m), abs=0.5)


def test_noise_has_no_known_shift(register: Callable[..., registration.Shifts]) -> None:
    random = np.random.default_rng(1)
    shifts = register(*(random.normal(90, 8, (3, SIDE_PX, SIDE_PX)).astype(np.uint8) for _ in range(2)))
    assert shifts.registration.source == ""
    assert shifts.registration.tried > 20


@pytest.mark.parametrize("kind", ["flat", "other place"])
def test_ground_with_nothing_in_common_has_no_known_shift(
    kind: str, town: np.ndarray, register: Callable[..., registration.Shifts]
) -> None:
    with rasterio.open(SAMPLES / "banepa.tif") as dataset:
        elsewhere = dataset.read(window=((1200, 1456), (1200, 1456)))
    flat = np.full((3, 256, 256), 90, np.uint8)
    before, after = (flat, flat) if kind == "flat" else (town[:, :256, :256], elsewhere)
    shifts = register(before, after)
    assert shifts.registration.source == ""
    assert shifts.registration.tried > 5


def test_missing_data_and_a_partial_overlap_are_left_out(
    town: np.ndarray, register: Callable[..., registration.Shifts]
) -> None:
    move = Affine.translation(1.5, 2.0)
    before, after = town.copy(), moved(town, move)
    before[:, 200:300, 100:400] = 0
    after[:, :, :160] = 0
    shifts = register(before, after)
    assert shifts.registration.source == "images"
    assert worst_m(shifts, move) < 0.1
    assert shifts.points["x"].min() > LEFT + 130 * GSD_M


def test_images_in_other_crs_and_with_other_bands_are_compared(
    town: np.ndarray, tmp_path: Path, make_raster: Callable[..., Path]
) -> None:
    move = Affine.translation(2.0, -1.0)
    first = make_raster(town, name="before.tif", transform=PLACED)
    grey = moved(town, move).mean(axis=0, keepdims=True).astype(np.uint16) * 40
    local = make_raster(grey, name="local.tif", transform=PLACED, nodata=0)
    second = tmp_path / "after.tif"
    with rasterio.open(local) as dataset, rasterio.vrt.WarpedVRT(dataset, crs="EPSG:3857") as warped:
        rasterio.shutil.copy(warped, second, driver="GTiff")
    none = np.array([], object)
    images = Image(str(first), bands=("2",), stretch=(0, 200)), Image(str(second))
    sides = [registration.Side(none, image, GROUND, UTM) for image in images]
    shifts = registration.register(*sides, 5.0, Progress())
    assert shifts.registration.source == "images"
    assert worst_m(shifts, move) < 0.15


@pytest.mark.parametrize("kind", ["missing", "damaged", "elsewhere"])
def test_without_two_images_of_the_place_the_objects_are_used(
    kind: str, town: np.ndarray, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    x, y = LEFT + random.uniform(10, 140, 60), TOP - random.uniform(10, 140, 60)
    before = shapely.box(x, y, x + random.uniform(5, 15, 60), y + random.uniform(5, 15, 60))
    after = shapely.transform(before, lambda xy: xy + np.array((2.0, 1.0)))
    first = make_raster(town, name="before.tif", transform=PLACED)
    second = tmp_path / "after.tif"
    if kind == "damaged":
        second.write_bytes(first.read_bytes()[:3000])
    elif kind == "elsewhere":
        make_raster(town, name="after.tif", transform=Affine.translation(5000, 0) @ PLACED)
    sides = [
        registration.Side(*parts, GROUND, UTM) for parts in ((before, Image(str(first))), (after, Image(str(second))))
    ]
    shifts = registration.register(*sides, 5.0, Progress())
    assert shifts.registration.source == "objects"
    assert worst_m(shifts, Affine.translation(2.0, 1.0)) < 0.05


def test_registering_is_cancelled(town: np.ndarray, make_raster: Callable[..., Path]) -> None:
    image = Image(str(make_raster(town, transform=PLACED)))
    side = registration.Side(np.array([], object), image, GROUND, UTM)
    with pytest.raises(Cancelled):
        registration.register(side, side, 5.0, CancelAfter(0.1))


def test_windows_are_bounded_on_large_ground() -> None:
    corners = pictures._corners(
        shapely.box(0, -90_000, 90_000, 0), Affine(0.3, 0, 0, 0, -0.3, 0), (300_000, 300_000), 64
    )
    assert 200 < len(corners) <= pictures.MOST
