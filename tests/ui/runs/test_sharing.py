"""Saving a run for others, from the history."""

import json
import shutil

import pytest
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDialogButtonBox, QLabel, QPushButton
from scene import wait_until
from test_dock import press

from orthomask.ui.runs.history_dialog import HistoryDialog
from orthomask.ui.runs.sharing_dialog import Format, SharingDialog
from orthomask.ui.toolkit.settings import IMAGE_CREDIT


@pytest.fixture
def folder(tmp_path, run_folder):
    folder = tmp_path / "runs" / "first"
    shutil.copytree(run_folder, folder)
    record = json.loads((folder / "run.json").read_text())
    record["result"] = {"polygon_count": 2, "polygon_area_m2": 250.0, "seconds": 3.0, "warnings": []}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def history(client, folder):
    dialog = HistoryDialog(client, lambda: [folder.parent], lambda: "")
    dialog.show()
    wait_until(lambda: dialog.view.table.rowCount() == 1 and dialog._task is None)
    dialog.view.selectRow(0)
    yield dialog
    dialog.release()


def in_the_window(act):
    """Do something in the modal window that opens next."""

    def look():
        window = QApplication.activeModalWidget()
        if isinstance(window, SharingDialog):
            act(window)
        else:
            QTimer.singleShot(20, look)

    QTimer.singleShot(20, look)


def save(dialog):
    QTest.mouseClick(dialog.buttons.button(QDialogButtonBox.StandardButton.Save), Qt.MouseButton.LeftButton)


def told(history):
    """What the message bar says."""
    return " ".join(label.text() for item in history.bar.items() for label in [item, *item.findChildren(QLabel)])


def test_a_web_page_is_saved_and_opened(history, engine, folder, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    path = str(folder / "page.html")
    result = {"path": path, "objects": 9000, "shown": 1234, "size_bytes": 9, "warnings": ["Only the largest."]}
    engine.script(page={"result": result})

    def fill(window):
        assert window.chosen is Format.PAGE
        assert window.path == path
        assert not window.replaced.isVisible()
        QTest.keyClicks(window.credit, " (c) Me ")
        save(window)

    in_the_window(fill)
    press(history.buttons.save)
    assert not history.buttons.save.isEnabled()
    wait_until(lambda: "saved" in told(history))
    assert history.buttons.save.isEnabled()
    assert engine.asked("page") == [
        {"run_dir": str(folder), "output_path": path, "credit": "(c) Me", "existing": "overwrite"}
    ]
    assert "1,234 objects were saved in “page.html”." in told(history)
    assert "Only the largest." in told(history)
    (button,) = [each for each in history.bar.findChildren(QPushButton) if each.text() == "Open"]
    button.click()
    assert opened == [path]
    assert SharingDialog(folder).credit.text() == IMAGE_CREDIT.get() == "(c) Me"


def test_other_formats_have_no_credit_and_their_own_names(history, engine, folder, tmp_path):
    (tmp_path / "mine.geojson").write_text("old")
    engine.script(export_run={"result": {"path": "x", "objects": 1, "warnings": []}})

    def fill(window):
        window.format.setCurrentIndex(window.format.findData(Format.COCO))
        assert window.path == str(folder / "objects-coco.json")
        assert not window.credit.isVisible()
        window.format.setCurrentIndex(window.format.findData(Format.FIBOA))
        window.file_chooser.setFilePath("")
        assert not window.buttons.button(QDialogButtonBox.StandardButton.Save).isEnabled()
        window.file_chooser.setFilePath(str(tmp_path / "mine"))
        assert window.replaced.isVisible()
        save(window)

    in_the_window(fill)
    press(history.buttons.save)
    wait_until(lambda: "1 object was saved" in told(history))
    asked = engine.asked("export_run")[-1]
    assert (asked["format"], asked["output_path"]) == ("fiboa", str(tmp_path / "mine.geojson"))


def test_what_the_engine_refuses_is_said_in_the_history(history, engine):
    refused = {"code": "bad_request", "sentence": "No fields.", "remedy": "Choose another.", "details": ""}
    engine.script(page={"error": refused})
    in_the_window(save)
    press(history.buttons.save)
    wait_until(lambda: "No fields. Choose another." in told(history))
    assert history.buttons.save.isEnabled()


def test_cancelled_windows_ask_nothing(history, engine):
    in_the_window(lambda window: QTest.keyClick(window, Qt.Key.Key_Escape))
    press(history.buttons.save)
    assert history.buttons.save.isEnabled()
    assert not engine.asked("page")
