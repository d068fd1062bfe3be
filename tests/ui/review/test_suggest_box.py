import sqlite3

import pytest
from qgis.core import QgsGeometry, QgsProject, QgsVectorLayer, QgsVectorLayerUtils
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QLabel
from review_squares import rows
from scene import square, wait_until, write_project

from orthomask.ui.label.project import open_project
from orthomask.ui.review.panel import ReviewPanel
from orthomask.ui.runs import results


@pytest.fixture
def panel(qgis_iface, canvas, bar, client, run_folder):
    QgsProject.instance().addMapLayer(results.polygon_layer(results.read_run(run_folder)))
    panel = ReviewPanel(qgis_iface, client)
    panel.show()
    yield panel
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer):
            layer.rollBack()
    panel.release()
    panel.deleteLater()
    QCoreApplication.processEvents()


@pytest.fixture
def path(tmp_path):
    """A label project of an older version."""
    return write_project(tmp_path / "town.gpkg", areas=[(0, "area 1", "train")])


@pytest.fixture
def town(panel, path):
    return open_project(QgsProject.instance(), path)


def suggest(panel):
    QTest.mouseClick(panel.suggest.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait_until(lambda: panel.suggest._task is None)


def told(bar):
    return " ".join(label.text() for item in bar.items() for label in item.findChildren(QLabel)) + " ".join(
        item.text() for item in bar.items()
    )


def test_it_says_what_is_missing(panel):
    button = panel.suggest.run_bar.run_button
    assert not button.isEnabled()
    assert button.toolTip() == "Choose a run and a label project first."


def test_squares_are_added_to_a_project_of_an_older_version(panel, town, engine, path, bar, run_folder):
    panel.suggest.count.setValue(2)
    suggest(panel)
    asked = engine.asked("suggest")[-1]
    assert (asked["run_dir"], asked["count"], asked["size_m"]) == (str(run_folder), 2, 40.0)
    assert asked["output_path"] != path, "QGIS alone writes the project"
    assert rows(path, "areas", "name", "state", "reason", "rank") == [
        ("area 1", None, None, None),
        ("square 2", "todo", "Unsure of 12% of the pixels", 1),
        ("square 3", "todo", "Unsure of 12% of the pixels", 2),
    ]
    assert panel.suggest.run_bar.status.text() == "2 squares added."
    assert "Only so many fit." in told(bar)
    wait_until(lambda: panel.squares.list.count() == 2)
    assert panel.squares.words.text() == "0 of 2 checked."
    suggest(panel)
    assert engine.asked("suggest")[-1]["seed"] != asked["seed"]


def test_it_makes_room_once_a_square_is_in_view(panel, town, tmp_path):
    assert not panel.suggest.isCollapsed()
    panel.suggest.count.setValue(1)
    suggest(panel)
    wait_until(lambda: panel.squares.list.count() == 1)
    panel.squares.list.setCurrentRow(0)
    assert panel.suggest.isCollapsed()
    panel.suggest.setCollapsed(False)  # the user wants more of them
    panel._follow()
    assert not panel.suggest.isCollapsed()


def test_unsaved_edits_of_the_areas_stay_unsaved(panel, town, path):
    suggest(panel)  # the attributes are there now
    town.areas.startEditing()
    town.areas.addFeature(QgsVectorLayerUtils.createFeature(town.areas, QgsGeometry.fromWkt(square(20)), {}))
    panel.suggest.count.setValue(1)
    suggest(panel)
    assert town.areas.featureCount() == 13
    assert len(rows(path, "areas", "name")) == 12
    town.areas.rollBack()
    assert town.areas.featureCount() == 12


def test_a_project_that_is_closed_meanwhile_gets_no_squares(panel, town, engine, path):
    engine.script(suggest={"steps": 10, "step_seconds": 0.02})
    QTest.mouseClick(panel.suggest.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait_until(lambda: engine.asked("suggest"))
    QgsProject.instance().removeMapLayers([town.labels.id(), town.areas.id()])
    wait_until(lambda: panel.suggest._task is None)
    assert panel.suggest.run_bar.status.text() == "The squares were not added: “town” has been closed."
    assert len(rows(path, "areas", "name")) == 1


def test_cancelling_adds_nothing(panel, town, engine, path):
    engine.script(suggest={"steps": 1000})
    QTest.mouseClick(panel.suggest.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait_until(lambda: engine.asked("suggest"))
    QTest.mouseClick(panel.suggest.run_bar.cancel_button, Qt.MouseButton.LeftButton)
    wait_until(lambda: panel.suggest._task is None)
    assert panel.suggest.run_bar.status.text() == "Cancelled."
    assert len(rows(path, "areas", "name")) == 1


def test_an_error_is_shown_and_nothing_is_added(panel, town, engine, path, bar):
    error = {"code": "labels_outside", "sentence": "Nothing lies there.", "remedy": "Choose another.", "details": ""}
    engine.script(suggest={"error": error})
    suggest(panel)
    assert "Nothing lies there. Choose another." in told(bar)
    assert len(rows(path, "areas", "name")) == 1


def test_a_project_that_another_program_is_writing_says_so(panel, monkeypatch, path, bar):
    monkeypatch.setenv("SQLITE_BUSY_TIMEOUT", "20")  # milliseconds; GDAL waits five seconds by default
    town = open_project(QgsProject.instance(), path)
    suggest(panel)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    before = town.areas.featureCount()
    suggest(panel)
    other.execute("ROLLBACK")
    assert "cannot be written" in told(bar)
    assert "Close it in other programs" in told(bar)
    suggest(panel)
    assert town.areas.featureCount() == before + 10
