import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor, QPixmap
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QLabel, QScrollArea
from scene import CRS, square, wait_until, write_epochs, write_project
from test_dock import press, shown

from orthomask.protocol import FINE_TUNING, Loss, Split, TrainRequest, from_json
from orthomask.ui.dock import OrthomaskDock
from orthomask.ui.label.project import open_project
from orthomask.ui.models import own_models
from orthomask.ui.toolkit.plots import nice_ticks
from orthomask.ui.toolkit.settings import UNFINISHED_TRAINING
from orthomask.ui.train.curves import Curves
from orthomask.ui.train.defaults import FROM_SCRATCH
from orthomask.ui.train.options_box import NO_AUGMENTATION
from orthomask.ui.train.run import Epoch, RunWatcher, best_epoch, read_epochs

RESULT = {
    "model_path": "", "run_dir": "", "epochs": 3, "best_epoch": 2, "scores": {"iou": 0.5, "f1": 0.67},
    "threshold": 0.4, "images_per_second": 30.0, "waiting_share": 0.1, "seconds": 90.0, "stopped": "finished",
    "warnings": [],
}  # fmt: skip
AREAS = [(0, "area 1", "train"), (15, "area 2", "train"), (25, "area 3", "validation")]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    folder = tmp_path / "own models"
    monkeypatch.setattr(own_models, "own_folder", lambda: folder)
    return folder


@pytest.fixture
def town(layer, tmp_path):
    """An open label project with two labels and three areas."""
    path = write_project(tmp_path / "town.gpkg", [(0, 1), (15, 2)], AREAS)
    return open_project(QgsProject.instance(), path)


@pytest.fixture
def panel(dock, tmp_path):
    dock.tabs.setCurrentWidget(dock.train)
    dock.train.options.advanced.folder_chooser.setFilePath(str(tmp_path / "trainings"))
    return dock.train


@pytest.fixture
def ready(panel, town):
    wait_until(panel.bar.main_button.isEnabled)
    return panel


def write_picture(path, color="red"):
    pixels = QPixmap(30, 40)
    pixels.fill(QColor(color))
    pixels.save(str(path))


def begin(panel, engine, **told):
    """Press Train, and wait until the engine is at it; its run folder."""
    engine.script(train={"steps": 2000, "step_seconds": 0.02, **told})
    press(panel.bar.main_button)
    wait_until(lambda: engine.asked("train") and panel.bar.progress.value() > 1)
    return Path(engine.asked("train")[-1]["output_dir"])


def last(engine):
    """The engine's log of the last training it was asked for."""
    return [message for message in engine.requests if message["method"] == "train"][-1]


def idle(panel):
    return lambda: not panel.job.running


# What is trained, and from what


def test_what_there_is_to_learn_from_is_told(ready):
    words = ready.data.words.text()
    assert "2 labels" in words
    assert "2 training" in words
    assert "1 validation" in words
    assert ready.data.source.currentText() == "town (label project)"
    assert not ready.data.labels.isVisible()


def test_without_labels_or_training_areas_one_sentence_says_so(panel, layer, tmp_path):
    assert "No labels are chosen." in panel.data.words.text()
    assert not panel.bar.main_button.isEnabled()
    open_project(QgsProject.instance(), write_project(tmp_path / "empty.gpkg", [], AREAS))
    assert "contains no labels yet" in panel.data.words.text()
    QgsProject.instance().removeMapLayers([one.id() for one in QgsProject.instance().mapLayersByName("labels")])
    other = write_project(tmp_path / "no areas.gpkg", [(0, 1)], [(0, "a", "test")])
    open_project(QgsProject.instance(), other)
    assert "There is no area for training." in panel.data.words.text()
    assert panel.bar.main_button.toolTip() == panel.data.words.text()


def lights_of(panel):
    return [label.text() for label in panel.check.findChildren(QLabel) if label.isVisible() and label.text()]


def test_lights_say_whether_the_data_can_teach_before_the_training(ready, engine, town):
    wait_until(lambda: "About 6 min on Test processor" in lights_of(ready))
    assert lights_of(ready)[:2] == ["Is nothing there, or not drawn yet?", "Enough to learn from."]
    asked = engine.asked("check_training")[-1]["training"]
    assert asked["model"] == "/models/buildings.safetensors"
    assert asked["data"]["projects"][0]["areas"]["split_field"] == "split"
    assert ready.bar.main_button.isEnabled()
    assert not ready.bar.status.isVisible()
    count = len(engine.asked("check_training"))
    ready.options.epochs.setValue(33)
    wait_until(
        lambda: len(engine.asked("check_training")) > count and "About 6 min on Test processor" in lights_of(ready)
    )
    assert engine.asked("check_training")[-1]["training"]["schedule"]["epochs"] == 33
    assert not engine.asked("train")


