"""Two rasters as one image: against rasterio's own warping, and what is said where they do not fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from orthomask.engine import check
from orthomask.engine.images.grid import Window
from orthomask.engine.images.raster import open_image, open_reader
from orthomask.engine.progress import Progress
from orthomask.protocol import CheckRequest, ErrorCode, Image, Level, OrthomaskError, from_json, to_json

UTM, OTHER = "EPSG:32645", "EPSG:32644"
RGB = ["red", "green", "blue"]


@pytest.fixture
def pair(make_raster: Callable[..., Path]) -> Image:
    """RGB of 0.3 m with a corner without data, and two coarse uint16 bands in another CRS that cover it in part."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(1, 256, (3, 100, 120)).astype(np.uint8)
    pixels[:, :10, :10] = 0
    first = make_raster(pixels, nodata=0, photometric="RGB")
    with rasterio.open(first) as dataset:
        left, _, right, top = transform_bounds(UTM, OTHER, *dataset.bounds)
    values = rng.integers(1, 3000, (2, 30, 22)).astype(np.uint16)
    values[:, 12, 12] = 0
    place = Affine(1.5, 0, left - 3, 0, -1.5, top + 3)
    assert left + 22 * 1.5 < right  # it ends before the first
    second = make_raster(values, name="second.tif", crs=OTHER, transform=place, nodata=0)
    return Image(str(first), second=Image(str(second)))


def read(image: Image, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    with open_image(image) as source:
        lattice = source.lattice(0.3, 64, 16)
        with open_reader(source, lattice, source.bands(names)) as reader:
            return reader.read(Window(0, 0, lattice.width_px, lattice.height_px))


def test_the_second_is_warped_to_the_first_as_rasterio_does_it(pair: Image) -> None:
    pixels, valid = read(pair, [*RGB, "second:1", "second:2"])
    with rasterio.open(pair.path) as first, rasterio.open(pair.paths[1]) as second:
        with WarpedVRT(
            second, crs=first.crs, transform=first.transform, width=first.width, height=first.height,
            resampling=Resampling.bilinear, add_alpha=True, UNIFIED_SRC_NODATA="YES",
        ) as warped:  # fmt: skip
            wanted, there = np.concatenate([first.read(), warped.read([1, 2])]), warped.read(3) > 0
        known = (first.dataset_mask() > 0) & there
    assert 0.5 < known.mean() < 0.99
    assert (valid == known).all()
    assert pixels.dtype == np.uint16
    assert (pixels[:, valid] == wanted[:, valid]).all()


def test_a_band_of_the_same_grid_is_not_touched(make_raster: Callable[..., Path]) -> None:
    before, after = make_raster(name="before.tif"), make_raster(name="after.tif")
    pixels, valid = read(Image(str(before), second=Image(str(after))), [*RGB, *(f"second:{name}" for name in RGB)])
    assert valid.all()
    assert (pixels[:3] == pixels[3:]).all()


def test_a_mask_band_is_no_band_of_the_image_and_a_value_can_be_no_data(pair: Image) -> None:
    with rasterio.open(pair.path, "r+") as dataset:
        dataset.nodata = None
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.alpha]
        alpha = dataset.read(3)
    with rasterio.open(pair.paths[1], "r+") as dataset:
        dataset.nodata = None
    for value in (None, 0.0):
        image = replace(pair, second=Image(pair.paths[1], nodata=value))
        with open_image(image) as source:
            assert source.asked_bands() == ("red", "green", "second:1", "second:2")
        _, valid = read(image, ["red", "second:1"])
        assert not valid[alpha == 0].any()
        assert valid[40:60, 40:60].all() == (value is None)


def test_bands_of_both_are_kept_apart(pair: Image) -> None:
    with open_image(pair) as source:
        assert source.asked_bands() == (*RGB, "second:1", "second:2")
        assert source.bands(["second:2", "green"]) == (5, 2)
    with open_image(replace(pair, bands=("3", "2", "1"))) as source:
        assert source.asked_bands() == ("blue", "green", "red", "second:1", "second:2")
    with open_image(replace(pair, bands=("second:2",))) as source:
        assert source.asked_bands() == (*RGB, "second:2")
    same = Image(pair.path, second=Image(pair.path))
    with open_image(same) as source:
        assert source.bands([*RGB, "second:red", "second:blue"]) == (1, 2, 3, 4, 6)
        assert source.bands(["B4", "second:B4"]) == (1, 4)


@pytest.mark.parametrize(
    ("alone", "names", "sentence"),
    [
        (True, [*RGB, "second:red"], "also reads a second image (red)"),
        (False, RGB, "reads no second image"),
        (False, [*RGB, "second:1", "second:2", "second:3"], "“second.tif” has 2"),
    ],
)
def test_a_model_of_other_images_is_refused(pair: Image, alone: bool, names: list[str], sentence: str) -> None:
    image = replace(pair, second=None) if alone else pair
    with open_image(image) as source, pytest.raises(OrthomaskError) as error:
        source.bands(names)
    assert error.value.code is (ErrorCode.IMAGE_SECOND if alone else ErrorCode.IMAGE_BANDS)
    assert sentence in error.value.sentence


def test_a_second_image_of_another_place_is_refused(pair: Image, make_raster: Callable[..., Path]) -> None:
    far = make_raster(name="far.tif", transform=Affine(0.3, 0, 600_000, 0, -0.3, 3_000_000))
    with (
        pytest.raises(OrthomaskError, match=r"“far.tif” does not overlap “image.tif”"),
        open_image(replace(pair, second=Image(str(far)))),
    ):
        pass


def test_the_light_says_that_a_second_image_is_missing(tiny_two: Path, pair: Image) -> None:
    missing = check.run(CheckRequest(replace(pair, second=None), str(tiny_two)), Progress())
    assert missing.level is Level.RED
    (said,) = (light for light in missing.lights if light.level is Level.RED)
    assert (said.name, said.refuses, "also reads a second image" in said.reason) == ("second image", True, True)
    both = check.run(CheckRequest(pair, str(tiny_two)), Progress())
    found = {light.name: light for light in both.lights}
    assert found["bands"].level is Level.GREEN
    assert "1 of the second image from band 1" in found["bands"].reason
    assert found["pixel type"].level is Level.GREEN
    assert both.bands == (1, 2, 3, 4, 5)


@pytest.fixture
def tiny_two(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(bands=5, dtype="uint16", second=2)


def test_a_changed_second_image_changes_the_stamp(pair: Image) -> None:
    with open_image(pair) as source:
        before = source.stamp()
    os.utime(pair.paths[1], ns=(1, 1))
    with open_image(pair) as source:
        assert source.stamp() != before


def test_requests_keep_both_images() -> None:
    image = Image("a.tif", second=Image("b.tif", crs="EPSG:4326", nodata=0, access={"KEY": "secret"}))
    assert from_json(Image, to_json(image)) == replace(image, second=replace(image.second, access={}))
    assert "second" not in to_json(Image("a.tif"))
    with pytest.raises(OrthomaskError, match="second image of its own"):
        Image("a.tif", second=Image("b.tif", bands=("1",)))
