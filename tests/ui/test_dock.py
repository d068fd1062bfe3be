import os
import re
import signal
import time

import pytest
from mouse import click, drag, on_map
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QLabel, QPushButton, QScrollArea
from scene import CRS, wait_until

from orthomask.ui.client import environment
from orthomask.ui.client.engine_client import EngineClient
from orthomask.ui.dock import OrthomaskDock
from orthomask.ui.layers.sources import extent_region
from orthomask.ui.models.model_box import ModelBox
from orthomask.ui.toolkit.words import area_in_words

LEFT = Qt.MouseButton.LeftButton


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, LEFT)


def reasons(box):
    """What the lights say, from the top."""
    return [words.text() for words in box.lights.findChildren(QLabel) if words.isVisible() and words.text()]


def run(panel):
    """Press Run and wait for the end."""
    press(panel.run_bar.run_button)
    wait_until(lambda: panel.run_bar.run_button.isVisible() or not panel.run_bar.cancel_button.isVisible())


def groups():
    return [node.name() for node in QgsProject.instance().layerTreeRoot().children() if hasattr(node, "findLayers")]


def shown(bar):
    item = bar.currentItem()
    return item.text() + " ".join(label.text() for label in item.findChildren(QLabel)) if item else ""


def region_of(engine):
    return QgsGeometry.fromWkt(engine.asked("predict")[-1]["region"]["wkt"])


@pytest.fixture
def panel(dock):
    return dock.segment


@pytest.fixture
def ready(panel):
    """The panel with the image's extent as its region."""
    press(panel.region.extent_button)
    return panel


def test_shows_models_and_device(dock, panel):
    chooser = panel.model.chooser
    assert [chooser.itemText(i) for i in range(chooser.count())] == ["Buildings", "Farmland"]
    facts = panel.model._facts.text()
    assert "building" in facts
    assert "0.15 m" in facts
    assert "CC-BY-4.0" in facts
    assert panel.model.threshold.value() == pytest.approx(0.4)
    assert "Test processor" in dock.device.text()
    assert dock.device.toolTip() == "There is no GPU."
    assert not dock.banner.isVisible()


def test_another_model_brings_its_own_threshold(panel):
    panel.model.chooser.setCurrentIndex(1)
    assert panel.model.threshold.value() == pytest.approx(0.5)
    assert "10 m" in panel.model._facts.text()


def test_numbers_of_the_model_are_shown_once_they_are_known(panel):
    assert ModelBox().threshold.text() == "–", "no threshold before the engine has started"
    assert panel.model.threshold.text() == "0.40"
    assert panel.options.min_area.text() == "automatic: 1.4 m²"
    panel.model.threshold.setValue(0.01)
    assert panel.model.threshold.text() == "0.01"


def test_a_model_file_is_added_and_chosen(panel, engine, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("/models/mine.safetensors", ""))
    panel.model.findChild(type(panel.region.clear_button)).click()
    wait_until(lambda: panel.model.chooser.count() == 3)
    assert engine.asked("models")[-1]["model"] == "/models/mine.safetensors"
    assert panel.model.chooser.currentIndex() == 2


def test_a_model_file_that_is_none_is_refused_in_words(panel, engine, bar):
    error = {"code": "bundle_unreadable", "sentence": "It is no model.", "remedy": "Choose one.", "details": "bytes"}
    engine.script(models={"error": error})
    panel.model.file_wanted.emit("/models/picture.safetensors")
    wait_until(lambda: "It is no model. Choose one." in shown(bar))
    assert panel.model.chooser.count() == 2


def test_nothing_runs_without_a_region(panel):
    assert not panel.run_bar.run_button.isEnabled()
    assert "region" in panel.run_bar.run_button.toolTip()


def test_lights_and_estimate_follow_the_choice(ready, engine):
    wait_until(lambda: ready.preflight.result is not None)
    assert "2 min" in ready.preflight.estimate.text()  # 90 s
    wait_until(lambda: len(reasons(ready.preflight)) == 2)
    asked = len(engine.asked("check"))
    ready.model.chooser.setCurrentIndex(1)
    assert ready.preflight.result is None
    wait_until(lambda: ready.preflight.result is not None)
    assert len(engine.asked("check")) == asked + 1
    assert engine.asked("check")[-1]["model"] == "/models/fields.safetensors"


