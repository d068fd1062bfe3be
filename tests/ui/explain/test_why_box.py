"""The box *Why?*: real clicks over a real canvas; the engine's answers are made up."""

import json
import shutil
from pathlib import Path

import pytest
from mouse import click, move
from qgis.core import QgsApplication, QgsGeometry, QgsPointXY, QgsProject, QgsRasterLayer
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from scene import CRS, LEFT, TOP, wait_until

from orthomask.protocol import Explanation, Image, PredictRequest, to_json
from orthomask.ui.explain.box import WhyBox
from orthomask.ui.review.context import Context
from orthomask.ui.runs import results

ON, OFF = (12.5, 8), (25, 25)
"""Places on an object and beside all, metres from the photograph's left and top."""


@pytest.fixture
def run(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    record["request"] = to_json(PredictRequest(Image("/data/photo.tif", bands=("1", "2", "3")), "fields", str(folder)))
    (folder / "run.json").write_text(json.dumps(record))
    return results.read_run(folder)


@pytest.fixture
def polygons(layer, run):
    found = results.polygon_layer(run)
    QgsProject.instance().addMapLayer(found)
    return found


@pytest.fixture
def looking(canvas, layer):
    canvas.setExtent(layer.extent())
    return canvas


@pytest.fixture
def box(qgis_iface, looking, client, run, polygons):
    box = WhyBox(qgis_iface, client)
    box.errors = []
    box.failed.connect(box.errors.append)
    box.resize(380, 600)
    box.setCollapsed(False)
    box.show()
    box.follow(Context(run=run, polygons=polygons))
    yield box
    box.release()
    client.close()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    box.deleteLater()
    QCoreApplication.processEvents()


def press(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def pixel(canvas, x, y):
    place = canvas.getCoordinateTransform().transform(QgsPointXY(LEFT + x, TOP - y))
    return round(place.x()), round(place.y())


def group():
    """The names of the explanations on the map, and of their group."""
    found = [each for each in QgsProject.instance().layerTreeRoot().children() if each.name().startswith("Why?")]
    return (found[0].name(), [node.name() for node in found[0].children()]) if found else None


def explained(box, looking, place=ON):
    """Click a place with the tool, and wait for all answers."""
    if looking.mapTool() is not box._tool:
        press(box.run_bar.run_button)
    click(looking, *pixel(looking, *place))
    wait_until(box.run_bar.run_button.isVisible)


BOTH = ["What speaks for it (Grad-CAM)", "What it depends on (occlusion)"]


def test_a_click_on_an_object_explains_it(box, looking, polygons, engine):
    explained(box, looking)
    first, second = engine.asked("explain")
    place = QgsGeometry.fromPointXY(QgsPointXY(LEFT + ON[0], TOP - ON[1]))
    (feature,) = [each for each in polygons.getFeatures() if each.geometry().contains(place)]
    assert (first["method"], second["method"]) == ("grad-cam", "occlusion")
    assert (first["image"]["path"], first["image"]["bands"]) == ("/data/photo.tif", ["1", "2", "3"])
    assert (first["model"], first["model_sha256"]) == ("fields", "cd" * 32)
    assert (first["object_wkt"], first["crs"]) == (feature.geometry().asWkt(), CRS)
    assert first["class_value"] == feature["class_value"]
    assert group() == ("Why? field (0.87)", BOTH)
    words = box.words.text()
    assert "What grad-cam shows of the field." in words
    assert "What occlusion shows of the field." in words
    assert box.errors == []


def test_one_layer_is_seen_at_a_time_and_each_has_its_colours(box, looking, engine):
    explained(box, looking)
    root = QgsProject.instance().layerTreeRoot()
    assert root.children()[0].name() == "Why? field (0.87)"
    nodes = root.children()[0].children()
    assert [node.isVisible() for node in nodes] == [True, False]
    ramps = [node.layer().renderer().shader().rasterShaderFunction().colorRampItemList() for node in nodes]
    assert ramps[0][0].color.alpha() == 0
    assert [item.color.alpha() for item in ramps[1]][2] == 0
    assert ramps[1][0].value == -ramps[1][-1].value


def test_the_next_click_replaces_it_and_clear_removes_it(box, looking, engine):
    explained(box, looking)
    first = Path(engine.asked("explain")[0]["output_path"])
    before = set(QgsProject.instance().mapLayers())
    explained(box, looking, OFF)
    assert engine.asked("explain")[-1]["object_wkt"] == ""
    assert engine.asked("explain")[-1]["class_value"] == 0
    assert group() == ("Why? field (0.87)", BOTH)
    assert len(QgsProject.instance().mapLayers()) == len(before)
    assert set(QgsProject.instance().mapLayers()) != before
    press(box.clear_button)
    assert group() is None
    assert len(QgsProject.instance().mapLayers()) == len(before) - 2
    assert box.words.isHidden()
    assert not first.parent.exists()


def test_the_chosen_methods_and_stage_are_asked_for(box, looking, engine):
    for check in box.methods.values():
        check.setChecked(False)
    assert not box.run_bar.run_button.isEnabled()
    assert box.run_bar.run_button.toolTip() == "Choose what to show."
    press(box.methods[Explanation.ACTIVATIONS])
    box.stage.setText(" encoder.4 ")
    explained(box, looking)
    (asked,) = engine.asked("explain")
    assert (asked["method"], asked["stage"]) == ("activations", "encoder.4")
    assert group() == ("Why? field (0.87)", ["What responds to it (activations)"])


def test_the_tool_shows_what_it_would_explain_and_escape_ends_it(box, looking):
    pan = QgsMapToolPan(looking)
    looking.setMapTool(pan)
    press(box.run_bar.run_button)
    assert box.run_bar.run_button.isChecked()
    assert "Click an object" in box.words.text()
    move(looking, *pixel(looking, *ON))
    bands = [item for item in looking.scene().items() if type(item).__name__ == "QgsRubberBand" and item.isVisible()]
    assert any(band.size() for band in bands)
    QTest.keyClick(looking, Qt.Key.Key_Escape)
    assert looking.mapTool() is pan
    assert not box.run_bar.run_button.isChecked()


def test_an_error_is_reported_and_what_is_shown_stays(box, looking, engine):
    explained(box, looking)
    error = {"code": "image_unreadable", "sentence": "The image is gone.", "remedy": "Bring it back.", "details": ""}
    engine.script(explain={"error": error})
    explained(box, looking, OFF)
    assert [found.sentence for found in box.errors] == ["The image is gone."]
    assert group() == ("Why? field (0.87)", BOTH)


def test_cancel_stops_it_and_asks_no_more(box, looking, engine):
    engine.script(explain={"steps": 200, "step_seconds": 0.02})
    press(box.run_bar.run_button)
    click(looking, *pixel(looking, *ON))
    wait_until(lambda: engine.asked("explain"))
    press(box.run_bar.cancel_button)
    wait_until(box.run_bar.run_button.isVisible)
    assert box.run_bar.status.text() == "Cancelled."
    assert len(engine.asked("explain")) == 1
    assert box.errors == []


def test_a_run_whose_record_is_incomplete_is_refused(box, looking, engine, run, polygons):
    run.record["request"] = {}
    box.follow(Context(run=run, polygons=polygons))
    press(box.run_bar.run_button)
    click(looking, *pixel(looking, *ON))
    assert "does not say which image" in box.errors[0].sentence
    assert engine.asked("explain") == []


def test_another_run_removes_the_explanations_of_the_one_before(box, looking, engine):
    explained(box, looking)
    box.follow(Context())
    assert group() is None
    assert not box.run_bar.run_button.isEnabled()
    assert box.run_bar.run_button.toolTip() == "Choose a run."
    assert not box.weak_button.isEnabled()


def test_layers_that_the_user_removed_are_not_missed(box, looking, engine):
    explained(box, looking)
    QgsProject.instance().removeMapLayers(QgsProject.instance().layerTreeRoot().children()[0].findLayerIds())
    explained(box, looking, OFF)
    assert group() == ("Why? field (0.87)", BOTH)
    QgsProject.instance().clear()
    press(box.clear_button)


def weak_layers(run):
    layers = QgsProject.instance().mapLayers().values()
    return [each for each in layers if isinstance(each, QgsRasterLayer) and "uncertainty.tif" in each.source()]


def test_where_it_is_weak_is_asked_once_and_added_once(box, engine, run):
    press(box.weak_button)
    wait_until(lambda: weak_layers(run))
    (asked,) = engine.asked("uncertainty")
    assert (asked["run_dir"], asked["flips"]) == (str(run.folder), False)
    assert "the model is unsure: 12.5%" in box.words.text()
    top, second = QgsProject.instance().layerTreeRoot().children()[:2]
    assert (top.name().split(" · ")[0], second.name().split(" · ")[0]) == ("Uncertainty", "Disagreement")
    assert (top.isVisible(), second.isVisible()) == (True, False)
    press(box.mirror)
    press(box.weak_button)
    assert len(weak_layers(run)) == 2
    assert len(engine.asked("uncertainty")) == 1
