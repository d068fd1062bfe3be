"""Once through the review with the real engine: a run, squares, two of them checked by keyboard, what then counts."""

from pathlib import Path

import pytest
from mouse import click, drag, move
from osgeo import ogr
from qgis.core import QgsCoordinateTransform, QgsGeometry, QgsProject
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog
from scene import PATIENCE_SECONDS, wait_until

import orthomask
from orthomask.protocol import Areas, Image, Labels, MaskRequest
from orthomask.ui.client import environment
from orthomask.ui.client.engine_client import EngineClient
from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.review import draft_store

BRIEF = """
import os, sys
answers = os.dup(1)
os.dup2(2, 1)
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from orthomask import worker
from orthomask.training.loop import replay, requests
replay.KEPT_OUT = 40
requests.LEARNING = replace(requests.LEARNING, steps=2, batch=2)
worker.main(answers)
"""
"""The engine with epochs of two steps, judged on a few chips: what minutes go into is not what this tests."""


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def rows(path, layer, *fields):
    dataset = ogr.Open(str(path))
    return [tuple(feature[name] for name in fields) for feature in dataset.GetLayerByName(layer)]


@pytest.fixture(scope="module")
def client():
    def command():
        python, *_ = environment.worker_command()
        return [python, "-s", "-u", "-c", BRIEF, str(Path(orthomask.__file__).parents[1])]

    client = EngineClient(command)
    yield client
    client.close()


@pytest.fixture
def review(dock, qgis_iface, sample, tmp_path, monkeypatch):
    """The panel after a run of a part of the photograph, with a new label project of the run's classes."""

    def accept(dialog):
        dialog.file_chooser.setFilePath(str(tmp_path / "banepa.gpkg"))
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(NewProjectDialog, "exec", accept)
    monkeypatch.setattr(draft_store, "unsaved_folder", lambda: tmp_path / "unsaved")
    press(dock.segment.region.rectangle_button)
    drag(qgis_iface.mapCanvas(), (100, 100), (200, 200), (260, 260))
    wait_until(dock.segment.run_bar.run_button.isEnabled, PATIENCE_SECONDS)
    press(dock.segment.run_bar.run_button)
    wait_until(dock.segment.run_bar.run_button.isVisible, PATIENCE_SECONDS)
    dock.tabs.setCurrentWidget(dock.review)
    press(dock.review.choice.new_button)
    wait_until(lambda: dock.review.context.project is not None, PATIENCE_SECONDS)
    return dock.review


def suggest(review, count, side):
    review.suggest.count.setValue(count)
    review.suggest.side.setValue(side)
    press(review.suggest.run_bar.run_button)
    wait_until(lambda: review.suggest._task is None, PATIENCE_SECONDS)


def test_two_squares_are_checked_by_keyboard_and_count(review, qgis_iface, sample, client, tmp_path):
    canvas, path = qgis_iface.mapCanvas(), tmp_path / "banepa.gpkg"
    assert review.suggest.side.value() == 40
    suggest(review, 4, 15)
    assert sorted(rows(path, "areas", "split")) == [("train",)] * 3 + [("validation",)]
    wait_until(lambda: review.squares.list.count() == 4)
    QTest.keyClick(canvas, Qt.Key.Key_N)  # not yet: no square is in view
    assert review.squares.drafts is None
    review.squares.list.setCurrentRow(0)
    for _ in range(3):  # to one where something was found
        if review.context.target.featureCount() == 0:
            QTest.keyClick(canvas, Qt.Key.Key_N)
    drafts = review.context.target
    given = drafts.featureCount()
    assert given > 0
    assert canvas.extent().width() < 40
    draft = next(drafts.getFeatures())
    inside = draft.geometry().pointOnSurface()
    inside.transform(QgsCoordinateTransform(drafts.crs(), canvas.mapSettings().destinationCrs(), QgsProject.instance()))
    canvas.setCenter(inside.asPoint())
    there = canvas.getCoordinateTransform().transform(inside.asPoint())
    move(canvas, round(there.x()), round(there.y()))
    QTest.keyClick(canvas, Qt.Key.Key_X)
    assert drafts.featureCount() == given - 1
    QTest.keyClick(canvas, Qt.Key.Key_U)
    QTest.keyClick(canvas, Qt.Key.Key_A)
    second = review.squares.drafts.featureCount()
    QTest.keyClick(canvas, Qt.Key.Key_A)
    labels = rows(path, "labels", "class", "origin", "run_id")
    assert labels == [(1, "accepted", review.context.run.record["run_id"])] * (given + second)
    assert sorted(rows(path, "areas", "state")) == [("checked",)] * 2 + [("todo",)] * 2
    request = MaskRequest(
        Image(str(sample.source())), (Labels(str(path), "labels"),), str(tmp_path / "mask.tif"), Areas(str(path))
    )
    answer = client.call(request)
    assert any("2 suggested squares are left out" in warning for warning in answer.warnings)
    suggest(review, 1, 15)  # QGIS alone writes to the project, so the engine sees what was checked
    assert len(rows(path, "areas", "state")) == 5


