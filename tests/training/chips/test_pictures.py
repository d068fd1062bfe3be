"""Reading pictures and masks of every layout, and joining tiles that touch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
from images import write_tile

from orthomask.protocol import UNKNOWN, ChipSet, ClassValue, ErrorCode, OrthomaskError, Pictures, Split
from orthomask.training.chips.pictures import place_of, read_chips, read_pictures

MASK = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
COLOURS = {0: (0, 0, 0), 1: (60, 16, 152), 2: (132, 41, 246), 255: (155, 155, 155)}
DUBAI = (ClassValue("#000000", 0), ClassValue("#3c1098", 1), ClassValue("#8429F6", 2), ClassValue("#9B9B9B", UNKNOWN))


def image(bands: int = 3, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (bands, 2, 3)).astype(dtype)


def write(path: Path, pixels: np.ndarray, driver: str = "PNG", palette: dict[int, Any] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    with rasterio.open(path, "w", driver=driver, width=width, height=height, count=bands, dtype=pixels.dtype) as file:
        file.write(pixels)
        if palette:
            file.write_colormap(1, palette)


def pictures(folder: Path, **options: Any) -> Pictures:
    return Pictures(**{"images": "images", "masks": "masks", "gsd_m": 0.5, **options})


def refused(folder: Path, code: ErrorCode, words: str, **options: Any) -> None:
    with pytest.raises(OrthomaskError, match=words) as caught:
        list(read_pictures(pictures(folder, **options), str(folder)))
    assert caught.value.code is code


@pytest.mark.parametrize(("suffix", "driver", "bands"), [("png", "PNG", 3), ("tif", "GTiff", 8), ("TIFF", "GTiff", 1)])
def test_pictures_of_folders(tmp_path, suffix, driver, bands):
    write(tmp_path / "images" / f"a_town3_7.{suffix}", image(bands), driver)
    write(tmp_path / "masks" / "a_town3_7.png", MASK[None])
    (tmp_path / "images" / "notes.txt").write_text("no picture")
    (tile,) = read_pictures(pictures(tmp_path, split=Split.TEST), str(tmp_path))
    assert (tile.name, tile.place, tile.gsd_m, tile.split, tile.origin) == ("a_town3_7", "town", 0.5, Split.TEST, None)
    np.testing.assert_array_equal(tile.pixels, image(bands))
    np.testing.assert_array_equal(tile.mask, MASK)


def test_a_jpeg_is_read_beside_its_png_mask(tmp_path):
    write(tmp_path / "images" / "a.jpg", np.full((3, 2, 3), 90, np.uint8), "JPEG")
    write(tmp_path / "masks" / "a.png", MASK[None])
    (tile,) = read_pictures(pictures(tmp_path), str(tmp_path))
    np.testing.assert_allclose(tile.pixels, 90, atol=2)


def test_landslide4sense_layout_of_hdf5(tmp_path):
    random = np.random.default_rng(0)
    stored = {number: random.normal(size=(4, 5, 14)) for number in (0, 1, 2, 11)}
    for number, pixels in stored.items():
        for part, name, values in (("images", "image", pixels), ("masks", "mask", pixels[..., 0] > 0)):
            path = tmp_path / part / f"{name}_{number}.h5"
            path.parent.mkdir(exist_ok=True)
            with h5py.File(path, "w") as file:
                file["img" if name == "image" else "mask"] = values
    tiles = {tile.name: tile for tile in read_pictures(pictures(tmp_path), str(tmp_path))}
    assert set(tiles) == {f"image_{number}" for number in stored}
    for number, pixels in stored.items():
        tile = tiles[f"image_{number}"]
        np.testing.assert_array_equal(tile.pixels, np.moveaxis(pixels, -1, 0))
        np.testing.assert_array_equal(tile.mask, pixels[..., 0] > 0)


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_one_file_with_a_stack(tmp_path, suffix):
    random = np.random.default_rng(0)
    img, mask = random.integers(0, 9, (3, 4, 5, 6)).astype(np.uint16), random.integers(0, 3, (3, 4, 5)).astype(np.uint8)
    path = tmp_path / f"stack.{suffix}"
    if suffix == "npz":
        np.savez(path, image=img, mask=mask)
    else:
        with h5py.File(path, "w") as file:
            file["img"], file["mask"] = img, mask
    tiles = list(read_pictures(pictures(tmp_path, images=path.name, masks=path.name, place="Here"), str(tmp_path)))
    assert [tile.name for tile in tiles] == ["stack", "stack_1", "stack_2"]
    for number, tile in enumerate(tiles):
        assert tile.place == "Here"
        np.testing.assert_array_equal(tile.pixels, np.moveaxis(img[number], -1, 0))
        np.testing.assert_array_equal(tile.mask, mask[number])


def test_arrays_of_numpy_and_stacks_of_different_length(tmp_path):
    random = np.random.default_rng(0)
    img, mask = random.normal(size=(3, 4, 5, 6)), random.integers(0, 2, (3, 4, 5, 1)).astype(np.float64)
    for name, values in (("trainX", img), ("trainY", mask), ("fewY", mask[:2])):
        np.save(tmp_path / f"{name}.npy", values)
    tiles = list(read_pictures(pictures(tmp_path, images="trainX.npy", masks="trainY.npy"), str(tmp_path)))
    assert [tile.name for tile in tiles] == ["trainX", "trainX_1", "trainX_2"]
    for number, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile.pixels, np.moveaxis(img[number], -1, 0))
        np.testing.assert_array_equal(tile.mask, mask[number, ..., 0])
    files = {"images": "trainX.npy", "masks": "fewY.npy"}
    refused(tmp_path, ErrorCode.LABELS_SIZE, "“trainX.npy” and “fewY.npy” hold different numbers", **files)
    np.save(tmp_path / "trainX.npy", np.array([{}], object))
    refused(tmp_path, ErrorCode.IMAGE_UNREADABLE, "cannot be read", **files)


def test_colours_become_classes_also_where_each_file_has_its_own_palette(tmp_path):
    for name in "abc":
        write(tmp_path / "images" / f"{name}.png", image())
    colours = np.moveaxis(np.array([[COLOURS[value] for value in row] for row in MASK], np.uint8), -1, 0)
    write(tmp_path / "masks" / "a.png", colours)
    write(tmp_path / "masks" / "b.png", MASK[None], palette=COLOURS)
    order = [255, 2, 1, 0]
    own = {order.index(value): colour for value, colour in COLOURS.items()}
    write(tmp_path / "masks" / "c.png", np.vectorize(order.index)(MASK)[None].astype(np.uint8), palette=own)
    for tile in read_pictures(pictures(tmp_path, mapping=DUBAI), str(tmp_path)):
        np.testing.assert_array_equal(tile.mask, MASK, tile.name)
    refused(tmp_path, ErrorCode.LABELS_CLASSES, "colour #8429f6.* “a.png”", mapping=DUBAI[:2] + DUBAI[3:])
    refused(tmp_path, ErrorCode.LABELS_CLASSES, "colour #3c1098, #8429f6")


def test_values_become_classes(tmp_path):
    write(tmp_path / "images" / "a.png", image())
    write(tmp_path / "masks" / "a.png", MASK[None])
    mapping = (ClassValue("0", 0), ClassValue("1.0", 4), ClassValue("2", UNKNOWN), ClassValue("255", 3))
    (tile,) = read_pictures(pictures(tmp_path, mapping=mapping), str(tmp_path))
    assert tile.mask.tolist() == [[0, 4, UNKNOWN], [3, 4, 0]]
    refused(tmp_path, ErrorCode.LABELS_CLASSES, "value 2, 255 in the mask “a.png”", mapping=mapping[:2])
    write(tmp_path / "masks" / "a.png", MASK[None].astype(np.uint16) * 2)
    refused(tmp_path, ErrorCode.LABELS_CLASSES, "value 510 in")


@pytest.mark.parametrize(
    ("image_name", "mask_name"),
    [
        ("image_7", "mask_7"), ("7_sat", "7_mask"), ("a_1", "a_1-label"), ("a_1", "gt_a_1"), ("img7", "mask7"),
        ("top_2_10_RGB", "top_2_10_label"), ("a_1", "A_1_Mask"), ("a.b_1", "a.b_1_labels"), ("a_1", "a_1"),
    ],
)  # fmt: skip
def test_partners_agree_on_their_names_but_for_one_word(tmp_path, image_name, mask_name):
    write(tmp_path / "images" / f"{image_name}.png", image())
    write(tmp_path / "masks" / f"{mask_name}.png", MASK[None])
    write(tmp_path / "images" / "other.png", image())
    write(tmp_path / "masks" / "other.png", MASK[None] * 0)
    tiles = {tile.name: tile for tile in read_pictures(pictures(tmp_path), str(tmp_path))}
    np.testing.assert_array_equal(tiles[image_name].mask, MASK)


def test_no_picture_takes_the_mask_of_another(tmp_path):
    write(tmp_path / "images" / "tyrol_1.png", image())
    write(tmp_path / "masks" / "vienna_1.png", MASK[None])
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "“tyrol_1.png” has no mask")
    write(tmp_path / "images" / "vienna_1.png", image())
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "“tyrol_1.png” has no mask")
    write(tmp_path / "masks" / "mask_tyrol_1.png", MASK[None])
    assert len(list(read_pictures(pictures(tmp_path), str(tmp_path)))) == 2
    write(tmp_path / "masks" / "tyrol_1_mask.png", MASK[None])
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "could have the mask “mask_tyrol_1.png” or “tyrol_1_mask.png”")
    (tmp_path / "masks" / "tyrol_1_mask.png").rename(tmp_path / "masks" / "graz_1.png")
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "The mask “graz_1.png” has no image")
    assert len(list(read_pictures(pictures(tmp_path, images="images/tyrol_*"), str(tmp_path)))) == 1


def test_pictures_and_masks_of_one_folder(tmp_path):
    write(tmp_path / "both" / "a_sat.png", image())
    write(tmp_path / "both" / "a_mask.png", MASK[None])
    (tile,) = read_pictures(pictures(tmp_path, images="both", masks="both"), str(tmp_path))
    np.testing.assert_array_equal(tile.mask, MASK)
    write(tmp_path / "both" / "b.png", image(1))
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "“b.png” has no mask", images="both", masks="both")


def test_what_systems_leave_in_folders_is_no_picture(tmp_path):
    write(tmp_path / "images" / "a.png", image())
    write(tmp_path / "masks" / "a.png", MASK[None])
    for folder in ("images", "masks"):
        for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (tmp_path / folder / name).write_bytes(b"no picture")
    assert [tile.name for tile in read_pictures(pictures(tmp_path), str(tmp_path))] == ["a"]


@pytest.mark.parametrize("bands", [1, 3])
def test_255_is_the_class_where_the_whole_folder_holds_only_0_and_255(tmp_path, bands):
    found = {"a": [[0, 255, 0], [0, 0, 0]], "b": [[0, 0, 0], [0, 0, 0]], "c": [[255, 255, 255], [255, 255, 255]]}
    for name, values in found.items():
        write(tmp_path / "images" / f"{name}.png", image())
        write(tmp_path / "masks" / f"{name}.png", np.repeat(np.array([values], np.uint8), bands, axis=0))
    told: list[str] = []
    for tile in read_pictures(pictures(tmp_path), str(tmp_path), told.append):
        np.testing.assert_array_equal(tile.mask, np.array(found[tile.name]) // 255)
    assert told == ["“masks” contains only 0 and 255: 255 was read as class 1."]
    write(tmp_path / "images" / "d.png", image())
    write(tmp_path / "masks" / "d.png", np.repeat(np.array([[[0, 1, 255], [0, 0, 0]]], np.uint8), bands, axis=0))
    told.clear()
    tiles = {tile.name: tile.mask for tile in read_pictures(pictures(tmp_path), str(tmp_path), told.append)}
    assert tiles["a"].tolist() == found["a"]
    assert tiles["d"].tolist() == [[0, 1, 255], [0, 0, 0]]
    assert not told


def test_black_is_background_unless_it_is_mapped(tmp_path):
    write(tmp_path / "images" / "a.png", image())
    colours = np.zeros((3, 2, 3), np.uint8)
    colours[0, 0] = 255
    write(tmp_path / "masks" / "a.png", colours)
    (tile,) = read_pictures(pictures(tmp_path, mapping=(ClassValue("#ff0000", 1),)), str(tmp_path))
    assert tile.mask.tolist() == [[1, 1, 1], [0, 0, 0]]
    mapping = (ClassValue("#ff0000", 1), ClassValue("#000000", UNKNOWN))
    (tile,) = read_pictures(pictures(tmp_path, mapping=mapping), str(tmp_path))
    assert tile.mask.tolist() == [[1, 1, 1], [UNKNOWN] * 3]


def test_jpeg_masks_are_restored_and_said_or_refused(tmp_path):
    shape = np.zeros((90, 120), np.uint8)
    shape[11:50, 17:70] = 1
    write(tmp_path / "images" / "a.png", np.zeros((3, 90, 120), np.uint8))
    for bands in (1, 3):
        write(tmp_path / "masks" / "a.jpg", np.repeat(shape[None] * 255, bands, axis=0), "JPEG")
        told: list[str] = []
        for mapping in ((), (ClassValue("0", 0), ClassValue("255", 1))):
            (tile,) = read_pictures(pictures(tmp_path, mapping=mapping), str(tmp_path), told.append)
            np.testing.assert_array_equal(tile.mask, shape)
        assert "“a.jpg” is a JPEG" in told[0]
    noise = np.random.default_rng(1).integers(0, 256, (1, 90, 120)).astype(np.uint8)
    write(tmp_path / "masks" / "a.jpg", noise, "JPEG")
    refused(tmp_path, ErrorCode.LABELS_CLASSES, "“a.jpg” is a JPEG")


def test_lines_between_objects_become_background(tmp_path):
    mask, lines = np.ones((2, 9, 12), np.uint8)
    lines[:] = 0
    lines[:, 5:10] = 255
    write(tmp_path / "images" / "a_1.png", np.zeros((3, 9, 12), np.uint8))
    write(tmp_path / "masks" / "a_1.png", mask[None])
    write(tmp_path / "lines" / "a_1.png", lines[None])
    for trim_px, columns in ((0, slice(5, 10)), (1, slice(6, 9)), (2, slice(7, 8)), (3, slice(0, 0))):
        (tile,) = read_pictures(pictures(tmp_path, boundaries="lines", boundary_trim_px=trim_px), str(tmp_path))
        expected = mask.copy()
        expected[:, columns] = 0
        np.testing.assert_array_equal(tile.mask, expected)
    write(tmp_path / "lines" / "a_1.png", lines[None, 1:])
    refused(tmp_path, ErrorCode.LABELS_SIZE, "“a_1.png” has 12 x 8 px, but its image has 12 x 9 px", boundaries="lines")
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "no mask in “nowhere”", boundaries="nowhere")


def test_what_is_missing_or_damaged_is_named(tmp_path):
    refused(tmp_path, ErrorCode.IMAGE_UNREADABLE, "no images in “images”")
    write(tmp_path / "images" / "a_1.png", image())
    write(tmp_path / "images" / "b_2.png", image())
    write(tmp_path / "masks" / "a_1.png", MASK[None])
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "“b_2.png” has no mask")
    write(tmp_path / "masks" / "b_2_mask.png", MASK[None, :1])
    refused(tmp_path, ErrorCode.LABELS_SIZE, "“b_2_mask.png” has 3 x 1 px, but its image has 3 x 2 px")
    (tmp_path / "masks" / "b_2_mask.png").write_bytes(b"no picture")
    refused(tmp_path, ErrorCode.LABELS_UNREADABLE, "b_2_mask.png” cannot be read")
    (tmp_path / "images" / "a_1.png").write_bytes(b"no picture")
    refused(tmp_path, ErrorCode.IMAGE_UNREADABLE, "a_1.png” cannot be read")


@pytest.mark.parametrize("suffix", ["h5", "npz"])
@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04 cut off"])
def test_damaged_arrays_are_named(tmp_path, suffix, content):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    refused(tmp_path, ErrorCode.IMAGE_UNREADABLE, "cannot be read", images=f"a.{suffix}", masks=f"a.{suffix}")


def test_arrays_of_another_shape_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", img=np.zeros((4, 4)), mask=np.zeros((4, 4)))
    refused(tmp_path, ErrorCode.IMAGE_UNREADABLE, "cannot be read", images="a.npz", masks="a.npz")


@pytest.mark.parametrize("north_up", [False, True])
def test_neighbours_are_joined_and_gaps_stay_unknown(tmp_path, north_up):
    random = np.random.default_rng(0)
    whole = random.integers(1, 256, (3, 64, 96), np.uint8)
    mask = random.integers(0, 2, (64, 96)).astype(np.uint8)
    for row, column in [(0, 0), (0, 1), (1, 1)]:
        box = np.s_[..., row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        y = -row if north_up else row
        write_tile(tmp_path, f"t_{500 + 2.5 * column}_{700 + 2.5 * y}", whole[box], mask[box])
    write_tile(tmp_path, "t_900_700", whole[:, :32, 64:], mask[:32, 64:])
    wanted = pictures(tmp_path, images="images/t_*", tile_step=2.5, north_up=north_up)
    alone, large = sorted(read_pictures(wanted, str(tmp_path)), key=lambda tile: tile.mask.size)
    known = large.mask != UNKNOWN
    assert known.sum() == 3 * 32 * 32
    np.testing.assert_array_equal(large.mask[known], mask[:, :64][known])
    np.testing.assert_array_equal(large.pixels[:, known], whole[:, :, :64][:, known])
    assert not known[32:, :32].any()
    assert not large.pixels[:, 32:, :32].any()
    np.testing.assert_array_equal(alone.pixels, whole[:, :32, 64:])


def test_pictures_that_cannot_be_joined_are_named(tmp_path):
    write_tile(tmp_path, "t_0_0", image(), MASK)
    write_tile(tmp_path, "t_1_0", image()[:, :1], MASK[:1])
    refused(tmp_path, ErrorCode.TRAINING_DATA, "“t_0_0” and “t_1_0” differ in size", tile_step=1.0)
    write_tile(tmp_path, "plain", image(), MASK)
    refused(tmp_path, ErrorCode.TRAINING_DATA, "“plain.png” does not end", tile_step=1.0)


@pytest.mark.parametrize(
    ("name", "place"),
    [("inria512_austin4_00061_481_276", "austin"), ("inria_ds_chicago1_21", "chicago"), ("12_3", "unknown")],
)
def test_place_comes_from_the_file_name(name, place):
    assert place_of(name) == place


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "contains no Orthomask chips"), ("[1]", "contains no Orthomask chips"), ('{"layout": 99}', "newer")],
)
def test_a_folder_without_a_manifest_of_ours_is_refused(tmp_path, content, words):
    if content:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(OrthomaskError, match=words):
        list(read_chips(ChipSet(str(tmp_path)), ""))
