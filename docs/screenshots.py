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
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import qgis.utils
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import QSize, Qt, QTimer
from qgis.PyQt.QtGui import QImage
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QPushButton
from qgis.utils import iface

SAMPLE = Path(os.environ["QGIS_PLUGINPATH"]) / "orthomask" / "resources" / "sample" / "banepa.tif"
OUT = Path(os.environ.get("SCREENSHOTS", Path(tempfile.gettempdir()) / "screenshots"))
WORK = Path(tempfile.mkdtemp(dir=os.environ["QGIS_CUSTOM_CONFIG_PATH"]))  # QGIS marks layers among temporary files
LIMIT_SECONDS = 600
WIDTH_PX = 1100

Condition = Callable[[], bool]


def scenes() -> Iterator[Condition]:
    """Each picture in turn; what is yielded is waited for."""
    plugin = qgis.utils.plugins["orthomask"]
    dock, panel = plugin.dock, plugin.dock.segment
    panel.options.folder_chooser.setFilePath(str(WORK))
    dock.show()
    iface.mainWindow().resizeDocks([dock], [360], Qt.Orientation.Horizontal)
    yield lambda: "<b>" in dock.device.text()
    yield settled()
    picture("empty")

    sample = add_layer(SAMPLE, "Banepa orthophoto")
    iface.mapCanvas().setExtent(sample.extent())
    yield lambda: panel.preflight.result is not None
    yield settled()
    picture("image")

    panel.region.pick(middle_of(sample, 0.75))
    yield lambda: panel.preflight.result is not None
    yield settled()
    picture("ready")

    panel.run()
    yield lambda: panel.run_bar.progress.value() > 400
    picture("running")
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("results")
    panel.options.setCollapsed(False)
    yield settled()
    picture("options", dock)
    panel.options.setCollapsed(True)
    root = QgsProject.instance().layerTreeRoot()
    for node in root.children()[0].findLayers():
        node.setItemVisibilityChecked("Probability" in node.name())
    yield settled()
    picture("probabilities")
    for node in root.children()[0].findLayers():
        node.setItemVisibilityChecked(node.name() == "Polygons")

    yield from training(dock, sample)
    dock.tabs.setCurrentWidget(panel)
    yield from cancelled(panel)
    yield from errors(plugin, dock, panel, sample)
    yield from looks(dock)


def training(dock, sample) -> Iterator[Condition]:
    """A training on the map of the first run as its labels, and what comes of it."""
    town = label_project(dock, sample)
    dock.tabs.setCurrentWidget(dock.train)
    train = dock.train
    train.data.image.setLayer(sample)
    train.start.name.setText("Banepa roofs")
    train.options.epochs.setValue(6)
    train.options.advanced.folder_chooser.setFilePath(str(WORK))
    train.options.advanced.steps.setValue(10)
    yield settled()
    picture("train")
    train.train()
    yield lambda: "in epoch 4" in train.view.facts.text() or "Epoch 4" in train.view.facts.text()
    yield settled()
    picture("train-running")
    yield train.finished.isVisible
    yield settled()
    picture("train-finished")
    dock.tabs.setCurrentWidget(dock.models)
    yield settled()
    picture("models")
    train.finished.evaluate.click()
    dialog = dock.findChild(sys.modules["orthomask.ui.evaluate_box"].EvaluateDialog)
    dialog.options.folder_chooser.setFilePath(str(WORK))
    dialog.evaluate()
    yield dialog.outcome.isVisible
    yield settled()
    picture("evaluation", dialog)
    picture("evaluation-layers")
    dialog.close()
    QgsProject.instance().removeMapLayers([town.labels.id(), town.areas.id()])


def label_project(dock, sample):
    """A label project whose labels are the polygons of the run that is shown, with six areas."""
    protocol, projects = sys.modules["orthomask.protocol"], sys.modules["orthomask.ui.label_project"]
    classes = (protocol.ClassInfo(1, "building", "#e6007e", protocol.Outline.SQUARED),)
    request = protocol.ProjectRequest(str(WORK / "banepa.gpkg"), sample.crs().authid(), classes)
    town = projects.open_project(QgsProject.instance(), dock._client.call(request).project_path)
    (found,) = QgsProject.instance().mapLayersByName("Polygons")
    boxes = [QgsGeometry.fromRect(box) for box in grid(sample.extent())]
    splits = [protocol.Split.TRAIN] * 4 + [protocol.Split.VALIDATION, protocol.Split.TEST]
    for layer, geometries in ((town.labels, [f.geometry() for f in found.getFeatures()]), (town.areas, boxes)):
        layer.startEditing()
        for number, geometry in enumerate(geometries):
            if layer is town.areas:
                town.set_split(splits[number])
            layer.addFeature(QgsVectorLayerUtils.createFeature(layer, geometry))
        layer.commitChanges()
    return town


def grid(extent: QgsRectangle) -> Iterator[QgsRectangle]:
    """Six squares in the middle of an extent."""
    side, left, top = extent.width() / 8, extent.xMinimum() + extent.width() / 5, extent.yMinimum() + extent.width() / 2
    for column in range(3):
        for row in range(2):
            x, y = left + 1.8 * side * column, top + 1.8 * side * (row - 1)
            yield QgsRectangle(x, y, x + side, y + side)


def cancelled(panel) -> Iterator[Condition]:
    panel.model.threshold.setValue(0.3)
    panel.run()
    yield lambda: panel.run_bar.progress.value() > 100
    panel.cancel()
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("cancelled")


