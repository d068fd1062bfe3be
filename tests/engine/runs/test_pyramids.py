"""Rasters written from the top down: what comes in comes out, and overviews are GDAL's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.engine.progress import Progress
from orthomask.engine.runs import cogs, pyramids
from orthomask.protocol import Cancelled

CRS = pyproj.CRS("EPSG:32645").to_wkt()
CLASSES = cogs.Band("uint8", 255, "", "mode")
PROBABILITIES = cogs.Band("uint8", 255, "", "average")
WEIGHTS = cogs.Band("float32", None, "", "average")


def written(path: Path, pixels: np.ndarray, band: cogs.Band, heights: list[int]) -> Path:
    """`pixels` as a COG, written in strips of these heights, over and over."""
    frame = cogs.Frame(pixels.shape[1], pixels.shape[0], CRS, Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000))
    top, turn = 0, 0
    with pyramids.open_pyramid(path, frame, band, "{}", Progress()) as pyramid:
        while top < len(pixels):
            height = heights[turn % len(heights)]
            pyramid.write(pixels[top : top + height])
            top, turn = top + height, turn + 1
    return path


def levels(path: Path) -> list[np.ndarray]:
    """The raster, and its overviews."""
    with rasterio.open(path) as dataset:
        count = len(dataset.overviews(1))
        found = [dataset.read(1)]
    for level in range(count):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.read(1))
    return found


def drawn(height: int, width: int) -> np.ndarray:
    """Classes as they come: areas of several, some pixels of noise, and parts without any."""
    rng = np.random.default_rng(1)
    coarse = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height // 7 + 1, width // 9 + 1))
    pixels = np.kron(coarse, np.ones((7, 9), np.uint8))[:height, :width]
    speckled = rng.random(pixels.shape) < 0.1
    pixels[speckled] = rng.choice(np.array([0, 1, 3, 255], np.uint8), int(speckled.sum()))
    return pixels


@pytest.mark.parametrize(
    ("band", "pixels"),
    [
        (CLASSES, drawn(2048, 1024)),
        (PROBABILITIES, drawn(1024, 1024)),
        (PROBABILITIES, np.random.default_rng(2).integers(0, 256, (1024, 1024), np.uint8)),
        (WEIGHTS, np.random.default_rng(1).random((1024, 2048), np.float32)),
    ],
)
def test_overviews_are_those_that_gdal_makes(tmp_path: Path, band: cogs.Band, pixels: np.ndarray) -> None:
    ours = levels(written(tmp_path / "ours.tif", pixels, band, [100, 512, 3]))
    frame = cogs.Frame(pixels.shape[1], pixels.shape[0], CRS, Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000))
    with cogs.open_cog(tmp_path / "gdal.tif", frame, band, "{}", Progress()) as dataset:
        dataset.write(pixels, 1)
    theirs = levels(tmp_path / "gdal.tif")
    assert [level.shape for level in ours] == [level.shape for level in theirs]
    assert np.array_equal(ours[0], pixels)
    for mine, other in zip(ours, theirs):
        assert np.allclose(mine, other, rtol=1e-6, atol=0)


@pytest.mark.parametrize("heights", [[1], [511, 2], [4000]])
def test_rows_come_out_as_they_went_in_whatever_the_size(tmp_path: Path, heights: list[int]) -> None:
    pixels = drawn(1027, 621)
    path = written(tmp_path / "raster.tif", pixels, CLASSES, heights)
    found = levels(path)
    assert [level.shape for level in found] == [(1027, 621), (514, 311), (257, 156)]
    assert np.array_equal(found[0], pixels)
    assert np.array_equal(found[1], pyramids.halved(pixels, CLASSES))
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []


def test_cancelling_ends_gdals_copy_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = cogs.Frame(1027, 621, CRS, Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000))
    reads: list[int] = []

    def endless(source: Path, _: Path, **options: object) -> None:
        for count in range(10_000):
            with rasterio.open(source) as dataset:
                dataset.read(1)
            reads.append(count)

    class CancelledWhileReading(Progress):
        def check_cancelled(self) -> None:
            if reads:
                raise Cancelled

    monkeypatch.setattr(rasterio.shutil, "copy", endless)
    opened = pyramids.open_pyramid(tmp_path / "raster.tif", frame, CLASSES, "{}", CancelledWhileReading())
    with pytest.raises(Cancelled), opened as pyramid:
        pyramid.write(drawn(621, 1027))
    assert len(reads) < 10_000
    assert list(tmp_path.iterdir()) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_the_most_frequent_value_wins_and_no_data_only_where_there_is_nothing_else(
    seed: int, height: int, width: int
) -> None:
    pixels = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
    half = pyramids.halved(pixels, CLASSES)
    assert half.shape == (-(-height // 2), -(-width // 2))
    for row, column in np.ndindex(half.shape):
        four = pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
        known = four[four != 255]
        counts = np.bincount(known, minlength=3)
        assert half[row, column] == 255 if not known.size else counts[half[row, column]] == counts.max()
