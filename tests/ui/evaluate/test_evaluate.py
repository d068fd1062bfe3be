import pytest
from evaluations import answer, pixel_scores
from osgeo import gdal
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtGui import QDesktopServices
from scene import GSD, LEFT, SIZE, TOP, wait_until, write_project, write_raster
from test_dock import groups, press, shown

from orthomask.protocol import EvaluateResult, from_json
from orthomask.ui.evaluate import layers
from orthomask.ui.evaluate.box import EvaluateDialog, EvaluationOutcome
from orthomask.ui.evaluate.layers import add_evaluation, error_layer, object_layer
from orthomask.ui.evaluate.text import evaluation_html
from orthomask.ui.label.project import open_project
from orthomask.ui.models import own_models

MODEL = "/models/buildings.safetensors"


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    return answer(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture
def result(answered):
    return from_json(EvaluateResult, answered)


@pytest.fixture
def town(layer, tmp_path):
    path = write_project(tmp_path / "town.gpkg", [(0, 1), (15, 2)], [(0, "area 1", "train"), (15, "area 2", "test")])
    return open_project(QgsProject.instance(), path)


@pytest.fixture
def dialog(dock, town, monkeypatch, tmp_path):
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "own")
    dock.evaluate(MODEL, "Buildings")
    dialog = dock.findChild(EvaluateDialog)
    dialog.options.folder_chooser.setFilePath(str(tmp_path / "evaluations"))
    yield dialog
    dialog.close()


def test_the_numbers_are_told_by_class(result):
    text = evaluation_html(result)
    for words in (
        "field", "orchard", "all classes", "0.512", "0.550", "0.774", "12 / 4 / 3", "0.50 ha", "0.56 ha", "320 m²",
        "Threshold 0.50; the best would be 0.35, with an IoU of 0.581",
    ):  # fmt: skip
        assert words in text


def test_one_class_is_told_once(answered):
    one = {**answered, "pixels": [pixel_scores("field", 0.5), pixel_scores("all", 0.5)], "areas": [], "objects": []}
    text = evaluation_html(from_json(EvaluateResult, one))
    assert "all classes" not in text
    assert text.count("0.500") == 1


def test_errors_have_their_colours_and_right_background_none(qgis_new_project, result):
    layer = error_layer(result)
    entries = {entry.value: (entry.label, entry.color.name()) for entry in layer.renderer().classes()}
    assert entries == {
        1: ("right", "#1b9e77"), 2: ("false", "#d7301f"), 3: ("missed", "#2b6cb0"), 4: ("wrong class", "#f2c037"),
    }  # fmt: skip


def test_missed_and_false_objects_are_shown_and_matched_ones_not(qgis_new_project, result):
    layer = object_layer(result)
    assert layer.featureCount() == 3
    states = {entry.value(): entry.renderState() for entry in layer.renderer().categories()}
    assert states == {"missed": True, "false": True, "matched": False}
    assert layer.attributeDisplayName(layer.fields().lookupField("area_m2")) == "Area (m²)"


def test_legends_are_in_the_users_language(qgis_new_project, result, monkeypatch):
    monkeypatch.setattr(layers, "tr", lambda text: f"[{text}]")
    errors, objects = error_layer(result), object_layer(result)
    assert [entry.label for entry in errors.renderer().classes()][:2] == ["[right]", "[false]"]
    assert [entry.label() for entry in objects.renderer().categories()][:1] == ["[missed]"]


def test_without_objects_there_is_no_best_threshold(answered, qgis_app):
    nothing = from_json(EvaluateResult, {**answered, "best_iou": 0.0})
    assert "best" not in evaluation_html(nothing)
    outcome = EvaluationOutcome()
    outcome.show_result(nothing)
    assert not outcome.best.isEnabled()


def test_one_group_on_top_with_objects_over_pixels(qgis_new_project, layer, result):
    group = add_evaluation(QgsProject.instance(), result, "Errors of Buildings")
    assert QgsProject.instance().layerTreeRoot().children()[0] == group
    assert [node.name() for node in group.findLayers()] == ["Missed and false objects", "Right, false and missed"]


def test_pictures_without_georeference_have_no_layers(qgis_new_project, answered):
    plain = from_json(EvaluateResult, {**answered, "errors_path": "", "objects_path": ""})
    assert add_evaluation(QgsProject.instance(), plain, "Errors") is None
    assert groups() == []


def test_what_is_chosen_is_evaluated_and_the_errors_become_layers(dialog, engine, answered, photo, bar, tmp_path):
    engine.script(evaluate={"steps": 5, "result": answered})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    asked = engine.asked("evaluate")[-1]
    assert asked["model"] == MODEL
    assert (asked["split"], asked["threshold"], asked["map_path"]) == ("test", None, "")
    assert asked["data"]["projects"][0]["image"]["path"] == photo
    assert asked["output_dir"].startswith(str(tmp_path / "evaluations" / "photo-evaluation-Buildings-20"))
    seen = [message for message in engine.requests if message["method"] == "evaluate"][-1]["seen"]
    assert seen["labels"] == [["1"], ["2"]]
    assert "0.512" in dialog.outcome.table.text()
    assert groups() == ["Errors of Buildings", "town"]
    assert dialog.run_bar.status.text() == "Done in 12 s."
    assert "2 labels were mended." in dialog.outcome.table.text()
    assert shown(bar) == ""