def test_many_changes_make_one_check(ready, engine):
    wait_until(lambda: ready.preflight.result is not None)
    asked = len(engine.asked("check"))
    for _ in range(5):
        ready.region.pick(None)
        press(ready.region.extent_button)
        ready.model.chooser.setCurrentIndex(1)
        ready.model.chooser.setCurrentIndex(0)
    ready.model.chooser.setCurrentIndex(1)
    wait_until(lambda: ready.preflight.result is not None)
    assert len(engine.asked("check")) == asked + 1


def test_a_check_that_fails_is_a_red_light(panel, engine):
    error = {"code": "region_outside", "sentence": "It is outside.", "remedy": "Move it.", "details": ""}
    engine.script(check={"error": error})
    press(panel.region.extent_button)
    wait_until(lambda: reasons(panel.preflight) == ["It is outside. Move it."])


def test_a_check_that_failed_is_made_again(panel, engine):
    error = {"code": "image_unreadable", "sentence": "It is damaged.", "remedy": "Mend it.", "details": ""}
    engine.script(check={"error": error})
    press(panel.region.extent_button)
    wait_until(lambda: reasons(panel.preflight))
    engine.script()
    panel.model.show_models([panel.model.model])
    wait_until(lambda: panel.preflight.result is not None)


def test_a_rectangle_drawn_on_the_canvas_is_what_the_engine_gets(panel, canvas, engine):
    press(panel.region.rectangle_button)
    assert canvas.mapTool() is not None
    drag(canvas, (100, 100), (150, 120), (200, 180))
    assert canvas.mapTool() is None
    assert not panel.region.rectangle_button.isChecked()
    run(panel)
    drawn = QgsGeometry.fromRect(QgsRectangle(on_map(canvas, 100, 100), on_map(canvas, 200, 180)))
    assert region_of(engine).symDifference(drawn).area() < 1e-6 * drawn.area()
    assert engine.asked("predict")[-1]["region"]["crs"] == CRS
    assert area_in_words(panel.region.region.area_m2) in panel.region._words.text()


@pytest.mark.parametrize("is_whole", [True, False])
def test_whole_objects_at_the_edge_are_kept_unless_switched_off(dock, engine, is_whole):
    panel = dock.segment
    press(panel.region.extent_button)
    panel.options.setCollapsed(False)
    assert panel.options.whole_objects.isChecked()
    if not is_whole:
        panel.options.whole_objects.click()
    run(panel)
    wait_until(lambda: engine.asked("predict"))
    assert engine.asked("predict")[-1]["whole_objects"] is is_whole
    wait_until(lambda: [check["whole_objects"] for check in engine.asked("check")][-1:] == [is_whole])


@pytest.mark.parametrize(("crs", "half_x", "half_y"), [("EPSG:4326", 180, 90), ("EPSG:3857", 2e7, 2e7)])
def test_a_region_that_is_most_of_the_globe_is_told_not_measured(dock, crs, half_x, half_y):
    globe = QgsRectangle(-half_x, -half_y, half_x, half_y)
    dock.segment.region.pick(extent_region(globe, QgsCoordinateReferenceSystem(crs)))
    assert dock.segment.region._words.text().startswith("A large part of the globe is selected.")


def test_a_polygon_and_a_freehand_line(panel, canvas):
    press(panel.region.polygon_button)
    for corner in ((100, 100), (200, 100), (200, 200)):
        click(canvas, *corner)
    click(canvas, 10, 10, Qt.MouseButton.RightButton)
    triangle = panel.region.region.geometry
    press(panel.region.freehand_button)
    drag(canvas, (50, 50), (150, 50), (150, 150), (50, 150))
    assert panel.region.region.geometry.area() == pytest.approx(2 * triangle.area(), rel=0.01)


def test_escape_leaves_the_region_as_it_was(ready, canvas):
    before = ready.region.region
    press(ready.region.polygon_button)
    click(canvas, 50, 50)
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert ready.region.region is before
    assert canvas.mapTool() is None