def test_what_would_fail_is_said_beside_train_and_not_begun(ready, engine):
    red = {"name": "objects", "level": "red", "reason": "There is nothing to learn from."}
    engine.script(check_training={"result": {"lights": [red], "seconds": None, "device": "cpu"}})
    ready.data.refresh()
    wait_until(lambda: ready.bar.status.text() == "There is nothing to learn from.")
    assert ready.bar.status.isVisible()
    assert not ready.bar.main_button.isEnabled()
    engine.script()
    ready.data.refresh()
    wait_until(ready.bar.main_button.isEnabled)
    assert not ready.bar.status.isVisible()


def test_an_error_of_the_check_is_a_red_light(ready, engine, bar):
    error = {"code": "areas_empty", "sentence": "All areas are to do.", "remedy": "Draw.", "details": ""}
    engine.script(check_training={"error": error})
    ready.data.refresh()
    wait_until(lambda: "All areas are to do. Draw." in lights_of(ready))
    assert shown(bar) == ""
    QgsProject.instance().clear()
    assert not ready.check.isVisible()


def test_fine_tuning_asks_for_what_is_shown(ready, engine, photo):
    ready.start.name.setText("our roofs")
    ready.options.epochs.setValue(7)
    begin(ready, engine)
    asked = engine.asked("train")[-1]
    request = from_json(TrainRequest, asked)
    assert request.model == "/models/buildings.safetensors"
    assert (request.name, request.title) == ("our-roofs", "our roofs")
    assert [info.name for info in request.classes] == ["field", "orchard"]
    assert request.schedule == replace(FINE_TUNING, epochs=7)
    assert request.existing.value == "resume"
    (project,) = request.data.projects
    assert project.image.path == photo
    assert project.labels[0].class_field == "class"
    assert project.areas.split_field == "split"
    seen = last(engine)["seen"]
    assert seen["labels"] == [["1"], ["2"]]
    assert [row[1] for row in seen["areas"]] == ["train", "train", "validation"]
    folder = Path(request.output_dir)
    assert Path(project.labels[0].path).parent.parent == folder
    assert folder.name.startswith("photo-our_roofs-20")


def test_from_scratch_has_defaults_of_its_own_and_all_options_are_asked_for(ready, engine):
    options = ready.options
    options.epochs.setValue(99)
    ready.start.chooser.setCurrentIndex(ready.start.chooser.count() - 1)
    assert options.epochs.value() == FROM_SCRATCH.epochs
    options.chip_px.setCurrentIndex(0)
    options.learning_rate.setValue(0.002)
    more = options.advanced
    assert more.network.isEnabled()
    assert not more.frozen_epochs.isEnabled()
    more.steps.setValue(5)
    more.batch.setValue(3)
    more.patience.setValue(4)
    more.seed.setValue(11)
    more.network.setCurrentIndex(1)
    more.attention.setChecked(True)
    more.loss.setCurrentIndex(4)
    more.border_weight.setValue(5)
    more.decay.setCurrentIndex(1)
    more.augmentation.setCurrentIndex(2)
    more.device.setCurrentText("cpu")
    more.precision.setCurrentText("32-true")
    more.gsd_m.setValue(0.25)
    begin(ready, engine)
    request = from_json(TrainRequest, engine.asked("train")[-1])
    schedule = request.schedule
    assert request.model == ""
    assert (schedule.steps, schedule.batch, schedule.chip_px, schedule.learning_rate) == (5, 3, 128, 0.002)
    assert (schedule.patience, schedule.seed, schedule.decay.value) == (4, 11, "plateau")
    assert (schedule.precision, schedule.warmup_steps) == ("32-true", 5)
    assert request.network.attention
    assert request.network.widths == (16, 32, 64, 96)
    assert [term.loss for term in request.objective.terms] == [Loss.FOCAL, Loss.DICE]
    assert request.objective.border_weight == 5
    assert request.augmentation == NO_AUGMENTATION
    assert (request.hardware.device, request.gsd_m) == ("cpu", 0.25)


