"""Learning from the checked squares: the button and its estimate, progress, the result and what is done with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import QCoreApplication
from scene import square, wait_until, write_epochs, write_project
from test_dock import press, shown

from orthomask.protocol import ClassInfo, Image, LearnRequest, PredictRequest, Region, from_json, to_json
from orthomask.ui.label.project import open_project
from orthomask.ui.review.context import Context
from orthomask.ui.review.learn import learn_box, learning, learning_check
from orthomask.ui.runs.results import add_run, read_run
from orthomask.ui.toolkit.settings import LEARNING

AREAS = [
    (0, "square 1", "train", "checked"),
    (15, "square 2", "validation", "checked"),
    (25, "square 3", "train", "todo"),
]


@pytest.fixture(scope="module")
def styled(qgis_app, tmp_path_factory):
    """The file of a label project that has its styles already: saving them takes long."""
    path = write_project(tmp_path_factory.mktemp("styled") / "town.gpkg", [(0, 1), (15, 2)], AREAS)
    open_project(QgsProject.instance(), path)
    QgsProject.instance().clear()
    return path


@pytest.fixture
def context(styled, layer, photo, run_folder, tmp_path):
    """A run of the photograph and a label project, both in the QGIS project."""
    folder = tmp_path / "runs" / "photo-fields"
    shutil.copytree(run_folder, folder)
    record = json.loads((folder / "run.json").read_text())
    region = Region("POLYGON ((500000 2999990, 500020 2999990, 500020 3000000, 500000 2999990))", "EPSG:32645")
    request = PredictRequest(Image(photo), "/models/fields.safetensors", str(folder), region, threshold=0.35)
    (folder / "run.json").write_text(json.dumps({**record, "request": to_json(request)}))
    project = QgsProject.instance()
    town = open_project(project, str(shutil.copy(styled, tmp_path / "town.gpkg")))
    run = read_run(folder)
    polygons = add_run(project, run).findLayers()[0].layer()
    return Context(run, polygons, town)


@pytest.fixture
def make_box(qgis_iface, client, bar, monkeypatch):
    monkeypatch.setattr(learning_check, "DEBOUNCE_MS", 20)
    monkeypatch.setattr(learn_box, "PAUSE_MS", 20)
    boxes = []

    def make(context=None):
        box = learn_box.LearnBox(qgis_iface, client)
        box.errors = []
        box.failed.connect(box.errors.append)
        box.show()
        boxes.append(box)
        if context is not None:
            box.follow(context)
        return box

    yield make
    for box in boxes:
        box.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    for box in boxes:
        box.deleteLater()
    QCoreApplication.processEvents()


@pytest.fixture
def box(make_box, context):
    """The box, ready to learn."""
    box = make_box(context)
    wait_until(box.bar.main_button.isEnabled)
    return box


def begin(box, engine, **told):
    """Press Learn, and wait until the engine is at it; its request."""
    engine.script(learn={"steps": 2000, "step_seconds": 0.02, **told})
    count = len(engine.asked("learn"))
    press(box.bar.main_button)
    wait_until(lambda: len(engine.asked("learn")) > count and box.bar.progress.value() > 1)
    return from_json(LearnRequest, engine.asked("learn")[-1])


def learnt(box):
    """Press Learn, and wait for the result."""
    press(box.bar.main_button)
    wait_until(box.result.isVisible)
    return box


# Before


def test_the_button_says_how_long_learning_takes(box, engine):
    assert box.bar.main_button.text() == "Learn (about 3 min)"
    assert "6 training, 2 validation, 2 test" in box.words.text()
    assert "Not checked yet: 3" in box.words.text()
    asked = engine.asked("check_learning")[-1]["learning"]
    assert asked["model"] == "/models/fields.safetensors"
    assert asked["data"]["image"]["path"].endswith("photo.tif")
    assert not engine.asked("learn")


def test_another_square_in_view_is_no_reason_to_ask_again(box, engine, context):
    count = len(engine.asked("check_learning"))
    box.follow(replace(context, target=context.polygons))
    assert not box.check.waiting
    assert len(engine.asked("check_learning")) == count
    assert box.bar.main_button.isEnabled()


def test_what_is_missing_is_said_and_nothing_can_be_learnt(make_box, context, engine):
    problem = "Check two more squares, which takes about 4 minutes."
    found = {"counts": {"train": 2, "todo": 3}, "problem": problem, "seconds": None, "device": "cpu"}
    engine.script(check_learning={"result": found})
    box = make_box(context)
    wait_until(lambda: box.words.text() == problem)
    assert not box.bar.main_button.isEnabled()
    assert box.bar.main_button.toolTip() == problem
    box.follow(Context())
    assert box.words.text() == "Choose a run and a label project to learn from."
    assert not box.bar.main_button.isEnabled()


def test_an_error_of_the_check_is_said_in_the_box(make_box, context, engine):
    error = {"code": "labels_classes", "sentence": "Other classes.", "remedy": "Choose another model.", "details": ""}
    engine.script(check_learning={"error": error})
    box = make_box(context)
    wait_until(lambda: box.words.text() == "Other classes. Choose another model.")
    assert not box.bar.main_button.isEnabled()
    assert box.errors == []


def test_labels_of_other_classes_are_said_before_anything_is_learnt(make_box, context, monkeypatch):
    monkeypatch.setattr(learning, "classes_of", lambda _: (ClassInfo(3, "road", "#000000"),))
    box = make_box(context)
    wait_until(lambda: "The model finds no class of the labels: “field”, “orchard”." in box.words.text())
    assert not box.bar.main_button.isEnabled()


def test_labels_are_matched_with_the_models_classes_by_name(make_box, context, engine, monkeypatch):
    monkeypatch.setattr(learning, "classes_of", lambda _: (ClassInfo(1, "orchard", "#000000"),))
    box = make_box(context)
    wait_until(box.bar.main_button.isEnabled)
    (labels,) = engine.asked("check_learning")[-1]["learning"]["data"]["labels"]
    assert {entry["source"]: entry["value"] for entry in labels["mapping"]} == {
        "0": 0, "255": 255, "": 255, "1": 0, "2": 1,
    }  # fmt: skip


def test_a_read_only_project_is_said_before_anything_is_learnt(make_box, context, monkeypatch):
    monkeypatch.setattr(learning.os, "access", lambda path, mode: str(path) != context.project.path)
    box = make_box(context)
    wait_until(lambda: "Copy the label project to a folder of your own" in box.words.text())
    assert not box.bar.main_button.isEnabled()


def test_an_image_that_is_gone_is_said(make_box, context, photo):
    Path(photo).unlink()
    box = make_box(context)
    wait_until(lambda: "no longer exists" in box.words.text())
    assert not box.bar.main_button.isEnabled()


def test_an_unsaved_square_is_seen_at_once_and_learnt_from(box, engine, context):
    count, areas = len(engine.asked("check_learning")), context.project.areas
    areas.startEditing()
    feature = QgsFeature(areas.fields())
    feature.setGeometry(QgsGeometry.fromWkt(square(20)))
    feature["split"], feature["state"] = "train", "checked"
    areas.addFeature(feature)
    wait_until(lambda: len(engine.asked("check_learning")) > count)
    request = begin(box, engine)
    assert request.data.place == "town"
    frozen = QgsVectorLayer(request.data.areas.path, "areas", "ogr")
    assert sorted((each["split"], each["state"]) for each in frozen.getFeatures()) == [
        ("train", "checked"), ("train", "checked"), ("train", "todo"), ("validation", "checked"),
    ]  # fmt: skip
    areas.rollBack()


# While it learns


def test_learning_is_asked_for_with_frozen_labels_and_a_name_of_its_own(box, engine, context, tmp_path):
    request = begin(box, engine)
    assert request.project == context.project.path
    assert request.existing.value == "resume"
    assert not request.stop
    folder = Path(request.output_dir)
    assert folder.parent == tmp_path / "Orthomask"
    assert folder.name.startswith("town-learning-")
    assert Path(request.data.labels[0].path).parent == folder / "data"
    write_epochs(folder, 0.4, 0.55, base=0.5)
    wait_until(lambda: "Epoch 2 · IoU 0.550" in box.view.facts.text())
    assert "Dashed: IoU 0.500" in box.view.facts.text()
    assert box.bar.main_button.text() == "Pause"
    assert not box.words.isVisible()


def test_pause_and_resume_go_on_in_the_same_folder_also_after_a_restart(box, make_box, engine, context):
    request = begin(box, engine)
    press(box.bar.main_button)
    wait_until(lambda: box.bar.main_button.text() == "Resume")
    assert "is interrupted after epoch 0" in box.bar.status.text()
    again = make_box()
    assert again.bar.main_button.text() == "Resume"
    engine.script()
    press(again.bar.main_button)
    wait_until(again.result.isVisible)
    assert engine.asked("learn")[-1]["output_dir"] == request.output_dir


def test_stop_compares_the_best_so_far(box, engine):
    request = begin(box, engine)
    engine.script()
    press(box.bar.stop_button)
    wait_until(box.result.isVisible)
    last = from_json(LearnRequest, engine.asked("learn")[-1])
    assert (last.stop, last.output_dir, last.existing.value) == (True, request.output_dir, "resume")


def test_what_fails_is_said_and_can_be_tried_again(box, engine):
    error = {"code": "disk_full", "sentence": "No space.", "remedy": "Free some.", "details": ""}
    engine.script(learn={"error": error})
    press(box.bar.main_button)
    wait_until(lambda: box.errors)
    assert box.errors[0].sentence == "No space."
    wait_until(lambda: box.bar.main_button.text() == "Learn (about 3 min)" and box.bar.main_button.isEnabled())
    assert LEARNING.get() == ""


def test_a_dead_engine_leaves_a_learning_that_can_go_on(box, engine):
    request = begin(box, engine)
    (Path(request.output_dir) / "last.ckpt").touch()
    os.kill([message for message in engine.requests if message["method"] == "learn"][-1]["pid"], signal.SIGKILL)
    wait_until(lambda: box.bar.main_button.text() == "Resume")
    assert "stopped unexpectedly" in box.errors[0].sentence
    engine.script()
    press(box.bar.main_button)
    wait_until(box.result.isVisible)
    assert engine.asked("learn")[-1]["output_dir"] == request.output_dir


# The result


def test_the_result_says_what_was_gained_here_and_forgotten_at_home(box, bar):
    learnt(box)
    assert "Better here by 0.21 IoU" in box.result.verdict.text()
    table = box.result.table.text()
    for words in (
        "Here, 4 squares",
        "At home, 35 chips",
        "0.50→<b>0.71",
        "0.48→<b>0.74",
        "+0.21",
        "+0.12 to +0.30",
    ):
        assert words in table
    assert "Better here" in shown(bar)
    assert box.bar.main_button.isEnabled()


def test_a_result_is_remembered_until_it_is_used_or_discarded(box, make_box, context):
    learnt(box)
    again = make_box(context)
    assert again.result.isVisible()
    assert again.result.title.text() == "Result for town"
    press(again.result.discard)
    assert not again.result.isVisible()
    assert not make_box(context).result.isVisible()


def test_use_it_makes_it_the_projects_model_and_the_next_runs(box, engine, context, bar):
    learnt(box)
    path = box.job.learning.result.model_path
    wanted, changed = [], []
    box.segment_wanted.connect(wanted.append)
    box.versions_changed.connect(changed.append)
    press(box.result.use)
    wait_until(lambda: changed)
    assert engine.asked("versions")[-1] == {"project": context.project.path, "use": path, "remove": ""}
    assert wanted == [path]
    assert changed[0].current == 1
    assert "Version 1 is now the project's model." in shown(bar)
    assert not box.result.isVisible()
    assert LEARNING.get() == ""


def test_a_locked_project_keeps_the_result(box, engine):
    learnt(box)
    error = {"code": "output_in_use", "sentence": "It is being changed.", "remedy": "Save there.", "details": ""}
    engine.script(versions={"error": error})
    press(box.result.use)
    wait_until(lambda: box.errors)
    assert box.errors[0].sentence == "It is being changed."
    assert box.result.isVisible()
    assert box.result.use.isEnabled()


# On the map


def compared(box):
    learnt(box)
    press(box.result.comparison.run_button)
    wait_until(lambda: "objects:" in box.result.comparison.status.text())


def test_the_comparison_runs_the_candidate_over_the_runs_region(box, engine, context):
    compared(box)
    learning, request = box.job.learning, from_json(PredictRequest, engine.asked("predict")[-1])
    before = from_json(PredictRequest, context.run.record["request"])
    assert request.model == learning.result.model_path
    assert request.region == before.region
    assert request.threshold == context.run.record["threshold"]
    assert Path(request.output_dir).parent == Path(learning.request.output_dir)
    asked = engine.asked("compare")[-1]
    assert asked["before"] == str(context.run.folder)
    assert asked["after"] == request.output_dir
    assert asked["truth"]["areas"]["path"] == learning.request.data.areas.path
    status = box.result.comparison.status.text()
    assert status == "4 objects: 2 gained, 1 lost, 1 reshaped. In the checked squares, 2 are right and 1 are wrong."


def test_the_differences_lie_in_the_runs_group_told_apart_by_line_and_hatching(box, context):
    compared(box)
    root = QgsProject.instance().layerTreeRoot()
    group = root.findLayer(context.polygons.id()).parent()
    layer = group.findLayers()[0].layer()
    assert (layer.name(), layer.featureCount()) == ("Differences", 4)
    categories = {each.value(): each for each in layer.renderer().categories()}
    assert len(categories) == 9
    assert categories["gained wrong"].label() == "gained: wrong"
    assert categories["lost"].label() == "lost: not known"
    pens = {value: each.symbol().symbolLayer(0).strokeStyle() for value, each in categories.items()}
    assert len({pens["gained right"], pens["lost right"], pens["reshaped right"]}) == 3
    brushes = {value: each.symbol().symbolLayer(0).brushStyle() for value, each in categories.items()}
    assert len({brushes["lost right"], brushes["lost wrong"], brushes["lost"]}) == 3
    press(box.result.comparison.run_button)
    wait_until(lambda: not box.result.comparison.run_button.isVisible())
    wait_until(box.result.comparison.run_button.isVisible)
    assert sum(node.layer().name() == "Differences" for node in group.findLayers()) == 1


def test_a_cancelled_comparison_goes_on_where_it_stopped(box, engine):
    learnt(box)
    engine.script(predict={"steps": 2000, "step_seconds": 0.02})
    press(box.result.comparison.run_button)
    wait_until(lambda: box.result.comparison.progress.value() > 1)
    assert not box.result.use.isEnabled()
    press(box.result.comparison.cancel_button)
    wait_until(box.result.comparison.run_button.isVisible)
    assert "continues from here" in box.result.comparison.status.text()
    assert box.result.use.isEnabled()
    assert engine.asked("predict")[-1]["existing"] == "resume"


def test_a_closed_project_gets_no_layer(box, engine):
    learnt(box)
    engine.script(predict={"steps": 10, "step_seconds": 0.02})
    press(box.result.comparison.run_button)
    QgsProject.instance().clear()
    assert "Choose a run" in box.words.text()
    wait_until(lambda: "objects:" in box.result.comparison.status.text())
    assert not [each for each in QgsProject.instance().mapLayers().values() if isinstance(each, QgsVectorLayer)]