def test_the_visible_extent_in_the_maps_crs(panel, canvas, engine):
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    canvas.setExtent(QgsRectangle(86.999, 27.1205, 87.0005, 27.1215))
    press(panel.region.view_button)
    run(panel)
    assert engine.asked("predict")[-1]["region"]["crs"] == "EPSG:4326"
    assert region_of(engine).boundingBox() == canvas.mapSettings().visibleExtent()


def test_the_images_extent_in_its_own_crs(panel, canvas, layer, engine):
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    press(panel.region.extent_button)
    run(panel)
    assert engine.asked("predict")[-1]["region"]["crs"] == CRS
    assert region_of(engine).boundingBox() == layer.extent()


def test_selected_polygons_of_the_active_layer(panel, qgis_iface, engine, bar):
    press(panel.region.selected_button)
    assert "No polygon is selected" in shown(bar)
    areas = QgsVectorLayer("Polygon?crs=EPSG:4326", "areas", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(87, 27.12, 87.0001, 27.1201)))
    areas.dataProvider().addFeatures([feature])
    areas.selectAll()
    QgsProject.instance().addMapLayer(areas)
    qgis_iface.setActiveLayer(areas)
    press(panel.region.selected_button)
    run(panel)
    assert engine.asked("predict")[-1]["region"]["crs"] == "EPSG:4326"
    assert region_of(engine).equals(feature.geometry())


def test_the_rubber_band_comes_and_goes_with_the_dock(dock, ready, canvas):
    shown_items = len(canvas.scene().items())
    dock.hide()
    assert len(canvas.scene().items()) == shown_items - 1
    dock.show()
    assert len(canvas.scene().items()) == shown_items
    press(ready.region.clear_button)
    assert len(canvas.scene().items()) == shown_items - 1
    assert ready.region.region is None


def test_a_run_reports_progress_and_adds_one_styled_group(ready, engine, bar, layer):
    engine.script(predict={"steps": 20, "step_seconds": 0.02})
    before = layer.crs(), layer.extent(), layer.source(), layer.renderer().type()
    values = []
    ready.run_bar.progress.valueChanged.connect(values.append)
    run(ready)
    assert len(values) > 5
    assert values == sorted(values)
    assert groups() == ["fields 0.5 · " + time.strftime("%Y-%m-%d %H:%M", time.localtime(1795233600)) + " · photo"]
    assert len(QgsProject.instance().mapLayers()) == 5
    assert "2 polygons, 250 m²" in shown(bar)
    assert (layer.crs(), layer.extent(), layer.source(), layer.renderer().type()) == before


def test_what_is_chosen_is_what_runs(ready, engine, photo, tmp_path):
    ready.model.threshold.setValue(0.65)
    ready.options.min_area.setValue(12)
    ready.options.simplify.setChecked(False)
    ready.options.image_date.setText("March 2024")
    run(ready)
    asked = engine.asked("predict")[-1]
    assert asked["image"] == {"path": photo, "crs": "", "bands": []}
    assert asked["model"] == "/models/buildings.safetensors"
    assert asked["threshold"] == 0.65
    assert asked["polygons"] == {"min_area_m2": 12, "min_hole_m2": None, "simplify": False}
    assert asked["image_date"] == "March 2024"
    folder, name = os.path.split(asked["output_dir"])
    assert folder == str(tmp_path / "runs")
    assert name.startswith("photo-buildings-20")


def test_a_second_run_uses_the_warm_engine(ready, client):
    run(ready)
    pid = client.pid
    ready.model.threshold.setValue(0.7)
    run(ready)
    assert client.pid == pid
    assert len(groups()) == 2


