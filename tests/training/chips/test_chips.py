"""Chips: where they lie, what they show, which are left out, and that nothing is lost when something goes wrong."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from chip_data import ONE, PIXELS, UTM, export, labelled, noise, write_layer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from conftest import CancelAfter
from orthomask.engine.images import regions
from orthomask.protocol import (
    UNKNOWN,
    Areas,
    Catalogue,
    ChipFormat,
    ChipsRequest,
    ClassInfo,
    ErrorCode,
    Existing,
    LabelledImage,
    OrthomaskError,
    Split,
    Touch,
)
from orthomask.training.chips import chips
from orthomask.training.chips.plan import SPLITS, Plan, dealt, make_plan, starts

WHOLE = shapely.box(0, 0, 320, 256)
TURNED = PIXELS @ Affine.rotation(20)


def outlines(plan: Plan) -> dict[Split, list[shapely.Geometry]]:
    """The exact ground under each planned chip, in the CRS that all images have in common."""
    found: dict[Split, list[shapely.Geometry]] = {split: [] for split in Split}
    for place in plan.places:
        x, y, width, height = place.window
        box = shapely.box(x, y, x + width, y + height)
        found[place.split].append(regions.transformed(box, plan.batches[place.batch].lattice.transform))
    return found


def touching(plan: Plan) -> bool:
    found = outlines(plan)
    return any(
        shapely.intersects(shapely.union_all(found[one]), shapely.union_all(found[other]))
        for one, other in itertools.combinations(found, 2)
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> LabelledImage:
    return labelled(tmp_path_factory.mktemp("image"))


grids = st.fixed_dictionaries({
    "chip_px": st.sampled_from([16, 24, 40, 64]),
    "stride_px": st.sampled_from([10, 16, 40, 70]),
    "gsd_m": st.sampled_from([(), (0.5, 1.0), (0.7,)]),
    "rotations": st.sampled_from([(0.0,), (0.0, 30.0), (45.0,), (90.0,)]),
    "seed": st.integers(0, 9),
})  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(grid=grids, shares=st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.5, 0.0), (0.2, 0.2, 0.2)]))
def test_blocks_of_splits_never_touch(image, grid, shares):
    assert not touching(make_plan(ChipsRequest((image,), "out", ONE, shares=shares, **grid)))


rectangles = st.tuples(st.integers(-20, 280), st.integers(-20, 220), st.integers(8, 150), st.integers(8, 150)).map(
    lambda r: shapely.box(r[0], r[1], r[0] + r[2], r[1] + r[3])
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    areas=st.lists(st.tuples(st.sampled_from(["train", "validation", "test", "todo"]), rectangles), max_size=6),
    grid=grids,
)
def test_areas_of_splits_that_overlap_or_touch_give_chips_that_do_not(image, tmp_path_factory, areas, grid):
    areas = [("train", shapely.box(0, 0, 100, 100)), ("test", shapely.box(100, 0, 164, 64)), *areas]
    path = write_layer(
        tmp_path_factory.mktemp("areas") / "areas.gpkg", [a for _, a in areas], split=[split for split, _ in areas]
    )
    bounds = LabelledImage(image.image, image.labels, Areas(str(path)))
    plan = make_plan(ChipsRequest((bounds, image), "out", ONE, shares=(0.5, 0.25, 0.25), **grid))
    assert not touching(plan)
    assert outlines(plan)[Split.TEST] or grid["stride_px"] > grid["chip_px"]
    assert not outlines(plan)[Split.TODO]


@settings(max_examples=300)
@given(
    first=st.integers(-50, 500),
    length=st.integers(1, 600),
    side=st.integers(16, 128),
    stride=st.integers(1, 200),
    size=st.integers(100, 700),
)
def test_chips_lie_inside_their_space_and_cover_it(first, length, side, stride, size):
    end = first + length
    found = starts(first, end, side, stride, size)
    inside = range(max(0, first), min(end, size))
    assert sorted(found) == found
    assert found[0] >= 0
    assert found[-1] + side <= max(size, side)
    if len(inside) >= side:
        covered = {pixel for start in found for pixel in range(start, start + side)}
        assert covered <= set(inside)
        assert len(set(inside) - covered) <= 0.25 * stride + (len(found) - 1) * max(0, stride - side)
        assert all(step <= stride for step in np.diff(found))


@given(count=st.integers(1, 200), shares=st.tuples(*[st.floats(0, 1)] * 3).filter(any))
def test_every_share_gets_blocks(count, shares):
    shares = [share / max(1, sum(shares)) for share in shares]
    splits = dealt(count, shares)
    parts = [splits.count(split) for split in SPLITS]
    assert len(splits) == count
    assert sum(parts) == round(count * sum(shares))
    if sum(parts) >= 3:
        assert all(part > 0 for part, share in zip(parts, shares) if share)
    for split, part, share in zip(SPLITS, parts, shares):
        assert abs(part - count * share) <= 2.5
        half = splits[: count // 2].count(split)
        assert abs(half - part / 2) <= 2


def test_every_split_gets_its_part_of_the_labels(tmp_path):
    """Labels in one corner of a large image are dealt out like everything else."""
    corner = [shapely.box(x, y, x + 5, y + 5) for x in range(0, 430, 20) for y in range(0, 430, 20)]
    data = labelled(tmp_path, noise(900, 900, 1), corner)
    for seed in range(2):
        options = {"seed": seed, "existing": Existing.OVERWRITE, "empty_share": 0.0}
        result, _, _ = export(tmp_path / "out", data, shares=(0.5, 0.25, 0.25), **options)
        assert set(result.counts) == {"train", "validation", "test"}


@pytest.mark.parametrize("transform", [PIXELS, TURNED, Affine(0.5, 0, 500_000, 0, 0.5, 3_000_000)])
@pytest.mark.parametrize("touch", list(Touch))
def test_at_its_own_resolution_an_image_is_cut_unchanged(tmp_path, transform, touch):
    shapes = [shapely.box(10.3, 12.2, 90.1, 40.7), shapely.Point(200.4, 150.3).buffer(30)]
    data = labelled(tmp_path, labels=shapes, transform=transform)
    data = LabelledImage(data.image, data.labels, touch=touch)
    result, manifest, tiles = export(tmp_path / "out", data, stride_px=50)
    assert sum(result.counts.values()) == len(tiles) > 12
    pixels = noise()
    mask = rasterio.features.rasterize(shapes, pixels.shape[1:], all_touched=touch is Touch.ALL, dtype=np.uint8)
    for chip in manifest.chips:
        x, y = (round(number) for number in ~transform @ (chip.transform[2], chip.transform[5]))
        window = np.s_[..., y : y + 64, x : x + 64]
        np.testing.assert_array_equal(tiles[chip.name].pixels, pixels[window])
        np.testing.assert_array_equal(tiles[chip.name].mask, mask[window])
        assert tiles[chip.name].gsd_m == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("rotation", [30.0, 90.0, 211.0])
def test_a_turned_chip_shows_the_turned_image_and_the_labels_burned_there(tmp_path, rotation):
    shape = shapely.Point(160, 128).buffer(50, 3)
    _, manifest, tiles = export(tmp_path / "out", labelled(tmp_path, labels=[shape]), rotations=(rotation,))
    assert len(tiles) > 2
    image = noise().astype(float)
    for chip in manifest.chips:
        assert chip.rotation == rotation
        to_image = ~PIXELS @ Affine(*chip.transform)
        assert math.degrees(math.atan2(to_image.d, to_image.a)) % 360 == pytest.approx(rotation, abs=0.2)
        columns, rows = to_image @ tuple(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5))
        inside = (columns > 1) & (rows > 1) & (columns < 319) & (rows < 255)
        expected = [ndimage.map_coordinates(band, [rows - 0.5, columns - 0.5], order=1) for band in image]
        tile = tiles[chip.name]
        np.testing.assert_allclose(tile.pixels[:, inside], np.array(expected)[:, inside], atol=4)
        burned = rasterio.features.rasterize([(shape, 1)], (64, 64), transform=to_image, dtype=np.uint8)
        np.testing.assert_array_equal(tile.mask[inside], burned[inside])


def test_each_resolution_is_a_batch_of_its_own(tmp_path):
    _, manifest, tiles = export(tmp_path / "out", labelled(tmp_path), gsd_m=(0.5, 1.0), chip_px=32, stride_px=32)
    assert {round(tile.gsd_m, 2) for tile in tiles.values()} == {0.5, 1.0}
    for chip in manifest.chips:
        assert chip.transform[0] == pytest.approx(chip.gsd_m, rel=0.01)


def test_only_what_lies_inside_an_area_is_known(tmp_path):
    triangle = shapely.Polygon([(20, 30), (150, 30), (20, 160)])
    areas = [
        ("train", triangle),
        ("validation", shapely.box(200, 20, 300, 120)),
        ("todo", shapely.box(0, 180, 99, 250)),
    ]
    _, manifest, tiles = export(tmp_path / "out", labelled(tmp_path, areas=areas), max_unknown_share=0.9)
    inside = rasterio.features.rasterize([triangle, areas[1][1]], (256, 320)) > 0
    assert {tile.split for tile in tiles.values()} == {Split.TRAIN, Split.VALIDATION}
    for chip in manifest.chips:
        x, y = (round(number) for number in ~PIXELS @ (chip.transform[2], chip.transform[5]))
        bounds = (triangle if chip.split is Split.TRAIN else areas[1][1]).bounds
        assert bounds[0] <= x <= x + 64 <= bounds[2]
        assert bounds[1] <= y <= y + 64 <= bounds[3]
        known = tiles[chip.name].mask != UNKNOWN
        np.testing.assert_array_equal(known, inside[y : y + 64, x : x + 64])


def test_a_small_area_gets_one_chip_around_it(tmp_path):
    areas = [("train", shapely.box(100, 100, 130, 120)), ("test", shapely.box(0, 0, 40, 40))]
    _, manifest, _ = export(tmp_path / "out", labelled(tmp_path, areas=areas), max_unknown_share=0.95)
    places = {chip.split: ~PIXELS @ (chip.transform[2], chip.transform[5]) for chip in manifest.chips}
    assert places == {Split.TRAIN: pytest.approx((83, 78)), Split.TEST: pytest.approx((0, 0))}


def test_chips_of_no_use_are_left_out_and_counted(tmp_path):
    pixels = noise(256, 256)
    pixels[:, :64, :64] = 77  # constant
    pixels[:, 64:128, :64] = 0  # no image
    data = labelled(tmp_path, pixels, [shapely.box(10, 10, 20, 20), shapely.box(130, 130, 250, 250)], nodata=0)
    shares = (1.0, 0.0, 0.0)
    result, _, tiles = export(tmp_path / "out", data, shares=shares)
    assert result.left_out == {"crossing": 0, "empty": 0, "faulty": 1, "constant": 1}
    assert result.counts == {"train": 14}
    with_objects = sum((tile.mask == 1).any() for tile in tiles.values())
    assert with_objects == 4
    for share, kept in ((0.0, 0), (0.5, 2), (0.999, 3)):
        options = {"shares": shares, "empty_share": share, "existing": Existing.OVERWRITE}
        result, first, _ = export(tmp_path / "out", data, **options)
        assert result.counts == {"train": 4 + kept}
        assert result.left_out["empty"] == 10 - kept
        _, again, _ = export(tmp_path / "out", data, **options)
        assert [chip.name for chip in first.chips] == [chip.name for chip in again.chips]


def test_the_manifest_tells_everything(tmp_path):
    data = labelled(tmp_path)
    result, manifest, _ = export(tmp_path / "out", data, format=ChipFormat.NPZ)
    assert manifest.request.data == (data,)
    assert manifest.classes == ONE
    assert manifest.bands == ("red", "green", "blue")
    assert (manifest.dtype, manifest.nodata) == ("uint8", "")
    assert (manifest.counts, manifest.left_out) == (result.counts, result.left_out)
    for chip in manifest.chips:
        stored = np.load(tmp_path / "out" / chip.image)
        assert chip.crs == UTM
        assert chip.source == data.image.path
        assert hashlib.sha256(np.moveaxis(stored["img"], -1, 0).tobytes()).hexdigest() == chip.image_sha256
        assert hashlib.sha256(stored["mask"].tobytes()).hexdigest() == chip.mask_sha256
        assert sum(chip.pixels.values()) == 64 * 64


def test_an_image_smaller_than_a_chip_looks_out_of_itself(tmp_path):
    data = labelled(tmp_path, noise(50, 40))
    _, _, tiles = export(tmp_path / "out", data, max_unknown_share=0.9)
    (tile,) = tiles.values()
    np.testing.assert_array_equal(tile.pixels[:, :40, :50], noise(50, 40))
    assert (tile.mask[40:] == UNKNOWN).all()
    assert (tile.mask[:, 50:] == UNKNOWN).all()
    assert not tile.pixels[:, 40:].any()


def test_a_transparent_band_is_no_band_of_chips_and_bands_can_be_chosen(tmp_path):
    data = labelled(tmp_path, noise(bands=4), photometric="rgb", alpha="yes")
    _, manifest, tiles = export(tmp_path / "out", data)
    assert manifest.bands == ("red", "green", "blue")
    chosen = LabelledImage(type(data.image)(data.image.path, bands=("blue", "1")), data.labels)
    _, manifest, swapped = export(tmp_path / "two", chosen)
    assert manifest.bands == ("blue", "red")
    for name, tile in swapped.items():
        np.testing.assert_array_equal(tile.pixels, tiles[name].pixels[[2, 0]])


def described(path: Path | str, *names: str) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names


def test_bands_of_several_images_are_exported_by_name(tmp_path):
    one, other = labelled(tmp_path / "one"), labelled(tmp_path / "other", noise()[::-1])
    described(other.image.path, "B02", "B03", "B04")
    _, manifest, tiles = export(tmp_path / "out", one, other)
    assert manifest.bands == ("red", "green", "blue")
    pairs = {}
    for name, tile in tiles.items():
        chip = next(chip for chip in manifest.chips if chip.name == name)
        pairs.setdefault(chip.transform, []).append(tile.pixels)
    assert any(len(pair) == 2 for pair in pairs.values())
    for first, *more in pairs.values():
        for pixels in more:
            np.testing.assert_array_equal(pixels, first)


def test_near_infrared_that_gdal_flags_as_transparency_is_exported(tmp_path):
    pixels = noise(bands=4)
    pixels[3, :40] = 0
    data = labelled(tmp_path, pixels, photometric="rgb", alpha="yes")
    described(data.image.path, "red", "green", "blue", "nir")
    _, manifest, tiles = export(tmp_path / "out", data)
    assert manifest.bands == ("red", "green", "blue", "nir")
    assert all(len(tile.pixels) == 4 and not (tile.mask == UNKNOWN).any() for tile in tiles.values())


def refused(folder: Path, code: ErrorCode, *data: LabelledImage, **options: object) -> OrthomaskError:
    """The export ends with that error and leaves nothing behind."""
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(OrthomaskError) as caught:
        export(folder, *data, **options)
    assert caught.value.code is code, caught.value
    assert sorted(folder.parent.rglob("*")) == before
    return caught.value


def test_bad_input_is_refused(tmp_path):
    good = labelled(tmp_path / "good")
    outside = labelled(tmp_path / "outside", labels=[shapely.box(1000, 1000, 1100, 1100)])
    unlabelled = labelled(tmp_path / "todo", areas=[("todo", WHOLE)])
    many = labelled(tmp_path / "many", noise(bands=4))
    tiny = labelled(tmp_path / "tiny", areas=[("train", shapely.box(0, 0, 5, 5))])
    out = tmp_path / "out"
    refused(out, ErrorCode.LABELS_OUTSIDE, outside)
    refused(out, ErrorCode.AREAS_EMPTY, unlabelled)
    assert "4 bands of type uint8" in refused(out, ErrorCode.IMAGE_BANDS, good, many).sentence
    assert "1 faulty" in refused(out, ErrorCode.CHIPS_EMPTY, tiny).sentence
    assert "none fits" in refused(out, ErrorCode.CHIPS_EMPTY, good, shares=(0.001, 0.0, 0.0)).sentence
    refused(out, ErrorCode.LABELS_CLASSES, good, classes=(ClassInfo(7, "other", "#000000"),))


def test_a_split_without_chips_or_without_objects_is_told(tmp_path):
    areas = [("train", shapely.box(0, 0, 100, 100)), ("test", shapely.box(250, 200, 255, 205)),
             ("validation", shapely.box(0, 150, 99, 250))]  # fmt: skip
    result, _, _ = export(tmp_path / "out", labelled(tmp_path, areas=areas))
    assert any("no chips for test" in warning for warning in result.warnings)
    assert "No chip for validation contains any class." in result.warnings
    assert result.counts.keys() == {"train", "validation"}


def test_a_folder_that_is_there_is_kept_unless_it_holds_chips(tmp_path):
    data, out = labelled(tmp_path), tmp_path / "out"
    out.mkdir()
    export(out, data)  # an empty folder is fine
    refused(out, ErrorCode.OUTPUT_EXISTS, data)
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(OrthomaskError, match="Cancelled"):
        export(out, data, progress=CancelAfter(0.5), existing=Existing.OVERWRITE)
    assert (out / "manifest.json").read_bytes() == before
    (out / "old").touch()
    export(out, data, existing=Existing.OVERWRITE, format=ChipFormat.HDF5)
    assert {path.name for path in out.iterdir()} == {"manifest.json", "train.h5", "validation.h5", "test.h5"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("mine")
    refused(other, ErrorCode.OUTPUT_EXISTS, data, existing=Existing.OVERWRITE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.gpkg", "other", "out"]


@pytest.mark.parametrize("kind", ChipFormat)
def test_cancelling_leaves_nothing(tmp_path, kind):
    data = labelled(tmp_path)
    refused(tmp_path / "out", ErrorCode.CANCELLED, data, progress=CancelAfter(0.4), format=kind)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB; needs root, as CI has it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kind", ChipFormat)
@pytest.mark.parametrize("catalogues", [(), tuple(Catalogue)])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, small_disk, kind, catalogues):
    data = labelled(tmp_path, noise(640, 640))
    refused(small_disk / "out", ErrorCode.DISK_FULL, data, format=kind, catalogues=catalogues)


def test_a_missing_image_leaves_the_export_of_others_alone(tmp_path):
    data = labelled(tmp_path)
    gone = LabelledImage(type(data.image)(str(tmp_path / "gone.tif")), data.labels)
    refused(tmp_path / "out", ErrorCode.IMAGE_UNREADABLE, data, gone)
    request = ChipsRequest((data,), str(tmp_path / "out"), ONE, chip_px=64, stride_px=64)
    assert chips.run(request, CancelAfter(2)).seconds > 0
