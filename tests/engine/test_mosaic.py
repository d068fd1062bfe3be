"""Many rasters as one image."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from conftest import scene
from orthomask.engine import mosaic, predict
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Existing, Image, MosaicRequest, OrthomaskError, PredictRequest

GRID = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)
HEIGHT, WIDTH = 150, 180


def joined(*rasters: Path | str, to: Path, existing: Existing = Existing.REFUSE) -> Path:
    request = MosaicRequest(tuple(map(str, rasters)), str(to), existing)
    return Path(mosaic.run(request, Progress()).path)


@pytest.fixture
def cut(make_raster: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A piece of a raster, at its place, in the folder `tiles`."""

    def make(pixels: np.ndarray, top: int, left: int, **options: object) -> Path:
        (tmp_path / "tiles").mkdir(exist_ok=True)
        place = GRID @ Affine.translation(left, top)
        name = f"tiles/{len(list((tmp_path / 'tiles').iterdir()))}.tif"
        return make_raster(pixels, **{"name": name, "transform": place, **options})

    return make


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.dataset_mask() > 0


def test_pieces_make_up_the_raster_and_predict_the_same(
    make_raster: Callable[..., Path], cut: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    pixels = scene(HEIGHT, WIDTH)
    whole = make_raster(pixels)
    for top, left, height, width in ((0, 60, 70, 120), (70, 0, 80, 180), (0, 0, 70, 60)):
        cut(pixels[:, top : top + height, left : left + width], top, left)
    virtual = joined(tmp_path / "tiles", to=tmp_path / "out" / "image.vrt")
    with rasterio.open(whole) as one, rasterio.open(virtual) as other:
        assert (one.shape, one.transform, one.crs) == (other.shape, other.transform, other.crs)
    np.testing.assert_array_equal(read(virtual)[0], pixels)
    assert read(virtual)[1].all()
    requests = [
        PredictRequest(Image(str(image)), str(tiny), str(tmp_path / name), window_px=64, overlap_px=16)
        for image, name in ((whole, "one"), (virtual, "other"))
    ]
    found = [predict.run(request, Progress()) for request in requests]
    one, other = (read(Path(result.probabilities_path))[0] for result in found)
    np.testing.assert_array_equal(one, other)


def test_gaps_nodata_and_masks_hold_no_data_and_cover_nothing(cut: Callable[..., Path], tmp_path: Path) -> None:
    """Three overlapping pieces whose right halves are nodata, masked and transparent, over one that is whole there."""
    pixels = np.full((3, 40, 40), 50, np.uint8)
    half = np.where(np.arange(40) < 20, 255, 0).astype(np.uint8)[None].repeat(40, axis=0)
    cut(pixels, 0, 20)
    cut(np.where(half, 60, 0)[None].repeat(3, axis=0).astype(np.uint8), 0, 0, nodata=0)
    cut(pixels + 20, 40, 0, mask=half)
    alpha = cut(np.concatenate([pixels + 30, half[None]]), 80, 0, photometric="RGB", alpha="YES")
    with rasterio.open(alpha) as dataset:
        assert dataset.count == 4
    values, valid = read(joined(tmp_path / "tiles", to=tmp_path / "image.vrt"))
    assert values.shape == (3, 120, 60)
    expected = np.zeros((120, 60), int)
    expected[:40, 20:60] = 50
    expected[:40, :20], expected[40:80, :20], expected[80:, :20] = 60, 70, 80
    np.testing.assert_array_equal(np.where(valid, values[0], 0), expected)
    np.testing.assert_array_equal(valid, expected > 0)


def test_it_is_written_anew_only_when_a_piece_has_changed(cut: Callable[..., Path], tmp_path: Path) -> None:
    piece, target = cut(scene(40, 40), 0, 0), tmp_path / "image.vrt"
    before = joined(piece, to=target).stat().st_mtime_ns
    assert joined(piece, to=target).stat().st_mtime_ns == before
    os.utime(piece, ns=(1, 1))
    with pytest.raises(OrthomaskError) as caught:
        joined(piece, to=target)
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    assert joined(piece, to=target, existing=Existing.OVERWRITE).stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"crs": "EPSG:32646"}, "reference system"),
        ({"transform": GRID @ Affine.translation(40.5, 0)}, "not aligned"),
        ({"transform": GRID @ Affine.scale(1.1)}, "a different size"),
        ({"transform": GRID @ Affine.rotation(10)}, "north-up"),
        ({"dtype": "uint16"}, "bands"),
    ],
)
def test_what_does_not_fit_is_named(
    options: dict[str, object], why: str, make_raster: Callable[..., Path], cut: Callable[..., Path], tmp_path: Path
) -> None:
    first, pixels = cut(scene(40, 40), 0, 0), scene(40, 40).astype(str(options.pop("dtype", "uint8")))
    with pytest.raises(OrthomaskError, match=why) as caught:
        joined(first, make_raster(pixels, name="odd.tif", **options), to=tmp_path / "image.vrt")
    assert "odd.tif" in caught.value.sentence
    assert not (tmp_path / "image.vrt").exists()


def test_a_folder_without_rasters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(OrthomaskError, match="no rasters"):
        joined(tmp_path, to=tmp_path / "image.vrt")


