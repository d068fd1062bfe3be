"""Unsaved labels and areas are there again after QGIS has crashed."""

import os
import signal
import subprocess
import sys

import pytest
from qgis.core import QgsGeometry, QgsProject, QgsVectorLayerUtils
from scene import square, wait_until, write_project

from orthomask.ui.label import recovery
from orthomask.ui.label.project import open_project
from orthomask.ui.label.recovery import Recoveries

CRASH = """
import os, signal, sys
from pathlib import Path
from qgis.core import QgsApplication, QgsGeometry, QgsProject, QgsVectorLayerUtils
from qgis.PyQt.QtCore import QTimer
from orthomask.ui.label import recovery
from orthomask.ui.label.project import Split, open_project
path, folder, *wkts = sys.argv[1:]
application = QgsApplication([], False)
application.initQgis()
recovery.unsaved_folder = lambda: Path(folder)
recovery.COPY_MS = 20  # a minute
project = open_project(QgsProject.instance(), path)
recoveries = recovery.Recoveries()
recoveries.watch([project])
labels, areas = project.labels, project.areas
for layer in (labels, areas):
    layer.startEditing()
project.set_class(2)
labels.addFeature(QgsVectorLayerUtils.createFeature(labels, QgsGeometry.fromWkt(wkts[0])))
labels.deleteFeature(1)
labels.changeGeometry(2, QgsGeometry.fromWkt(wkts[1]))
areas.changeAttributeValue(1, areas.fields().lookupField("split"), "test")
QTimer.singleShot(400, lambda: os.kill(os.getpid(), signal.SIGKILL))
application.exec_()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "unsaved_folder", lambda: tmp_path / "unsaved")
    return tmp_path / "unsaved"


@pytest.fixture
def path(tmp_path):
    return write_project(tmp_path / "town.gpkg", [(0, 1), (10, 2)], [(0, "area 1", "train")])


@pytest.fixture
def town(qgis_new_project, path, folder):
    opened = open_project(QgsProject.instance(), path)
    yield opened
    for layer in (opened.labels, opened.areas):
        layer.rollBack()


@pytest.fixture
def watched(town):
    recoveries = Recoveries()
    recoveries.watch([town])
    yield recoveries
    recoveries.release()


def draw(layer, x):
    layer.startEditing()
    assert layer.addFeature(QgsVectorLayerUtils.createFeature(layer, QgsGeometry.fromWkt(square(x))))


def copies(folder):
    return sorted(folder.glob("*.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_killed_qgis_loses_no_more_than_a_minute(qgis_new_project, path, folder):
    command = [sys.executable, "-c", CRASH, path, str(folder), square(30), square(12)]
    ended = subprocess.run(command, check=False, env=os.environ, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    town = open_project(QgsProject.instance(), path)
    assert {label["class"] for label in town.labels.getFeatures()} == {1, 2}
    recoveries, told = Recoveries(), []
    recoveries.restored.connect(told.append)
    recoveries.watch([town])
    wait_until(lambda: told)
    assert told == ["4 unsaved edits of “town” were restored after QGIS had ended unexpectedly. Save keeps them."]
    places = sorted((label.geometry().boundingBox().xMinimum() - 500_000, label["class"])
                    for label in town.labels.getFeatures())  # fmt: skip
    assert places == [(12, 2), (30, 2)]
    assert [area["split"] for area in town.areas.getFeatures()] == ["test"]
    assert town.labels.isModified()
    town.labels.undoStack().undo()
    assert sorted(label["class"] for label in town.labels.getFeatures()) == [1, 2]
    town.labels.undoStack().redo()
    assert town.labels.commitChanges()
    assert town.areas.commitChanges()
    assert copies(folder) == []
    recoveries.release()


def test_saving_or_discarding_deletes_the_copy(town, watched, folder):
    watched.copy()
    assert copies(folder) == []
    draw(town.labels, 20)
    watched.copy()
    assert len(copies(folder)) == 1
    assert town.labels.commitChanges(False)
    assert copies(folder) == []
    draw(town.labels, 30)
    watched.copy()
    assert len(copies(folder)) == 1
    town.labels.rollBack()
    assert copies(folder) == []


def test_a_copy_leaves_the_undo_history_and_the_file_alone(town, watched, path):
    draw(town.labels, 20)
    watched.copy()
    assert town.labels.isModified()
    assert town.labels.undoStack().count() == 1
    assert town.labels.dataProvider().featureCount() == 2
    town.labels.undoStack().undo()
    assert town.labels.featureCount() == 2


def test_all_open_projects_are_copied_not_only_the_chosen_one(town, watched, folder, tmp_path):
    village = open_project(QgsProject.instance(), write_project(tmp_path / "village.gpkg"))
    watched.watch([town, village])
    for project in (town, village):
        draw(project.labels, 20)
    watched.copy()
    assert len(copies(folder)) == 2
    watched.forget([village.labels.id()])
    village.labels.rollBack()  # nobody watches it any more
    assert len(copies(folder)) == 2


def test_a_second_qgis_neither_takes_nor_overwrites_the_edits_of_the_first(town, watched, folder):
    draw(town.labels, 20)
    watched.copy()
    before = copies(folder)[0].read_text()
    second, told = Recoveries(), []
    second.restored.connect(told.append)
    second.watch([town])
    draw(town.labels, 30)
    second.copy()
    second._restore()
    assert (told, copies(folder)[0].read_text()) == ([], before)
    second.release()


def test_a_broken_copy_and_features_that_are_gone_do_no_harm(town, folder):
    town.labels.startEditing()
    nothing = {"fields": [], "added": [], "deleted": [77], "geometries": [], "attributes": [[77, {"class": 1}]]}
    assert recovery.make_again(town.labels, nothing) == 0
    assert town.labels.featureCount() == 2
    recoveries = Recoveries()
    recoveries.watch([town])
    town.labels.rollBack()
    draw(town.labels, 20)
    recoveries.copy()
    (copy,) = copies(folder)
    recoveries.release()
    town.labels.rollBack()
    copy.write_text("[1, 2")
    again, told = Recoveries(), []
    again.restored.connect(told.append)
    again.watch([town])
    again._restore()
    assert (told, town.labels.isModified()) == ([], False)
    again.release()
