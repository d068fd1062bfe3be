"""COCO and ArcGIS catalogues, read by programs that are not ours."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import rasterio
import shapely
from chip_data import PIXELS, UTM, export, labelled, noise, write_image, write_layer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from scipy import ndimage

from orthomask.engine.images import regions
from orthomask.protocol import UNKNOWN, Catalogue, ChipFormat, ClassInfo, LabelledImage, Labels

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
TWO = (ClassInfo(1, "building", "#ff0000"), ClassInfo(2, "field", "#00ff00"))
RING = shapely.box(66, 66, 110, 120).difference(shapely.box(80, 80, 95, 100))
ALL = {"shares": (0.4, 0.3, 0.3)}


def seen(folder, manifest):
    """For each chip its pixels of each class as pycocotools paints them, its objects, and the annotations."""
    for split in manifest.counts:
        coco = COCO(str(folder / f"annotations_{split}.json"))
        chips = {(chip.image, chip.index): chip for chip in manifest.chips}
        for image in coco.loadImgs(coco.getImgIds()):
            annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
            painted = np.zeros((image["height"], image["width"]), np.uint8)
            for annotation in annotations:
                painted[coco.annToMask(annotation) > 0] = annotation["category_id"]
            yield chips[image["file_name"], image.get("index", 0)], painted, annotations, coco


def agree(painted: np.ndarray, mask: np.ndarray) -> bool:
    """Whether two masks differ along lines only, as the edges of objects are painted a pixel to either side."""
    wrong = (painted != mask) & (mask != UNKNOWN)
    return not ndimage.binary_erosion(wrong, np.ones((3, 3))).any()


circles = st.tuples(st.integers(0, 320), st.integers(0, 256), st.integers(3, 60)).map(
    lambda c: shapely.Point(c[0], c[1]).buffer(c[2], 4)
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(buildings=st.lists(circles, min_size=1, max_size=6), fields=st.lists(circles, max_size=3), turn=st.booleans())
def test_objects_painted_by_pycocotools_are_those_of_the_mask(tmp_path_factory, buildings, fields, turn):
    folder = tmp_path_factory.mktemp("coco")
    data = labelled(folder, labels=[shapely.box(0, 0, 30, 30), *fields])
    under = Labels(data.labels[0].path, class_value=2)
    over = Labels(str(write_layer(folder / "over.gpkg", [RING, *buildings])))
    data = LabelledImage(data.image, (under, over))
    options = {"classes": TWO, "catalogues": (Catalogue.COCO,), "rotations": (20.0,) if turn else (0.0,)}
    _, manifest, tiles = export(folder / "out", data, **options, **ALL)
    found = list(seen(folder / "out", manifest))
    assert len(found) == len(tiles)
    for chip, painted, drawn, coco in found:
        mask = tiles[chip.name].mask
        assert agree(painted, mask)
        assert {annotation["category_id"] for annotation in drawn} == set(np.unique(mask)) - {0, UNKNOWN}
        for annotation in drawn:
            x, y, width, height = annotation["bbox"]
            assert -0.01 <= x <= x + width <= 64.01
            assert -0.01 <= y <= y + height <= 64.01
            pixels = coco.annToMask(annotation)
            assert annotation["area"] == pytest.approx(pixels.sum(), abs=12 + 0.15 * pixels.sum())
            assert annotation["iscrowd"] == 0


def test_outlines_are_the_polygons_as_drawn(tmp_path):
    drawn = [shapely.Polygon([(10.5, 10.2), (40.1, 14.3), (30.7, 50.9)]), RING]
    data = labelled(tmp_path, labels=drawn)
    export(tmp_path / "out", data, catalogues=(Catalogue.COCO,), shares=(1.0, 0.0, 0.0))
    coco = COCO(str(tmp_path / "out" / "annotations_train.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["building"]
    first = next(i["id"] for i in coco.loadImgs(coco.getImgIds()) if i["file_name"].endswith("_0_0_0.tif"))
    (annotation,) = coco.loadAnns(coco.getAnnIds(first))
    outline = shapely.Polygon(np.reshape(annotation["segmentation"][0], (-1, 2)))
    assert outline.normalize().equals_exact(drawn[0].normalize(), 0.01)
    assert annotation["area"] == pytest.approx(drawn[0].area, abs=0.1)
    with_hole = [a for a in coco.dataset["annotations"] if isinstance(a["segmentation"], dict)]
    assert sum(coco.annToMask(annotation).sum() for annotation in with_hole) > 0


def test_what_lies_outside_an_area_is_no_object(tmp_path):
    triangle = shapely.Polygon([(0, 0), (128, 0), (0, 128)])
    data = labelled(tmp_path, labels=[shapely.box(20, 20, 120, 120)], areas=[("train", triangle)])
    options = {"catalogues": (Catalogue.COCO,), "format": ChipFormat.HDF5, "max_unknown_share": 0.9}
    _, manifest, tiles = export(tmp_path / "out", data, **options)
    for chip, painted, _, _ in seen(tmp_path / "out", manifest):
        mask = tiles[chip.name].mask
        assert agree(painted, np.where(mask == UNKNOWN, 0, mask))


def test_rasters_of_classes_have_objects_too(tmp_path):
    data = labelled(tmp_path)
    classes = np.zeros((1, 256, 320), np.uint8)
    classes[0, 20:50, 30:90], classes[0, 100:140, 100:200] = 1, 2
    source = Labels(str(write_image(tmp_path / "classes.tif", classes)))
    data = LabelledImage(data.image, (source,))
    _, manifest, tiles = export(tmp_path / "out", data, classes=TWO, catalogues=(Catalogue.COCO,), **ALL)
    for chip, painted, _, _ in seen(tmp_path / "out", manifest):
        np.testing.assert_array_equal(painted, tiles[chip.name].mask)


@pytest.mark.parametrize("kind", [ChipFormat.GEOTIFF, ChipFormat.HDF5])
def test_arcgis_tiles_open_in_rasterio_with_the_right_values_and_place(tmp_path, kind):
    triangle = shapely.Polygon([(0, 0), (320, 0), (0, 256)])
    data = labelled(tmp_path, noise(bands=4, dtype="uint16"), labels=[RING], areas=[("train", triangle)])
    options = {"catalogues": (Catalogue.ARCGIS,), "format": kind, "max_unknown_share": 0.9, "rotations": (0.0, 30.0)}
    _, manifest, tiles = export(tmp_path / "out", data, **options)
    folder = tmp_path / "out" / "arcgis" / "train"
    lines = [line.split() for line in (folder / "map.txt").read_text().splitlines()]
    assert sorted(lines) == sorted([f"images/{name}.tif", f"labels/{name}.tif"] for name in tiles)
    labels = []
    for chip in manifest.chips:
        tile = tiles[chip.name]
        with rasterio.open(folder / "images" / f"{chip.name}.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(), tile.pixels)
        with rasterio.open(folder / "labels" / f"{chip.name}.tif") as dataset:
            assert (dataset.count, dataset.dtypes, str(dataset.crs)) == (1, ("uint8",), UTM)
            assert dataset.transform.almost_equals(rasterio.Affine(*chip.transform), 1e-6)
            labels.append(dataset.read(1))
            np.testing.assert_array_equal(labels[-1], np.choose(tile.mask.clip(0, 2), [1, 2, 0]))
        world = (folder / "labels" / f"{chip.name}.tfw").read_text().split()
        assert float(world[4]) == pytest.approx((rasterio.Affine(*chip.transform) @ (0.5, 0.5))[0])
    statistics = json.loads((folder / "esri_accumulated_stats.json").read_text())
    counts = np.bincount(np.ravel(labels), minlength=3)[1:]
    assert statistics["MetaDataMode"] == "Classified_Tiles"
    assert statistics["NumTiles"] == len(tiles)
    assert statistics["ClassPixelStats"]["NumPixelsPerClass"] == counts.tolist()
    assert statistics["ClassPixelStats"]["NumImagesPerClass"] == [sum((x == n).any() for x in labels) for n in (1, 2)]
    definition = json.loads((folder / "esri_model_definition.emd").read_text())
    assert [(c["Value"], c["Name"], c["Color"]) for c in definition["Classes"]] == [
        (1, "background", [0, 0, 0]), (2, "building", [255, 0, 0]),
    ]  # fmt: skip
    known = np.concatenate([tile.pixels[:, tile.mask != UNKNOWN] for tile in tiles.values()], axis=1)
    for band, moments, stats in zip(known, statistics["BandStatsState"], definition["AllTilesStats"]):
        assert (moments["Min"], moments["Max"], moments["Num"]) == (band.min(), band.max(), band.size)
        assert moments["M1"] == stats["Mean"] == pytest.approx(band.mean())
        assert stats["StdDev"] == pytest.approx(band.std()) == math.sqrt(moments["M2"] / moments["Num"])
    assert "building\t2" in (folder / "stats.txt").read_text()


def test_drawn_polygons_are_placed_on_turned_chips(tmp_path):
    """The corners of an outline, taken back to the ground, are those that were drawn."""
    corners = [(70, 50), (90, 52), (88, 80), (69, 78)]
    data = labelled(tmp_path, labels=[shapely.Polygon(corners)])
    options = {"catalogues": (Catalogue.COCO,), "rotations": (35.0,), "stride_px": 20, "shares": (1.0, 0.0, 0.0)}
    _, manifest, _ = export(tmp_path / "out", data, **options)
    drawn = regions.transformed(shapely.Polygon(corners), PIXELS)
    overlaps = []
    for chip, _, objects, _ in seen(tmp_path / "out", manifest):
        for annotation in objects:
            outline = shapely.Polygon(np.reshape(annotation["segmentation"][0], (-1, 2)))
            ground = regions.transformed(outline, rasterio.Affine(*chip.transform))
            assert drawn.buffer(0.02).covers(ground)
            overlaps.append(ground.area / drawn.area)
    assert max(overlaps) == pytest.approx(1, abs=0.01)
