"""The whole walk in QGIS with the real engine: label, train, evaluate, segment with one's own model."""

import csv
import json
import random
from pathlib import Path

import pytest
from mouse import click
from osgeo import gdal, osr
from qgis.core import (
    QgsApplication,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog
from scene import PATIENCE_SECONDS, show_canvas, wait_until

from orthomask.protocol import Split
from orthomask.ui.dock import OrthomaskDock
from orthomask.ui.evaluate.box import EvaluateDialog
from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.layers.map_tools import PolygonTool
from orthomask.ui.models import own_models

CRS, LEFT, TOP, GSD = "EPSG:32645", 400_000.0, 3_050_000.0, 0.3
SIDE_PX, CELL_PX, ROOF_PX = 576, 96, 48
CELLS = [(column, row) for column in range(SIDE_PX // CELL_PX) for row in range(SIDE_PX // CELL_PX)]
AREAS = {
    Split.TRAIN: (0, 0, 288, 576),
    Split.VALIDATION: (288, 0, 288, 288),
    Split.TEST: (288, 288, 288, 288),
}


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def box(left, top, width, height):
    """A rectangle in pixels, on the ground."""
    x, y = LEFT + GSD * left, TOP - GSD * top
    return QgsGeometry.fromRect(QgsRectangle(x, y - GSD * height, x + GSD * width, y))


def roof(column, row):
    """The roof in the middle of a cell, in pixels: left, top, width, height."""
    shift = (CELL_PX - ROOF_PX) // 2
    return column * CELL_PX + shift, row * CELL_PX + shift, ROOF_PX, ROOF_PX


@pytest.fixture
def village(qgis_new_project, qgis_iface, tmp_path):
    """A photograph of meadows with a red roof in each cell of a grid."""
    roofs = {
        (x, y)
        for left, top, width, height in (roof(*cell) for cell in CELLS)
        for x in range(left, left + width)
        for y in range(top, top + height)
    }
    chance = random.Random(1)
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "village.tif"), SIDE_PX, SIDE_PX, 3)
    dataset.SetGeoTransform((LEFT, GSD, 0, TOP, 0, -GSD))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    dataset.SetProjection(reference.ExportToWkt())
    for band, (meadow, red) in enumerate(((70, 190), (110, 80), (60, 70)), start=1):
        pixels = bytes(
            (red if (x, y) in roofs else meadow) + chance.randrange(40) for y in range(SIDE_PX) for x in range(SIDE_PX)
        )
        dataset.GetRasterBand(band).WriteRaster(0, 0, SIDE_PX, SIDE_PX, pixels)
        dataset.GetRasterBand(band).SetColorInterpretation(gdal.GCI_RedBand + band - 1)
    dataset = None
    layer = QgsRasterLayer(str(tmp_path / "village.tif"), "village")
    QgsProject.instance().addMapLayer(layer)
    show_canvas(qgis_iface, CRS, 400, 400).setExtent(layer.extent())
    return layer


@pytest.fixture
def dock(qgis_iface, village, client, bar, tmp_path, monkeypatch):
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "own")
    dock = OrthomaskDock(qgis_iface, client)
    dock.show()
    wait_until(lambda: dock.segment.model.model is not None, PATIENCE_SECONDS)
    yield dock
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer):
            layer.rollBack()
    dock.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks(), PATIENCE_SECONDS)
    dock.deleteLater()
    QCoreApplication.processEvents()


def label(dock, canvas, tmp_path, monkeypatch):
    """Make a label project, draw one roof by clicks and the others as the tool does, and the areas."""

    def accept(dialog):
        dialog.table.item(0, 1).setText("roof")
        dialog.file_chooser.setFilePath(str(tmp_path / "village.gpkg"))
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(NewProjectDialog, "exec", accept)
    panel = dock.label
    dock.tabs.setCurrentWidget(panel)
    press(panel.project.new_button)
    wait_until(lambda: panel.project.project is not None, PATIENCE_SECONDS)
    project = panel.project.project
    press(panel.project.label_button)
    add(project.labels, clicked(canvas, box(*roof(*CELLS[0]))))
    for cell in CELLS[1:]:
        add(project.labels, box(*roof(*cell)))
    press(panel.project.area_button)
    for split, pixels in AREAS.items():
        index = panel.project.split_chooser.findData(split)
        panel.project.split_chooser.setCurrentIndex(index)
        panel.project.split_chooser.activated.emit(index)
        add(project.areas, box(*pixels))
    wait_until(panel.project.save_button.isEnabled)
    press(panel.project.save_button)


