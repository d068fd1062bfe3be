"""What a training reads: areas of an image, pictures, classes, splits; and what is wrong with them."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from images import write_tile
from trainings import HOUSES, parent_of, training, write_pictures, write_polygons, write_project, write_raster

from orthomask.engine.progress import Progress
from orthomask.protocol import (
    UNKNOWN,
    ChipSet,
    ChipsRequest,
    ClassInfo,
    ClassValue,
    ErrorCode,
    LabelledData,
    Labels,
    Objective,
    OrthomaskError,
    Pictures,
    Split,
)
from orthomask.training.chips import chips
from orthomask.training.data import material as materials

HALVES = ((0, 0, 110, 60), (110, 0, 160, 120))
SPLITS = ("train", "validation")


def read(data, folder, parent=None, **changes):
    return materials.read(training(data, folder / "run", **changes), parent, Progress())


def labelled(scenes):
    return sum(scene.known_px for scene in scenes)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_areas_are_read_with_their_surroundings(tmp_path, dtype):
    project = write_project(tmp_path, HALVES, SPLITS, dtype, bands=2)
    found = read(LabelledData((project,)), tmp_path)
    assert found.dtype == dtype
    assert found.gsd_m == 0.5
    assert found.bands == ("1", "2")
    assert [info.name for info in found.classes] == ["house"]
    (scene,) = found.sources[0].scenes
    assert labelled([scene]) == 110 * 60
    assert scene.mask.shape == (60 + 16, 110 + 16)
    houses = sum((right - left) * (bottom - top) for left, top, right, bottom in HOUSES[:2])
    assert scene.found.sum() == houses
    assert labelled(found.validation) == 50 * 120
    assert found.validation[0].place == "Town"
    assert not found.warnings


def test_an_image_is_read_with_its_own_choice_of_bands_and_stretch(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS, "uint16", bands=3)
    image = replace(project.image, bands=("3", "1"), stretch=(0, 4000, 1000, 3000))
    found = read(LabelledData((replace(project, image=image),)), tmp_path)
    assert (found.dtype, found.bands) == ("uint8", ("3", "1"))
    (scene,) = found.sources[0].scenes
    with rasterio.open(project.image.path) as dataset:
        third, first = dataset.read((3, 1)).astype(float)
    rows, columns = scene.mask.shape
    shown = scene.levels[0][:2].astype(float)
    np.testing.assert_allclose(shown[0], np.clip(third / 4000 * 255, 0, 255)[:rows, :columns], atol=0.51)
    np.testing.assert_allclose(shown[1], np.clip((first - 1000) / 2000 * 255, 0, 255)[:rows, :columns], atol=0.51)


def test_pixels_of_a_test_area_are_never_read(tmp_path):
    areas = ((0, 0, 100, 120), (60, 0, 160, 60), (0, 60, 50, 120))
    project = write_project(tmp_path, areas, ("train", "validation", "test"))
    found = read(LabelledData((project,)), tmp_path)
    assert labelled(found.sources[0].scenes) == 100 * 120 - 40 * 60 - 50 * 60
    assert labelled(found.validation) == 100 * 60


def test_an_image_without_areas_is_split_by_blocks(tmp_path):
    project = write_project(tmp_path)
    found = read(LabelledData((project,)), tmp_path)
    trained, checked = labelled(found.sources[0].scenes), labelled(found.validation)
    assert trained > checked > 0
    assert trained + checked <= 160 * 120


def test_blocks_are_dealt_so_that_validation_has_labels_too(tmp_path):
    project = write_project(tmp_path)
    (tmp_path / "labels.gpkg").unlink()
    houses = ((5, 5, 15, 15), (5, 80, 15, 90), (70, 5, 80, 15))  # in three of six blocks
    write_polygons(tmp_path / "labels.gpkg", "houses", houses, 0.5, kind=["house"] * 3)
    for seed in range(1, 9):
        found = read(LabelledData((project,)), tmp_path, seed=seed)
        assert any(scene.found.any() for scene in found.validation)


def test_without_validation_a_part_is_held_back(tmp_path):
    project = write_project(tmp_path, HALVES[:1], SPLITS[:1])
    found = read(LabelledData((project,)), tmp_path)
    assert labelled(found.sources[0].scenes) + labelled(found.validation) == 110 * 60
    assert any("held back" in warning for warning in found.warnings)


def test_finer_images_are_read_at_twice_the_models_resolution(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS, gsd_m=0.25)
    found = read(LabelledData((project,)), tmp_path, gsd_m=1.0)
    assert found.sources[0].scenes[0].gsd_m == 0.5
    assert labelled(found.sources[0].scenes) == pytest.approx(55 * 30, rel=0.02)


def test_pixels_without_data_are_unknown(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS)
    pixels = np.full((3, 120, 160), 90, np.uint8)
    pixels[:, :20] = 0
    write_raster(tmp_path / "uint8.tif", pixels, 0.5, nodata=0)
    (scene,) = read(LabelledData((project,)), tmp_path).sources[0].scenes
    assert labelled([scene]) == 110 * 40
    assert (scene.levels[0][-1, :20] == 0).all()


def test_pictures_and_projects_go_together(tmp_path):
    pictures = write_pictures(tmp_path)
    data = replace(pictures, projects=(write_project(tmp_path / "p", HALVES, SPLITS),))
    found = read(data, tmp_path)
    assert [len(source.scenes) for source in found.sources] == [6, 1]
    assert {scene.place for scene in found.validation} == {"aville", "bville", "Town"}
    assert found.bands == ("red", "green", "blue")


def test_paths_start_at_the_root(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS)
    labels = project.labels[0]
    relative = replace(
        project,
        image=replace(project.image, path="uint8.tif"),
        labels=(replace(labels, path="labels.gpkg"),),
        areas=replace(project.areas, path="labels.gpkg"),
    )
    assert labelled(read(LabelledData((relative,), root=str(tmp_path)), tmp_path).validation) == 50 * 120


def test_near_houses_weigh_more_between_them(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS)
    (scene,) = read(LabelledData((project,)), tmp_path, objective=Objective(border_weight=10.0)).sources[0].scenes
    assert scene.weights.min() == 1
    assert np.argmax(scene.weights[20]) in range(39, 61)


def test_exported_chips_are_read_back(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS, "uint16", bands=2)
    out = tmp_path / "chips"
    chips.run(ChipsRequest((project,), str(out), chip_px=32, stride_px=32, max_unknown_share=0.9), Progress())
    found = read(LabelledData(chips=(ChipSet("chips"),), root=str(tmp_path)), tmp_path)
    assert (found.dtype, found.gsd_m, found.bands) == ("uint16", 0.5, ("1", "2"))
    assert [info.name for info in found.classes] == ["house"]
    direct = read(LabelledData((project,)), tmp_path)
    assert labelled(found.sources[0].scenes) == pytest.approx(labelled(direct.sources[0].scenes), rel=0.2)
    assert labelled(found.validation) > 0


def test_chips_are_joined_by_the_names_of_their_bands(tmp_path):
    sets = []
    for name, order in (("one", (0, 1, 2)), ("other", (2, 0, 1))):
        project = write_project(tmp_path / name, HALVES, SPLITS)
        with rasterio.open(project.image.path, "r+") as dataset:
            dataset.write(dataset.read()[list(order)])
            dataset.descriptions = tuple(np.array(["red", "green", "blue"])[list(order)])
        chips.run(ChipsRequest((project,), str(tmp_path / f"{name}-chips"), chip_px=32, stride_px=32), Progress())
        sets.append(ChipSet(f"{name}-chips"))
    found = read(LabelledData(chips=tuple(sets), root=str(tmp_path)), tmp_path)
    one, other = (source.scenes for source in found.sources)
    assert found.bands == ("red", "green", "blue")
    for first, second in zip(one, other):
        np.testing.assert_array_equal(first.levels[0], second.levels[0])


def test_images_are_joined_by_the_names_of_their_bands_and_what_is_assumed_is_told(tmp_path):
    projects = [write_project(tmp_path / name, HALVES, SPLITS) for name in ("one", "other", "bare")]
    for project, names in zip(projects, (("B04", "B03", "B02"), ("blue", "green", "red"), ("", "", ""))):
        with rasterio.open(project.image.path, "r+") as dataset:
            dataset.write(dataset.read()[::-1] if names[0] == "blue" else dataset.read())
            dataset.descriptions = names
            if not names[0]:
                dataset.colorinterp = [rasterio.enums.ColorInterp.undefined] * 3
    found = read(LabelledData(tuple(projects)), tmp_path)
    one, other, bare = (source.scenes[0].levels[0] for source in found.sources)
    assert found.bands == ("B04", "B03", "B02")
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, bare)
    assert [warning for warning in found.warnings if "assumed by their order: B04 from band 1" in warning]


def refused(data, folder, parent=None, **changes):
    with pytest.raises(OrthomaskError) as caught:
        read(data, folder, parent, **changes)
    assert caught.value.remedy
    return caught.value


def test_nothing_to_learn_from_is_said(tmp_path):
    only_checks = LabelledData((write_project(tmp_path / "a", HALVES[:1], ("validation",)),))
    error = refused(only_checks, tmp_path)
    assert (error.code, "for training" in error.sentence) == (ErrorCode.TRAINING_DATA, True)
    empty = LabelledData((write_project(tmp_path / "b", ((100, 60, 128, 78), HALVES[1]), SPLITS),))
    assert "only background" in refused(empty, tmp_path).sentence
    unchecked = LabelledData((write_project(tmp_path / "c", (HALVES[0], (100, 60, 128, 78)), SPLITS),))
    assert "for validation contain no object" in refused(unchecked, tmp_path).sentence


def test_a_class_without_labels_is_a_warning(tmp_path):
    classes = (ClassInfo(1, "house", "#ff0000"), ClassInfo(2, "field", "#00ff00"))
    found = read(LabelledData((write_project(tmp_path, HALVES, SPLITS),)), tmp_path, classes=classes)
    assert any("“field”" in warning for warning in found.warnings)
    assert found.classes == classes


def test_more_classes_than_named_is_an_error(tmp_path):
    mask = np.full((32, 32), 2, np.uint8)
    write_tile(tmp_path / "train", "a", np.full((3, 32, 32), 9), mask)
    data = LabelledData(pictures=(Pictures("train/images", "train/masks", 0.3),), root=str(tmp_path))
    error = refused(data, tmp_path, classes=(ClassInfo(1, "one", "#ff0000"),))
    assert error.code is ErrorCode.LABELS_CLASSES
    assert [info.name for info in read(data, tmp_path).classes] == ["class 1", "class 2"]


def test_pixel_types_are_not_mixed(tmp_path):
    data = replace(write_pictures(tmp_path), projects=(write_project(tmp_path / "p", HALVES, SPLITS, "uint16"),))
    assert "uint16 and uint8" in refused(data, tmp_path).sentence


def test_a_model_settles_resolution_bands_and_nameless_classes(tmp_path):
    data = write_pictures(tmp_path)
    found = read(data, tmp_path, parent_of(tmp_path, classes=("house", "shed")))
    assert found.gsd_m == 0.4
    assert [info.name for info in found.classes] == ["house", "shed"]
    project = write_project(tmp_path / "p", HALVES, SPLITS)
    bare = replace(project, labels=(replace(project.labels[0], class_field=""),))
    assert [info.name for info in read(LabelledData((bare,)), tmp_path, parent_of(tmp_path)).classes] == ["house"]


def test_bands_that_an_image_lacks_are_the_usual_error(tmp_path):
    parent = parent_of(tmp_path, bands=("red", "green", "blue", "nir"))
    assert refused(write_pictures(tmp_path), tmp_path, parent).code is ErrorCode.IMAGE_BANDS
    project = LabelledData((write_project(tmp_path / "p", HALVES, SPLITS),))
    assert refused(project, tmp_path, parent).code is ErrorCode.IMAGE_BANDS


@pytest.mark.parametrize("kind", ["attribute", "raster"])
def test_codes_of_several_images_are_one_list_of_classes(tmp_path, kind):
    projects = []
    for name, codes in (("a", (3, 300)), ("b", (300, 1000))):
        project = write_project(tmp_path / name, HALVES, SPLITS)
        drawn = [codes[number % 2] for number in range(len(HOUSES))]
        if kind == "raster":
            pixels = np.zeros((1, 120, 160), np.uint16)
            for (left, top, right, bottom), code in zip(HOUSES, drawn):
                pixels[0, top:bottom, left:right] = code
            labels = Labels(str(write_raster(tmp_path / name / "codes.tif", pixels, 0.5)))
        else:
            path = write_polygons(tmp_path / name / "codes.gpkg", "fields", HOUSES, 0.5, code=drawn)
            labels = Labels(str(path), class_field="code")
        projects.append(replace(project, labels=(labels,)))
    found = read(LabelledData(tuple(projects)), tmp_path, parent_of(tmp_path))
    assert [info.name for info in found.classes] == ["3", "300", "1000"]
    shown = [{int(value) for value in np.unique(s.scenes[0].mask)} - {0, UNKNOWN} for s in found.sources]
    assert shown == [{1, 2}, {2, 3}]


def test_a_mapping_names_classes(tmp_path):
    project = write_project(tmp_path, HALVES, SPLITS)
    mapped = replace(project.labels[0], mapping=(ClassValue("house", 1),))
    found = read(LabelledData((replace(project, labels=(mapped,)),)), tmp_path)
    assert [info.value for info in found.classes] == [1]
    assert found.validation[0].mask[found.validation[0].mask != UNKNOWN].max() == 1
    assert Split.TRAIN.value == "train"