def test_once_round_the_loop(review, dock, qgis_iface, tmp_path):
    """Suggest, check, add by a click, learn, stop, compare, use, go back."""
    canvas, path = qgis_iface.mapCanvas(), tmp_path / "banepa.gpkg"
    suggest(review, 4, 15)
    wait_until(lambda: review.squares.list.count() == 4)
    for row in range(4):
        review.squares.list.setCurrentRow(row)
        drafts = review.context.target
        if row == 0 or drafts.featureCount() == 0:  # learning and choosing both need an object
            add_by_click(review, canvas)
        QTest.keyClick(canvas, Qt.Key.Key_A)
    assert "added" in {origin for (origin,) in rows(path, "labels", "origin")}
    learn, versions = review.learn, review.versions
    wait_until(learn.bar.main_button.isEnabled, PATIENCE_SECONDS)
    press(learn.bar.main_button)
    wait_until(lambda: len(learn.view.curves._epochs) > 0, PATIENCE_SECONDS)
    press(learn.bar.stop_button)
    wait_until(learn.result.isVisible, PATIENCE_SECONDS)
    assert learn.result.verdict.text()
    press(learn.result.comparison.run_button)
    wait_until(lambda: QgsProject.instance().mapLayersByName("Differences"), PATIENCE_SECONDS)
    wait_until(learn.result.use.isEnabled, PATIENCE_SECONDS)
    base = dock.segment.model.model.path
    press(learn.result.use)
    wait_until(lambda: versions.versions.current == 1, PATIENCE_SECONDS)
    wait_until(lambda: dock.segment.model.model.path == versions.versions.versions[1].model_path, PATIENCE_SECONDS)
    dock.tabs.setCurrentWidget(review)
    versions.list.setCurrentItem(versions.list.topLevelItem(0))
    press(versions.use_button)
    wait_until(lambda: versions.versions.current == 0, PATIENCE_SECONDS)
    assert dock.segment.model.model.path == base
    assert rows(path, "orthomask_versions", "current") == [(1,), (0,)]


def add_by_click(review, canvas):
    """Add an object where there is none yet."""
    drafts = review.context.target
    before, to_map = drafts.featureCount(), canvas.getCoordinateTransform()
    to_layer = QgsCoordinateTransform(
        canvas.mapSettings().destinationCrs(), drafts.crs(), QgsProject.instance()
    ).transform
    taken = QgsGeometry.unaryUnion([each.geometry() for each in drafts.getFeatures()])
    x, y = next(
        (x, y)
        for x in range(100, 300, 20)
        for y in range(100, 300, 20)
        if not taken.contains(QgsGeometry.fromPointXY(to_layer(to_map.toMapCoordinates(x, y))).buffer(0.3, 4))
    )
    press(review.tools.add_button)
    move(canvas, x, y)
    click(canvas, x, y)
    wait_until(lambda: drafts.featureCount() == before + 1, PATIENCE_SECONDS)
    review.tools.add_button.click()
