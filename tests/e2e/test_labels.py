"""Labels in QGIS with the real engine: from an empty project to a mask and chips."""

import json
from collections import Counter

import processing
import pytest
from mouse import click, on_map
from osgeo import gdal, ogr
from qgis.core import (
    QgsApplication,
    QgsCoordinateTransform,
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog, QLabel
from scene import PATIENCE_SECONDS, wait_until
from tile_server import COLUMN, ROW, color, place, serving_tiles

from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.layers.map_tools import PolygonTool
from orthomask.ui.processing.provider import OrthomaskProvider


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def finished(panel):
    wait_until(lambda: panel._task is None, PATIENCE_SECONDS)


def shown(bar):
    return " ".join(label.text() for item in bar.items() for label in item.findChildren(QLabel)) + " ".join(
        item.text() for item in bar.items()
    )


def box_on(layer, west, south, side, image):
    """A square so many metres from the upper left corner of the image, in a layer's CRS."""
    left, top = image.extent().xMinimum() + west, image.extent().yMaximum() - south
    geometry = QgsGeometry.fromRect(QgsRectangle(left, top - side, left + side, top))
    geometry.transform(QgsCoordinateTransform(image.crs(), layer.crs(), QgsProject.instance()))
    return geometry


def add(layer, geometry):
    assert layer.addFeature(QgsVectorLayerUtils.createFeature(layer, geometry))


@pytest.fixture
def panel(dock, tmp_path, monkeypatch):
    """The panel with a new label project of two classes."""

    def accept(dialog):
        press(dialog.add_button)
        dialog.table.item(1, 1).setText("garden")
        dialog.file_chooser.setFilePath(str(tmp_path / "banepa.gpkg"))
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(NewProjectDialog, "exec", accept)
    dock.tabs.setCurrentWidget(dock.label)
    dock.label.export.file_chooser.setFilePath(str(tmp_path / "mask.tif"))
    dock.label.export.folder_chooser.setFilePath(str(tmp_path / "chips"))
    press(dock.label.project.new_button)
    finished(dock.label)
    yield dock.label
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer):
            layer.rollBack()


def drawn_on_canvas(canvas, *corners):
    """What a person's clicks on the map enclose, in the map's CRS."""
    tool, found = PolygonTool(canvas), []
    tool.drawn.connect(lambda geometry: found.append(QgsGeometry(geometry)))
    canvas.setMapTool(tool)
    for corner in corners:
        click(canvas, *corner)
    click(canvas, *corners[-1], Qt.MouseButton.RightButton)
    canvas.unsetMapTool(tool)
    return found[0]


def test_from_an_empty_project_to_a_mask(panel, sample, qgis_iface, tmp_path, bar):
    project, canvas = panel.project.project, qgis_iface.mapCanvas()
    assert project.labels.crs() == sample.crs()
    press(panel.project.label_button)
    first = drawn_on_canvas(canvas, (100, 100), (160, 100), (160, 150), (100, 150))
    add(project.labels, first)
    QTest.keyClick(canvas, Qt.Key.Key_2)
    second = drawn_on_canvas(canvas, (200, 100), (240, 100), (220, 160))
    add(project.labels, second)
    press(panel.project.area_button)
    add(project.areas, QgsGeometry.fromRect(QgsRectangle(on_map(canvas, 80, 80), on_map(canvas, 300, 200))))
    wait_until(panel.project.save_button.isEnabled)  # edits are counted a little later
    press(panel.project.save_button)
    press(panel.run_bar.run_button)
    finished(panel)
    assert "Mask with 1 building, 1 garden" in shown(bar)
    mask = gdal.Open(str(tmp_path / "mask.tif"))
    photo = gdal.Open(sample.source())
    assert mask.GetGeoTransform() == pytest.approx(photo.GetGeoTransform())
    assert (mask.RasterXSize, mask.RasterYSize) == (photo.RasterXSize, photo.RasterYSize)
    assert mask.GetRasterBand(1).GetNoDataValue() == 255
    (layer,) = QgsProject.instance().mapLayersByName("mask")

    def at(point):
        return layer.dataProvider().sample(QgsPointXY(point), 1)

    assert at(first.centroid().asPoint()) == (1, True)
    assert at(second.centroid().asPoint()) == (2, True)
    assert at(on_map(canvas, 180, 120)) == (0, True)
    assert at(on_map(canvas, 40, 40))[1] is False  # unknown
    pixels = mask.ReadAsArray()
    step = photo.GetGeoTransform()[1] * -photo.GetGeoTransform()[5]
    assert (pixels == 1).sum() * step == pytest.approx(first.area(), rel=0.02)
    assert (pixels == 2).sum() * step == pytest.approx(second.area(), rel=0.02)


