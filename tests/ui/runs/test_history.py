import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import processing
import pytest
from qgis.core import QgsApplication, QgsGeometry, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import Qt, QUrl
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDialogButtonBox, QLabel, QMessageBox
from scene import CLASSES, CRS, GSD, square, wait_until
from test_dock import groups, press, run, shown

from orthomask.protocol import Cancelled, Image, PolygonOptions, PredictRequest, PredictResult, Region, to_json
from orthomask.ui.client.engine_client import NoFeedback
from orthomask.ui.layers.images import pixels_of
from orthomask.ui.layers.picture_client import FrozenRun, PictureClient
from orthomask.ui.processing.provider import OrthomaskProvider
from orthomask.ui.runs import deletion as run_deletion
from orthomask.ui.runs import deletion_box as run_deletion_box
from orthomask.ui.runs import folders as run_folders
from orthomask.ui.runs import history
from orthomask.ui.runs.history import HistoryReader, State
from orthomask.ui.runs.history_button import HistoryButton
from orthomask.ui.runs.naming_dialog import NamingDialog
from orthomask.ui.runs.undo_button import UndoButton
from orthomask.ui.toolkit import trash
from orthomask.ui.toolkit.settings import DEVICE, RUN_PARENTS

FILES = ("classes.tif", "probabilities.tif", "polygons.gpkg")
NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
YES, NO = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No


def record(image="/data/photo.tif", model="/models/fields.safetensors", hours=0, made_with=(), **changes):
    """The record of a run, as the engine writes it."""
    region, options = Region(QgsGeometry.fromWkt(square(10)).asWkt(), CRS), PolygonOptions(12.5, 3.0, simplify=False)
    request = PredictRequest(
        Image(image), model, "/data/runs/elsewhere", region, 0.35, image_date="spring", polygons=options
    )
    return {
        "run_id": "0123456789ab", "request": to_json(request), "precision": "fp32",
        "model": {
            "name": "fields", "title": "Farmland", "sha256": "cd" * 32, "gsd_m": 10.0, "threshold": 0.5,
            "licence": "CC-BY-4.0", "attribution": "S", "classes": [dict(info) for info in CLASSES], **dict(made_with),
        },
        "threshold": 0.35, "source": {"path": image, "crs": CRS, "gsd_m": [GSD, GSD]}, "image_date": "spring",
        "device": {"id": "cpu", "name": "Test processor"}, "versions": {"orthomask": "0.3.0"},
        "time": (NOON + timedelta(hours=hours)).isoformat(),
        "result": {"polygon_count": 1234, "polygon_area_m2": 250.0, "seconds": 75.0, "warnings": ["A hole."]},
        **changes,
    }  # fmt: skip


@pytest.fixture
def parent(tmp_path, monkeypatch):
    """The folder in which runs have theirs, by default and in the panel."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setattr(run_folders, "beside_project", lambda: str(folder))
    return folder


@pytest.fixture
def make(parent, run_folder):
    """Makes the folder of a finished run."""

    def make(name="first", **changes):
        folder = parent / name
        folder.mkdir()
        for file in FILES:
            shutil.copy(run_folder / file, folder)
        (folder / "run.json").write_text(json.dumps(record(**changes)), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def make_unfinished(parent):
    """Makes the folder of a run that did not end."""

    def make(name="begun", **changes):
        work = parent / name / ".orthomask"
        work.mkdir(parents=True)
        begun = record(**changes)
        del begun["result"]
        (work / "state.json").write_text(json.dumps(begun), encoding="utf-8")
        (work / "classes-000000.tif").write_bytes(b"strip")
        return parent / name

    return make


@pytest.fixture
def trash_folder(tmp_path, monkeypatch):
    """A trash of the test's own, where the system has the one of freedesktop.org."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "Trash" / "files"