@pytest.mark.parametrize("deaf", [False, True])
def test_cancel_ends_a_deaf_engine_too_and_the_same_run_goes_on(ready, engine, bar, deaf):
    engine.script(predict={"steps": 1000, "step_seconds": 0.05, "deaf": deaf})
    press(ready.run_bar.run_button)
    wait_until(lambda: ready.run_bar.progress.value() > 5)
    press(ready.run_bar.cancel_button)
    wait_until(ready.run_bar.run_button.isVisible)
    assert groups() == []
    assert "Cancelled" in ready.run_bar.status.text()
    assert shown(bar) == ""
    engine.script()
    os.makedirs(engine.asked("predict")[0]["output_dir"], exist_ok=True)
    ready._refresh()
    assert ready.run_bar.run_button.text() == "Resume"
    run(ready)
    first, second = engine.asked("predict")
    assert second["output_dir"] == first["output_dir"]
    assert second["existing"] == "resume"
    assert ready.run_bar.run_button.text() == "Run"


def test_other_settings_begin_a_new_run(ready, engine):
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})
    press(ready.run_bar.run_button)
    wait_until(lambda: engine.asked("predict"))
    press(ready.run_bar.cancel_button)
    wait_until(ready.run_bar.run_button.isVisible)
    os.makedirs(engine.asked("predict")[0]["output_dir"])
    engine.script()
    ready.model.threshold.setValue(0.2)
    assert ready.run_bar.run_button.text() == "Run"
    run(ready)
    first, second = engine.asked("predict")
    assert first["output_dir"] != second["output_dir"]


def test_a_run_that_cannot_go_on_is_forgotten(ready, engine):
    error = {"code": "output_exists", "sentence": "It is another's.", "remedy": "Choose another.", "details": ""}
    engine.script(predict={"error": error})
    run(ready)
    os.makedirs(engine.asked("predict")[0]["output_dir"])
    ready._refresh()
    assert ready.run_bar.run_button.text() == "Run"


def test_a_worker_killed_in_mid_run_is_one_message(ready, engine, client, bar):
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})
    press(ready.run_bar.run_button)
    wait_until(lambda: ready.run_bar.progress.value() > 5)
    os.kill(client.pid, signal.SIGKILL)
    wait_until(ready.run_bar.run_button.isVisible)
    assert "stopped unexpectedly" in shown(bar)
    assert groups() == []
    engine.script()
    run(ready)
    assert len(groups()) == 1


def test_an_error_has_a_sentence_a_remedy_and_details(ready, engine, bar, monkeypatch):
    details = []
    monkeypatch.setattr("orthomask.ui.toolkit.messages.show_details", details.append)
    error = {"code": "disk_full", "sentence": "The disk is full.", "remedy": "Free 2 GB.", "details": "errno 28"}
    engine.script(predict={"error": error})
    run(ready)
    assert shown(bar).endswith("The disk is full. Free 2 GB.")
    assert len(bar.items()) == 1
    assert not ready.run_bar.status.isVisible(), "it is said once"
    button = next(b for b in bar.currentItem().findChildren(QPushButton) if b.text() == "Details")
    press(button)
    assert details[0].details == "errno 28"
    assert ready.run_bar.run_button.isEnabled()


def test_warnings_of_a_run_are_shown(ready, engine, bar, run_folder):
    result = {
        "run_id": "0", "classes_path": f"{run_folder}/classes.tif", "polygons_path": f"{run_folder}/polygons.gpkg",
        "probabilities_path": f"{run_folder}/probabilities.tif", "polygon_count": 0, "polygon_area_m2": 0.0,
        "device": "cpu", "seconds": 1.0, "warnings": ["The region crossed itself."],
    }  # fmt: skip
    engine.script(predict={"result": result})
    run(ready)
    assert any("crossed itself" in item.text() for item in bar.items())


def test_a_result_without_its_record_is_one_message(ready, engine, bar, tmp_path):
    result = {
        "run_id": "0", "classes_path": "", "probabilities_path": "", "polygons_path": str(tmp_path / "polygons.gpkg"),
        "polygon_count": 0, "polygon_area_m2": 0.0, "device": "cpu", "seconds": 1.0, "warnings": [],
    }  # fmt: skip
    engine.script(predict={"result": result})
    run(ready)
    assert "contains no finished run" in shown(bar)