def test_any_layers_with_an_attribute_become_numbered_classes(panel, layer, engine):
    crops = QgsVectorLayer(f"Polygon?crs={CRS}&field=crop:string", "crops", "memory")
    for x, crop in ((0, "maize"), (10, "barley"), (20, "maize")):
        feature = QgsFeature(crops.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square(x)))
        feature.setAttributes([crop])
        crops.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(crops)
    panel.data.labels.setLayer(crops)
    panel.data.class_field.setCurrentIndex(panel.data.class_field.findData("crop"))
    assert "3 labels · the image is split automatically" in panel.data.words.text()
    begin(panel, engine)
    request = from_json(TrainRequest, engine.asked("train")[-1])
    assert [info.name for info in request.classes] == ["barley", "maize"]
    (labels,) = request.data.projects[0].labels
    assert {entry.source: entry.value for entry in labels.mapping} == {"barley": 1, "maize": 2}
    assert request.data.projects[0].areas is None


def test_exported_chips_are_named_by_their_folder(panel, engine, tmp_path):
    panel.data.source.setCurrentIndex(panel.data.source.findData("chips"))
    panel.data.chips.setFilePath(str(tmp_path))
    assert "There are no chips" in panel.data.words.text()
    (tmp_path / "manifest.json").write_text("{}")
    panel.data.refresh()
    assert panel.bar.main_button.isEnabled()
    begin(panel, engine)
    assert engine.asked("train")[-1]["data"]["chips"] == [{"path": str(tmp_path), "place": "", "weight": 1.0}]


def test_labels_that_change_later_do_not_change_the_training(ready, engine, town):
    folder = begin(ready, engine)
    town.labels.startEditing()
    town.labels.deleteFeature(next(town.labels.getFeatures()).id())
    copy = QgsVectorLayer(str(folder / "data" / "labels.gpkg"), "copy")
    assert copy.featureCount() == 2
    town.labels.rollBack()


def test_a_folder_that_may_not_be_written_is_one_message(ready, engine, bar, tmp_path):
    (tmp_path / "file").write_text("")
    ready.options.advanced.folder_chooser.setFilePath(str(tmp_path / "file"))
    press(ready.bar.main_button)
    wait_until(lambda: "cannot be created. Choose a folder" in shown(bar))
    assert ready.settings.isVisible()
    assert not engine.asked("train")


# While it runs


def test_curves_pictures_and_numbers_follow_the_run_folder(ready, engine):
    folder = begin(ready, engine)
    assert not ready.settings.isVisible()
    assert ready.view.isVisible()
    assert "first epoch" in ready.view.facts.text()
    write_epochs(folder, 0.3, 0.45, 0.4)
    write_picture(folder / "preview.png")
    wait_until(lambda: "best 0.450 in epoch 2" in ready.view.facts.text())
    assert f"Epoch 3 of {FINE_TUNING.epochs}" in ready.view.facts.text()
    assert "image" not in ready.view.facts.text()  # the bar below says how fast it is
    wait_until(ready.view.picture.isVisible)
    write_picture(folder / "preview.png", "blue")
    wait_until(lambda: ready.view.picture.pixels.toImage().pixelColor(5, 5).blue() == 255)


def test_the_score_of_the_base_is_a_dashed_line_and_part_of_the_summary(ready, engine):
    folder = begin(ready, engine)
    write_epochs(folder, 0.3, 0.45)
    wait_until(lambda: "best 0.450" in ready.view.facts.text())
    without = ready.view.curves.grab().toImage()
    write_epochs(folder, 0.3, 0.45, base=0.4)
    ready.watcher.look()
    assert "Dashed: IoU 0.400 of the model it starts from." in ready.view.facts.text()
    assert ready.view.curves.grab().toImage() != without
    (folder / "my-model.safetensors").write_bytes(b"best")
    press(ready.bar.stop_button)
    wait_until(ready.finished.isVisible)
    assert "IoU 0.450, F1 0.550 on the validation areas." in ready.finished.words.text()
    assert "The model it started from: IoU 0.400, F1 0.500." in ready.finished.words.text()


def test_a_device_that_waits_for_images_is_told(ready, engine):
    write_epochs(begin(ready, engine), 0.3, waiting=0.6)
    wait_until(lambda: "The device waits for images 60% of the time." in ready.view.facts.text())


def test_a_click_on_the_pictures_opens_a_window_that_follows(ready, engine):
    folder = begin(ready, engine)
    write_picture(folder / "preview.png")
    wait_until(ready.view.picture.isVisible)
    QTest.mouseClick(ready.view.picture, Qt.MouseButton.LeftButton)
    window = ready.view.picture.window_of_own
    assert window.isVisible()
    assert not window.isModal()
    assert window.height() > ready.view.picture.height()
    write_picture(folder / "preview.png", "blue")
    wait_until(lambda: window.grab().toImage().pixelColor(window.rect().center()).blue() == 255)
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isVisible()
    ready.view.picture.setFocus()
    QTest.keyClick(ready.view.picture, Qt.Key.Key_Space)
    assert window.isVisible()
    ready.view.begin()
    assert not window.isVisible()


