from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from rasterio.enums import ColorInterp

from conftest import UTM, scene
from orthomask.engine.images.grid import Lattice, Window
from orthomask.engine.images.raster import CACHE_BYTES, cache_bytes, open_image, open_reader
from orthomask.protocol import ErrorCode, Image, OrthomaskError

RGB = ["red", "green", "blue"]


def read_all(path: Path, gsd_m: float = 0.3, bands: tuple[str, ...] = ()) -> tuple[np.ndarray, np.ndarray, Lattice]:
    with open_image(Image(str(path), bands=bands)) as source:
        lattice = source.lattice(gsd_m, 512, 128)
        with open_reader(source, lattice, source.bands(bands or RGB)) as reader:
            return *reader.read(Window(0, 0, lattice.width_px, lattice.height_px)), lattice


@pytest.mark.parametrize("shape", [(1, 1), (7, 513), (513, 7), (300, 200)])
@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {"blockysize": 1}])
def test_a_fitting_raster_is_read_pixel_for_pixel(
    make_raster: Callable[..., Path], shape: tuple[int, int], layout: dict[str, object]
) -> None:
    path = make_raster(shape, **layout)
    pixels, valid, lattice = read_all(path)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(pixels, dataset.read())
        assert lattice.transform == dataset.transform
    assert valid.all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_pixel_types_are_kept(make_raster: Callable[..., Path], dtype: str) -> None:
    path = make_raster(scene(50, 60).astype(dtype) * 2)
    pixels, _, _ = read_all(path)
    assert pixels.dtype == dtype


@pytest.mark.parametrize("limits", [(100, 4180), (100, 4180, 90, 4190, 110, 4170)])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_a_stretch_reads_8_bits(make_raster: Callable[..., Path], dtype: str, limits: tuple[float, ...]) -> None:
    values = np.stack([np.linspace(0, 5000, 3000).reshape(50, 60)] * 3).astype(dtype)
    values[:, 0, :5] = 7
    image = Image(str(make_raster(values)), nodata=7, stretch=limits)
    with open_image(image) as source:
        lattice = source.lattice(0.3, 512, 128)
        with open_reader(source, lattice, (1, 2, 3)) as reader:
            pixels, valid = reader.read(Window(0, 0, 60, 50))
    low, high = np.resize(limits, (3, 2)).T[..., None, None]
    expected = np.clip((values - low) / (high - low) * 255, 0, 255)
    assert pixels.dtype == "uint8"
    assert np.abs(pixels - expected)[:, valid].max() <= 0.5 + 1e-3
    assert not valid[0, :5].any(), "no data is no data before the values are stretched"
    assert not pixels[:, ~valid].any()


def test_a_stretch_for_other_bands_is_refused(make_raster: Callable[..., Path]) -> None:
    with open_image(Image(str(make_raster((9, 9))), stretch=(0, 1, 0, 1))) as source:
        lattice = source.lattice(0.3, 512, 128)
        opening = open_reader(source, lattice, (1, 2, 3))
        with pytest.raises(OrthomaskError, match="2 pairs of values, but 3 bands"):
            opening.__enter__()


@pytest.mark.parametrize("stretch", [(1.0,), (3, 1), (0, float("inf")), (5, 5)])
def test_a_stretch_that_makes_no_sense_is_refused(stretch: tuple[float, ...]) -> None:
    with pytest.raises(OrthomaskError, match="low and high values"):
        Image("a.tif", stretch=stretch)


def test_a_window_beyond_the_edge_is_padded_and_not_valid(make_raster: Callable[..., Path]) -> None:
    path = make_raster((40, 30))
    with open_image(Image(str(path))) as source:
        lattice = source.lattice(0.3, 64, 16)
        with open_reader(source, lattice, (1, 2, 3)) as reader:
            pixels, valid = reader.read(Window(0, 0, 64, 64))
    assert valid[:40, :30].all()
    assert valid.sum() == 40 * 30
    assert not pixels[:, ~valid].any()


def masked(kind: str, make_raster: Callable[..., Path]) -> tuple[Path, np.ndarray]:
    """A raster whose left part holds no data, said in one of the ways GDAL knows; and what is valid."""
    pixels = np.maximum(scene(120, 160), 1)
    valid = np.ones((120, 160), bool)
    valid[:, :50] = False
    pixels[:, ~valid] = 0
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    if kind == "nodata":
        return make_raster(pixels, nodata=0), valid
    if kind == "mask":
        return make_raster(pixels, mask=alpha), valid
    if kind == "nan":
        return make_raster(np.where(valid, pixels, np.nan).astype(np.float32)), valid
    path = make_raster(np.concatenate([pixels, alpha[None]]), photometric="RGB", alpha="yes")
    return path, valid


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_missing_data_is_not_valid_however_it_is_marked(kind: str, make_raster: Callable[..., Path]) -> None:
    path, expected = masked(kind, make_raster)
    _, valid, _ = read_all(path)
    np.testing.assert_array_equal(valid, expected)


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_missing_data_stays_missing_when_resampled(kind: str, make_raster: Callable[..., Path]) -> None:
    path, _ = masked(kind, make_raster)
    pixels, valid, _ = read_all(path, gsd_m=0.6)
    assert valid.shape == (60, 80)
    assert not valid[:, :24].any()
    assert valid[:, 27:].all()
    assert (pixels[:, valid] > 0).all(), "no data bled into the image"


