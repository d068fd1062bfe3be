"""Pictures of the dock in real QGIS: before, during and after a run, a training, and at each error.

    xvfb-run -a -s "-screen 0 1600x1000x24" qgis --nologo --noversioncheck --code docs/screenshots.py

QGIS_PLUGINPATH, QGIS_CUSTOM_CONFIG_PATH (a private profile) and ORTHOMASK_PYTHON must be set, as `make screenshots`
does. Pictures go to the folder that SCREENSHOTS names (default: `screenshots` among temporary files).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import qgis.utils
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import QPoint, QSize, Qt, QTimer
from qgis.PyQt.QtGui import QPainter, QPen, QPixmap
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QPushButton, QScrollArea
from qgis.utils import iface

from orthomask.docs.pictures import OUT, Condition, Director, picture, settled
from orthomask.protocol import ProjectRequest, UncertaintyRequest

SAMPLE = Path(os.environ["QGIS_PLUGINPATH"]) / "orthomask" / "resources" / "sample" / "banepa.tif"
TUTORIAL = Path(os.environ["QGIS_PLUGINPATH"]) / "orthomask" / "docs" / "tutorial"
MODEL, MODEL_FILES = "Roofs of Kampala", "Roofs-of-Kampala*"
WORK = Path(tempfile.mkdtemp(dir=os.environ["QGIS_CUSTOM_CONFIG_PATH"]))  # QGIS marks layers among temporary files


def scenes() -> Iterator[Condition]:
    """Take each picture; wait for each yielded condition."""
    plugin = qgis.utils.plugins["orthomask"]
    dock, panel = plugin.dock, plugin.dock.segment
    forget_models()
    panel.options.folder_chooser.setFilePath(str(WORK))
    dock.show()
    iface.mainWindow().resizeDocks([dock], [360], Qt.Orientation.Horizontal)
    yield lambda: "<b>" in dock.device.text()
    yield settled()
    picture("dock-empty")

    sample = add_layer(SAMPLE, "Banepa orthophoto")
    iface.mapCanvas().setExtent(sample.extent())
    yield lambda: panel.preflight.result is not None
    yield settled()
    picture("dock-image")

    panel.region.pick(middle_of(sample, 0.75))
    yield lambda: panel.preflight.result is not None
    yield settled()
    picture("dock-ready")

    panel.run()
    yield lambda: panel.run_bar.progress.value() > 400
    picture("dock-running")
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("dock-results")
    panel.options.setCollapsed(False)
    yield settled()
    picture("dock-options", dock)
    panel.options.setCollapsed(True)
    root = QgsProject.instance().layerTreeRoot()
    yield from uncertainty(dock, root)
    for node in root.children()[0].findLayers():
        node.setItemVisibilityChecked("Probability" in node.name())
    yield settled()
    picture("dock-probabilities")
    for node in root.children()[0].findLayers():
        node.setItemVisibilityChecked(node.name().startswith("Polygons"))

    yield from review(dock, sample)
    yield from cancelled(panel)
    yield from history(panel, sample)
    yield from errors(plugin, dock, panel, sample)
    yield from narrow(dock)
    yield from options("settings")
    yield from learning(dock)
    dock.tabs.setCurrentWidget(panel)
    QgsApplication.setUITheme("Night Mapping")
    yield settled()
    picture("dock-dark")
    yield from options("settings-dark")


def review(dock, sample: QgsRasterLayer) -> Iterator[Condition]:
    """Squares of that run, one of them in view with its drafts."""
    dock.tabs.setCurrentWidget(dock.review)
    panel, path = dock.review, str(WORK / "banepa.gpkg")
    request = ProjectRequest(path, sample.crs().authid(), panel.context.run.classes)
    qgis.utils.plugins["orthomask"].client.call(request)
    dock.label.open_project(path)
    panel.suggest.count.setValue(8)
    panel.suggest.side.setValue(25)
    panel.suggest.suggest()
    yield lambda: panel.squares.list.count() > 0
    panel.squares.list.setCurrentRow(0)
    yield settled()
    picture("review-square")
    panel.squares.close_square()
    yield settled()
    QgsProject.instance().removeMapLayers([panel.context.project.labels.id(), panel.context.project.areas.id()])
    yield from explained(panel.why)
    iface.mapCanvas().setExtent(sample.extent())
    dock.tabs.setCurrentWidget(dock.segment)
    yield settled()


def explained(box) -> Iterator[Condition]:
    """Why a roof was found."""
    canvas, place = iface.mapCanvas(), QgsPointXY(9_520_664, 3_202_632)
    canvas.setExtent(QgsRectangle.fromCenterAndSize(place, 90, 80))
    box.setCollapsed(False)
    box.run_bar.run_button.click()
    yield settled()
    pixel = canvas.getCoordinateTransform().transform(place)
    middle = QPoint(round(pixel.x()), round(pixel.y()))
    QTest.mouseClick(canvas.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle)
    yield box.run_bar.run_button.isVisible
    yield settled()
    picture("review-why")
    box.clear()
    box.run_bar.run_button.click()
    box.setCollapsed(True)


def uncertainty(dock, root) -> Iterator[Condition]:
    """Where the run is unsure, without its results."""
    answer = dock._client.call(UncertaintyRequest(str(next(WORK.glob("*/run.json")).parent), flips=False))
    layer = QgsRasterLayer(answer.path, "Uncertainty")
    sys.modules["orthomask.ui.runs.uncertainty"].style_uncertainty(layer)
    QgsProject.instance().addMapLayer(layer, False)
    root.insertLayer(0, layer)
    root.children()[1].setItemVisibilityChecked(False)
    yield settled()
    picture("uncertainty", iface.mapCanvas())
    root.children()[1].setItemVisibilityChecked(True)
    QgsProject.instance().removeMapLayer(layer.id())


def options(name: str) -> Iterator[Condition]:
    """The page of the settings in QGIS's options."""
    QTimer.singleShot(0, lambda: iface.showOptionsDialog(iface.mainWindow(), "OrthomaskOptions"))
    yield lambda: QApplication.activeModalWidget() is not None
    QApplication.activeModalWidget().resize(920, 620)
    yield settled()
    picture(name, QApplication.activeModalWidget())
    QApplication.activeModalWidget().close()
    yield settled()  # QGIS leaves the dialog only a little later