def test_the_mask_is_gdals_own(panel, sample, tmp_path):
    """Labels in degrees, with unsaved edits, as `gdal_rasterize` burns them once they are written out by hand."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326&field=use:string", "degrees", "memory")
    QgsProject.instance().addMapLayer(layer)
    layer.startEditing()
    for west in (20, 60, 100):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(box_on(layer, west, 30 + west / 3, 25, sample))
        layer.addFeature(feature)
    panel.labels.add(layer)
    panel.labels.list.setCurrentRow(0)
    press(panel.labels.remove_button)
    panel.export.areas.setLayer(None)
    press(panel.run_bar.run_button)
    finished(panel)
    assert layer.isModified()
    photo = gdal.Open(sample.source())
    truth = gdal.GetDriverByName("MEM").Create("", photo.RasterXSize, photo.RasterYSize, 1)
    truth.SetGeoTransform(photo.GetGeoTransform())
    truth.SetProjection(photo.GetProjection())
    polygons = ogr.GetDriverByName("Memory").CreateDataSource("")
    table = polygons.CreateLayer("p", truth.GetSpatialRef())
    transform = QgsCoordinateTransform(layer.crs(), sample.crs(), QgsProject.instance())
    for feature in layer.getFeatures():
        geometry = QgsGeometry(feature.geometry())
        geometry.transform(transform)
        copy = ogr.Feature(table.GetLayerDefn())
        copy.SetGeometry(ogr.CreateGeometryFromWkt(geometry.asWkt(17)))
        table.CreateFeature(copy)
    gdal.RasterizeLayer(truth, [1], table, burn_values=[1])
    mask = gdal.Open(str(tmp_path / "mask.tif"))
    assert (mask.ReadAsArray() != truth.ReadAsArray()).sum() <= 2  # PROJ's digits on a pixel's centre


def test_areas_then_chips_as_the_preview_shows_them(panel, sample, tmp_path, bar):
    panel.areas.count.setValue(4)
    panel.areas.side.setValue(30)
    panel.areas.button.click()
    finished(panel)
    project = panel.project.project
    assert project.areas.featureCount() == 4
    boxes = [feature.geometry().boundingBox() for feature in project.areas.getFeatures()]
    assert all(sample.extent().contains(box) for box in boxes)
    project.labels.startEditing()
    for box in boxes:
        add(project.labels, QgsGeometry.fromRect(box.scaled(0.5)))
    panel.export.kind.setCurrentIndex(1)
    for number, (rotations, gsd, stride) in enumerate((("0", "", 64), ("30", "0.2", 48))):
        panel.export.folder_chooser.setFilePath(str(tmp_path / f"chips{number}"))
        panel.export.chips.side.setValue(64)
        panel.export.chips.stride.setValue(stride)
        panel.export.chips.rotations.setText(rotations)
        panel.export.chips.gsd.setText(gsd)
        wait_until(lambda: not panel._preview_timer.isActive())
        panel._show_preview()
        promised = int(panel.preview_words.text().split()[0])
        press(panel.run_bar.run_button)
        finished(panel)
        manifest = json.loads((tmp_path / f"chips{number}" / "manifest.json").read_text())
        cut = len(manifest["chips"]) + sum(manifest["left_out"].values())
        assert cut == pytest.approx(promised, rel=0.03)
    assert "Open folder" in [button.text() for button in bar.currentItem().findChildren(type(panel.project.new_button))]


def test_more_areas_keep_clear_of_unsaved_ones(panel, sample):
    project = panel.project.project
    project.areas.startEditing()
    add(project.areas, box_on(project.areas, 0, 0, 120, sample))
    panel.areas.count.setValue(3)
    panel.areas.side.setValue(20)
    panel.areas.button.click()
    finished(panel)
    old, *new = [feature.geometry() for feature in project.areas.getFeatures(sorted_by_area())]
    assert len(new) == 3
    assert all(not area.intersects(old) for area in new)


def sorted_by_area():
    """The largest first."""

    return QgsFeatureRequest().addOrderBy("$area", False)


def test_a_file_that_is_there_is_never_replaced(panel, bar, tmp_path):
    before = (tmp_path / "banepa.gpkg").read_bytes()
    press(panel.project.new_button)
    finished(panel)
    assert "banepa.gpkg” already exists" in shown(bar)
    assert (tmp_path / "banepa.gpkg").read_bytes() == before


def test_labels_outside_the_image_are_told(panel, sample, bar):
    project = panel.project.project
    project.labels.startEditing()
    add(project.labels, box_on(project.labels, -5000, 0, 20, sample))
    press(panel.run_bar.run_button)
    finished(panel)
    assert "outside the image" in shown(bar) or "outside" in panel.run_bar.status.text()


@pytest.fixture
def tiles(qgis_new_project):
    with serving_tiles() as layer:
        yield layer


def test_chips_of_a_map_service(panel, tiles, tmp_path):
    """Tiles from a server of the test's own become chips whose pixels are the tiles'."""
    project = panel.project.project
    project.areas.startEditing()
    add(project.areas, QgsGeometry.fromRect(place(COLUMN, ROW, 100)))
    project.labels.startEditing()
    add(project.labels, QgsGeometry.fromRect(place(COLUMN, ROW, 40)))
    panel.layer_chooser.setLayer(tiles)
    panel.export.kind.setCurrentIndex(1)
    panel.export.chips.gsd.setText("0.5")
    panel.export.chips.side.setValue(64)
    press(panel.run_bar.run_button)
    finished(panel)
    assert "chips" in panel.run_bar.status.text()
    manifest = json.loads((tmp_path / "chips" / "manifest.json").read_text())
    assert len(manifest["chips"]) >= 4
    assert manifest["left_out"]["faulty"] == 0
    colors = Counter()
    for chip in manifest["chips"]:
        dataset = gdal.Open(str(tmp_path / "chips" / chip["image"]))
        assert dataset.RasterCount == 3
        red, _, blue = dataset.ReadAsArray().reshape(3, -1).tolist()  # green differs from row to row of a tile
        colors.update(zip(red, blue))
    assert colors.most_common(1)[0][0] == color(COLUMN, ROW)[::2]


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def test_the_toolbox(provider, sample, tmp_path):
    areas = processing.run(
        "orthomask:sampleareas",
        {"IMAGE": sample, "COUNT": 3, "SIZE": 30, "SHARE_TRAIN": 1, "OUTPUT": str(tmp_path / "areas.gpkg")},
    )
    assert areas["ADDED"] == 3
    drawn = {"INPUT": areas["OUTPUT"], "FIELDS": ["name"], "OUTPUT": "memory:drawn"}  # areas are no labels
    given = {
        "IMAGE": sample,
        "LABELS": processing.run("native:retainfields", drawn)["OUTPUT"],
        "AREAS": areas["OUTPUT"],
    }
    mask = processing.run("orthomask:exportmask", {**given, "OUTPUT": str(tmp_path / "mask.tif")})
    assert json.loads(mask["COUNTS"])[0]["objects"] == 3
    chips = processing.run("orthomask:exportchips", {**given, "SIZE": 64, "OUTPUT": str(tmp_path / "chips")})
    assert chips["CHIPS"] > 0


def test_qgis_process(qgis_process, sample, tmp_path):
    """A mask; areas are those of `test_the_toolbox`."""
    drawn = QgsVectorLayer(f"Polygon?crs={sample.crs().authid()}&field=name:string", "drawn", "memory")
    feature = QgsFeature(drawn.fields())
    feature.setGeometry(box_on(drawn, 20, 30, 25, sample))
    feature["name"] = "garden"
    drawn.dataProvider().addFeatures([feature])
    processing.run("native:savefeatures", {"INPUT": drawn, "OUTPUT": str(tmp_path / "drawn.gpkg")})
    status, printed, errors = qgis_process(
        "run", "orthomask:exportmask", "--", f"IMAGE={sample.source()}", f"LABELS={tmp_path / 'drawn.gpkg'}",
        "CLASS_FIELD=name", f"OUTPUT={tmp_path / 'mask.tif'}",
    )  # fmt: skip
    assert status == 0, printed + errors
    assert (tmp_path / "mask.tif").exists()