def test_training_leaves_the_other_panels_free(ready, dock, engine):
    begin(ready, engine)
    dock.tabs.setCurrentWidget(dock.segment)
    press(dock.segment.region.extent_button)
    wait_until(lambda: dock.segment.preflight.result is not None)
    press(dock.segment.run_bar.run_button)
    wait_until(dock.segment.run_bar.run_button.isVisible)
    assert ready.job.running
    trainers = {message["pid"] for message in engine.requests if message["method"] == "train"}
    others = {message["pid"] for message in engine.requests if message["method"] == "predict"}
    assert not trainers & others


def test_layers_that_come_meanwhile_do_not_disturb_what_is_shown(ready, engine, tmp_path):
    begin(ready, engine)
    wait_until(lambda: ready.bar.progress.value() > 5)
    write_project(tmp_path / "other.gpkg", [(0, 1)], AREAS)
    open_project(QgsProject.instance(), str(tmp_path / "other.gpkg"))
    assert ready.bar.progress.value() > 5
    assert "Window" in ready.bar.status.text()
    QgsProject.instance().clear()
    assert ready.bar.main_button.text() == "Pause"


def test_pause_and_resume(ready, engine, bar):
    folder = begin(ready, engine)
    write_epochs(folder, 0.3, 0.45)
    press(ready.bar.main_button)
    wait_until(idle(ready))
    assert ready.bar.main_button.text() == "Resume"
    assert "interrupted after epoch 2 of 10" in ready.bar.status.text()
    assert shown(bar) == ""
    engine.script(train={"result": RESULT})
    (folder / "my-model.safetensors").write_bytes(b"best")
    press(ready.bar.main_button)
    wait_until(ready.finished.isVisible)
    first, second = engine.asked("train")
    assert first == second


def test_an_interrupted_training_is_offered_after_qgis_was_closed(ready, dock, engine, client, qgis_iface):
    folder = begin(ready, engine)
    write_epochs(folder, 0.3)
    dock.release()
    dock.release = lambda: None  # it is released already; the fixture would do it once more
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    again = OrthomaskDock(qgis_iface, client)
    try:
        assert again.train.bar.main_button.text() == "Resume"
        assert "after epoch 1 of 10" in again.train.bar.status.text()
        assert "best 0.300" in again.train.view.facts.text()
        engine.script(train={"result": RESULT})
        again.train.bar.main_button.click()
        wait_until(idle(again.train))
        assert engine.asked("train")[-1]["output_dir"] == str(folder)
    finally:
        again.release()
        again.deleteLater()


def test_stop_keeps_the_best_model(ready, dock, engine, own_folder):
    folder = begin(ready, engine)
    write_epochs(folder, 0.3, 0.45)
    (folder / "my-model.safetensors").write_bytes(b"best")
    press(ready.bar.stop_button)
    wait_until(ready.finished.isVisible)
    assert (own_folder / "my-model.safetensors").read_bytes() == b"best"
    assert "stopped. Best in epoch 2 of 10: IoU 0.450" in ready.finished.words.text()
    assert ready.bar.main_button.text() == "Train"
    assert not UNFINISHED_TRAINING.get()


def test_stop_before_the_first_validation_leaves_no_model(ready, engine, own_folder):
    begin(ready, engine)
    press(ready.bar.stop_button)
    wait_until(idle(ready))
    assert "There is no model yet" in ready.bar.status.text()
    assert not ready.finished.isVisible()
    assert not own_folder.exists()


# When it has ended


def test_a_finished_model_is_kept_and_one_click_from_segment(ready, dock, engine, own_folder, bar):
    engine.script(train={"steps": 30, "step_seconds": 0.02, "result": RESULT})
    press(ready.bar.main_button)
    wait_until(lambda: engine.asked("train"))
    folder = Path(engine.asked("train")[-1]["output_dir"])
    (folder / "my-model.safetensors").write_bytes(b"weights")
    write_epochs(folder, 0.3, 0.5, 0.4)
    asked = len(engine.asked("models"))
    wait_until(ready.finished.isVisible)
    assert "finished in 2 min. Best in epoch 2 of 10: IoU 0.500, F1 0.600" in shown(bar)
    kept = own_folder / "my-model.safetensors"
    assert kept.exists()
    wait_until(lambda: len(engine.asked("models")) > asked)
    assert engine.asked("models")[-1]["folders"] == [str(own_folder)]
    wait_until(lambda: "processor" in dock.device.text())
    press(ready.finished.use)
    assert dock.tabs.currentWidget() is dock.segment
    wait_until(lambda: engine.asked("models")[-1]["model"] == str(kept))