def learning(dock) -> Iterator[Condition]:
    """The tutorial on its own data: labels, a training from scratch, its model and an evaluation."""
    QgsProject.instance().clear()
    QgsProject.instance().setFileName("/data/kampala/kampala.qgz")  # names the folder of results; nothing is written
    photograph = add_layer(TUTORIAL / "kampala.tif", "Kampala orthophoto")
    project = label_project(dock, photograph)
    dock.tabs.setCurrentWidget(dock.label)
    yield settled()  # QGIS zooms to a project's first layer by itself, a little later
    fill_map(photograph)
    yield settled()
    picture("label-project")
    yield from collecting(dock)
    export = dock.label.export
    export.kind.setCurrentIndex(1)
    export.chips.side.setValue(128)
    export.chips.stride.setValue(96)
    export.chips.gsd.setText("0.1")
    fill_map(photograph, extent_of(project.areas, 7, 14))
    yield settled()
    dock.label.findChild(QScrollArea).ensureWidgetVisible(export.preview)
    yield settled()
    picture("label-chips")
    fill_map(photograph)
    yield from training(dock)
    yield from evaluation(dock, photograph, project)
    forget_models()


def collecting(dock) -> Iterator[Condition]:
    """The window that collects, filled in for random squares with tiles; nothing is fetched."""
    project, boxes = QgsProject.instance(), sys.modules["orthomask.ui.collect.where_box"]
    district = QgsVectorLayer("Polygon?crs=EPSG:4326", "Kampala", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(32.5, 0.2, 32.7, 0.4)))
    district.dataProvider().addFeatures([feature])
    district.updateExtents()
    tiles = QgsRasterLayer("type=xyz&url=http://localhost/{z}/{x}/{y}.png", "Orthophoto tiles", "wms")
    metadata = tiles.metadata()
    metadata.setLicenses(["CC BY 4.0"])
    metadata.setRights(["© OpenAerialMap contributors"])
    tiles.setMetadata(metadata)
    for layer in (district, tiles):
        project.addMapLayer(layer, addToLegend=False)
    dock.label.project.collect_button.click()
    window = dock.collection
    window.where.way.setCurrentIndex(window.where.way.findData(boxes.Where.SAMPLED))
    window.where.layer.setLayer(district)
    window.where.distance_m.setValue(500)
    window.imagery.layer.setLayer(tiles)
    window.imagery.zooms.setText("18, 20")
    window.imagery.agreed.setChecked(True)
    window.resize(window.width(), 760)
    yield settled()
    picture("collect", window)
    window.close()
    project.removeMapLayers([district.id(), tiles.id()])


