"""The versions of a label project's model: listed, used, gone back to, forgotten."""

from __future__ import annotations

import pytest
from qgis.core import QgsApplication, QgsProject
from qgis.PyQt.QtCore import QCoreApplication, QPoint
from qgis.PyQt.QtTest import QTest
from scene import wait_until, write_project
from test_dock import press, shown

from orthomask.ui.label.project import open_project
from orthomask.ui.review.context import Context
from orthomask.ui.review.learn.versions_box import VersionsBox

AREAS = [(0, "square 1", "train", "checked")]


@pytest.fixture
def town(layer, tmp_path):
    """A label project, under review."""
    path = write_project(tmp_path / "town.gpkg", [(0, 1)], AREAS)
    return Context(project=open_project(QgsProject.instance(), path))


@pytest.fixture
def box(qgis_iface, client, bar, town, engine):
    """The box, with three versions of which the last is in use, and the first has lost its file."""
    engine.script(versions={"there": 4, "current": 3, "missing": [1]})
    box = VersionsBox(qgis_iface, client)
    box.errors, box.wanted = [], []
    box.failed.connect(box.errors.append)
    box.segment_wanted.connect(box.wanted.append)
    box.resize(340, 500)
    box.show()
    yield box
    box.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    box.deleteLater()
    QCoreApplication.processEvents()


@pytest.fixture
def full(box, town):
    box.follow(town)
    wait_until(lambda: box.versions.versions)
    return box


def rows(box):
    items = [box.list.topLevelItem(number) for number in range(box.list.topLevelItemCount())]
    return [[item.text(column) for column in range(5)] for item in items]


def choose(box, number):
    box.list.setCurrentItem(box.list.topLevelItem(number))


def test_all_versions_are_listed_with_their_scores_and_the_one_in_use(full, engine, town):
    assert engine.asked("versions") == [{"project": town.project.path, "use": "", "remove": ""}]
    assert rows(full) == [
        ["Base", "0.50", "0.48", "0.50", "–"],
        ["1 · file missing", "0.71", "0.74", "0.50", "6"],
        ["Version 2", "0.71", "0.74", "0.50", "12"],
        ["Version 3", "0.71", "0.74", "0.50", "18"],
    ]
    assert full.words.text() == "In use: 3 · Buildings 3"
    assert [full.list.topLevelItem(number).font(0).bold() for number in range(4)] == [False, False, False, True]
    assert not full.use_button.isEnabled()
    assert not full.forget_button.isEnabled()
    assert not full.isCollapsed()


def test_a_project_without_versions_takes_no_room(box, engine, town):
    engine.script()
    box.follow(town)
    wait_until(lambda: engine.asked("versions") and not QgsApplication.taskManager().activeTasks())
    assert box.isCollapsed()
    assert "No version yet" in box.words.text()
    box.setCollapsed(False)
    assert box.words.isVisible()
    assert not any(each.isVisible() for each in (box.list, box.plot, box.use_button, box.forget_button))
    box.follow(Context())
    assert box.words.text() == "Choose a label project."


def test_going_back_is_one_press_and_segment_follows(full, engine, bar):
    choose(full, 2)
    assert full.use_button.text() == "Go back to this"
    press(full.use_button)
    wait_until(lambda: full.versions.current == 2)
    assert engine.asked("versions")[-1]["use"] == "2"
    assert full.wanted == ["/models/buildings-2.safetensors"]
    assert "2 · Buildings 2 is in use again." in shown(bar)
    choose(full, 3)
    assert full.use_button.text() == "Use"
    assert full.use_button.isEnabled()


def test_a_version_without_file_is_not_used_and_can_be_forgotten(full, engine):
    choose(full, 1)
    assert not full.use_button.isEnabled()
    assert "/models/buildings-1.safetensors" in full.use_button.toolTip()
    press(full.forget_button)
    wait_until(lambda: len(full.versions.versions) == 3)
    assert engine.asked("versions")[-1]["remove"] == "1"
    assert full.wanted == []


def test_the_base_can_be_used_and_not_forgotten(full):
    choose(full, 0)
    assert full.use_button.text() == "Go back to this"
    assert full.use_button.isEnabled()
    assert not full.forget_button.isEnabled()


def test_what_fails_is_said_and_leaves_the_list(full, engine):
    error = {"code": "output_in_use", "sentence": "It is being changed.", "remedy": "Save there.", "details": ""}
    engine.script(versions={"error": error})
    choose(full, 2)
    press(full.use_button)
    wait_until(lambda: full.errors)
    assert full.errors[0].sentence == "It is being changed."
    assert len(rows(full)) == 4
    assert full.use_button.isEnabled()


def test_the_curve_shows_the_rounds_over_the_minutes_of_labelling(full):
    plot = full.plot
    assert plot.isVisible()
    assert "Version 3, 18 min of labelling: IoU 0.71, F1 0.74" in plot.accessibleName()
    image = plot.grab().toImage()
    colors = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    assert {"#1b9e77", "#7570b3"} <= colors
    QTest.mouseMove(plot, QPoint(plot.width() - 20, 40))


def test_what_was_just_put_in_use_is_shown(box, town):
    box.follow(town)
    wait_until(lambda: box.versions.versions)
    box.show_versions(type(box.versions)(box.versions.versions[:3], 2))
    assert box.words.text() == "In use: 2 · Buildings 2"