def test_a_black_band_alone_is_no_missing_data(make_raster: Callable[..., Path]) -> None:
    pixels = np.maximum(scene(60, 60), 1)
    pixels[0, :, :30] = 0
    path = make_raster(pixels, nodata=0)
    assert read_all(path)[1].all()
    assert read_all(path, gsd_m=0.6)[1].all()


def test_resampling_equals_gdals_own_warp(make_raster: Callable[..., Path]) -> None:
    path = make_raster((300, 400))
    pixels, _, lattice = read_all(path, gsd_m=0.75)
    expected = np.zeros_like(pixels)
    with rasterio.open(path) as dataset:
        rasterio.warp.reproject(
            rasterio.band(dataset, [1, 2, 3]), expected, dst_transform=lattice.transform, dst_crs=lattice.crs,
            resampling=rasterio.warp.Resampling.bilinear,
        )  # fmt: skip
    assert pixels.shape == (3, 120, 160)
    np.testing.assert_allclose(pixels.astype(int), expected.astype(int), atol=2)


def test_a_rotated_raster_is_read_north_up(make_raster: Callable[..., Path]) -> None:
    rotated = Affine.translation(500_000, 3_000_000) @ Affine.rotation(-30) @ Affine.scale(0.3, -0.3)
    path = make_raster((200, 200), transform=rotated)
    pixels, valid, lattice = read_all(path)
    assert lattice.transform.b == lattice.transform.d == 0
    assert valid.mean() == pytest.approx(200 * 200 / valid.size, rel=0.03)
    x, y = rotated @ (100, 100)
    column, row = ~lattice.transform @ (x, y)
    with rasterio.open(path) as dataset:
        around = dataset.read()[:, 95:105, 95:105].mean(axis=(1, 2))
    near = pixels[:, int(row) - 5 : int(row) + 5, int(column) - 5 : int(column) + 5].mean(axis=(1, 2))
    np.testing.assert_allclose(near, around, atol=12)


def test_a_geographic_raster_is_read_in_utm_metres(make_raster: Callable[..., Path]) -> None:
    step = 0.3 / 111_320
    path = make_raster((300, 300), crs="EPSG:4326", transform=Affine(step, 0, 85.5, 0, -step, 60.0))
    _, valid, lattice = read_all(path)
    assert pyproj.CRS(lattice.crs) == pyproj.CRS("EPSG:32645")
    assert (lattice.transform.a, lattice.transform.e) == (0.3, -0.3)
    assert valid.sum() == pytest.approx(300 * 300 * 0.5, rel=0.03), "a degree of longitude is half as long at 60° N"


def test_ground_resolution_is_true_metres_in_web_mercator(make_raster: Callable[..., Path]) -> None:
    path = make_raster((50, 50), crs="EPSG:3857", transform=Affine(0.6, 0, 1e6, 0, -0.6, 8_399_738))
    with open_image(Image(str(path))) as source:
        assert source.gsd_m == pytest.approx((0.3, 0.3), rel=0.01), "at 60° N a metre of Web Mercator is half a metre"
        assert source.lattice(0.3, 64, 16).transform == source.dataset.transform


def test_bands_are_found_by_colour_name_or_number(make_raster: Callable[..., Path]) -> None:
    path = make_raster(scene(20, 20, bands=4), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
        dataset.set_band_description(1, "nir")
    with open_image(Image(str(path))) as source:
        assert source.bands(RGB) == (4, 3, 2)
        assert source.bands(["nir"]) == (1,)
        assert source.bands(["thermal", "radar"]) == (1, 2), "foreign names: simply the first bands"
    with open_image(Image(str(path), bands=("1", "3", "RED"))) as source:
        assert source.bands(RGB) == (1, 3, 4)


@pytest.mark.parametrize("chosen", [("5", "1", "2"), ("purple", "1", "2"), ("0", "1", "2"), ("1", "2")])
def test_bands_that_are_not_there_are_refused(make_raster: Callable[..., Path], chosen: tuple[str, ...]) -> None:
    with open_image(Image(str(make_raster()), bands=chosen)) as source, pytest.raises(OrthomaskError) as caught:
        source.bands(RGB)
    assert caught.value.code is ErrorCode.IMAGE_BANDS


def test_the_request_can_name_the_crs_of_an_image_without(make_raster: Callable[..., Path]) -> None:
    path = make_raster(crs=None)
    with open_image(Image(str(path), crs=UTM)) as source:
        assert source.crs == pyproj.CRS(UTM)


def test_the_block_cache_holds_one_strip_and_is_bounded(make_raster: Callable[..., Path]) -> None:
    with open_image(Image(str(make_raster((40, 40))))) as source:
        assert cache_bytes(source, source.lattice(0.3, 512, 128)) == CACHE_BYTES[0]
