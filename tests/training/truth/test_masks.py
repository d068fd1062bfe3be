from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from truth_data import PIXELS, UTM, box, write_image, write_layer

from conftest import CancelAfter
from orthomask.engine.images import regions
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Areas,
    Cancelled,
    ClassInfo,
    ErrorCode,
    Existing,
    Image,
    Labels,
    MaskRequest,
    MaskResult,
    OrthomaskError,
    Region,
)
from orthomask.training.truth import borders, burning, masks


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(str(write_image(tmp_path / "image.tif", 60, 80)))


@pytest.fixture
def labels(tmp_path: Path) -> tuple[Labels, ...]:
    squares = [box(5, 5, 10), box(17, 5, 10), box(15, 40, 12), box(60, 30, 8)]
    return (Labels(str(write_layer(tmp_path / "labels.gpkg", squares))),)


def read(path: str | Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def export(image: Image, labels: tuple[Labels, ...], target: Path, **options: Any) -> MaskResult:
    return masks.run(MaskRequest(image, labels, str(target), **options), Progress())


def test_a_mask_lies_on_the_image_with_names_and_colours(
    tmp_path: Path, image: Image, labels: tuple[Labels, ...]
) -> None:
    classes = (ClassInfo(1, "building", "#ff8000"), ClassInfo(2, "field", "#00ff00"))
    result = export(image, labels, tmp_path / "out" / "mask.tif", classes=classes)
    with rasterio.open(image.path) as source, rasterio.open(result.mask_path) as mask:
        assert (mask.transform, mask.crs, mask.shape) == (source.transform, source.crs, source.shape)
        assert mask.nodata == 255
        assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert mask.colormap(1)[1] == (255, 128, 0, 255)
    names = subprocess.run(["gdalinfo", result.mask_path], capture_output=True, text=True, check=True).stdout
    assert "1: building" in names
    assert [(c.name, c.pixels, c.objects) for c in result.counts] == [("building", 408, 4), ("field", 0, 0)]
    assert result.unknown_px == 0
    assert result.warnings == ("No label belongs to the class “field”.",)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mask.tif", "mask.tif.aux.xml"]


def test_unknown_is_what_lies_outside_of_areas(tmp_path: Path, image: Image, labels: tuple[Labels, ...]) -> None:
    areas = write_layer(tmp_path / "areas.gpkg", [box(0, 0, 20)], layer="areas", split=["train"])
    result = export(image, labels, tmp_path / "mask.tif", areas=Areas(str(areas)))
    mask = read(result.mask_path)
    assert (mask[:20, :20] != 255).all()
    assert result.unknown_px == np.count_nonzero(mask == 255) == 80 * 60 - 400
    assert [(c.pixels, c.objects) for c in result.counts] == [(130, 2)]


def test_a_region_is_cut_from_the_same_grid(tmp_path: Path, image: Image, labels: tuple[Labels, ...]) -> None:
    whole = read(export(image, labels, tmp_path / "whole.tif").mask_path)
    triangle = shapely.Polygon([(3.2, 2.2), (40.7, 2.2), (3.2, 50.9)])
    region = Region(regions.transformed(triangle, PIXELS).wkt, UTM)
    result = export(image, labels, tmp_path / "part.tif", region=region)
    with rasterio.open(result.mask_path) as dataset:
        part = dataset.read(1)
        assert ~PIXELS @ (dataset.transform.c, dataset.transform.f) == pytest.approx((3, 2), abs=1e-6)
    assert part.shape == (49, 38)
    inside = part != 255
    assert np.array_equal(part[inside], whole[2:51, 3:41][inside])
    assert inside.sum() == pytest.approx(triangle.area, rel=0.02)


@pytest.mark.parametrize("strip_px", [80 * 7, 1 << 24])
def test_a_border_parts_objects_that_are_near(
    tmp_path: Path, image: Image, labels: tuple[Labels, ...], strip_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burning, "STRIP_PX", strip_px)
    monkeypatch.setattr(masks, "TILE_PX", 13)
    result = export(image, labels, tmp_path / "mask.tif", border_px=2, weights_path=str(tmp_path / "weights.tif"))
    mask, weights = read(result.mask_path), read(tmp_path / "weights.tif")
    assert [(c.value, c.name) for c in result.counts] == [(1, "labels"), (2, "border")]
    assert (mask[7:13, 15:17] == 2).all()
    assert mask[20, 16] == 0
    assert not (mask[30:, :] == 2).any()
    whole = np.zeros((60, 80), np.int32)
    for number, (x, y, size) in enumerate([(5, 5, 10), (17, 5, 10), (15, 40, 12), (60, 30, 8)], 1):
        whole[y : y + size, x : x + size] = number
    assert np.array_equal(mask == 2, borders.borders(whole, 2))
    assert np.array_equal(weights, borders.border_weights(whole))
    assert weights[10, 15] == weights.max()


object_maps = st.integers(0, 2**32 - 1).map(
    lambda seed: np.kron(np.random.default_rng(seed).integers(0, 4, (5, 6)), np.ones((4, 4), int)).astype(np.int32)
)


@given(object_maps, st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_distances_to_the_two_nearest_objects_are_those_of_each_object(objects: np.ndarray, reach: int) -> None:
    numbers = [number for number in np.unique(objects) if number]
    each = [ndimage.distance_transform_edt(objects != number) for number in numbers] + [
        np.full(objects.shape, np.inf)
    ] * 2
    expected = np.sort(each, axis=0)[:2]
    expected[expected > reach] = np.inf
    assert np.allclose(borders.nearest_two(objects, reach), expected)


def test_weights_are_those_of_the_paper() -> None:
    objects = np.zeros((9, 30), np.int32)
    objects[:, :10], objects[:, 14:] = 1, 2
    weights = borders.border_weights(objects)
    assert weights[4, 11] == pytest.approx(1 + 10 * np.exp(-((2 + 3) ** 2) / 50))
    assert weights[4, 29] == pytest.approx(1 + 10 * np.exp(-(20**2) / 50))


def test_an_output_that_is_there_is_kept(tmp_path: Path, image: Image, labels: tuple[Labels, ...]) -> None:
    target = tmp_path / "mask.tif"
    target.write_bytes(b"mine")
    refused(ErrorCode.OUTPUT_EXISTS, image, labels, target)
    assert target.read_bytes() == b"mine"
    export(image, labels, target, existing=Existing.OVERWRITE)
    assert read(target).shape == (60, 80)


def test_an_input_is_never_overwritten(tmp_path: Path, image: Image, labels: tuple[Labels, ...]) -> None:
    before = hashlib.sha256(Path(image.path).read_bytes()).digest()
    refused(ErrorCode.OUTPUT_EXISTS, image, labels, Path(image.path), existing=Existing.OVERWRITE)
    assert hashlib.sha256(Path(image.path).read_bytes()).digest() == before


def test_cancelling_leaves_nothing(
    tmp_path: Path, image: Image, labels: tuple[Labels, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burning, "STRIP_PX", 80)
    folder = tmp_path / "out"
    with pytest.raises(Cancelled):
        masks.run(MaskRequest(image, labels, str(folder / "mask.tif")), CancelAfter(0.3))
    assert list(folder.iterdir()) == []


def test_an_image_without_crs_is_refused(tmp_path: Path, labels: tuple[Labels, ...]) -> None:
    image = Image(str(write_image(tmp_path / "nowhere.tif", 20, 20, crs=None)))
    refused(ErrorCode.IMAGE_CRS, image, labels, tmp_path / "mask.tif")
    assert read(export(Image(image.path, UTM), labels, tmp_path / "mask.tif").mask_path).any()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_in_mid_export_is_told(tmp_path: Path, small_disk: Path) -> None:
    random = np.random.default_rng(1)
    specks = [box(x, y, 0.9) for x, y in random.integers(0, 500, (6000, 2))]
    labels = (Labels(str(write_layer(tmp_path / "many.gpkg", specks))),)
    refused(ErrorCode.DISK_FULL, Image(str(write_image(tmp_path / "i.tif", 500, 500))), labels, small_disk / "mask.tif")
    assert list(small_disk.iterdir()) == []


def refused(code: ErrorCode, image: Image, labels: tuple[Labels, ...], target: Path, **options: Any) -> None:
    with pytest.raises(OrthomaskError) as caught:
        export(image, labels, target, **options)
    assert caught.value.code is code
    assert caught.value.remedy
