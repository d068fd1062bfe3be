import itertools
import re

import pytest
from qgis.core import QgsSettings
from qgis.gui import QgsGui
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QAbstractButton, QAction, QApplication, QGroupBox, QLabel, QMenu
from scene import wait_until

from orthomask.ui import actions
from orthomask.ui.actions import Actions
from orthomask.ui.evaluate.box import EvaluateDialog
from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.setup.dialog import SetupDialog
from orthomask.ui.toolkit.help import GUIDE, HelpWindow

KEYS = (actions.DOCK_KEYS, actions.DRAW_KEYS, actions.RUN_KEYS, actions.CANCEL_KEYS)
QGIS_KEYS = {
    "Ctrl+": "+ - . 0 1 2 3 4 5 6 7 8 9 = A B C D F F3 F6 H J K L M N O P Q S Tab V X Z",
    "Ctrl+Alt+": "+ , - . = A G H M P R T V [ ] { }",
    "Ctrl+Shift+": ". A B C D E F G H I J L M N P R S T Tab U V W Z",
    "": "F1 F11 F12 F3 F5 F6 F7 R S T",
    "Shift+": "F6",
}
"""The default shortcuts of QGIS 3.22, 3.40 and 3.44, read from their main windows."""
TOLERANCE_PX = 14


@pytest.fixture
def menu(qgis_iface, monkeypatch):
    """What stands in the plugin's menu and in QGIS's help menu."""
    added, help_menu = [], QMenu()
    monkeypatch.setattr(qgis_iface, "addPluginToRasterMenu", lambda _, action: added.append(action), raising=False)
    monkeypatch.setattr(qgis_iface, "removePluginRasterMenu", lambda _, action: added.remove(action), raising=False)
    monkeypatch.setattr(qgis_iface, "pluginHelpMenu", lambda: help_menu, raising=False)
    return added, help_menu


@pytest.fixture
def chosen_keys():
    """Keys that a test changes are forgotten after it."""
    yield
    for key in QgsSettings().allKeys():
        if key.startswith("shortcuts/Orthomask"):
            QgsSettings().remove(key)


@pytest.fixture
def shortcuts(qgis_iface, dock, menu, chosen_keys):
    made = Actions(qgis_iface, dock)
    yield made
    made.release()


def known():
    return [action.text() for action in QgsGui.shortcutsManager().listActions()]


def test_no_key_means_anything_in_qgis():
    taken = {f"{modifiers}{key}" for modifiers, keys in QGIS_KEYS.items() for key in keys.split()}
    assert len(taken) > 80
    assert not {QKeySequence(keys).toString() for keys in KEYS} & taken


def test_every_key_is_in_the_guide():
    table = GUIDE.read_text(encoding="utf-8").partition("## Keyboard")[2].partition("## ")[0]
    assert re.findall(r"^\| (\S+) \|", table, re.MULTILINE)[1:5] == list(KEYS)


def test_qgis_lists_the_actions_and_lets_the_keys_be_changed(shortcuts, dock, menu, qgis_iface):
    titles = [
        "Orthomask", "Orthomask: draw region", "Orthomask: run", "Orthomask: cancel",
        "Orthomask: collect labels and images…", "Orthomask: user guide",
    ]  # fmt: skip
    assert set(titles) <= set(known())
    assert [action.text() for action in menu[0]] == titles
    made = (shortcuts.dock, shortcuts.draw, shortcuts.run, shortcuts.cancel)
    assert tuple(action.shortcut().toString() for action in made) == KEYS
    QgsGui.shortcutsManager().setKeySequence(shortcuts.run, "Ctrl+F9")
    assert shortcuts.run.shortcut().toString() == "Ctrl+F9"


def test_nothing_stays_but_the_keys_that_were_chosen(dock, menu, qgis_iface, chosen_keys):
    first = Actions(qgis_iface, dock)
    QgsGui.shortcutsManager().setKeySequence(first.run, "Ctrl+F9")
    first.release()
    assert not [title for title in known() if title.startswith("Orthomask")]
    assert menu[0] == menu[1].actions() == []
    second = Actions(qgis_iface, dock)
    assert second.run.shortcut().toString() == "Ctrl+F9"
    second.release()


def test_keys_that_somebody_has_taken_stay_theirs(qgis_iface, dock, menu):
    other = QAction("Another plugin", qgis_iface.mainWindow())
    QgsGui.shortcutsManager().registerAction(other, "F9")
    made = Actions(qgis_iface, dock)
    assert (made.run.shortcut().toString(), made.draw.shortcut().toString()) == ("", "F8")
    made.release()
    QgsGui.shortcutsManager().unregisterAction(other)


def test_run_and_cancel_press_the_buttons_of_the_panel_in_front(shortcuts, dock, engine):
    dock.segment.region.extent_button.click()
    wait_until(dock.segment.run_bar.run_button.isEnabled)
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})
    shortcuts.cancel.trigger()  # nothing runs: nothing happens
    shortcuts.run.trigger()
    wait_until(lambda: engine.asked("predict"))
    shortcuts.run.trigger()  # the button is hidden
    dock.tabs.setCurrentWidget(dock.models)
    shortcuts.cancel.trigger()
    assert dock.segment.run_bar.cancel_button.isEnabled()
    dock.tabs.setCurrentWidget(dock.segment)
    shortcuts.cancel.trigger()
    wait_until(dock.segment.run_bar.run_button.isVisible)
    assert dock.segment.run_bar.status.text().startswith("Cancelled")
    assert len(engine.asked("predict")) == 1


