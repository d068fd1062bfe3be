"""Every format of chips gives back what it was given, and other programs find it where it belongs."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from chip_data import PIXELS, UTM, export, labelled, noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from orthomask.protocol import UNKNOWN, ChipFormat, ChipSet, ClassInfo, ErrorCode, OrthomaskError, Pictures, Split
from orthomask.training.chips.formats import ChipWriter, Cut, Style
from orthomask.training.chips.pictures import read_chips, read_pictures

CLASSES = (ClassInfo(1, "building", "#e6007e"), ClassInfo(2, "field", "#00a000"))
TURNED = PIXELS @ Affine.rotation(30)
HELD = {
    ChipFormat.GEOTIFF: (("uint8", "uint16", "int16", "float32", "float64"), 14),
    ChipFormat.PNG: (("uint8", "uint16"), 4),
    ChipFormat.NPZ: (("uint8", "uint16", "int16", "float32"), 14),
    ChipFormat.HDF5: (("uint8", "uint16", "int16", "float32"), 14),
}


def style(kind: ChipFormat, bands: int = 3, dtype: str = "uint8", nodata: float | None = None) -> Style:
    names = tuple(f"b{number}" for number in range(bands))
    return Style(kind, 16, CLASSES, names, (ColorInterp.undefined,) * bands, dtype, nodata)


def cut(bands: int = 3, dtype: str = "uint8", seed: int = 0, transform: Affine = PIXELS) -> Cut:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 200, (bands, 16, 16)).astype(dtype)
    mask = random.choice([0, 1, 2, UNKNOWN], (16, 16)).astype(np.uint8)
    return Cut(f"chip_{seed}", list(Split)[seed % 3], pixels, mask, UTM, transform)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(ChipFormat), seed=st.integers(0, 99), count=st.integers(1, 3))
def test_an_export_is_read_back_as_it_was(tmp_path_factory, data, kind, seed, count):
    dtypes, most = HELD[kind]
    dtype, bands = data.draw(st.sampled_from(dtypes)), data.draw(st.integers(1, most))
    nodata = data.draw(st.sampled_from([None, 0, 255] + [float("nan")] * dtype.startswith("float")))
    folder = tmp_path_factory.mktemp("chips")
    image = noise(100, 80, bands, dtype, seed)
    image[:, 20:40, 10:60] = 0 if nodata is None else nodata
    known = np.ones((80, 100), bool)
    known[20:40, 10:60] = nodata is None
    shares = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)][count - 1]
    truth = labelled(folder, image, nodata=nodata)
    _, manifest, tiles = export(folder / "out", truth, chip_px=32, stride_px=32, format=kind, shares=shares)
    assert len(tiles) == len(manifest.chips) > 4
    for chip in manifest.chips:
        tile = tiles[chip.name]
        x, y = (round(number) for number in ~PIXELS @ (chip.transform[2], chip.transform[5]))
        window = np.s_[..., y : y + 32, x : x + 32]
        np.testing.assert_array_equal(tile.pixels, np.where(known[window], image[window], 0))
        assert (tile.pixels.dtype, tile.split, tile.gsd_m) == (np.dtype(dtype), chip.split, chip.gsd_m)
        assert (tile.mask == UNKNOWN).tolist() == (~known[window]).tolist()
        assert hashlib.sha256(tile.mask.tobytes()).hexdigest() == chip.mask_sha256
        assert chip.pixels == {str(value): int((tile.mask == value).sum()) for value in np.unique(tile.mask)}


@pytest.mark.parametrize("kind", [ChipFormat.GEOTIFF, ChipFormat.PNG])
@pytest.mark.parametrize("transform", [PIXELS, TURNED])
@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (3, "uint8"), (4, "uint16")])
def test_rasters_lie_where_they_belong(tmp_path, kind, transform, bands, dtype):
    chip = cut(bands, dtype, transform=transform)
    with ChipWriter(tmp_path, style(kind, bands, dtype)) as writer:
        stored = writer.write(chip)
    for name, expected in ((stored.image, chip.pixels), (stored.mask, chip.mask[None])):
        with rasterio.open(tmp_path / name) as dataset:
            np.testing.assert_array_equal(dataset.read(), expected)
            assert dataset.crs == rasterio.CRS.from_string(UTM)
            assert dataset.transform.almost_equals(transform, 1e-6)
    with rasterio.open(tmp_path / stored.mask) as dataset:
        assert dataset.colormap(1)[1] == (0xE6, 0x00, 0x7E, 255)
    if kind is ChipFormat.PNG:
        a, d, b, e, x, y = map(float, (tmp_path / stored.image).with_suffix(".pgw").read_text().split())
        assert Affine(a, b, x, d, e, y).almost_equals(transform @ Affine.translation(0.5, 0.5), 1e-6)


@pytest.mark.parametrize("bands", [2, 4, 8])
def test_more_bands_than_colours_are_no_transparency(tmp_path, bands):
    chip = cut(bands)
    with ChipWriter(tmp_path, style(ChipFormat.GEOTIFF, bands)) as writer:
        stored = writer.write(chip)
    with rasterio.open(tmp_path / stored.image) as dataset:
        assert ColorInterp.alpha not in dataset.colorinterp
        assert dataset.descriptions == tuple(f"b{number}" for number in range(bands))
        assert dataset.dataset_mask().all()


@pytest.mark.parametrize("kind", [ChipFormat.GEOTIFF, ChipFormat.PNG, ChipFormat.NPZ])
def test_what_goes_wrong_with_the_last_chip_is_told_at_the_end(tmp_path, kind):
    chip = cut()
    (tmp_path / chip.split.value).write_bytes(b"in the way")
    with pytest.raises(OrthomaskError) as caught, ChipWriter(tmp_path, style(kind)) as writer:
        writer.write(chip)
    assert caught.value.code is ErrorCode.OUTPUT_UNWRITABLE


def test_hdf5_is_one_file_for_each_split(tmp_path):
    chips = [cut(14, "float32", seed) for seed in range(8)]
    with ChipWriter(tmp_path, style(ChipFormat.HDF5, 14, "float32", float("nan"))) as writer:
        stored = [writer.write(chip) for chip in chips]
    for split in {chip.split for chip in chips}:
        with h5py.File(tmp_path / f"{split.value}.h5") as file:
            mine = [chip for chip in chips if chip.split is split]
            assert file["img"].shape == (len(mine), 16, 16, 14)
            assert file["img"].chunks == (1, 16, 16, 14)
            assert file["mask"].shape == (len(mine), 16, 16)
            assert [name.decode() for name in file["name"]] == [chip.name for chip in mine]
            assert file.attrs["bands"][13] == "b13"
    with h5py.File(tmp_path / stored[3].image) as file:
        np.testing.assert_array_equal(np.moveaxis(file["img"][stored[3].number], -1, 0), chips[3].pixels)


@pytest.mark.parametrize("kind", ChipFormat)
def test_exported_folders_are_pictures_with_masks_too(tmp_path, kind):
    """The layouts are those that other programs make: nothing of ours is needed to read them."""
    _, _, tiles = export(tmp_path / "out", labelled(tmp_path), format=kind)
    where = {
        ChipFormat.HDF5: ("out/train.h5", "out/train.h5"),
        ChipFormat.NPZ: ("out/train", "out/train"),
    }.get(kind, ("out/train/images", "out/train/masks"))
    found = list(read_pictures(Pictures(*where, 0.5), str(tmp_path)))
    train = [tile for tile in tiles.values() if tile.split is Split.TRAIN]
    assert len(found) == len(train) > 0
    if kind is not ChipFormat.HDF5:
        for tile in found:
            np.testing.assert_array_equal(tile.pixels, tiles[tile.name].pixels)
            np.testing.assert_array_equal(tile.mask, tiles[tile.name].mask)


@pytest.mark.parametrize("kind", ChipFormat)
def test_a_chip_that_is_gone_is_named(tmp_path, kind):
    _, manifest, _ = export(tmp_path / "out", labelled(tmp_path), format=kind)
    (tmp_path / "out" / manifest.chips[0].image).unlink()
    with pytest.raises(OrthomaskError, match="cannot be read") as caught:
        list(read_chips(ChipSet("out"), str(tmp_path)))
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE


@pytest.mark.parametrize(("bands", "dtype"), [(5, "uint16"), (3, "float32")])
def test_png_says_what_it_cannot_hold(tmp_path, bands, dtype):
    with pytest.raises(OrthomaskError, match=f"PNG supports 1 to 4 bands .* {bands} of type {dtype}.*GeoTIFF"):
        export(tmp_path / "out", labelled(tmp_path, noise(bands=bands, dtype=dtype)), format=ChipFormat.PNG)
    assert not list(tmp_path.glob("out*"))