def test_a_finished_training_fits_the_default_width(ready, dock, engine):
    folder = begin(ready, engine)
    write_epochs(folder, 0.3, 0.45, base=0.4)
    write_picture(folder / "preview.png")
    (folder / "my-model.safetensors").write_bytes(b"best")
    press(ready.bar.stop_button)
    wait_until(ready.finished.isVisible)
    dock.resize(320, 700)
    scroll = ready.findChild(QScrollArea)
    wait_until(lambda: dock.width() == 320 and scroll.verticalScrollBar().maximum() > 0)
    assert scroll.horizontalScrollBar().maximum() == 0
    for chooser in (ready.data.source, ready.data.image, ready.start.chooser):
        assert chooser.width() > 150


def test_two_models_of_one_name_are_both_kept(own_folder, tmp_path):
    bundle = tmp_path / "roofs.safetensors"
    bundle.write_bytes(b"1")
    assert own_models.adopt(bundle).name == "roofs.safetensors"
    assert own_models.adopt(bundle).name == "roofs-2.safetensors"


@pytest.mark.parametrize("checkpoint", [True, False])
def test_an_engine_that_dies_is_one_message_and_what_has_a_checkpoint_goes_on(ready, engine, bar, checkpoint):
    folder = begin(ready, engine)
    if checkpoint:
        (folder / "last.ckpt").write_bytes(b"")
    os.kill(last(engine)["pid"], signal.SIGKILL)
    wait_until(idle(ready))
    assert "stopped unexpectedly" in shown(bar)
    assert ready.bar.main_button.text() == ("Resume" if checkpoint else "Train")


def test_an_error_of_the_data_is_one_message_and_nothing_is_left_to_resume(ready, engine, bar):
    error = {"code": "areas_empty", "sentence": "No label lies there.", "remedy": "Draw some.", "details": ""}
    engine.script(train={"error": error})
    press(ready.bar.main_button)
    wait_until(lambda: "No label lies there. Draw some." in shown(bar))
    assert ready.bar.main_button.text() == "Train"
    assert ready.settings.isVisible()


# Curves and run folders


def test_half_written_rows_are_left_for_later(tmp_path):
    write_epochs(tmp_path, 0.1, 0.2, tail="3,30,0.5,0.2")
    assert [row.iou for row in read_epochs(tmp_path)] == [0.1, 0.2]
    write_epochs(tmp_path, 0.1, tail="2,20\nnonsense\n\n")
    assert [row.epoch for row in read_epochs(tmp_path)] == [1, 2]
    assert best_epoch(read_epochs(tmp_path)).epoch == 1
    (tmp_path / "metrics.csv").write_text("epo")
    assert read_epochs(tmp_path) == []


def test_a_watched_folder_tells_only_what_is_new(tmp_path, qgis_app):
    watcher, told = RunWatcher(), []
    watcher.measured.connect(lambda epochs: told.append(len(epochs)))
    watcher.start(tmp_path)
    watcher.look()
    assert told == []
    write_epochs(tmp_path, 0.1)
    watcher.look()
    watcher.look()
    assert told == [1]
    time.sleep(0.01)
    write_epochs(tmp_path, 0.1, 0.2)
    watcher.stop()
    assert told == [1, 2]


@pytest.mark.parametrize("values", [(0, 0.1), (0, 0.07), (0.2, 0.93), (0, 13.2), (-1, 250), (0, 1)])
def test_ticks_are_few_round_and_enclose_everything(values):
    ticks = nice_ticks(values)
    assert ticks[0] <= min(values)
    assert ticks[-1] >= max(values)
    assert 3 <= len(ticks) <= 7
    assert len({round(ticks[i + 1] - ticks[i], 9) for i in range(len(ticks) - 1)}) == 1


def test_curves_draw_any_numbers(qgis_app):
    curves = Curves()
    curves.resize(320, 220)
    empty = curves.grab().toImage()
    nan = float("nan")
    rows = [Epoch(1, nan, 0.2, 0.3, 0.3, 0.3, 20.0, nan), Epoch(2, 1e6, 0.4, 0.5, 0.5, 0.5, 20.0, 0.1)]
    curves.show_epochs(rows, 5)
    assert curves.grab().toImage() != empty
    curves.show_epochs(rows[:1], 1)
    curves.grab()


def test_requests_survive_the_settings(ready, engine):
    begin(ready, engine)
    kept = json.loads(UNFINISHED_TRAINING.get())
    assert from_json(TrainRequest, kept) == ready.job.request
    assert ready.data.needed is Split.TRAIN