def training(dock) -> Iterator[Condition]:
    """A small network, as in the tutorial, and its card."""
    train, models = dock.train, dock.models.list
    dock.tabs.setCurrentWidget(train)
    train.start.choose("")
    train.start.name.setText(MODEL)
    train.options.epochs.setValue(8)
    train.options.chip_px.setCurrentIndex(train.options.chip_px.findData(128))
    train.options.learning_rate.setValue(0.003)
    advanced = train.options.advanced
    advanced.folder_chooser.setFilePath(str(WORK))
    advanced.network.setCurrentIndex(advanced.network.findText("small"))
    advanced.gsd_m.setValue(0.3)
    advanced.batch.setValue(8)
    advanced.steps.setValue(30)
    train.train()
    yield lambda: train.view.facts.text().startswith("Epoch 5 of")
    yield settled()
    picture("train-running")
    yield train.finished.isVisible
    iface.messageBar().clearWidgets()
    yield settled()
    picture("train-finished")
    dock.tabs.setCurrentWidget(dock.models)
    yield lambda: models.select([str(train._model_path)]) or models.selected()
    yield settled()
    picture("models", dock)


def evaluation(dock, photograph, project) -> Iterator[Condition]:
    """The model's errors in the test areas, with scores next to the map."""
    dock.tabs.setCurrentWidget(dock.train)
    dock.train.finished.evaluate.click()
    dialog = dock.findChild(sys.modules["orthomask.ui.evaluate.box"].EvaluateDialog)
    dialog.options.folder_chooser.setFilePath(str(WORK))
    dialog.evaluate()
    yield dialog.outcome.isVisible
    dialog.options.folder_chooser.setFilePath("")
    QgsProject.instance().layerTreeRoot().findLayer(project.labels).setItemVisibilityChecked(False)
    iface.messageBar().clearWidgets()
    part = extent_of(project.areas, 15, 16, 23)
    fill_map(photograph, QgsRectangle(part.xMinimum(), part.yMinimum(), part.xMaximum() + 20, part.yMaximum()))
    yield settled()
    picture("evaluation", window_with(dialog))
    dialog.close()


def label_project(dock, photograph):
    """A label project of OpenStreetMap's buildings, with the tutorial's areas."""
    protocol, projects = sys.modules["orthomask.protocol"], sys.modules["orthomask.ui.label.project"]
    path = str(WORK / "kampala.gpkg")
    roof = protocol.ClassInfo(1, "building", "#00c8e0", protocol.Outline.SQUARED)
    image = protocol.Image(photograph.source())
    grid, shares = protocol.Sampling.GRID, (0.5, 0.25, 0.25)
    dock._client.call(protocol.ProjectRequest(path, photograph.crs().authid(), (roof,)))
    areas = protocol.AreasRequest(image, path, grid, count=24, size_m=32, shares=shares, seed=4, checked=True)
    dock._client.call(areas)
    project = projects.open_project(QgsProject.instance(), path)
    buildings = QgsVectorLayer(str(TUTORIAL / "kampala-buildings.gpkg"), "buildings", "ogr")
    project.labels.startEditing()
    for building in buildings.getFeatures():
        project.labels.addFeature(QgsVectorLayerUtils.createFeature(project.labels, building.geometry()))
    project.labels.commitChanges()
    return project