def test_split_threshold_and_map_are_asked_for(dialog, engine, answered, tmp_path):
    mapped = write_raster(tmp_path / "classes.tif", [1])
    layer = QgsRasterLayer(mapped, "classes")
    QgsProject.instance().addMapLayer(layer)
    engine.script(evaluate={"result": answered})
    dialog.options.split_chooser.setCurrentIndex(2)
    dialog.options.threshold_box.setValue(0.4)
    dialog.options.map_chooser.setLayer(layer)
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    asked = engine.asked("evaluate")[-1]
    assert (asked["split"], asked["threshold"], asked["map_path"]) == ("train", 0.4, mapped)


def test_what_the_model_depends_on_is_measured_if_asked_and_told_in_words(dialog, engine, answered):
    curve = {"dependence": "bands", "probes": [], "sentence": "Without <red>, 0.40 IoU is lost."}
    said = {
        "iou": 0.8, "object_f1": 0.6, "curves": [curve, {**curve, "dependence": "blur", "sentence": ""}],
        "sentence": "It depends most on single bands.", "images": 1, "pixels": 1000,
    }  # fmt: skip
    engine.script(evaluate={"result": answered})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    assert engine.asked("evaluate")[-1]["diagnosis"] is False
    assert "Diagnosis" not in dialog.outcome.table.text()
    engine.script(evaluate={"result": {**answered, "diagnosis": said}})
    press(dialog.options.diagnosis)
    press(dialog.run_bar.run_button)
    wait_until(lambda: "Diagnosis" in dialog.outcome.table.text())
    assert engine.asked("evaluate")[-1]["diagnosis"] is True
    words = "It depends most on single bands.<br>• Without &lt;red&gt;, 0.40 IoU is lost.</p>"
    assert words in dialog.outcome.table.text()


def test_a_split_without_areas_is_refused_in_words(dialog):
    dialog.options.split_chooser.setCurrentIndex(1)
    assert "There is no area for validation." in dialog.data.words.text()
    assert not dialog.run_bar.run_button.isEnabled()


def test_an_error_is_one_message_and_it_can_be_tried_again(dialog, engine, answered, bar):
    error = {"code": "labels_empty", "sentence": "No label lies there.", "remedy": "Draw some.", "details": ""}
    engine.script(evaluate={"error": error})
    press(dialog.run_bar.run_button)
    wait_until(dialog.problem.isVisible)
    assert dialog.problem.words.text() == "No label lies there. Draw some."
    assert shown(bar) == dialog.run_bar.status.text() == ""
    assert groups() == ["town"]
    engine.script(evaluate={"result": answered})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    assert not dialog.problem.isVisible()


def test_cancel_leaves_no_layers(dialog, engine, bar):
    engine.script(evaluate={"steps": 1000, "step_seconds": 0.02})
    press(dialog.run_bar.run_button)
    wait_until(lambda: dialog.run_bar.progress.value() > 1)
    press(dialog.run_bar.cancel_button)
    wait_until(dialog.run_bar.run_button.isVisible)
    assert groups() == ["town"]
    assert shown(bar) == ""


def test_closing_the_window_cancels(dialog, engine):
    engine.script(evaluate={"steps": 1000, "step_seconds": 0.02})
    press(dialog.run_bar.run_button)
    wait_until(lambda: dialog.run_bar.progress.value() > 1)
    dialog.close()
    wait_until(lambda: any(message["method"] == "cancel" for message in engine.requests))


def test_the_dock_takes_its_windows_with_it(dialog, dock, engine):
    engine.script(evaluate={"steps": 1000, "step_seconds": 0.02})
    press(dialog.run_bar.run_button)
    wait_until(lambda: dialog.run_bar.progress.value() > 1)
    dock.release()
    assert not dialog.isVisible()
    dock.release = lambda: None  # it is released already; the fixture would do it once more


def test_the_best_threshold_is_one_click_from_segment(dialog, dock, engine, answered):
    engine.script(evaluate={"result": answered})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    press(dialog.outcome.best)
    assert dock.tabs.currentWidget() is dock.segment
    assert dock.segment.model.model.path == MODEL
    assert dock.segment.model.threshold.value() == pytest.approx(0.35)


def test_the_report_opens_in_the_browser(dialog, engine, answered, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    engine.script(evaluate={"result": answered})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    press(dialog.outcome.report)
    assert opened == [QUrl.fromLocalFile(answered["report_path"])]


def test_results_stay_out_of_a_project_that_was_opened_meanwhile(dialog, engine, answered):
    engine.script(evaluate={"steps": 30, "step_seconds": 0.02, "result": answered})
    press(dialog.run_bar.run_button)
    wait_until(lambda: dialog.run_bar.progress.value() > 1)
    QgsProject.instance().clear()
    wait_until(dialog.outcome.isVisible)
    assert groups() == []


def test_fixtures_lie_where_the_photograph_does(result):
    extent = QgsRasterLayer(result.errors_path, "errors").extent()
    assert (extent.xMinimum(), extent.yMaximum(), extent.width()) == (LEFT, TOP, SIZE * GSD)
    assert gdal.Open(result.errors_path).RasterCount == 1