@pytest.fixture
def answer(monkeypatch):
    """Answers the questions before a deletion, and notes them."""
    asked = []

    def answer(*answers):
        replies = iter(answers)
        monkeypatch.setattr(
            run_deletion_box, "_agreed", lambda question, told, _: asked.append((question, told)) or next(replies)
        )
        return asked

    return answer


@pytest.fixture
def open_history(dock, parent):
    """Opens the history, and waits until it knows of so many runs."""

    def open_history(count):
        press(dock.segment.history)
        dialog = dock.segment.history.dialog
        wait_until(lambda: dialog.view.table.rowCount() == count and dialog._task is None)
        return dialog

    return open_history


def found(parent):
    return HistoryReader().call([parent], NoFeedback())


def cells(dialog, column):
    model = dialog.view.model()
    return [model.index(row, column).data() for row in range(model.rowCount())]


def layers(folder):
    return run_deletion.layers_of(QgsProject.instance(), folder)


def test_all_runs_of_a_folder_the_newest_first(parent, make, make_unfinished):
    make("old", hours=1)
    make("new", hours=3)
    make_unfinished("begun", hours=2)
    runs = found(parent)
    assert [run.folder.name for run in runs] == ["new", "begun", "old"]
    assert [run.state for run in runs] == [State.FINISHED, State.UNFINISHED, State.FINISHED]
    assert [run.polygons for run in runs] == [1234, None, 1234]


def test_a_run_is_described_by_its_record(parent, make):
    folder = make()
    (run,) = found(parent)
    assert (run.image, run.model, run.device, run.seconds) == ("photo", "Farmland", "Test processor", 75)
    assert run.region_m2 == pytest.approx(25, rel=0.01)
    assert run.time == NOON
    assert run.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    facts = run.text
    for words in ("1,234 polygons", "25 m²", "Farmland (cdcdcdcdcdcd)", "0.35", "spring", "A hole.", "12.5"):
        assert words in facts
    assert str(folder) in facts


def test_a_run_of_the_whole_image_says_so(parent, make):
    make(request={**record()["request"], "region": None})
    assert found(parent)[0].region == "whole image"


def test_a_region_that_is_most_of_the_globe_is_not_measured(parent, make):
    globe = {"wkt": "POLYGON ((-180 -85, 180 -85, 180 85, -180 85, -180 -85))", "crs": "EPSG:4326"}
    make(request={**record()["request"], "region": globe})
    assert found(parent)[0].region == "a large part of the globe"


def test_runs_of_a_later_version_are_shown_but_cannot_be_repeated(parent, make):
    make(request={**record()["request"], "overlay": 3})
    (run,) = found(parent)
    assert run.state is State.FINISHED
    assert run.request is None


def test_what_is_no_run_is_left_out(parent, make):
    (parent / "notes").mkdir()
    (parent / "training").mkdir()
    (parent / "training" / "run.json").write_text(json.dumps({"request": {}, "result": {}}))
    (parent / "odd").mkdir()
    (parent / "odd" / "run.json").mkdir()
    (parent / "run.json").write_text("{}")
    make()
    assert [run.folder.name for run in found(parent)] == ["first"]
    assert found(parent / "nowhere") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"model": 3, "source": []}', "\udcff"])
