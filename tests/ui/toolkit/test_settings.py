import json
from pathlib import Path

import pytest
from qgis.core import QgsProject, QgsSettings
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import QStandardPaths
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QLabel, QMessageBox, QVBoxLayout
from scene import wait_until
from test_dock import press, run

from orthomask.protocol import (
    CheckRequest,
    ErrorCode,
    Hardware,
    Image,
    InfoRequest,
    ModelsRequest,
    OrthomaskError,
    PredictRequest,
)
from orthomask.ui.client import environment, store
from orthomask.ui.client.engine_client import on_chosen_device
from orthomask.ui.layers.picture_words import are_wanted
from orthomask.ui.processing.segment import SegmentAlgorithm
from orthomask.ui.runs import folders as run_folders
from orthomask.ui.runs.folder_chooser import FolderChooser, FolderWords
from orthomask.ui.settings_page import SettingsFactory, SettingsPage
from orthomask.ui.toolkit.settings import (
    ASK_FROM,
    CONTACT,
    DEVICE,
    FOLDER,
    MODEL_FILES,
    OVERPASS_SERVER,
    PYTHON,
    SEEN,
    news,
)


@pytest.fixture
def page(dock):
    return SettingsPage(dock)


def heard():
    changes = []
    news.changed.connect(changes.append)
    return changes


@pytest.mark.parametrize(("setting", "value"), [(FOLDER, "/data/runs"), (ASK_FROM, 7), (SEEN, True)])
def test_a_setting_keeps_its_value_and_type_and_tells_of_a_change_once(setting, value):
    setting.reset()
    changes = heard()
    setting.set(value)
    setting.set(value)
    assert setting.get() == value
    assert type(setting.get()) is type(setting.default)
    assert changes == [setting]
    setting.reset()
    assert setting.get() == setting.default
    assert not QgsSettings().contains(setting.key)
    news.changed.disconnect(changes.append)


def test_nonsense_in_the_settings_counts_as_the_default():
    QgsSettings().setValue(ASK_FROM.key, "many")
    assert ASK_FROM.get() == ASK_FROM.default


def test_what_earlier_versions_kept_is_found_under_the_same_names():
    QgsSettings().setValue("orthomask/python", "/envs/mine/bin/python")
    QgsSettings().setValue("orthomask/model-files", json.dumps(["/models/a.safetensors"]))
    assert PYTHON.get() == "/envs/mine/bin/python"
    assert json.loads(MODEL_FILES.get()) == ["/models/a.safetensors"]


def test_the_page_shows_what_is_kept_and_changes_nothing_by_itself(dock):
    FOLDER.set("/data/runs")
    DEVICE.set("cpu")
    ASK_FROM.set(50)
    OVERPASS_SERVER.set("https://overpass.example/api/interpreter")
    CONTACT.set("me@example.org")
    page = SettingsPage(dock)
    assert page.results.chosen.isChecked()
    assert page.results.chooser.filePath() == "/data/runs"
    assert page.engine.device.currentText() == "CPU only"
    assert page.services.ask_from.value() == 50
    assert page.services.overpass.text() == "https://overpass.example/api/interpreter"
    assert page.services.contact.text() == "me@example.org"
    page.results.beside.setChecked(True)
    page.restore_defaults()
    assert FOLDER.get() == "/data/runs"
    assert DEVICE.get() == "cpu"
    page.apply()
    assert (FOLDER.get(), DEVICE.get(), ASK_FROM.get()) == ("", "auto", 2000)
    assert (OVERPASS_SERVER.get(), CONTACT.get()) == ("", "")
    page.services.contact.setText(" me@example.org ")
    page.apply()
    assert CONTACT.get() == "me@example.org"


def test_a_folder_without_a_name_is_beside_the_project(page):
    page.results.chosen.setChecked(True)
    page.apply()
    assert FOLDER.get() == ""
    assert run_folders.default_parent() == run_folders.beside_project()


def test_the_factory_makes_a_page_each_time(dock):
    factory = SettingsFactory(dock)
    assert factory.title() == "Orthomask"
    assert not factory.icon().isNull()
    assert isinstance(factory.createWidget(), SettingsPage)


def words_of(widget):
    return " ".join(label.text() for label in widget.findChildren(QLabel))


def test_the_page_says_how_the_engine_stands(dock, monkeypatch):
    record = store.Record("0.3.0", "lock", "cpu", "/usr/bin/python3", "3.12", "cpu", 1.0, 1440, "2026-11-21T04:00:00")
    made = (store.Environment(Path("/profile/engine-0.3.0"), record),)
    monkeypatch.setattr(store, "environments", lambda *_: made)
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    words = words_of(SettingsPage(dock).engine)
    assert made[0].python in words
    assert "1.4 GB" in words
    dock.banner.explain(OrthomaskError(ErrorCode.ENGINE_MISSING, "It lacks torch.", "Press Set up.", ""))
    assert "It lacks torch." in words_of(SettingsPage(dock).engine)
    PYTHON.set("/envs/mine/bin/python")
    dock.banner.hide()
    assert "that you chose: /envs/mine/bin/python" in words_of(SettingsPage(dock).engine)


def test_set_up_leaves_the_options_as_ok_does(dock, page):
    options, buttons = QDialog(), QDialogButtonBox(QDialogButtonBox.StandardButton.Ok)
    layout = QVBoxLayout(options)
    layout.addWidget(page)
    layout.addWidget(buttons)
    buttons.accepted.connect(page.apply)  # QGIS does so
    buttons.accepted.connect(options.accept)
    page.services.ask_from.setValue(12)
    options.show()
    press(page.engine.setup_button)
    assert not options.isVisible()
    assert ASK_FROM.get() == 12
    assert dock.setup.isVisible()
    wait_until(lambda: not dock.setup.busy)
    dock.setup.close()


