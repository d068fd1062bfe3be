"""The data that an evaluation opens with, and labels of other classes than the model's."""

import json

import pytest
from evaluations import answer
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog, QToolButton
from scene import CLASSES, CRS, square, wait_until, write_project
from test_dock import press, shown

from orthomask.ui.evaluate.box import EvaluateDialog
from orthomask.ui.label.project import open_project
from orthomask.ui.label.sources import is_areas_layer
from orthomask.ui.models import own_models
from orthomask.ui.toolkit.help import HelpWindow

RESULT = {
    "model_path": "", "run_dir": "", "epochs": 3, "best_epoch": 2, "scores": {"iou": 0.5, "f1": 0.67},
    "threshold": 0.4, "images_per_second": 30.0, "waiting_share": 0.1, "seconds": 90.0, "stopped": "finished",
    "warnings": [],
}  # fmt: skip


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The file of a model that finds fields and orchards: its header is all that is read here."""
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "own")
    head = {"__metadata__": {"orthomask": json.dumps({"gsd_m": 0.5, "classes": CLASSES})}}
    text = json.dumps(head).encode()
    path = tmp_path / "crops.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return str(path)


def polygons(name, fields, *rows):
    """A layer of squares; each row is the place, and the attributes."""
    columns = "".join(f"&field={field}:string" for field in fields)
    layer = QgsVectorLayer(f"Polygon?crs={CRS}{columns}", name, "memory")
    for x, *values in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square(x)))
        feature.setAttributes(values)
        layer.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def crops(layer):
    return polygons("crops", ["crop"], (0, "Orchard"), (10, "maize"))


@pytest.fixture
def plots(layer):
    rows = [(0, "plot 1", "train"), (10, "plot 2", "validation")]
    return polygons("plots", ["name", "split"], *rows)


def evaluation(dock, model, tmp_path):
    dock.evaluate(model, "Crops")
    dialog = dock.findChildren(EvaluateDialog)[-1]
    dialog.options.folder_chooser.setFilePath(str(tmp_path / "evaluations"))
    return dialog


@pytest.fixture
def dialog(dock, model, crops, plots, tmp_path):
    dock.train.data.labels.setLayer(crops)
    dock.train.data.areas.setLayer(plots)
    dock.train.data.class_field.setCurrentIndex(dock.train.data.class_field.findData("crop"))
    dialog = evaluation(dock, model, tmp_path)
    yield dialog
    dialog.close()


def test_it_opens_with_the_data_of_the_training_whatever_was_chosen_since(dock, engine, crops, plots, model, tmp_path):
    polygons("others", ["kind"], (0, "x"))
    data = dock.train.data
    dock.tabs.setCurrentWidget(dock.train)
    dock.train.options.advanced.folder_chooser.setFilePath(str(tmp_path / "trainings"))
    data.labels.setLayer(crops)
    data.areas.setLayer(plots)
    data.class_field.setCurrentIndex(data.class_field.findData("crop"))
    dock.train.start.name.setText("Crops")
    trained_on = data.choice()
    engine.script(train={"steps": 2000, "step_seconds": 0.02, "result": RESULT})
    press(dock.train.bar.main_button)
    wait_until(lambda: dock.train.job.request is not None and engine.asked("train"))
    data.areas.setLayer(None)
    data.labels.setCurrentIndex((data.labels.currentIndex() + 1) % data.labels.count())
    folder = dock.train.job.request.output_dir
    with open(f"{folder}/{dock.train.job.request.name}.safetensors", "wb") as file:
        file.write(b"weights")
    press(dock.train.bar.stop_button)
    wait_until(dock.train.finished.isVisible)
    press(dock.train.finished.evaluate)
    dialog = dock.findChild(EvaluateDialog)
    assert dialog.data.choice() == trained_on != data.choice()
    assert dialog.options.split().value == "validation"
    assert dialog.run_bar.run_button.isEnabled()
    dialog.close()


def test_areas_are_not_offered_as_labels_nor_labels_of_a_project_as_areas(dialog, plots, tmp_path):
    town = open_project(QgsProject.instance(), write_project(tmp_path / "town.gpkg", [(0, 1)], [(0, "a", "test")]))
    offered, areas = (
        [chooser.layer(row) for row in range(chooser.count())] for chooser in (dialog.data.labels, dialog.data.areas)
    )
    assert is_areas_layer(plots)
    assert is_areas_layer(town.areas)
    assert plots not in offered
    assert town.areas not in offered
    assert town.labels in offered
    assert town.labels not in areas
    assert plots in areas


def test_classes_that_the_model_lacks_are_background_until_they_are_mapped(dialog, engine, tmp_path):
    assert "no class for “maize”" in dialog.classes.words.text()
    assert [entry.value for entry in dialog.classes.table.mapping] == [2, 0]
    chooser = dialog.classes.table.cellWidget(1, 1)
    assert [chooser.itemText(row) for row in range(chooser.count())] == ["field", "orchard", "background", "unknown"]
    chooser.setFocus()
    QTest.keyClicks(chooser, "f")
    assert "maize" not in dialog.classes.words.text()
    engine.script(evaluate={"result": answer(tmp_path)})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    labels = engine.asked("evaluate")[-1]["data"]["projects"][0]["labels"][0]
    assert labels["mapping"] == [{"source": "Orchard", "value": 2}, {"source": "maize", "value": 1}]


def test_nothing_runs_while_no_value_is_a_class_of_the_model(dialog):
    dialog.data.labels.setLayer(polygons("houses", ["kind"], (0, "barn")))
    dialog.data.class_field.setCurrentIndex(dialog.data.class_field.findData("kind"))
    assert dialog.classes.words.text().startswith("No value of “kind” is a class of the model: “field”, “orchard”.")
    assert not dialog.run_bar.run_button.isEnabled()
    dialog.classes.table.cellWidget(0, 1).setCurrentIndex(1)
    assert dialog.run_bar.run_button.isEnabled()


def test_labels_without_an_attribute_are_of_one_class_and_that_is_said(dialog):
    dialog.data.class_field.setCurrentIndex(0)
    assert dialog.classes.words.text() == "All labels count as “field”."
    assert dialog.classes.table.isHidden()


def test_a_label_project_is_matched_by_the_names_of_its_classes(dialog, engine, tmp_path):
    open_project(QgsProject.instance(), write_project(tmp_path / "town.gpkg", [(0, 1), (10, 2)], [(0, "a", "test")]))
    assert dialog.data.source.currentText() == "town (label project)"
    assert dialog.classes.isHidden()
    dialog.options.split_chooser.setCurrentIndex(0)
    engine.script(evaluate={"result": answer(tmp_path)})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    labels = engine.asked("evaluate")[-1]["data"]["projects"][0]["labels"][0]
    assert [(entry["source"], entry["value"], entry["called"]) for entry in labels["mapping"]] == [
        ("1", 1, "field"), ("2", 2, "orchard"),
    ]  # fmt: skip


def test_the_window_fits_the_screen_scrolls_and_keeps_its_size(dialog, dock, model, tmp_path):
    assert dialog.height() <= QgsApplication.primaryScreen().availableGeometry().height()
    dialog.resize(500, 300)
    QTest.qWait(1)
    assert dialog.height() == 300
    assert dialog.rect().contains(
        dialog.run_bar.run_button.mapTo(dialog, dialog.run_bar.run_button.rect().bottomRight())
    )
    dialog.close()
    again = evaluation(dock, model, tmp_path)
    assert (again.width(), again.height()) == (500, 300)
    again.close()


def test_help_opens_the_guide_at_evaluation(dialog):
    (button,) = [one for one in dialog.findChildren(QToolButton) if one.accessibleName() == "Help"]
    press(button)
    windows = [one for one in QgsApplication.topLevelWidgets() if isinstance(one, HelpWindow) and one.isVisible()]
    assert [window.browser.textCursor().block().text() for window in windows] == ["How good is it?"]
    QTest.keyClick(windows[0], Qt.Key.Key_Escape)
    assert isinstance(dialog, QDialog)
    assert dialog.isVisible()


@pytest.mark.parametrize(("tuned_on", "warned"), [("test", True), ("validation", False)])
def test_the_best_threshold_says_where_it_was_chosen(dialog, dock, engine, bar, tmp_path, tuned_on, warned):
    engine.script(evaluate={"result": {**answer(tmp_path), "tuned_on": tuned_on}})
    press(dialog.run_bar.run_button)
    wait_until(dialog.outcome.isVisible)
    assert ("on the test areas" in dialog.outcome.table.text()) == warned
    assert ("on the areas for validation" in dialog.outcome.best.toolTip()) != warned
    press(dialog.outcome.best)
    assert dock.tabs.currentWidget() is dock.segment
    assert ("no longer honest" in shown(bar)) == warned