def named(path: Path, *names: str) -> Path:
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return path


ROW = (("red", "green", "blue"), ("B02", "B03", "B04"), ("Grün", "Blau", "Rot"))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_bands_are_joined_by_name(cut: Callable[..., Path], tmp_path: Path, order: tuple[int, ...]) -> None:
    """Three pieces of one picture, whose bands lie in three orders and are called in three ways."""
    pixels = scene(20, 60)
    places = {"red": 0, "green": 1, "blue": 2, "B04": 0, "B03": 1, "B02": 2, "Rot": 0, "Grün": 1, "Blau": 2}
    pieces = []
    for left, number in zip((0, 20, 40), order):
        own = [places[name] for name in ROW[number]]
        pieces.append(named(cut(pixels[own, :, left : left + 20], 0, left), *ROW[number]))
    path = joined(*pieces, to=tmp_path / "image.vrt")
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ROW[order[0]]
        np.testing.assert_array_equal(dataset.read(), pixels[[places[name] for name in ROW[order[0]]]])


def test_colours_say_the_order_too_and_nameless_bands_fit_anywhere(cut: Callable[..., Path], tmp_path: Path) -> None:
    pixels = scene(20, 60)
    pieces = [
        cut(pixels[:, :, :20], 0, 0, photometric="MINISBLACK"),
        cut(pixels[:, :, 20:40], 0, 20),
        named(cut(pixels[::-1, :, 40:], 0, 40), "blue", "green", "red"),
    ]
    values, _ = read(joined(*pieces, to=tmp_path / "image.vrt"))
    np.testing.assert_array_equal(values, pixels)


def test_bands_that_are_not_the_same_are_refused(cut: Callable[..., Path], tmp_path: Path) -> None:
    pieces = [cut(scene(20, 20), 0, 0), named(cut(scene(20, 20), 0, 20), "nir", "red", "green")]
    with pytest.raises(OrthomaskError, match="its bands are nir, red, green, not red, green, blue"):
        joined(*pieces, to=tmp_path / "image.vrt")
    assert not (tmp_path / "image.vrt").exists()


def test_near_infrared_flagged_as_transparency_is_joined_as_a_band(cut: Callable[..., Path], tmp_path: Path) -> None:
    pixels = scene(20, 40, bands=4)
    pixels[3, :10] = 0
    names = ("red", "green", "blue", "nir")
    pieces = [named(cut(pixels[:, :, left : left + 20], 0, left), *names) for left in (0, 20)]
    values, valid = read(joined(*pieces, to=tmp_path / "image.vrt"))
    np.testing.assert_array_equal(values, pixels)
    assert valid.all()


@pytest.mark.parametrize("declared", [True, False])
def test_a_margin_covers_nothing_and_a_bright_band_alone_is_no_margin(
    cut: Callable[..., Path], tmp_path: Path, declared: bool
) -> None:
    """The upper piece has a white margin over the lower one, and pixels that are white in one band only."""
    lower, upper = np.full((3, 20, 30), 50, np.uint8), np.full((3, 20, 30), 90, np.uint8)
    upper[:, :, :10] = 255
    upper[0, 5:9, 15:25] = 255
    options = {"nodata": 255} if declared else {}
    pieces = [cut(lower, 0, 0, **options), cut(upper, 0, 0, **options)]
    request = MosaicRequest(tuple(map(str, pieces)), str(tmp_path / "image.vrt"), nodata=None if declared else 255)
    values, valid = read(Path(mosaic.run(request, Progress()).path))
    np.testing.assert_array_equal(values, np.where((upper == 255).all(axis=0), lower, upper))
    assert valid.all()


def test_what_systems_leave_in_folders_is_passed_over(cut: Callable[..., Path], tmp_path: Path) -> None:
    cut(scene(20, 20), 0, 0)
    for name in ("._0.tif", ".DS_Store", "Thumbs.db", ".hidden.tif"):
        (tmp_path / "tiles" / name).write_bytes(b"no raster")
    request = MosaicRequest((str(tmp_path / "tiles"),), str(tmp_path / "image.vrt"))
    assert mosaic.run(request, Progress()).rasters == 1


def test_a_piece_with_bands_of_different_types_is_named(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    whole = make_raster(scene(20, 30), transform=GRID)
    parts = "".join(
        f"<VRTRasterBand dataType='{kind}' band='{number}'><SimpleSource><SourceFilename>{whole}</SourceFilename>"
        f"<SourceBand>{number}</SourceBand></SimpleSource></VRTRasterBand>"
        for number, kind in enumerate(("Byte", "Byte", "Float32"), 1)
    )
    place = ", ".join(map(str, GRID.to_gdal()))
    (tmp_path / "mixed.vrt").write_text(
        f"<VRTDataset rasterXSize='30' rasterYSize='20'><SRS>EPSG:32645</SRS>"
        f"<GeoTransform>{place}</GeoTransform>{parts}</VRTDataset>"
    )
    with pytest.raises(OrthomaskError, match=r"mixed\.vrt.*different pixel types"):
        joined(tmp_path / "mixed.vrt", whole, to=tmp_path / "image.vrt")