def test_a_chosen_folder_counts_at_once_in_all_panels(dock, page, engine, tmp_path):
    dock.segment.options.folder_chooser.setFilePath("")
    page.results.show_folder(str(tmp_path / "chosen"))
    page.apply()
    choosers = dock.findChildren(FolderChooser)
    assert len(choosers) == 3  # Segment, Train, Changes
    assert {chooser.lineEdit().placeholderText() for chooser in choosers} == {str(tmp_path / "chosen")}
    assert dock.label.export.file_chooser.lineEdit().placeholderText() == str(tmp_path / "chosen")
    press(dock.segment.region.extent_button)
    run(dock.segment)
    assert Path(engine.asked("predict")[-1]["output_dir"]).parent == tmp_path / "chosen"


def test_what_is_chosen_in_the_panel_comes_first(dock, tmp_path):
    FOLDER.set(str(tmp_path / "chosen"))
    assert dock.segment.options.folder() == str(tmp_path / "runs")


def test_results_go_beside_the_project_once_it_is_saved_and_the_dock_says_where_before(dock, tmp_path):
    chooser = dock.segment.options.folder_chooser
    chooser.setFilePath("")
    words = dock.segment.place
    assert words.isVisible()
    assert run_folders.beside_project() in words.text()
    FOLDER.set(str(tmp_path))
    assert words.isHidden()
    FOLDER.reset()
    assert words.isVisible()
    (tmp_path / "maps").mkdir()
    QgsProject.instance().write(str(tmp_path / "maps" / "town.qgs"))
    assert words.isHidden()
    assert dock.segment.options.folder() == str(tmp_path / "maps" / "Orthomask")
    QgsProject.instance().clear()
    assert words.isVisible()


def test_a_project_saved_among_the_documents_is_no_makeshift(dock, tmp_path, monkeypatch):
    monkeypatch.setattr(QStandardPaths, "writableLocation", lambda _: str(tmp_path))
    dock.segment.options.folder_chooser.setFilePath("")
    FOLDER.set("/elsewhere")
    FOLDER.reset()
    assert str(tmp_path / "Orthomask") in dock.segment.place.text()
    QgsProject.instance().write(str(tmp_path / "town.qgs"))
    assert dock.segment.options.folder() == str(tmp_path / "Orthomask")
    assert dock.segment.place.isHidden()


IMAGE = Image("/photo.tif")


@pytest.mark.parametrize(
    "request_",
    [PredictRequest(IMAGE, "buildings", "/out"), CheckRequest(IMAGE, "buildings"), InfoRequest(), Hardware()],
)
def test_a_request_that_names_no_device_takes_that_of_the_settings(request_):
    assert on_chosen_device(request_) == request_
    DEVICE.set("cpu")
    assert on_chosen_device(request_).device == "cpu"
    named = type(request_)(**{**vars(request_), "device": "cuda:1"})
    assert on_chosen_device(named) is named


def test_requests_without_a_device_stay_as_they_are():
    DEVICE.set("cpu")
    request = ModelsRequest()
    assert on_chosen_device(request) is request


def test_another_device_is_named_and_checked_at_once(dock, engine):
    press(dock.segment.region.extent_button)
    wait_until(lambda: dock.segment.preflight.result is not None)
    DEVICE.set("cpu")
    wait_until(lambda: engine.asked("info")[-1]["device"] == "cpu")
    wait_until(lambda: engine.asked("check")[-1]["device"] == "cpu")
    run(dock.segment)
    assert engine.asked("predict")[-1]["device"] == "cpu"


class Tiles:
    """As much of a picture as the question needs."""

    name, requests = "tiles", 30


@pytest.mark.parametrize(("limit", "asks"), [(29, True), (30, False)])
def test_the_limit_of_requests_counts_at_once(qgis_app, monkeypatch, limit, asks):
    asked = []
    monkeypatch.setattr(QMessageBox, "exec", lambda _: asked.append(True))
    ASK_FROM.set(limit)
    assert are_wanted(Tiles, None) is not asks
    assert bool(asked) is asks


def test_the_toolbox_starts_with_the_same_limit(client):
    ASK_FROM.set(123)
    algorithm = SegmentAlgorithm(client)
    algorithm.initAlgorithm({})
    assert algorithm.parameterDefinition("MOST_REQUESTS").defaultValue() == 123


def test_a_folder_that_cannot_be_written_is_named_before_run(qgis_new_project, tmp_path):
    (tmp_path / "file").write_text("")
    chooser = FolderChooser("Runs go here")
    words = FolderWords(chooser, chooser)
    chooser.setFilePath(str(tmp_path / "file" / "runs"))
    assert words.text() == f"The folder {tmp_path}/file/runs cannot be written. Choose a folder that you can write to."
    assert not words.isHidden()
    chooser.setFilePath(str(tmp_path / "new" / "runs"))
    assert words.isHidden()


def test_what_wants_a_folder_does_not_ask_for_a_file(dock):
    for chooser in dock.findChildren(QgsFileWidget):
        if chooser.storageMode() == QgsFileWidget.StorageMode.GetDirectory:
            assert (bool(chooser.toolTip()), chooser.lineEdit().toolTip()) == (True, "")


def test_each_panel_names_the_folder_that_cannot_be_written(dock, tmp_path):
    (tmp_path / "file").write_text("")
    dock.segment.options.folder_chooser.setFilePath("")
    FOLDER.set(str(tmp_path / "file" / "runs"))
    for panel in (dock.segment, dock.train):
        (words,) = panel.findChildren(FolderWords)
        assert "cannot be written" in words.text()
        assert not words.isHidden()
