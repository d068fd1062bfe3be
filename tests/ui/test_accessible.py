import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from qgis.gui import QgsOptionsPageWidget
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDialog, QGroupBox, QLabel, QPushButton, QToolButton

from orthomask import ui
from orthomask.protocol import ClassInfo, Level, Light, OnnxFacts, OnnxHead
from orthomask.ui.evaluate.box import EvaluateDialog
from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.setup.dialog import SetupDialog
from orthomask.ui.toolkit.accessible import name_of, used_widgets
from orthomask.ui.toolkit.help import HelpWindow

CLASSES = (ClassInfo(1, "building", "#dc3228"), ClassInfo(2, "field", "#30a030"))


def windows() -> Iterator[type]:
    """Every window and page of settings that Orthomask has."""
    for found in pkgutil.walk_packages(ui.__path__, "orthomask.ui."):
        module = importlib.import_module(found.name)
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == module.__name__
            if own and issubclass(kind, (QDialog, QgsOptionsPageWidget)):
                yield kind


@pytest.fixture
def make(dock, layer, qgis_iface, client):
    """Makes a window as it is made in QGIS."""
    made = []
    makers = {
        "EvaluateDialog": lambda kind: kind(qgis_iface, client, "/models/fields.safetensors", "Farmland"),
        "CollectDialog": lambda kind: kind(qgis_iface, client),
        "NewProjectDialog": lambda kind: kind("/tmp", layer.crs(), ()),
        "HistoryDialog": lambda kind: kind(None, list, str),
        "SharingDialog": lambda kind: kind(Path()),
        "ImportDialog": lambda kind: kind("/models/roads.onnx", OnnxFacts("Roads", 3, 512, 2 * (OnnxHead(1),))),
        "SettingsPage": lambda kind: kind(dock),
        "PictureWindow": lambda kind: kind("Pictures"),
    }

    def make(kind):
        window = makers.get(kind.__name__, lambda kind: kind())(kind)
        window.show()
        made.append(window)
        return window

    yield make
    for window in made:
        window.close()


def nameless(root):
    """What a screen reader could not name, described so that it is found."""
    lacking = [widget for widget in used_widgets(root) if not name_of(widget)]
    return [f"{type(each).__name__} in {type(each.parentWidget()).__name__}: {each.toolTip()!r}" for each in lacking]


def test_everything_in_the_dock_has_a_name(dock):
    for index in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(index)
        for box in dock.tabs.widget(index).findChildren(QGroupBox):
            if hasattr(box, "setCollapsed"):
                box.setCollapsed(False)
        QApplication.processEvents()
    assert len(list(used_widgets(dock))) > 80
    assert nameless(dock) == []


def test_data_of_every_kind_have_names(dock):
    for index in range(dock.train.data.source.count()):
        dock.train.data.source.setCurrentIndex(index)
        assert nameless(dock) == []


def test_everything_in_the_windows_has_a_name(make):
    found = set(windows())
    assert {EvaluateDialog, NewProjectDialog, SetupDialog, HelpWindow} <= found
    for kind in found:
        window = make(kind)
        assert nameless(window) == [], kind.__name__


def test_cells_of_tables_have_names(make):
    table = make(NewProjectDialog).table
    table.show_classes(CLASSES)
    assert [name_of(table.cellWidget(row, 0)) for row in range(2)] == ["Colour of building", "Colour of field"]


def test_names_differ_where_their_widgets_do(dock):
    named = [name_of(widget) for box in dock.findChildren(QGroupBox) for widget in box.findChildren(QToolButton)]
    assert "Save in: Browse" in named
    names = [name_of(button) for button in dock.segment.region.findChildren(QToolButton)]
    assert len(names) == len(set(names)) == 7


def test_a_sign_is_no_name_and_a_word_is(qgis_app):
    sign, word = QPushButton("▲"), QPushButton("Up")
    assert (name_of(sign), name_of(word)) == ("", "Up")
    sign.setAccessibleName("Up")
    assert name_of(sign) == "Up"


def test_pictures_that_say_something_say_it_in_words_too(dock):
    dock.segment.preflight._show((Light("bands", Level.RED, "There is one band."),), "")
    lamps = [label for label in dock.segment.preflight.findChildren(QLabel) if label.pixmap()]
    assert [lamp.accessibleName() for lamp in lamps] == ["red"]


def test_the_picture_of_a_training_opens_from_the_keyboard_too(dock, photo):
    picture = dock.train.view.picture
    picture.show_file(photo)
    QTest.keyClick(picture, Qt.Key.Key_A)
    assert picture.window_of_own is None
    QTest.keyClick(picture, Qt.Key.Key_Space)
    assert picture.window_of_own.isVisible()
    assert picture.window_of_own.windowTitle() == picture.accessibleName()
    picture.window_of_own.close()
    assert picture.focusPolicy() == Qt.FocusPolicy.TabFocus
    assert picture.accessibleName()
