from __future__ import annotations

import numpy as np
import pytest
import rasterio.io
from collect_servers import picture
from rasterio.errors import RasterioError

from orthomask.training.collect import tiles


def encoded(driver: str, pixels: np.ndarray, **options: object) -> bytes:
    bands, height, width = pixels.shape
    with rasterio.io.MemoryFile() as file:
        with file.open(driver=driver, count=bands, height=height, width=width, dtype=pixels.dtype) as dataset:
            dataset.write(pixels)
            if "colormap" in options:
                dataset.write_colormap(1, options["colormap"])
        return bytes(file.read())


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "WEBP", "GTiff"])
def test_pictures_of_any_kind_have_three_colours(driver: str) -> None:
    tile = tiles.decoded(picture(driver, side=128))
    assert tile.pixels.shape == (3, 128, 128)
    assert abs(float(tile.pixels[:, 64].mean()) - 100) < 2
    assert tile.valid.all()


def test_grey_paletted_and_transparent_pictures() -> None:
    grey = tiles.decoded(picture(bands=1))
    assert grey.pixels[:, 9, 9].tolist() == [100] * 3
    clear = np.full((4, 64, 64), 9, np.uint8)
    clear[3, :32] = 0
    half = tiles.decoded(encoded("PNG", clear))
    assert half.valid.mean() == 0.5
    assert not half.pixels[:, :32].any()
    indices = np.zeros((1, 64, 64), np.uint8)
    indices[0, 0] = 1
    palette = {0: (10, 20, 30, 255), 1: (0, 0, 0, 0)}
    paletted = tiles.decoded(encoded("PNG", indices, colormap=palette))
    assert paletted.pixels[:, 9, 9].tolist() == [10, 20, 30]
    assert not paletted.valid[0].any()


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 64, 65), np.uint8), np.zeros((3, 16, 16), np.uint8), np.zeros((1, 64, 64), np.uint16)]
)
def test_other_pictures_are_no_tiles(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="x"):
        tiles.decoded(encoded("PNG", pixels))


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "WEBP"])
def test_pictures_that_break_off_are_damaged(driver: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    whole = encoded(driver, noise)
    with pytest.raises(RasterioError):
        tiles.decoded(whole[: len(whole) // 2])


def test_addresses() -> None:
    assert tiles.address("h/{z}/{x}/{y}?k={key}", 3, 5, 1) == "h/3/5/1?k={key}"
    assert tiles.address("h/{z}/{x}/{-y}", 3, 5, 1) == "h/3/5/6"
    assert tiles.address("h/{q}", 3, 3, 5) == "h/213"
    assert tiles.driver_of(b"<VRTDataset>") is None