def test_a_broken_record_beside_results_is_shown_as_unreadable(parent, make, text):
    (make() / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (run,) = found(parent)
    assert (run.state, run.image, run.request) == (State.UNREADABLE, "first", None)
    assert "cannot be read" in run.text


def test_a_run_begun_by_an_earlier_version_is_shown_as_unfinished(parent, make_unfinished):
    state = make_unfinished() / ".orthomask" / "state.json"
    state.write_text(json.dumps({"run_id": "0123456789ab", "precision": "fp32"}))
    (run,) = found(parent)
    assert (run.state, run.request) == (State.UNFINISHED, None)


def places(value, path=()):
    """The paths of all values inside a record."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


@pytest.mark.parametrize("spoilt", [None, "", "text", -7, float("inf"), True, [], [[]], {}, {"a": None}])
def test_no_value_in_a_record_is_an_error(parent, make, spoilt):
    folder = make()
    for path in places(record()):
        written = place = record()
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = spoilt
        (folder / "run.json").write_text(json.dumps(written))
        run = history.look_at(folder)
        assert run.folder == folder
        assert run.text


def test_no_value_of_a_record_may_be_missing_unnoticed(parent, make):
    folder = make()
    for path in places(record()):
        written = place = record()
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        (folder / "run.json").write_text(json.dumps(written))
        assert history.look_at(folder).text


def test_looking_for_runs_can_be_cancelled(parent, make):
    make()

    class Impatient(NoFeedback):
        def isCanceled(self):
            return True

    with pytest.raises(Cancelled):
        HistoryReader().call([parent], Impatient())


def test_folders_of_runs_are_known_after_a_restart(qgis_new_project, tmp_path):
    for name in ("a", "b", "a"):
        run_folders.remember_parent(str(tmp_path / name / "run"))
    assert run_folders.parents()[1:] == [tmp_path / "a", tmp_path / "b"]
    assert run_folders.parents("/chosen")[1] == Path("/chosen")
    RUN_PARENTS.set("no JSON")
    assert len(run_folders.parents()) == 1


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path):
    folders = []
    for _ in range(3):
        folders.append(run_folders.new_folder(str(tmp_path), "photo", "fields"))
        Path(folders[-1]).mkdir()
    assert len(set(folders)) == 3
    assert sorted(folders) == folders, "the newest is the last by its name"


def test_temporary_folders_are_not_remembered(qgis_new_project):
    run_folders.remember_parent(run_folders.QgsProcessingUtils.tempFolder() + "/1/OUTPUT")
    assert RUN_PARENTS.get() == ""


def test_a_run_of_the_panel_appears_by_itself(dock, open_history):
    dialog = open_history(0)
    assert "no runs yet" in dialog.status.text()
    press(dock.segment.region.extent_button)
    run(dock.segment)
    folder = json.loads(RUN_PARENTS.get())
    assert folder == [dock.segment.options.folder()]
    wait_until(lambda: dialog.view.table.rowCount() == 1)


def test_columns_can_be_sorted_and_rows_filtered(open_history, make, make_unfinished):
    make("a", hours=1, image="/data/zoo.tif")
    make("b", hours=2, image="/data/alp.tif", result={**record()["result"], "polygon_count": 9})
    make_unfinished("c", hours=3)
    dialog = open_history(3)
    assert cells(dialog, 4) == ["photo", "alp", "zoo"]
    assert cells(dialog, 3) == ["0.35", "0.35", "0.35"]
    assert cells(dialog, 6) == ["", "9", "1,234"]
    assert cells(dialog, 7) == ["unfinished", "1 min", "1 min"]
    dialog.view.sortByColumn(6, Qt.SortOrder.AscendingOrder)
    assert cells(dialog, 6) == ["", "9", "1,234"]
    dialog.view.sortByColumn(4, Qt.SortOrder.AscendingOrder)
    assert cells(dialog, 4) == ["alp", "photo", "zoo"]
    QTest.keyClicks(dialog.filter, "ZOO")
    assert cells(dialog, 4) == ["zoo"]
    assert [run.image for run in dialog.view.chosen()] == ["zoo"]
    dialog.filter.setText("nothing like it")
    assert not dialog.buttons.delete.isEnabled()


def write_name(monkeypatch, name, note, presses=QDialogButtonBox.StandardButton.Ok):
    """Type name and note into the window that comes next."""

    def fill(dialog):
        dialog.show()
        dialog.name.clear()
        QTest.keyClicks(dialog.name, name)
        dialog.note.clear()
        QTest.keyClicks(dialog.note, note)
        press(dialog.findChild(QDialogButtonBox).button(presses))
        return dialog.result()

    monkeypatch.setattr(NamingDialog, "exec", fill)


def test_a_run_is_told_by_the_name_that_a_person_gives_it(open_history, make, monkeypatch):
    folder = make()
    dialog = open_history(1)
    press(dialog.buttons.add)
    write_name(monkeypatch, " West of the river ", "pale roofs missed")
    QTest.keyClick(dialog.view, Qt.Key.Key_F2)
    wait_until(lambda: cells(dialog, 1) == ["West of the river"])
    (run,) = dialog.view.chosen()
    assert groups() == [run.title]
    assert run.title.startswith("West of the river · fields 0.35 · 2026-11-20 ")
    assert all(layer.name().endswith(" · West of the river") for layer in layers(folder))
    assert "pale roofs missed" in dialog.details.toPlainText()
    QTest.keyClicks(dialog.filter, "pale")
    assert len(dialog.view.chosen()) == 1
    write_name(monkeypatch, "", "", QDialogButtonBox.StandardButton.Cancel)
    press(dialog.buttons.name)
    assert history.look_at(folder).naming.name == "West of the river"


def test_names_that_the_user_gave_layers_and_groups_stay(open_history, make, monkeypatch):
    folder = make()
    dialog = open_history(1)
    press(dialog.buttons.add)
    QgsProject.instance().layerTreeRoot().children()[0].setName("mine")
    for layer in layers(folder):
        layer.setName("my layer")
    write_name(monkeypatch, "West", "")
    press(dialog.buttons.name)
    assert groups() == ["mine"]
    assert {layer.name() for layer in layers(folder)} == {"my layer"}


def test_a_name_that_cannot_be_kept_is_an_error(open_history, make, monkeypatch):
    folder = make()
    dialog = open_history(1)
    (folder / ".name.json").mkdir()
    write_name(monkeypatch, "West", "")
    press(dialog.buttons.name)
    assert "cannot be saved" in shown(dialog.bar)
    assert history.look_at(folder).naming.name == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}', "\udcff"])
def test_a_damaged_name_is_no_name(parent, make, text):
    (make() / "name.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert found(parent)[0].naming.name == ""


def test_only_what_suits_can_be_done(open_history, make, make_unfinished):
    make("a", hours=3)
    make_unfinished("b", hours=2)
    (make("c", hours=1) / "run.json").write_text("{")
    dialog = open_history(3)
    actions = dialog.buttons
    buttons = (actions.add, actions.repeat, actions.resume, actions.folder, actions.copy, actions.delete)
    by_folder = {}
    for row in range(3):
        dialog.view.selectRow(row)
        by_folder[dialog.view.chosen()[0].folder.name] = [button.isEnabled() for button in buttons]
    assert by_folder == {
        "a": [True, True, False, True, True, True],
        "b": [False, True, True, True, True, True],
        "c": [False, False, False, True, True, True],
    }
    dialog.view.selectAll()
    assert [button.isEnabled() for button in buttons] == [False, False, False, False, True, True]


def test_a_folder_that_was_deleted_by_hand_is_no_longer_there(open_history, make):
    make("a", hours=1)
    gone = make("b", hours=2)
    dialog = open_history(2)
    shutil.rmtree(gone)
    dialog.refresh()
    wait_until(lambda: dialog.view.table.rowCount() == 1)
    assert [run.folder.name for run in dialog.view.chosen()] == ["a"]
    assert not dialog.bar.currentItem()


def test_enter_adds_the_run_to_the_map_and_undo_takes_it_out(dock, open_history, make):
    folder = make()
    dialog = open_history(1)
    QTest.keyClick(dialog.view, Qt.Key.Key_Return)
    assert groups() == [dialog.view.chosen()[0].title]
    assert len(layers(folder)) == 4
    assert "is on the map" in shown(dialog.bar)
    press(dock.segment.undo)
    assert groups() == []
    assert layers(folder) == []


def test_a_run_whose_files_are_gone_is_not_added(open_history, make):
    folder = make()
    dialog = open_history(1)
    (folder / "classes.tif").unlink()
    press(dialog.buttons.add)
    assert groups() == []
    assert "The run is missing classes.tif." in shown(dialog.bar)


def test_repeat_fills_the_panel_and_runs_nothing(dock, engine, open_history, make, photo):
    make(image=photo)
    dock.tabs.setCurrentIndex(1)
    dialog = open_history(1)
    press(dialog.buttons.repeat)
    assert dock.tabs.currentWidget() is dock.segment
    assert not dialog.isVisible()
    panel = dock.segment
    assert panel.model.model.name == "fields"
    request = to_json(panel._request(panel._planned()))
    assert request == {**record(image=photo)["request"], "output_dir": panel.options.folder()}
    assert engine.asked("predict") == []


@pytest.mark.parametrize("there", [True, False])
def test_a_run_of_the_whole_image_is_repeated_on_the_whole_image(dock, layer, open_history, make, photo, there):
    make(request={**record(image=photo if there else "/data/gone.tif")["request"], "region": None})
    press(open_history(1).buttons.repeat)
    region = dock.segment.region.region
    assert (region.geometry.boundingBox() == layer.extent()) if there else region is None


def test_the_button_alone_says_which_run_is_wanted_again(qgis_iface, make, parent):
    """It knows no panel: whoever does connects its signals."""
    make()
    button = HistoryButton(qgis_iface, None, lambda: [parent], lambda: "", UndoButton(qgis_iface))
    button.open()
    try:
        wait_until(lambda: button.dialog.view.table.rowCount() == 1 and button.dialog._task is None)
        wanted = []
        button.repeat_wanted.connect(lambda run: wanted.append(("repeat", run.folder.parent)))
        button.resume_wanted.connect(lambda run: wanted.append(("resume", run.folder.parent)))
        button.dialog.buttons.repeat.click()
        button.dialog.resume_wanted.emit(*button.dialog.view.chosen())
        assert wanted == [("repeat", parent), ("resume", parent)]
    finally:
        button.release()


def test_repeat_offers_to_add_an_image_that_the_project_lacks(dock, open_history, make, photo, monkeypatch, bar):
    make(image=photo)
    QgsProject.instance().clear()
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda _, __, text: asked.append(text) or NO)
    press(open_history(1).buttons.repeat)
    assert photo in asked[0]
    assert not QgsProject.instance().mapLayers()
    assert "is not in the project: choose an image" in shown(bar)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: YES)
    press(open_history(1).buttons.repeat)
    assert dock.segment.layer_chooser.currentLayer().source() == photo


def test_repeat_says_what_is_not_there_any_more(open_history, make, bar):
    make(image="/data/gone.tif", model="/models/gone.safetensors", made_with={"name": "roofs", "sha256": "00" * 32})
    press(open_history(1).buttons.repeat)
    assert "“/data/gone.tif” no longer exists" in shown(bar)
    assert "The model “roofs” no longer exists" in shown(bar)


def test_a_model_that_has_changed_is_taken_and_named(dock, open_history, make, photo, bar):
    make(image=photo, made_with={"sha256": "00" * 32})
    press(open_history(1).buttons.repeat)
    assert dock.segment.model.model.name == "fields"
    assert "“Farmland” has changed since that run" in shown(bar)


def test_a_model_file_keeps_the_threshold_while_the_engine_looks_at_it(
    dock, engine, open_history, make, photo, tmp_path
):
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"weights")
    make(image=photo, model=str(path), made_with={"name": "own", "sha256": "99" * 32})
    own = {**to_json(dock.segment.model.models[1]), "name": "own", "path": str(path)}
    engine.script(models={"result": {"models": [own]}})
    press(open_history(1).buttons.repeat)
    wait_until(lambda: dock.segment.model.model.path == str(path))
    assert dock.segment.model.threshold.value() == pytest.approx(0.35)


def test_resume_goes_on_with_the_very_request(dock, engine, open_history, make_unfinished, photo):
    folder = make_unfinished(image=photo)
    dialog = open_history(1)
    press(dialog.buttons.resume)
    wait_until(lambda: engine.asked("predict"))
    (asked,) = engine.asked("predict")
    expected = {**record(image=photo)["request"], "output_dir": str(folder), "existing": "resume"}
    assert asked == expected
    wait_until(lambda: dock.segment.running_folder == "")
    assert len(groups()) == 1


def test_one_run_at_a_time_is_gone_on_with(dock, engine, open_history, make_unfinished, photo):
    make_unfinished(image=photo)
    engine.script(predict={"steps": 400, "step_seconds": 0.05})
    press(dock.segment.region.extent_button)
    press(dock.segment.run_bar.run_button)
    dialog = open_history(1)
    press(dialog.buttons.resume)
    assert "Another run is in progress." in shown(dialog.bar)
    dock.segment.cancel()
    wait_until(lambda: dock.segment.running_folder == "")


def test_a_run_whose_image_is_gone_is_not_gone_on_with(engine, open_history, make_unfinished):
    make_unfinished(image="/data/gone.tif")
    dialog = open_history(1)
    press(dialog.buttons.resume)
    assert "no longer exists" in shown(dialog.bar)
    assert engine.asked("predict") == []


def test_open_folder_and_copy_details(open_history, make, monkeypatch):
    folder = make()
    dialog, opened = open_history(1), []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url) or True)
    press(dialog.buttons.folder)
    assert opened == [QUrl.fromLocalFile(str(folder))]
    press(dialog.buttons.copy)
    assert QApplication.clipboard().text() == dialog.view.chosen()[0].text
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda _: False)
    press(dialog.buttons.folder)
    assert "cannot be opened" in shown(dialog.bar)


def test_delete_asks_and_moves_to_the_trash(open_history, make, answer, trash_folder, qgis_iface, monkeypatch):
    drawn = []
    monkeypatch.setattr(qgis_iface.mapCanvas(), "refresh", lambda: drawn.append(True))
    folder = make()
    dialog = open_history(1)
    asked = answer(False, True)
    QTest.keyClick(dialog.view, Qt.Key.Key_Delete)
    assert folder.exists()
    assert "fields 0.35 · " in asked[0][0]
    assert "trash" in asked[0][1]
    QTest.keyClick(dialog.view, Qt.Key.Key_Delete)
    assert not folder.exists()
    assert (trash_folder / "first" / "run.json").exists()
    assert "1 run moved to the trash." in shown(dialog.bar)
    assert drawn
    wait_until(lambda: dialog.view.table.rowCount() == 0)


def test_several_runs_are_deleted_at_once(open_history, make, make_unfinished, answer, trash_folder, parent):
    make("a")
    make("b")
    make_unfinished("c")
    dialog = open_history(3)
    asked = answer(True)
    dialog.view.selectAll()
    press(dialog.buttons.delete)
    assert "Delete 3 runs?" in asked[0][0]
    assert "cannot be resumed" in asked[0][1]
    assert list(parent.iterdir()) == []


def test_foreign_files_stay_and_so_does_the_folder(open_history, make, answer, trash_folder):
    folder = make()
    (folder / "report.docx").write_text("mine")
    (folder / "polygons.qml").write_text("mine")
    (folder / "classes.tif.aux.xml").write_text("GDAL's")
    (folder / "uncertainty.tif").write_text("the run's, too")
    (folder / "earlier").mkdir()
    dialog = open_history(1)
    asked = answer(True)
    press(dialog.buttons.delete)
    assert sorted(path.name for path in folder.iterdir()) == ["earlier", "polygons.qml", "report.docx"]
    assert "earlier, polygons.qml, report.docx" in asked[0][1]
    assert (trash_folder / "run.json").exists()


def test_without_a_trash_it_asks_again_and_deletes_for_good(open_history, make, answer, monkeypatch):
    folder = make()
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setattr(trash, "QFile", object)
    dialog = open_history(1)
    asked = answer(True, False, True, True)
    press(dialog.buttons.delete)
    assert len(list(folder.iterdir())) == 5
    assert "for good" in asked[1][0]
    press(dialog.buttons.delete)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert "1 run deleted." in shown(dialog.bar)


def test_where_no_trash_can_be_made_nothing_is_moved(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("no folder")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    assert not trash.moved_to_trash(tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


def test_layers_of_the_run_go_first_and_no_others(layer, open_history, make, answer, trash_folder):
    folder, other = make("a", hours=1), make("b")
    dialog = open_history(2)
    for row in (1, 0):
        dialog.view.selectRow(row)
        press(dialog.buttons.add)
    asked = answer(True)
    press(dialog.buttons.delete)
    assert "4 layers will be removed from the project." in asked[0][1]
    assert not folder.exists()
    assert len(layers(other)) == 4
    assert len(groups()) == 1
    assert layer in QgsProject.instance().mapLayers().values()


def test_a_group_in_which_something_else_lies_stays(open_history, make, answer, trash_folder, photo):
    make()
    dialog = open_history(1)
    press(dialog.buttons.add)
    other = QgsRasterLayer(photo, "mine")
    QgsProject.instance().addMapLayer(other, addToLegend=False)
    QgsProject.instance().layerTreeRoot().findGroup(groups()[0]).addLayer(other)
    answer(True)
    press(dialog.buttons.delete)
    (name,) = groups()
    group = QgsProject.instance().layerTreeRoot().findGroup(name)
    assert [node.name() for node in group.findLayers()] == ["mine"]


def test_unsaved_edits_are_never_lost(open_history, make, answer):
    folder = make()
    dialog = open_history(1)
    press(dialog.buttons.add)
    polygons = next(layer for layer in layers(folder) if layer.name().startswith("Polygons"))
    polygons.startEditing()
    polygons.deleteFeature(1)
    asked = answer(True)
    press(dialog.buttons.delete)
    assert asked == []
    assert "has unsaved edits" in shown(dialog.bar)
    assert folder.exists()
    assert polygons.isModified()
    polygons.rollBack()


def test_a_run_that_is_going_on_is_not_deleted(dock, engine, open_history, answer, parent):
    engine.script(predict={"steps": 400, "step_seconds": 0.05})
    press(dock.segment.region.extent_button)
    press(dock.segment.run_bar.run_button)
    work = Path(dock.segment.running_folder) / ".orthomask"
    work.mkdir(parents=True)
    begun = record()
    del begun["result"]
    (work / "state.json").write_text(json.dumps(begun))
    dialog = open_history(1)
    assert not dialog.buttons.resume.isEnabled()
    asked = answer(True)
    press(dialog.buttons.delete)
    assert asked == []
    assert "This run is still in progress." in shown(dialog.bar)
    dock.segment.cancel()
    wait_until(lambda: dock.segment.running_folder == "")
    wait_until(dialog.buttons.resume.isEnabled)


def test_a_file_that_cannot_be_deleted_leaves_the_record(open_history, make, answer, monkeypatch):
    folder = make()
    monkeypatch.setattr(trash, "QFile", object)
    unlink = Path.unlink

    def locked(path, **options):
        if path.name == "polygons.gpkg":
            raise PermissionError("in use")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", locked)
    dialog = open_history(1)
    answer(True, True)
    press(dialog.buttons.delete)
    assert "cannot be deleted" in shown(dialog.bar)
    assert (folder / "run.json").exists()


def test_escape_closes_and_enter_in_the_filter_goes_to_the_table(open_history, make):
    make()
    dialog = open_history(1)
    dialog.filter.setFocus()
    QTest.keyClick(dialog.filter, Qt.Key.Key_Return)
    assert groups() == []
    QTest.keyClick(dialog.view, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_the_details_are_in_words_and_safe(open_history, make):
    make(image="/data/<b>bold.tif")
    dialog = open_history(1)
    words = dialog.details.toPlainText()
    assert "<b>bold" in words
    assert "1,234 polygons, 250 m²" in words
    assert not [label for label in dialog.findChildren(QLabel) if "Traceback" in label.text()]


def test_runs_of_the_toolbox_are_found(qgis_processing, client, layer, tmp_path):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    processing.run("orthomask:segment", {"IMAGE": layer, "OUTPUT": str(tmp_path / "box" / "run"), "LOAD": False})
    QgsApplication.processingRegistry().removeProvider(provider)
    assert tmp_path / "box" in run_folders.parents()


@pytest.fixture
def tiles(layer):
    """A map service that nobody asks."""
    tiles = QgsRasterLayer("type=xyz&url=http://localhost:1/{z}/{x}/{y}.png", "Tiles", "wms")
    QgsProject.instance().addMapLayer(tiles, addToLegend=False)
    return tiles


def rendered(folder, name, source):
    """The image of a run that looked at a picture, as its record has it."""
    return {
        "path": f"{folder}/.picture/picture.tif", "crs": "", "bands": [],
        "rendered": {"name": name, "source": source, "gsd_m": 0.3, "time": "2026-11-20", "tiles": 4, "missing": 1},
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Tiles", "Gone", "Map as it looks now"])
def test_repeat_finds_what_a_picture_was_rendered_from(dock, tiles, open_history, make, parent, bar, name):
    source = pixels_of(tiles).source if name == "Tiles" else "elsewhere"
    make(request={**record()["request"], "image": rendered(parent / "first", name, source)})
    press(open_history(1).buttons.repeat)
    chooser = dock.segment.layer_chooser
    if name == "Tiles":
        assert chooser.currentLayer() is tiles
    elif name == "Gone":
        assert "The layer “Gone” is not in the project" in shown(bar)
    else:
        assert chooser.image.name() == name
        assert "the run used elsewhere" in shown(bar)


def test_a_picture_that_was_kept_for_resuming_goes_when_the_run_has_ended(make_unfinished, parent):
    folder = make_unfinished()
    (folder / ".picture").mkdir()
    (folder / ".picture" / "picture.tif").write_bytes(b"pixels")
    text = json.loads((folder / ".orthomask" / "state.json").read_text())
    text["request"]["image"] = rendered(folder, "Tiles", "elsewhere")
    (folder / ".orthomask" / "state.json").write_text(json.dumps(text))
    (run,) = found(parent)
    assert run.size_bytes > len(b"pixels")
    result = PredictResult("0123456789ab", "", "", "", 2, 250.0, "cpu", 3.0)

    class Engine:
        def call(self, request, feedback):
            assert Path(request.image.path).exists()
            return result

    request = run_folders.go_on(run.request, str(folder))
    ended = PictureClient(Engine()).call(FrozenRun(request, request.image))
    assert "1 of 4 tiles of Tiles" in ended.warnings[0]
    assert not (folder / ".picture").exists()


def test_resume_says_where_the_settings_choose_another_device(dock, engine, open_history, make_unfinished, photo):
    make_unfinished(image=photo)
    DEVICE.set("cpu")
    dialog = open_history(1)
    press(dialog.buttons.resume)
    assert "the settings now say “cpu”" in shown(dialog.bar)
    assert engine.asked("predict") == []


def test_a_run_that_has_just_gone_is_no_error_to_delete(open_history, make, answer):
    folder = make()
    dialog = open_history(1)
    shutil.rmtree(folder)
    asked = answer(True)
    press(dialog.buttons.delete)
    assert asked == []
    assert shown(dialog.bar) == ""
    wait_until(lambda: dialog.view.table.rowCount() == 0)
