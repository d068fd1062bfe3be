import re

import pytest
from change_files import result_of, write_changes
from osgeo import ogr
from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from review_squares import rows
from scene import LEFT, TOP, write_project

from orthomask.protocol import Change, ChangesResult, Review, from_json
from orthomask.ui.change.keys import Step
from orthomask.ui.change.layers import add_changes
from orthomask.ui.change.panel import ChangesPanel
from orthomask.ui.label.project import open_project
from orthomask.ui.review.squares import squares_of

NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
KEY = Qt.Key


@pytest.fixture
def path(tmp_path):
    write_changes(tmp_path / "changes.gpkg")
    return tmp_path / "changes.gpkg"


@pytest.fixture
def panel(qgis_iface, canvas, bar, client, path, qgis_new_project):
    """The panel with a comparison of an earlier day: an object is new, one is removed, one unsure, one unchanged."""
    panel = ChangesPanel(qgis_iface, client)
    panel.resize(340, 800)
    panel.show()
    add_changes(QgsProject.instance(), from_json(ChangesResult, result_of(path)), ("2012", "2013"), ("", ""))
    QCoreApplication.processEvents()
    yield panel
    panel.release()
    panel.deleteLater()
    QCoreApplication.processEvents()


@pytest.fixture
def box(panel):
    assert panel.review.isVisible()
    return panel.review


@pytest.fixture
def project(tmp_path, panel):
    return open_project(QgsProject.instance(), write_project(tmp_path / "town.gpkg"))


@pytest.fixture
def still(panel, canvas):
    """Nothing is drawn: a thread of QGIS's that reads a file which is taken away can end the process."""
    canvas.freeze()
    canvas.waitWhileRendering()
    yield
    canvas.freeze(False)


def press(canvas, *keys):
    for key in keys:
        QTest.keyClick(canvas, key)


def answers(path):
    dataset = ogr.Open(str(path))
    return {feature["kind"]: feature["review"] for feature in dataset.GetLayerByName("changes")}


def test_keys_go_through_the_changes_each_fills_the_map_with_its_reason(box, canvas):
    box.bar.buttons[Step.NEXT].click()
    assert box.found.kind is Change.NEW
    assert "<b>new</b> · Nothing was there." in box.bar.reason.text()
    assert canvas.center().distance(LEFT + 10.5, TOP - 12.5) < 0.1
    assert 20 <= canvas.extent().width() <= 40
    press(canvas, KEY.Key_N)
    assert box.found.kind is Change.REMOVED
    press(canvas, KEY.Key_N, KEY.Key_N)
    assert box.found.kind is Change.NEW, "the unchanged one is left out"
    press(canvas, KEY.Key_B)
    assert box.found.kind is Change.UNSURE


def test_answers_are_in_the_file_at_once_and_the_counts_follow(box, canvas, path):
    assert box.words.text() == "0 of 3 changes reviewed."
    box.bar.buttons[Step.NEXT].click()
    press(canvas, KEY.Key_A, KEY.Key_X)
    assert answers(path) == {"unchanged": "", "new": "right", "removed": "wrong", "unsure": ""}
    times = [at for (at,) in rows(path, "changes", "reviewed_at")]
    assert [bool(NOW.fullmatch(at)) for at in times] == [False, True, True, False]
    assert box.words.text() == "2 of 3 changes reviewed: 1 right, 1 wrong, 0 unsure."
    assert box.found.kind is Change.UNSURE, "the next one without an answer"
    press(canvas, KEY.Key_D)
    assert box.found is None, "nothing is left"
    assert answers(path)["unsure"] == "unsure"


def test_undo_takes_the_last_answer_back(box, canvas, path):
    box.bar.buttons[Step.NEXT].click()
    press(canvas, KEY.Key_A, KEY.Key_X, KEY.Key_U)
    assert box.found.kind is Change.REMOVED
    assert answers(path) == {"unchanged": "", "new": "right", "removed": "", "unsure": ""}
    assert rows(path, "changes", "reviewed_at")[2] == ("",)
    press(canvas, KEY.Key_U)
    assert set(answers(path).values()) == {""}
    assert not box.bar.buttons[Step.UNDO].isEnabled()