def add(layer, geometry):
    """What QGIS's own tool does when a polygon is finished and no form is shown."""
    assert layer.addFeature(QgsVectorLayerUtils.createFeature(layer, geometry))


def clicked(canvas, geometry):
    """The polygon that a person gets who clicks on these corners."""
    tool, found = PolygonTool(canvas), []
    tool.drawn.connect(lambda drawn: found.append(QgsGeometry(drawn)))
    canvas.setMapTool(tool)
    corners = [canvas.getCoordinateTransform().transform(corner) for corner in geometry.asPolygon()[0][:4]]
    for corner in corners:
        click(canvas, round(corner.x()), round(corner.y()))
    click(canvas, 5, 5, Qt.MouseButton.RightButton)
    canvas.unsetMapTool(tool)
    return found[0]


def train(dock, tmp_path):
    """Train a small network from scratch, pausing once on the way; the run folder."""
    panel = dock.train
    dock.tabs.setCurrentWidget(panel)
    assert "36 labels · areas: 1 training, 1 validation, 1 test" in panel.data.words.text()
    panel.start.chooser.setCurrentIndex(panel.start.chooser.count() - 1)
    panel.start.name.setText("Village roofs")
    options, more = panel.options, panel.options.advanced
    options.epochs.setValue(3)
    options.chip_px.setCurrentText("128 px")
    options.learning_rate.setValue(0.003)
    more.folder_chooser.setFilePath(str(tmp_path / "runs"))
    more.steps.setValue(10)
    more.batch.setValue(4)
    more.network.setCurrentText("small")
    press(panel.bar.main_button)
    wait_until(lambda: "in epoch 1" in panel.view.facts.text(), PATIENCE_SECONDS)
    press(panel.bar.main_button)
    wait_until(lambda: panel.bar.main_button.text() == "Resume")
    press(panel.bar.main_button)
    wait_until(panel.finished.isVisible, PATIENCE_SECONDS)
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def evaluate(dock, tmp_path):
    """Evaluate the model that was trained last on the test area; what came out."""
    press(dock.train.finished.evaluate)
    dialog = dock.findChild(EvaluateDialog)
    dialog.options.folder_chooser.setFilePath(str(tmp_path / "evaluations"))
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible, PATIENCE_SECONDS)
    result = dialog.outcome.result
    dialog.close()
    return result


def layers_of(title):
    """The layers of the group of that title, by their names."""
    group = next(node for node in QgsProject.instance().layerTreeRoot().children() if title in node.name())
    return {node.name(): node.layer() for node in group.findLayers()}


def test_from_labels_to_a_map_of_ones_own_model(dock, qgis_iface, village, tmp_path, monkeypatch):
    label(dock, qgis_iface.mapCanvas(), tmp_path, monkeypatch)

    run = train(dock, tmp_path)
    with open(run / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert not dock.train.view.picture.pixels.isNull()
    kept = Path(own_models.own_folder()) / "Village-roofs.safetensors"
    assert kept.exists()

    result = evaluate(dock, tmp_path)
    assert result.best_iou > 0.6
    layers = layers_of("Errors of Village roofs")
    assert all(layer.isValid() for layer in layers.values())
    assert layers["Missed and false objects"].crs() == village.crs()
    assert json.loads(Path(result.json_path).read_text())
    assert "roof" in Path(result.report_path).read_text()

    dock.tabs.setCurrentWidget(dock.train)
    press(dock.train.finished.use)
    panel = dock.segment
    assert dock.tabs.currentWidget() is panel
    wait_until(lambda: panel.model.model.path == str(kept), PATIENCE_SECONDS)
    panel.options.folder_chooser.setFilePath(str(tmp_path / "segmented"))
    press(panel.region.extent_button)
    wait_until(panel.run_bar.run_button.isEnabled, PATIENCE_SECONDS)
    press(panel.run_bar.run_button)
    wait_until(panel.run_bar.run_button.isVisible, PATIENCE_SECONDS)
    (polygons,) = (layer for name, layer in layers_of("Village-roofs 0.").items() if name.startswith("Polygons"))
    assert polygons.featureCount() >= len(CELLS) // 2
    assert {feature["class"] for feature in polygons.getFeatures()} == {"roof"}

    wait_until(lambda: len(dock.models.list._items()) == 3, PATIENCE_SECONDS)
    dock.models.list.select([str(kept)])
    assert "Village roofs" in dock.models.card.toPlainText()