def forget_models() -> None:
    """Delete what these or earlier pictures left among the private profile's own models."""
    for path in sys.modules["orthomask.ui.models.own_models"].own_folder().glob(MODEL_FILES):
        path.unlink()


def fill_map(photograph: QgsRasterLayer, part: QgsRectangle | None = None) -> None:
    """Zoom to a part of the photograph, or as far out as possible without a margin around it."""
    canvas, whole = iface.mapCanvas(), photograph.extent()
    part = part or whole
    fitting = max(part.width() / canvas.width(), part.height() / canvas.height())
    scale = min(fitting, whole.width() / canvas.width(), whole.height() / canvas.height())
    width, height = scale * canvas.width(), scale * canvas.height()
    x = min(max(part.center().x(), whole.xMinimum() + width / 2), whole.xMaximum() - width / 2)
    y = min(max(part.center().y(), whole.yMinimum() + height / 2), whole.yMaximum() - height / 2)
    canvas.setExtent(QgsRectangle.fromCenterAndSize(QgsPointXY(x, y), width, height))
    canvas.refresh()


def extent_of(areas: QgsVectorLayer, *numbers: int) -> QgsRectangle:
    """The extent of the areas with these numbers."""
    names = [f"area {number}" for number in numbers]
    found = [area.geometry() for area in areas.getFeatures() if area["name"] in names]
    return QgsGeometry.unaryUnion(found).boundingBox()


def cancelled(panel) -> Iterator[Condition]:
    panel.model.threshold.setValue(0.3)
    panel.run()
    yield lambda: panel.run_bar.progress.value() > 100
    panel.cancel()
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("dock-cancelled")


def history(panel, sample) -> Iterator[Condition]:
    """Three runs, one of them unfinished."""
    settings = sys.modules["orthomask.ui.toolkit.settings"]
    settings.RUN_PARENTS.reset()
    settings.FOLDER.set(str(WORK))  # keep the user's documents out of the picture
    panel.region.pick(middle_of(sample, 0.4))
    panel.model.threshold.setValue(0.6)
    panel.run()
    yield lambda: panel.run_bar.progress.value() > 400
    yield panel.run_bar.run_button.isVisible
    iface.messageBar().clearWidgets()
    panel.history.open()
    dialog = panel.history.dialog
    yield lambda: dialog.view.table.rowCount() == 3
    dialog.view.selectRow(1)
    yield settled()
    picture("history", dialog)
    dialog.close()
    settings.FOLDER.reset()
    QgsProject.instance().layerTreeRoot().removeChildNode(QgsProject.instance().layerTreeRoot().children()[0])
    panel.region.pick(middle_of(sample, 0.75))