def errors(plugin, dock, panel, sample) -> Iterator[Condition]:
    panel.model.threshold.setValue(0.31)
    panel.run()
    yield lambda: panel.run_bar.progress.value() > 100
    os.kill(plugin.client.pid, signal.SIGKILL)
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("error-killed")
    details = [b for b in iface.messageBar().currentItem().findChildren(QPushButton) if b.text() == "Details"]
    QTimer.singleShot(0, details[0].click)
    yield lambda: QApplication.activeModalWidget() is not None
    yield settled(0.3)
    picture("error-details", QApplication.activeModalWidget())
    QApplication.activeModalWidget().close()
    iface.messageBar().clearWidgets()

    box = QgsRectangle(sample.extent())
    box.set(box.xMaximum() + 500, box.yMaximum() + 500, box.xMaximum() + 900, box.yMaximum() + 900)
    panel.region.pick(type(panel.region.region)(QgsGeometry.fromRect(box), sample.crs()))
    yield lambda: panel.preflight._lights.count() > 0
    yield settled()
    picture("error-outside", dock)
    panel.run()
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture("error-outside-run")
    iface.messageBar().clearWidgets()
    panel.region.pick(middle_of(sample, 0.5))

    layers = bad_layers()
    for name, layer in layers.items():
        panel.layer_chooser.setLayer(layer)
        if layer.providerType() == "gdal":
            panel.region.pick(middle_of(layer, 0.5))
        yield lambda: panel.preflight._lights.count() > 0 or not panel.preflight.isEnabled() or panel.image_words.text()
        yield settled()
        picture(f"error-{name}", dock)
    panel.layer_chooser.setLayer(sample)
    QgsProject.instance().removeMapLayers([layer.id() for layer in layers.values()])

    python = os.environ["ORTHOMASK_PYTHON"]
    os.environ["ORTHOMASK_PYTHON"] = "/opt/engine/bin/python"
    plugin.client.restart()
    dock.ask_engine()
    yield dock.banner.isVisible
    yield settled()
    picture("error-engine")
    os.environ["ORTHOMASK_PYTHON"] = python
    dock.ask_engine()
    yield lambda: "<b>" in dock.device.text()


def looks(dock) -> Iterator[Condition]:
    yield lambda: dock.segment.preflight.result is not None
    iface.mainWindow().resizeDocks([dock], [320], Qt.Orientation.Horizontal)
    yield settled()
    picture("narrow", dock)
    QgsApplication.setUITheme("Night Mapping")
    yield settled()
    picture("dark")


def bad_layers() -> dict[str, QgsRasterLayer]:
    """Layers that the model cannot use, each for another reason."""
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
    """A region: the middle `share` of the extent of a layer."""
    extent = QgsRectangle(layer.extent())
    extent.scale(share)
    return sys.modules["orthomask.ui.sources"].extent_region(extent, layer.crs())


def settled(seconds: float = 1.0) -> Condition:
    """Holds when the canvas has been drawn and some time has passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end and not iface.mapCanvas().isDrawing()


def picture(name: str, widget=None) -> None:
    """Save what the widget, by default the whole window, shows: at most `WIDTH_PX` wide and in 256 colours."""
    QgsApplication.processEvents()
    image = (widget or iface.mainWindow()).grab().toImage()
    smooth = Qt.TransformationMode.SmoothTransformation
    small = image.scaledToWidth(min(WIDTH_PX, image.width()), smooth)
    plain = Qt.ImageConversionFlag.AvoidDither
    indexed = small.convertToFormat(QImage.Format.Format_Indexed8, palette(small), plain)
    indexed.save(str(OUT / f"dock-{name}.png"))
    print(f"dock-{name}.png", flush=True)


def palette(image: QImage) -> list[int]:
    """The 256 colours that suit the image best (median cut), as `0xAARRGGBB`."""
    pixels = image.convertToFormat(QImage.Format.Format_RGBA8888)
    data = pixels.constBits().asstring(pixels.sizeInBytes())
    dataset = gdal.GetDriverByName("MEM").Create("", pixels.width(), pixels.height(), 3)
    for band in range(3):
        dataset.GetRasterBand(band + 1).WriteRaster(0, 0, pixels.width(), pixels.height(), data[band::4])
    table = gdal.ColorTable()
    gdal.ComputeMedianCutPCT(*(dataset.GetRasterBand(band) for band in (1, 2, 3)), 256, table)
    entries = (table.GetColorEntry(index) for index in range(table.GetCount()))
    return [0xFF000000 | red << 16 | green << 8 | blue for red, green, blue, _ in entries]


class Director:
    """Goes from scene to scene as their conditions come true, without blocking QGIS."""

    def __init__(self, scenes: Iterator[Condition]) -> None:
        self._scenes, self._condition = scenes, lambda: True
        self._deadline = time.monotonic() + LIMIT_SECONDS
        self._timer = QTimer()
        self._timer.timeout.connect(self._look)
        self._timer.start(50)

    def _look(self) -> None:
        try:
            if time.monotonic() > self._deadline:
                raise TimeoutError("a scene took too long")
            while self._condition():
                self._condition = next(self._scenes)
        except StopIteration:
            self._end(0)
        except Exception:  # noqa: BLE001 (the script's edge: QGIS must end, whatever happened)
            traceback.print_exc()
            self._end(1)

    def _end(self, status: int) -> None:
        self._timer.stop()
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
    iface.orthomask_director = Director(scenes())  # kept alive


QTimer.singleShot(2000, main)