def test_a_map_service_is_explained_and_can_run_in_a_region(ready):
    tiles = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png", "tiles", "wms")
    QgsProject.instance().addMapLayer(tiles)
    ready.layer_chooser.setLayer(tiles)
    assert re.match(r"Rendered at .* m per pixel before the run", ready.image_words.text())
    assert ready.run_bar.run_button.isEnabled()
    ready.region.pick(None)
    assert not ready.run_bar.run_button.isEnabled()
    assert not ready.region.extent_button.isEnabled()


def test_an_empty_project_says_what_to_do(ready):
    QgsProject.instance().removeAllMapLayers()
    assert "Add an orthophoto" in ready.image_words.text()
    assert not ready.run_bar.run_button.isEnabled()
    assert not ready.region.extent_button.isEnabled()


def test_fits_a_narrow_screen(dock):
    dock.resize(320, 700)
    assert dock.widget().minimumSizeHint().width() <= 320


def test_no_panel_scrolls_sideways(dock, ready, engine):
    wait_until(lambda: ready.preflight.result is not None)
    dock.resize(360, 700)
    for index in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(index)
        panel = dock.tabs.widget(index)
        for box in panel.findChildren(QgsCollapsibleGroupBox):
            box.setCollapsed(False)
        QApplication.processEvents()
        wide = [area for area in panel.findChildren(QScrollArea) if area.isVisible()]
        assert [area.horizontalScrollBar().maximum() for area in wide] == [0] * len(wide), dock.tabs.tabToolTip(index)


def test_a_missing_engine_is_one_sentence_and_another_python_mends_it(
    qgis_iface, canvas, layer, engine, bar, monkeypatch
):
    monkeypatch.setenv(environment.PYTHON_VARIABLE, "/nowhere/python")
    right = "/right/python"

    def command():
        return engine.command if environment.configured_python() == right else environment.worker_command()

    client = EngineClient(command)
    dock = OrthomaskDock(qgis_iface, client)
    dock.show()
    wait_until(dock.banner.isVisible)
    assert "/nowhere/python" in dock.banner.words.text()
    assert "Press Set up" in dock.banner.words.text()
    press(dock.segment.region.extent_button)  # the rest works
    assert dock.segment.region.region is not None
    assert not dock.segment.run_bar.run_button.isEnabled()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (right, ""))
    press(dock.banner.setup_wanted)
    press(dock.setup.own_button)
    wait_until(dock.segment.run_bar.run_button.isEnabled)
    assert not dock.banner.isVisible()
    dock.release()
    client.close()
    dock.deleteLater()


def test_results_do_not_go_into_a_project_that_was_opened_meanwhile(ready, engine, bar):
    engine.script(predict={"steps": 20, "step_seconds": 0.05})
    press(ready.run_bar.run_button)
    wait_until(lambda: engine.asked("predict"))
    QgsProject.instance().clear()
    wait_until(lambda: "The project was closed" in shown(bar))
    assert groups() == []
    assert "results are in" in shown(bar)


def test_a_region_goes_with_its_project(ready, photo):
    QgsProject.instance().clear()
    assert ready.region.region is None
    QgsProject.instance().addMapLayer(QgsRasterLayer(photo, "another"))
    wait_until(lambda: ready.preflight.result is not None)
    assert not ready.run_bar.run_button.isEnabled()


def test_tabs_show_icons_where_their_names_do_not_fit(dock):
    bar, names = dock.tabs.tabBar(), ["Segment", "Review", "Label", "Train", "Changes", "Models"]

    def shown():
        return [bar.tabText(index) for index in range(len(names))]

    dock.resize(520, 700)
    assert shown() == names
    dock.resize(360, 700)
    assert shown() == ["Segment", "", "", "", "", ""], "the usual width: the name of the tab in front"
    assert not any(bar.tabIcon(index).isNull() for index in range(len(names)))
    dock.tabs.setCurrentIndex(4)
    assert shown() == ["", "", "", "", "Changes", ""]
    font = dock.font()
    font.setPointSize(22)
    dock.setFont(font)
    assert shown() == [""] * len(names)
    assert [bar.tabToolTip(index) for index in range(len(names))] == names
    assert [bar.accessibleTabName(index) for index in range(len(names))] == names
    dock.resize(1200, 700)
    assert shown() == names