def errors(plugin, dock, panel, sample) -> Iterator[Condition]:
    panel.model.threshold.setValue(0.31)
    panel.run()
    yield lambda: panel.run_bar.progress.value() > 100
    os.kill(plugin.client.pid, signal.SIGKILL)
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("dock-error-killed")
    details = [b for b in iface.messageBar().currentItem().findChildren(QPushButton) if b.text() == "Details"]
    QTimer.singleShot(0, details[0].click)
    yield lambda: QApplication.activeModalWidget() is not None
    yield settled(0.3)
    picture("dock-error-details", QApplication.activeModalWidget())
    QApplication.activeModalWidget().close()
    iface.messageBar().clearWidgets()

    box = QgsRectangle(sample.extent())
    box.set(box.xMaximum() + 500, box.yMaximum() + 500, box.xMaximum() + 900, box.yMaximum() + 900)
    panel.region.pick(type(panel.region.region)(QgsGeometry.fromRect(box), sample.crs()))
    yield panel.preflight.lights.isVisible
    yield settled()
    picture("dock-error-outside", dock)
    panel.run()
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("dock-error-outside-run")
    iface.messageBar().clearWidgets()
    panel.region.pick(middle_of(sample, 0.5))

    layers = bad_layers()
    for name, layer in layers.items():
        panel.layer_chooser.setLayer(layer)
        if layer.providerType() == "gdal":
            panel.region.pick(middle_of(layer, 0.5))
        yield lambda: panel.preflight.lights.isVisible() or not panel.preflight.isEnabled() or panel.image_words.text()
        yield settled()
        picture(f"dock-error-{name}", dock)
    panel.layer_chooser.setLayer(sample)
    QgsProject.instance().removeMapLayers([layer.id() for layer in layers.values()])

    python = os.environ["ORTHOMASK_PYTHON"]
    os.environ["ORTHOMASK_PYTHON"] = "/opt/engine/bin/python"
    plugin.client.restart()
    dock.ask_engine()
    yield dock.banner.isVisible
    yield settled()
    picture("dock-error-engine")
    os.environ["ORTHOMASK_PYTHON"] = python
    dock.ask_engine()
    yield lambda: "<b>" in dock.device.text()


def narrow(dock) -> Iterator[Condition]:
    yield lambda: dock.segment.preflight.result is not None
    iface.mainWindow().resizeDocks([dock], [320], Qt.Orientation.Horizontal)
    yield settled()
    picture("dock-narrow", dock)
    iface.mainWindow().resizeDocks([dock], [360], Qt.Orientation.Horizontal)


def bad_layers() -> dict[str, QgsRasterLayer]:
    """Layers that the model cannot use, each for a different reason."""
    gdal.Translate(str(WORK / "grey.tif"), str(SAMPLE), bandList=[1])
    gdal.Translate(str(WORK / "sixteen.tif"), str(SAMPLE), outputType=gdal.GDT_UInt16)
    gdal.Translate(str(WORK / "coarse.tif"), str(SAMPLE), widthPct=5, heightPct=5)
    gdal.Translate(str(WORK / "dark.tif"), str(SAMPLE), scaleParams=[[0, 255, 0, 40]])
    layers = {name: add_layer(WORK / f"{name}.tif", name) for name in ("grey", "sixteen", "coarse", "dark")}
    tiles = QgsRasterLayer("type=xyz&url=http://localhost/{z}/{x}/{y}.png", "Satellite tiles", "wms")
    QgsProject.instance().addMapLayer(tiles)
    return {**layers, "service": tiles}


def add_layer(path: Path, name: str) -> QgsRasterLayer:
    layer = QgsRasterLayer(str(path), name)
    QgsProject.instance().addMapLayer(layer)
    return layer


def middle_of(layer: QgsRasterLayer, share: float):
    """A region: the middle `share` of a layer's extent."""
    extent = QgsRectangle(layer.extent())
    extent.scale(share)
    return sys.modules["orthomask.ui.layers.sources"].extent_region(extent, layer.crs())


def window_with(dialog) -> QPixmap:
    """The window with the dialog, framed, in its lower right corner, where it would open."""
    window = iface.mainWindow().grab()
    painter = QPainter(window)
    place = dialog.rect().translated(window.width() - dialog.width() - 12, window.height() - dialog.height() - 12)
    painter.drawPixmap(place, dialog.grab())
    painter.setPen(QPen(Qt.GlobalColor.darkGray, 3))
    painter.drawRect(place)
    painter.end()
    return window


def end(status: int) -> None:
    qgis.utils.unloadPlugin("orthomask")
    shutil.rmtree(WORK, ignore_errors=True)
    os._exit(status)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    iface.mainWindow().resize(QSize(1600, 1000))
    iface.mainWindow().findChild(QDockWidget, "Browser").hide()
    qgis.utils.updateAvailablePlugins()
    qgis.utils.loadPlugin("orthomask")
    qgis.utils.startPlugin("orthomask")
    iface.orthomask_director = Director(scenes(), end)  # kept alive


QTimer.singleShot(2000, main)
