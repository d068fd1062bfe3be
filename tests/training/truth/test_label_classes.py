"""Which class a code, name, number, colour or truth value means: the same in every layer, raster and request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.engine.progress import Progress
from orthomask.protocol import Areas, ClassInfo, ClassValue, ErrorCode, Image, Labels, MaskRequest, ProjectRequest
from orthomask.training.truth import masks, project
from orthomask.training.truth.classes import class_values, resolve_classes

from .test_labels import (
    PIXELS,
    TWO,
    UTM,
    box,
    class_raster,
    grid,
    placed,
    refused,
    truth_of,
    whole,
    write,
    write_raster,
)

BUILDING = (ClassInfo(1, "building", "#ff0000"),)


def squares(count: int) -> list[Any]:
    """Squares side by side, in the image's CRS."""
    return [placed(box(1 + 5 * (number % 8), 1 + 5 * (number // 8), 4)) for number in range(count)]


def named_mask(labels: Sequence[Labels], classes: Sequence[ClassInfo] = ()) -> np.ndarray:
    """The name of the class `(H, W)` of each pixel; empty for background, None for unknown."""
    truth = truth_of(labels, grid(), classes)
    names: dict[int, str | None] = {0: "", 255: None, **{info.value: info.name for info in truth.classes}}
    return np.vectorize(names.get, otypes=[object])(truth.mask(whole(truth.grid)))


codes = st.one_of(
    st.integers(0, 65535), st.integers(0, 12), st.integers(-9, -1), st.sampled_from(["007", "1.5", "7a", "Tin", "roof"])
)


@given(st.lists(codes, min_size=1, max_size=12, unique=True), st.booleans())
@settings(max_examples=15, deadline=None)
def test_names_follow_codes(tmp_path_factory: pytest.TempPathFactory, found: list[Any], as_text: bool) -> None:
    folder = tmp_path_factory.mktemp("codes")
    texts = [str(code) for code in found]
    numbers = not as_text and all(isinstance(code, int) for code in found)
    path = write(folder / "a.gpkg", squares(len(found)), code=found if numbers else np.array(texts, object))
    values = all(text.isdecimal() and int(text) <= 255 and str(int(text)) == text for text in texts)
    if (values and set(texts) <= {"0", "255"}) or texts == ["0"]:
        return  # no class at all
    burned = rasterio.features.rasterize(
        [(shape, number) for number, shape in enumerate(squares(len(found)), 1)], (30, 40), transform=PIXELS
    )
    names = {0: "", **{number: f"class {text}" if values else text for number, text in enumerate(texts, 1)}}
    names |= {number: "" for number, text in names.items() if text in {"0", "class 0"}}
    names |= {number: None for number, text in names.items() if text == "class 255"}
    expected = np.vectorize(names.get, otypes=[object])(burned)
    assert (named_mask([Labels(str(path), class_field="code")]) == expected).all()


@pytest.mark.parametrize("kind", ["vector", "raster"])
def test_codes_keep_apart_in_layers_and_rasters(tmp_path: Path, kind: str) -> None:
    found = [3, 300, 1000]
    if kind == "vector":
        path, field = write(tmp_path / "a.gpkg", squares(3), code=found), "code"
    else:
        burned = rasterio.features.rasterize(zip(squares(3), found), (30, 40), transform=PIXELS, dtype="uint16")
        path, field = write_raster(tmp_path / "a.tif", burned[None], crs=UTM, transform=PIXELS), ""
    labels = Labels(str(path), class_field=field)
    assert [(info.value, info.name) for info in resolve_classes([labels])] == [(1, "3"), (2, "300"), (3, "1000")]
    mask = named_mask([labels])
    assert [mask[3, 2], mask[3, 7], mask[3, 12]] == ["3", "300", "1000"]


def test_codes_of_several_layers_are_one_list(tmp_path: Path) -> None:
    small = Labels(str(write(tmp_path / "a.gpkg", squares(2), code=[1, 3])), class_field="code")
    large = Labels(str(write(tmp_path / "b.gpkg", squares(4)[2:], code=[3, 300])), class_field="code")
    classes = resolve_classes([small, large])
    assert [info.name for info in classes] == ["1", "3", "300"]
    assert class_values(small, ["1", "3"], classes) == {"1": 1, "3": 2}
    mask = named_mask([small, large])
    assert [mask[3, 2], mask[3, 7], mask[3, 12], mask[3, 17]] == ["1", "3", "3", "300"]


def test_a_number_that_no_class_is_called_by_is_refused_among_codes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", squares(1), code=[1])
    called = (ClassInfo(1, "3", "#ff0000"), ClassInfo(2, "300", "#00ff00"))
    refused(ErrorCode.LABELS_CLASSES, "“1”", [Labels(str(path), class_field="code")], classes=called)


def test_numbers_of_a_label_project_are_class_values_whatever_its_classes_are_called(tmp_path: Path) -> None:
    path = tmp_path / "project.gpkg"
    called = (ClassInfo(1, "2", "#ff0000"), ClassInfo(2, "1", "#00ff00"))
    project.run(ProjectRequest(str(path), UTM, called), Progress())
    write(path, squares(2), **{"class": np.array([1, 2], np.int32)})
    mask = named_mask([Labels(str(path))])
    assert [mask[3, 2], mask[3, 7]] == ["2", "1"]


def test_a_mask_of_codes_is_read_back_by_its_own_classes(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "image.tif", np.ones((3, 30, 40), np.uint8), crs=UTM, transform=PIXELS)
    drawn = Labels(str(write(tmp_path / "a.gpkg", squares(3), code=[3, 300, 1000])), class_field="code")
    masks.run(MaskRequest(Image(str(image)), (drawn,), str(tmp_path / "mask.tif")), Progress())
    assert (named_mask([Labels(str(tmp_path / "mask.tif"))]) == named_mask([drawn])).all()


def test_names_count_whatever_their_case_and_background_is_no_class(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.gpkg", squares(4), kind=np.array(["Roof", "roof", "BackGround", "Yard"], object)))
    labels = Labels(path, class_field="kind")
    assert [info.name for info in resolve_classes([labels])] == ["Roof", "Yard"]
    mask = named_mask([labels])
    assert [mask[3, 2], mask[3, 7], mask[3, 12], mask[3, 17]] == ["Roof", "Roof", "", "Yard"]


def test_false_is_background_and_true_is_the_class(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.gpkg", squares(3), is_roof=np.array([True, False, True])))
    labels = Labels(path, class_field="is_roof")
    assert [(info.value, info.name) for info in resolve_classes([labels])] == [(1, "is_roof")]
    for classes in ((), BUILDING):
        mask = truth_of([labels], grid(), classes).mask(whole(grid()))
        assert [mask[3, 2], mask[3, 7], mask[3, 12]] == [1, 0, 1]
    mapping = (ClassValue("True", 2), ClassValue("False", 0))
    mapped = truth_of([Labels(path, class_field="is_roof", mapping=mapping)], grid(), TWO).mask(whole(grid()))
    assert [mapped[3, 2], mapped[3, 7]] == [2, 0]


def raster_of(path: Path, values: np.ndarray, **profile: Any) -> Labels:
    return Labels(str(write_raster(path, values, crs=UTM, transform=PIXELS, **profile)))


@pytest.mark.parametrize(
    ("values", "profile", "expected"),
    [
        ({0: 0, 1: 255}, {}, {0: 0, 1: 1}),
        ({0: 0, 1: 255}, {"nodata": 0}, {0: 0, 1: 1}),
        ({0: 0, 1: 1}, {}, {0: 0, 1: 1}),
        ({0: 0, 1: 1, 2: 255}, {}, {0: 0, 1: 1, 2: 255}),
        ({0: 1, 1: 255}, {}, {0: 1, 1: 255}),
        ({0: 0, 1: 255}, {"nodata": 255}, {0: 0, 1: 255}),
    ],
)
@pytest.mark.parametrize("bands", [1, 3])
def test_0_and_255_alone_are_background_and_the_class(
    tmp_path: Path, values: dict[int, int], profile: Any, expected: dict[int, int], bands: int
) -> None:
    shape = class_raster() if len(values) == 3 else np.minimum(class_raster(), 1)
    pixels = np.repeat(np.vectorize(values.get)(shape).astype(np.uint8), bands, axis=0)
    if bands == 3 and profile:
        return
    labels = raster_of(tmp_path / "a.tif", pixels, **profile, photometric="rgb" if bands == 3 else "minisblack")
    truth = truth_of([labels], grid(), BUILDING)
    assert np.array_equal(truth.mask(whole(grid())), np.vectorize(expected.get)(shape[0]))
    assert any("255 was read as class 1" in told for told in truth.warnings) == (
        set(values.values()) == {0, 255} and profile != {"nodata": 255}
    )


def test_a_mask_of_orthomask_with_nothing_found_stays_unknown_where_it_is(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "image.tif", np.ones((3, 30, 40), np.uint8), crs=UTM, transform=PIXELS)
    drawn = write(tmp_path / "a.gpkg", squares(1))
    areas = write(tmp_path / "areas.gpkg", [placed(box(20, 0, 10))], layer="areas", split=["train"])
    target = str(tmp_path / "mask.tif")
    masks.run(MaskRequest(Image(str(image)), (Labels(str(drawn)),), target, Areas(str(areas)), BUILDING), Progress())
    with rasterio.open(tmp_path / "mask.tif") as dataset:
        values = dataset.read(1)
    own = truth_of([Labels(str(tmp_path / "mask.tif"))], grid(), BUILDING).mask(whole(grid()))
    assert np.array_equal(own, values)


def test_black_is_the_background_of_a_map_of_colours(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    labels = raster_of(tmp_path / "a.tif", colours[class_raster()[0]].transpose(2, 0, 1), photometric="rgb")
    assert [info.name for info in resolve_classes([labels])] == ["#0000ff", "#ff0000"]
    assert np.array_equal(truth_of([labels], grid()).mask(whole(grid())), np.array([0, 2, 1])[class_raster()[0]])
    mapping = (ClassValue("#ff0000", 1), ClassValue("#0000ff", 2))
    mapped = truth_of([Labels(labels.path, mapping=mapping)], grid(), TWO)
    assert np.array_equal(mapped.mask(whole(grid())), class_raster()[0])


def write_jpeg(path: Path, pixels: np.ndarray) -> None:
    count, height, width = pixels.shape
    with rasterio.open(path, "w", driver="JPEG", width=width, height=height, count=count, dtype="uint8") as dataset:
        dataset.write(pixels)


def test_jpeg_masks_are_restored_and_said_or_refused(tmp_path: Path) -> None:
    shape = np.kron(np.minimum(class_raster(), 1), np.ones((1, 9, 9), np.uint8))
    target, path = grid(360, 270), tmp_path / "a.jpg"
    for bands in (1, 3):
        write_jpeg(path, np.repeat(shape * 255, bands, axis=0))
        truth = truth_of([Labels(str(path))], target, BUILDING)
        assert np.array_equal(truth.mask(whole(target)), shape[0])
        assert any("“a.jpg” is a JPEG" in told for told in truth.warnings)
    write_jpeg(path, np.arange(360 * 270, dtype=np.uint8).reshape(1, 270, 360))
    refused(ErrorCode.LABELS_CLASSES, "“a.jpg” is a JPEG", [Labels(str(path))], classes=BUILDING, target=target)


def test_rasters_in_geopackages_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    profile = {"driver": "GPKG", "width": 40, "height": 30, "count": 1, "dtype": "uint8", "crs": UTM}
    with rasterio.open(path, "w", **profile, transform=PIXELS, RASTER_TABLE="classes") as dataset:
        dataset.write(class_raster())
    assert np.array_equal(truth_of([Labels(str(path))], grid(), TWO).mask(whole(grid())), class_raster()[0])
    blurred = tmp_path / "b.gpkg"
    profile["width"], profile["height"] = 256, 256
    shape = np.kron(np.eye(2, dtype=np.uint8), np.ones((128, 128), np.uint8))[None] * 255
    with rasterio.open(blurred, "w", **profile, transform=PIXELS, TILE_FORMAT="JPEG") as dataset:
        dataset.write(shape)
    restored = truth_of([Labels(str(blurred))], grid(256, 256), BUILDING)
    assert np.array_equal(restored.mask(whole(restored.grid)), shape[0] // 255)
    assert "JPEG" in " ".join(restored.warnings)
    write(path, [placed(box(30, 20, 5))])
    both = [Labels(str(path), "classes"), Labels(str(path), class_value=2)]
    mask = truth_of(both, grid(), TWO).mask(whole(grid()))
    assert np.array_equal(mask[:20], class_raster()[0, :20])
    assert mask[22, 32] == 2