def test_a_reviewed_change_becomes_an_area_to_check_and_is_no_truth(box, canvas, project):
    box.project_chooser.setCurrentIndex(1)
    assert box.project.name == "town"
    box.bar.buttons[Step.NEXT].click()
    press(canvas, KEY.Key_X)
    (square,) = squares_of(project.areas)
    assert square.reason == "The change “new” was reviewed as wrong"
    assert (square.checked, square.split.value) == (False, "train")
    box_of = square.geometry.boundingBox()
    assert (box_of.width(), box_of.height()) == (pytest.approx(40, rel=0.01), pytest.approx(40, rel=0.01))
    assert box_of.contains(canvas.center())
    assert rows(project.path, "labels", "class") == []
    press(canvas, KEY.Key_A)
    assert len(squares_of(project.areas)) == 1, "the first area covers the next change, too"
    press(canvas, KEY.Key_U, KEY.Key_U)
    assert squares_of(project.areas) == []


def test_an_unsure_answer_and_no_label_project_add_no_area(box, canvas, project):
    box.bar.buttons[Step.NEXT].click()
    press(canvas, KEY.Key_X)
    box.project_chooser.setCurrentIndex(1)
    press(canvas, KEY.Key_D)
    assert squares_of(project.areas) == []


def test_a_row_of_the_table_shows_and_reviews_one_kind(panel, box, canvas):
    table, layer = panel.outcome.table, panel.outcome.layer
    QTest.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(table.item(1, 0)).center()
    )  # fmt: skip
    shown = [each.value() for each in layer.renderer().categories() if each.renderState()]
    assert shown == ["removed"]
    assert box.words.text() == "0 of 1 change reviewed."
    assert canvas.center().distance(LEFT + 16.5, TOP - 12.5) < 0.1
    QTest.keyClick(table, KEY.Key_Return)
    assert len([each for each in layer.renderer().categories() if each.renderState()]) == 9
    assert box.words.text() == "0 of 3 changes reviewed."


def test_a_file_that_cannot_be_written_says_so_and_keeps_the_change_in_view(box, canvas, bar, path, still):
    box.bar.buttons[Step.NEXT].click()
    path.unlink()
    press(canvas, KEY.Key_A)
    assert box.found.review is Review.NONE
    assert box.words.text() == "0 of 3 changes reviewed."
    assert "cannot be written" in bar.currentItem().findChildren(type(box.words))[-1].text()


def test_a_layer_that_goes_ends_the_review(panel, box, canvas):
    before = len(canvas.scene().items())
    box.bar.buttons[Step.NEXT].click()
    assert len(canvas.scene().items()) == before + 1
    QgsProject.instance().removeMapLayer(panel.outcome.layer)
    assert not box.isVisible()
    assert not panel.outcome.isVisible()
    assert len(canvas.scene().items()) == before
    press(canvas, KEY.Key_A)


def test_keys_mean_nothing_while_the_panel_is_hidden(panel, box, canvas, path):
    box.bar.buttons[Step.NEXT].click()
    panel.hide()
    press(canvas, KEY.Key_A)
    assert answers(path)["new"] == ""


def test_a_comparison_is_there_again_with_its_project(panel, box, tmp_path):
    QgsProject.instance().write(str(tmp_path / "town.qgs"))
    QgsProject.instance().clear()
    assert panel.outcome.layer is None
    QgsProject.instance().read(str(tmp_path / "town.qgs"))
    QCoreApplication.processEvents()
    assert "1.26 m" in panel.outcome.shift.text()
    assert panel.outcome.report_button.isEnabled()
    assert box.words.text() == "0 of 3 changes reviewed."