def test_run_only_shows_a_dock_that_is_hidden(shortcuts, dock, engine):
    dock.segment.region.extent_button.click()
    wait_until(dock.segment.run_bar.run_button.isEnabled)
    dock.hide()
    shortcuts.run.trigger()
    assert dock.isVisible()
    assert not engine.asked("predict")


def test_drawing_begins_and_escape_ends_it_without_a_click(shortcuts, dock, canvas):
    dock.tabs.setCurrentWidget(dock.models)
    before = canvas.mapTool()
    shortcuts.draw.trigger()
    assert dock.tabs.currentWidget() is dock.segment
    assert dock.segment.region.rectangle_button.isChecked()
    assert canvas.window().focusWidget() is canvas
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert not dock.segment.region.rectangle_button.isChecked()
    shortcuts.draw.trigger()
    shortcuts.draw.trigger()
    assert not dock.segment.region.rectangle_button.isChecked()
    assert canvas.mapTool() in (None, before)


def test_the_guide_opens(shortcuts, qgis_iface):
    shortcuts.guide.trigger()
    window = qgis_iface.mainWindow().findChild(HelpWindow)
    assert window.isVisible()
    window.close()


def test_escape_cancels_an_evaluation_and_then_closes_its_window(dock, qgis_iface, client, monkeypatch):
    cancelled = []
    dialog = EvaluateDialog(qgis_iface, client, "/models/fields.safetensors", "Farmland", dock)
    monkeypatch.setattr(dialog, "_cancel", lambda: cancelled.append(True))
    monkeypatch.setattr(dialog, "_task", object())
    dialog.show()
    QTest.keyClick(dialog.options.threshold_box, Qt.Key.Key_Escape)
    assert cancelled
    assert dialog.isVisible()
    dialog._task = None
    monkeypatch.undo()
    QTest.keyClick(dialog.options.threshold_box, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_enter_presses_the_main_button(dock, qgis_iface, client):
    evaluation = EvaluateDialog(qgis_iface, client, "/models/fields.safetensors", "Farmland", dock)
    setup = SetupDialog(None, dock)
    for dialog, button in ((evaluation, evaluation.run_bar.run_button), (setup, setup.bar.run_button)):
        dialog.show()
        assert button.isDefault()
        dialog.close()


def stops(root):
    """Where Tab leads, in this order, and where each of them lies."""
    found, widget = [], root.nextInFocusChain()
    while widget is not root:
        takes = widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isEnabled()
        if takes and root.isAncestorOf(widget) and widget.isVisibleTo(root):
            found.append((widget, widget.mapTo(root, QPoint(0, 0))))
        widget = widget.nextInFocusChain()
    return found


def backwards(places):
    """Steps that lead up, or to the left in the same row."""
    pairs = itertools.pairwise(places)
    return [
        f"{type(a).__name__} {p.x()},{p.y()} -> {type(b).__name__} {q.x()},{q.y()}"
        for (a, p), (b, q) in pairs
        if q.y() < p.y() - TOLERANCE_PX or (abs(q.y() - p.y()) < TOLERANCE_PX and q.x() < p.x())
    ]


def test_tab_goes_through_the_panels_from_top_to_bottom(dock):
    dock.resize(400, 900)
    for index in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(index)
        panel = dock.tabs.widget(index)
        for box in panel.findChildren(QGroupBox):
            if hasattr(box, "setCollapsed"):
                box.setCollapsed(False)
        QApplication.processEvents()
        places = [stop for stop in stops(panel) if type(stop[0].parentWidget()).__name__ not in BARS]
        assert len(places) > 5
        assert backwards(places) == []


def test_tab_goes_through_the_windows_from_top_to_bottom(dock, layer, qgis_iface, client):
    for window in (
        EvaluateDialog(qgis_iface, client, "/models/fields.safetensors", "Farmland", dock),
        NewProjectDialog("/tmp", layer.crs(), (), dock),
        SetupDialog(None, dock),
    ):
        window.show()
        window.resize(window.width(), 1200)  # so that nothing lies behind the row of buttons
        QApplication.processEvents()
        places = [stop for stop in stops(window) if stop[0].parentWidget().objectName() != "qt_scrollarea_viewport"]
        assert backwards(places) == []
        window.close()


def letters(root):
    """The letters that are underlined: Alt with one of them would press what it belongs to."""
    texts = [widget.text() for kind in (QAbstractButton, QLabel) for widget in root.findChildren(kind)]
    texts += [box.title() for box in root.findChildren(QGroupBox)]
    return [letter.lower() for text in texts for letter in re.findall(r"(?<!&)&([^&\s])", text)]


def test_no_letter_is_underlined_in_the_dock_and_none_twice_in_a_window(dock, layer, qgis_iface, client):
    assert letters(dock) == []
    for window in (
        EvaluateDialog(qgis_iface, client, "/models/fields.safetensors", "Farmland", dock),
        NewProjectDialog("/tmp", layer.crs(), (), dock),
        SetupDialog(None, dock),
    ):
        found = letters(window)
        assert len(found) == len(set(found))
        window.close()


BARS = ("RunBar", "TrainingBar")
"""At the foot of a panel, below what scrolls."""
