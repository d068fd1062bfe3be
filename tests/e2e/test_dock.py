"""The main job in QGIS: from a region on the canvas to polygons on the map."""

import json
import os
import signal
from pathlib import Path

import pytest
from mouse import drag
from qgis.core import QgsFeature, QgsGeometry, QgsProject, QgsRectangle, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QLabel
from scene import PATIENCE_SECONDS, wait_until

from orthomask.protocol import Level
from orthomask.ui.layers.map_view import PREVIEW
from orthomask.ui.layers.sources import extent_region
from orthomask.ui.review.context import Context
from orthomask.ui.review.remake.threshold_box import ThresholdBox
from orthomask.ui.runs.results import read_run
from orthomask.ui.segment import live


def press(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def start(panel):
    wait_until(panel.run_bar.run_button.isEnabled, PATIENCE_SECONDS)
    press(panel.run_bar.run_button)


def finish(panel):
    wait_until(panel.run_bar.run_button.isVisible, PATIENCE_SECONDS)


@pytest.fixture
def panel(dock, qgis_iface, sample):
    """The panel with a rectangle drawn on the canvas, a little more than one window large."""
    qgis_iface.mapCanvas().setExtent(sample.extent())
    press(dock.segment.region.rectangle_button)
    drag(qgis_iface.mapCanvas(), (100, 100), (200, 200), (260, 260))
    return dock.segment


def newest_run(tmp_path):
    return max(tmp_path.glob("Banepa-buildings-*"))  # their names end in the time


def polygons_of(run):
    return QgsVectorLayer(f"{run}/polygons.gpkg|layername=polygons", "polygons")


def test_a_rectangle_becomes_buildings_on_the_map(panel, sample, tmp_path, bar):
    start(panel)
    finish(panel)
    group = QgsProject.instance().layerTreeRoot().children()[0]
    names = [node.layer().name().split(" · ")[0] for node in group.findLayers()]
    assert names == ["Polygons", "Classes", "Probability of building"]
    assert all(node.layer().isValid() for node in group.findLayers())
    polygons = group.findLayers()[0].layer()
    assert polygons.featureCount() > 3
    assert polygons.crs() == sample.crs()
    region = panel.region.region.geometry.boundingBox()
    assert all(region.intersects(feature.geometry().boundingBox()) for feature in polygons.getFeatures())
    record = json.loads((newest_run(tmp_path) / "run.json").read_text())
    assert record["result"]["polygon_count"] == polygons.featureCount()
    assert polygons.renderer().categories()[0].label() == "building"
    written = {feature.id(): feature for feature in polygons.getFeatures()}
    polygons.startEditing()
    for feature in written.values():  # measured again by QGIS, each has the engine's own numbers
        polygons.changeGeometry(feature.id(), feature.geometry())
    for feature in polygons.getFeatures():
        for name in ("area_m2", "perimeter_m"):
            assert feature[name] == pytest.approx(written[feature.id()][name], abs=0.011, rel=2e-6)
    polygons.rollBack()


def test_lights_estimate_and_device_come_before_the_run(dock, panel):
    wait_until(lambda: panel.preflight.result is not None, PATIENCE_SECONDS)
    result = panel.preflight.result
    assert result.level is Level.GREEN
    assert {"bands", "pixel type", "resolution", "data", "values"} == {light.name for light in result.lights}
    assert result.windows >= 1
    wait_until(lambda: "About" in panel.preflight.estimate.text(), PATIENCE_SECONDS)
    assert "of memory" in panel.preflight.estimate.text()
    assert panel.preflight.result.seconds >= 1
    assert result.device in dock.device.text()


def test_a_cancelled_run_that_is_repeated_gives_the_same_polygons(panel, tmp_path, client):
    start(panel)
    finish(panel)
    undisturbed = polygons_of(newest_run(tmp_path))
    panel.options.image_date.setText("2024")  # other settings, another folder
    panel.options.image_date.editingFinished.emit()
    start(panel)
    wait_until(lambda: panel.run_bar.progress.value() > 100, PATIENCE_SECONDS)
    press(panel.run_bar.cancel_button)
    wait_until(panel.run_bar.run_button.isVisible)
    begun = newest_run(tmp_path)
    assert not (begun / "run.json").exists()
    assert panel.run_bar.run_button.text() == "Resume"
    start(panel)
    finish(panel)
    assert newest_run(tmp_path) == begun
    again = polygons_of(begun)
    union, other = (
        QgsGeometry.unaryUnion([feature.geometry() for feature in layer.getFeatures()])
        for layer in (undisturbed, again)
    )
    assert union.equals(other)


def test_an_engine_killed_in_mid_run_is_one_message_and_the_run_goes_on(panel, tmp_path, client, bar):
    start(panel)
    wait_until(lambda: panel.run_bar.progress.value() > 100, PATIENCE_SECONDS)
    os.kill(client.pid, signal.SIGKILL)
    finish(panel)
    words = " ".join(label.text() for label in bar.currentItem().findChildren(QLabel))
    assert "The engine stopped unexpectedly. Run it again" in words
    start(panel)
    finish(panel)
    assert (newest_run(tmp_path) / "run.json").exists()
    assert len(list(Path(tmp_path).iterdir())) == 1


def test_a_second_run_starts_warm(panel, client):
    start(panel)
    finish(panel)
    pid = client.pid
    panel.model.threshold.setValue(0.6)
    start(panel)
    finish(panel)
    assert client.pid == pid


def test_a_region_beside_the_image_is_a_red_light_and_an_error_in_words(dock, sample, bar):
    panel = dock.segment
    extent = sample.extent()
    far = QgsRectangle(extent.xMaximum() + 100, extent.yMinimum(), extent.xMaximum() + 200, extent.yMinimum() + 100)
    panel.region.pick(extent_region(far, sample.crs()))
    wait_until(lambda: panel.preflight.lights.warnings, PATIENCE_SECONDS)
    start(panel)
    finish(panel)
    words = " ".join(label.text() for label in bar.currentItem().findChildren(QLabel))
    assert "The region does not overlap the image." in words
    assert not hasattr(QgsProject.instance().layerTreeRoot().children()[0], "findLayers")


def test_a_damaged_bundle_is_refused_in_words(dock, bar, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no model at all")
    dock.segment.model.file_wanted.emit(str(bad))
    wait_until(lambda: bar.currentItem() is not None, PATIENCE_SECONDS)
    words = " ".join(label.text() for label in bar.currentItem().findChildren(QLabel))
    assert "bad.safetensors" in words


def test_what_is_found_appears_during_the_run_and_follows_the_threshold_afterwards(
    dock, qgis_iface, sample, client, monkeypatch
):
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0)
    qgis_iface.mapCanvas().setExtent(sample.extent())
    press(dock.segment.region.rectangle_button)
    drag(qgis_iface.mapCanvas(), (150, 20), (200, 200), (210, 380))  # three strips
    start(dock.segment)

    def previews():
        return [layer for layer in QgsProject.instance().mapLayers().values() if layer.customProperty(PREVIEW)]

    wait_until(previews, PATIENCE_SECONDS)
    block = previews()[0].dataProvider().block(4, sample.extent(), 100, 100)
    assert any(block.value(row, column) for row in range(100) for column in range(100))
    finish(dock.segment)
    assert previews() == []
    assert len(QgsProject.instance().layerTreeRoot().findGroups()) == 1

    polygons = QgsProject.instance().layerTreeRoot().children()[0].findLayers()[0].layer()
    folder, number = Path(polygons.source()).parent, polygons.featureCount()
    added = QgsGeometry.fromRect(QgsRectangle(polygons.extent().center(), polygons.extent().center()).buffered(1))
    polygons.startEditing()
    removed = next(polygons.getFeatures())
    polygons.deleteFeature(removed.id())
    feature = QgsFeature(polygons.fields())
    feature.setGeometry(added)
    polygons.addFeature(feature)
    assert polygons.commitChanges()
    box = ThresholdBox(qgis_iface, client)
    box.follow(Context(read_run(folder), polygons))
    for threshold, name in ((80, "polygons-2.gpkg"), (50, "polygons-3.gpkg")):
        box.slider.setValue(threshold)
        wait_until(lambda name=name: name in polygons.source(), PATIENCE_SECONDS)
        found = list(polygons.getFeatures())
        assert len([f for f in found if f.geometry().equals(added)]) == 1
        assert not any(f.geometry().equals(removed.geometry()) for f in found)
    assert abs(len(found) - number) <= 2, "the one that was removed, and what the new one covers"
    box.release()
