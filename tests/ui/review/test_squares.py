import re
import sqlite3

import pytest
from mouse import move
from osgeo import ogr
from qgis.core import Qgis, QgsGeometry, QgsPointXY, QgsProject, QgsVectorLayer, QgsVectorLayerUtils
from qgis.PyQt.QtCore import QCoreApplication, QEvent, Qt
from qgis.PyQt.QtGui import QKeyEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication
from review_squares import FIELD, NOTHING, TWO_PARTS_OF_AN_ORCHARD, outline, rows, write_squares
from scene import LEFT, TOP, square, wait_until

from orthomask.protocol import Split
from orthomask.ui.label.empty_areas import count_splits, empty_areas
from orthomask.ui.label.project import open_project
from orthomask.ui.review import draft_store, session
from orthomask.ui.review.keys import Step
from orthomask.ui.review.panel import ReviewPanel
from orthomask.ui.review.square_view import IDLE_SECONDS
from orthomask.ui.review.squares import mark_checked
from orthomask.ui.runs import results

WEST, EAST = TWO_PARTS_OF_AN_ORCHARD
NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(draft_store, "unsaved_folder", lambda: tmp_path / "unsaved")
    return tmp_path / "unsaved"


@pytest.fixture
def path(tmp_path):
    return write_squares(
        tmp_path / "town.gpkg", (*FIELD, "train"), (*WEST, "test"), (*EAST, "train"), (*NOTHING, "train")
    )


@pytest.fixture
def polygons(qgis_new_project, run_folder):
    return QgsProject.instance().addMapLayer(results.polygon_layer(results.read_run(run_folder)))


@pytest.fixture
def panel(qgis_iface, canvas, bar, client, polygons, path):
    open_project(QgsProject.instance(), path)
    canvas.setExtent(polygons.extent())
    panel = ReviewPanel(qgis_iface, client)
    panel.resize(340, 600)
    panel.show()
    yield panel
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer):
            layer.rollBack()
    panel.release()
    panel.deleteLater()
    QCoreApplication.processEvents()


@pytest.fixture
def box(panel):
    return panel.squares


def key(canvas, which):
    QTest.keyClick(canvas, which)


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def titles(box):
    return [box.list.item(row).text() for row in range(box.list.count())]


def begin(box):
    """What a click on Next does: the first square that is to do."""
    press(box.bar.buttons[Step.NEXT])


def group_transactions(on):
    project = QgsProject.instance()
    if Qgis.QGIS_VERSION_INT < 32600:
        project.setAutoTransaction(on)
    else:
        modes = Qgis.TransactionMode
        project.setTransactionMode(modes.AutomaticGroups if on else modes.Disabled)


def to_screen(canvas, x, y):
    point = canvas.getCoordinateTransform().transform(QgsPointXY(LEFT + x, TOP - y))
    return round(point.x()), round(point.y())


def test_squares_are_listed_by_rank_with_state_purpose_and_reason(panel, box):
    assert titles(box)[:2] == ["1   to do · training", "2   to do · test"]
    assert box.list.item(0).toolTip() == "square 1: Unsure of 12% of the pixels"
    assert box.words.text() == "0 of 4 checked."
    assert panel.context.target == panel.context.polygons


def test_a_square_fills_the_map_and_its_drafts_lie_on_top_dashed(panel, box, canvas, polygons):
    begin(box)
    drafts = panel.context.target
    assert drafts == box.drafts != polygons
    assert drafts.isEditable()
    assert not drafts.isModified()
    assert [(f["class"], f["class_value"]) for f in drafts.getFeatures()] == [("field", 1)]
    categories = drafts.renderer().categories()  # which own their symbols
    symbol = categories[0].symbol()
    assert symbol.symbolLayerCount() == 2
    assert symbol.symbolLayer(1).strokeStyle() == Qt.PenStyle.DashLine
    root = QgsProject.instance().layerTreeRoot()
    assert root.children()[0].layer() == drafts
    assert not root.findLayer(polygons.id()).itemVisibilityChecked()
    assert canvas.hasFocus() or canvas.viewport().hasFocus() or not canvas.isActiveWindow()
    press(box.bar.close_button)
    wait_until(lambda: root.children()[0].name() != "Drafts")
    assert root.findLayer(polygons.id()).itemVisibilityChecked()
    assert panel.context.target == polygons


@pytest.mark.parametrize("rotation", [0, 30, -75])
def test_a_square_is_wholly_in_view_on_a_turned_map(box, canvas, rotation):
    canvas.setRotation(rotation)
    begin(box)
    x, side = FIELD
    corners = [(x, 12), (x + side, 12), (x + side, 12 - side), (x, 12 - side)]
    points = [to_screen(canvas, *corner) for corner in corners]
    width, height = canvas.viewport().width(), canvas.viewport().height()
    assert all(0 < px < width and 0 < py < height for px, py in points)
    assert max(py for _, py in points) - min(py for _, py in points) > 0.7 * height
    canvas.setRotation(0)


def test_accepting_by_key_saves_labels_and_square_and_goes_on(panel, box, canvas, path):
    now = [0.0]
    box.view._now = lambda: now[0]
    begin(box)
    now[0] = 7.5
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "labels", "class", "origin", "run_id") == [(1, "accepted", "0123456789ab")]
    assert NOW.fullmatch(rows(path, "labels", "changed_at")[0][0])
    assert rows(path, "areas", "state", "seconds")[:2] == [("checked", 7.5), ("todo", None)]
    assert titles(box)[0].startswith("1   checked")
    assert box.words.text() == "1 of 4 checked, about 22 s left."
    assert box.list.currentRow() == 1
    assert box.reason.text() == "square 2: Unsure of 12% of the pixels."


def test_an_object_across_two_squares_becomes_a_label_once(panel, box, canvas, path):
    begin(box)
    key(canvas, Qt.Key.Key_A)
    assert [f["class"] for f in box.drafts.getFeatures()] == ["orchard"]
    key(canvas, Qt.Key.Key_A)
    assert box.drafts.featureCount() == 0, "the label of the square before is the same object"
    key(canvas, Qt.Key.Key_A)
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "labels", "class") == [(1,), (2,)]
    assert {state for (state,) in rows(path, "areas", "state")} == {"checked"}
    assert box.words.text() == "All 4 squares are checked."
    assert box.drafts is None


def test_what_was_rejected_in_one_square_does_not_come_again_in_the_next(panel, box, canvas, tmp_path):
    panel.choice.choose_project(
        open_project(QgsProject.instance(), write_squares(tmp_path / "v.gpkg", (18, 6, "train"), (24, 6, "train"))).path
    )
    begin(box)
    box.drafts.selectAll()
    key(canvas, Qt.Key.Key_X)
    key(canvas, Qt.Key.Key_A)
    assert box.drafts.featureCount() == 0


def test_origin_says_what_was_done(panel, box, canvas, path):
    begin(box)
    drafts = box.drafts
    (draft,) = drafts.getFeatures()
    drafts.changeGeometry(draft.id(), QgsGeometry.fromWkt(outline(10, 3)))
    drafts.addFeature(QgsVectorLayerUtils.createFeature(drafts, QgsGeometry.fromWkt(outline(14, 1)), {}))
    copy = QgsVectorLayerUtils.createFeature(
        drafts, QgsGeometry.fromWkt(outline(15, 1)), dict(enumerate(draft.attributes()))
    )
    drafts.addFeature(copy)  # as splitting does
    key(canvas, Qt.Key.Key_A)
    assert sorted(rows(path, "labels", "class", "origin")) == [(1, "added"), (1, "corrected"), (1, "corrected")]


def test_an_object_added_in_place_of_a_removed_one_is_added(box, canvas, path):
    begin(box)
    box.drafts.selectAll()
    key(canvas, Qt.Key.Key_X)
    drafts = box.drafts
    drafts.addFeature(QgsVectorLayerUtils.createFeature(drafts, QgsGeometry.fromWkt(outline(10, 5)), {}))
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "labels", "origin") == [("added",)]


def test_another_class_is_a_correction(panel, box, canvas, path):
    begin(box)
    drafts = box.drafts
    (draft,) = drafts.getFeatures()
    drafts.changeAttributeValue(draft.id(), drafts.fields().lookupField("class"), "orchard")
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "labels", "class", "origin") == [(2, "corrected")]


@pytest.mark.parametrize("which", [Qt.Key.Key_X, Qt.Key.Key_Delete])
def test_the_draft_under_the_cursor_is_rejected_and_undone(box, canvas, path, which):
    begin(box)
    move(canvas, *to_screen(canvas, 9, 9))
    key(canvas, which)
    assert box.drafts.featureCount() == 1, "nothing is there"
    move(canvas, *to_screen(canvas, 12, 7))
    key(canvas, which)
    assert box.drafts.featureCount() == 0
    key(canvas, Qt.Key.Key_U)
    assert box.drafts.featureCount() == 1
    assert not box.bar.buttons[Step.UNDO].isEnabled()


def test_keys_do_nothing_without_a_square_or_in_a_field(panel, box, canvas, path):
    key(canvas, Qt.Key.Key_A)
    assert box.drafts is None
    begin(box)
    panel.suggest.count.setFocus()
    QTest.keyClick(panel.suggest.count, Qt.Key.Key_A)
    assert {state for (state,) in rows(path, "areas", "state")} == {"todo"}
    QTest.keyClick(canvas, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert {state for (state,) in rows(path, "areas", "state")} == {"todo"}


def test_a_key_that_is_held_accepts_one_square(box, canvas, path):
    begin(box)
    for repeated in (False, True, True):
        none = Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(canvas, QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_A, none, "a", repeated))
    assert [state for (state,) in rows(path, "areas", "state")] == ["checked", "todo", "todo", "todo"]


def test_next_and_previous_go_round_and_keep_changed_drafts(box, canvas, kept):
    begin(box)
    box.drafts.selectAll()
    key(canvas, Qt.Key.Key_X)
    key(canvas, Qt.Key.Key_B)
    assert box.list.currentRow() == 3
    assert len(list(kept.glob("town-*.drafts"))) == 1
    key(canvas, Qt.Key.Key_N)
    assert box.list.currentRow() == 0
    assert box.drafts.featureCount() == 0, "still rejected"
    key(canvas, Qt.Key.Key_U)
    assert box.drafts.featureCount() == 1


def test_drafts_of_the_square_in_view_survive_a_crash(box, canvas, path, kept):
    begin(box)
    drafts = box.drafts
    (draft,) = drafts.getFeatures()
    drafts.changeGeometry(draft.id(), QgsGeometry.fromWkt(outline(10, 3)))
    drafts.addFeature(QgsVectorLayerUtils.createFeature(drafts, QgsGeometry.fromWkt(outline(14, 1)), {}))
    before = sorted(f.geometry().asWkt() for f in drafts.getFeatures())
    assert box._session._timer.isActive()
    box._session.keep()  # a second later
    copy = {file.name: file.read_bytes() for file in kept.iterdir()}
    drafts.rollBack()
    box.close_square()
    assert list(kept.iterdir()) == [], "nothing was changed"
    for name, content in copy.items():
        (kept / name).write_bytes(content)
    begin(box)
    assert sorted(f.geometry().asWkt() for f in box.drafts.getFeatures()) == before
    key(canvas, Qt.Key.Key_A)
    assert list(kept.iterdir()) == []
    assert sorted(rows(path, "labels", "origin")) == [("added",), ("corrected",)]


def test_a_broken_copy_of_drafts_does_no_harm(box, kept):
    begin(box)
    kept.mkdir(exist_ok=True)
    box._session._store._path.write_text("[1, 2")
    box.close_square()
    begin(box)
    assert box.drafts.featureCount() == 1


def test_a_checked_square_is_taken_back_and_its_labels_stay(panel, box, canvas, path):
    begin(box)
    key(canvas, Qt.Key.Key_A)
    key(canvas, Qt.Key.Key_B)
    accept = box.bar.buttons[Step.ACCEPT]
    assert accept.text() == "Check again"
    assert box.drafts is None
    assert panel.context.target == panel.context.polygons
    press(accept)
    assert rows(path, "areas", "state")[0] == ("todo",)
    assert len(rows(path, "labels", "class")) == 1
    assert box.drafts.featureCount() == 0, "what is labelled is no draft"
    assert accept.text() == "Accept"


def test_time_counts_only_while_somebody_works(box, canvas, path):
    now = [0.0]
    box.view._now = lambda: now[0]
    begin(box)
    for at in (1.0, 3.0, 3.0 + IDLE_SECONDS + 1, 3.0 + IDLE_SECONDS + 2):
        now[0] = at
        move(canvas, 10, 10)
    assert box.view.seconds == 4.0
    key(canvas, Qt.Key.Key_N)
    key(canvas, Qt.Key.Key_B)
    now[0] += 2
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "areas", "seconds")[0] == (6.0,), "also what was spent on it before"


def test_unsaved_edits_of_labels_and_areas_stay_unsaved(panel, box, canvas, path):
    project = panel.context.project
    begin(box)
    key(canvas, Qt.Key.Key_A)
    project.labels.startEditing()
    project.labels.addFeature(QgsVectorLayerUtils.createFeature(project.labels, QgsGeometry.fromWkt(square(0)), {}))
    project.areas.startEditing()
    project.areas.changeAttributeValue(1, project.areas.fields().lookupField("name"), "mine")
    key(canvas, Qt.Key.Key_A)
    assert project.labels.featureCount() == 3
    assert len(rows(path, "labels", "class")) == 2
    assert rows(path, "areas", "name", "state")[:2] == [("square 1", "checked"), ("square 2", "checked")]
    project.labels.undoStack().undo()
    assert project.labels.featureCount() == 2
    assert project.areas.getFeature(1)["name"] == "mine"
    assert project.areas.getFeature(2)["state"] == "checked"


def test_older_labels_with_unsaved_edits_are_to_be_saved_first(panel, box, canvas, bar, path):
    project = panel.context.project
    project.labels.startEditing()
    project.labels.addFeature(QgsVectorLayerUtils.createFeature(project.labels, QgsGeometry.fromWkt(square(0)), {}))
    begin(box)
    told = []
    box.failed.connect(told.append)
    key(canvas, Qt.Key.Key_A)
    assert "Save or discard" in told[0].remedy
    assert rows(path, "areas", "state")[0] == ("todo",)
    assert box.drafts.featureCount() == 1
    assert project.labels.commitChanges()
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "labels", "class", "origin") == [(1, None), (1, "accepted")]


def test_older_labels_get_their_attributes_while_they_are_edited(panel, box, canvas, path):
    labels = panel.context.project.labels
    labels.startEditing()
    begin(box)
    key(canvas, Qt.Key.Key_A)
    assert rows(path, "labels", "class", "origin") == [(1, "accepted")]
    labels.addFeature(QgsVectorLayerUtils.createFeature(labels, QgsGeometry.fromWkt(square(0)), {}))
    assert labels.commitChanges()
    assert rows(path, "labels", "class", "origin") == [(1, "accepted"), (1, "drawn")]


def test_a_file_that_cannot_be_written_leaves_all_as_it_was(panel, box, canvas, path, monkeypatch):
    begin(box)
    key(canvas, Qt.Key.Key_A)
    told = []
    box.failed.connect(told.append)
    provider = type(panel.context.project.areas.dataProvider())
    monkeypatch.setattr(provider, "changeAttributeValues", lambda *_: False)
    before = rows(path, "labels", "class"), rows(path, "areas", "state")
    key(canvas, Qt.Key.Key_A)
    assert "cannot be written" in told[0].sentence
    assert (rows(path, "labels", "class"), rows(path, "areas", "state")) == before
    assert box.drafts.featureCount() == 1
    monkeypatch.undo()
    key(canvas, Qt.Key.Key_A)
    assert len(rows(path, "labels", "class")) == 2


def test_edits_in_a_transaction_group_are_to_be_saved_first(panel, box, canvas, path):
    group_transactions(True)
    panel.context.project.labels.startEditing()
    begin(box)
    told = []
    box.failed.connect(told.append)
    key(canvas, Qt.Key.Key_A)
    group_transactions(False)
    assert "transaction group" in told[0].sentence
    assert rows(path, "areas", "state")[0] == ("todo",)


def test_a_square_that_another_window_has_checked_is_not_accepted_again(box, canvas, path):
    begin(box)
    other = ogr.Open(path, 1)
    there = other.GetLayerByName("areas")
    square = there.GetFeature(1)
    square["state"] = "checked"
    there.SetFeature(square)
    del square, there, other
    told = []
    box.failed.connect(told.append)
    key(canvas, Qt.Key.Key_A)
    assert told[0].sentence == "square 1 has been checked or deleted elsewhere."
    assert rows(path, "labels", "class") == []


def test_a_crash_between_labels_and_square_leaves_a_square_to_do_and_no_label_twice(
    panel, box, canvas, path, monkeypatch
):
    class Killed(BaseException):
        """The process ends here."""

    def die(*_):
        raise Killed

    begin(box)
    monkeypatch.setattr(session, "mark_checked", die)
    with pytest.raises(Killed):
        box._session.accept()
    monkeypatch.setattr(session, "mark_checked", mark_checked)
    assert len(rows(path, "labels", "class")) == 1
    assert count_splits(panel.context.project.areas, panel.context.project.labels) == {Split.TODO: 4}
    box.close_square()
    begin(box)
    assert box.drafts.featureCount() == 0
    key(canvas, Qt.Key.Key_A)
    assert len(rows(path, "labels", "class")) == 1


def test_a_label_project_or_run_that_is_closed_ends_the_review(panel, box, polygons, canvas):
    begin(box)
    QgsProject.instance().removeMapLayer(panel.context.project.labels.id())
    assert box.drafts is None
    assert box.list.count() == 0
    assert not box.bar.isVisible()
    wait_until(lambda: not QgsProject.instance().mapLayersByName("Drafts"))


def test_polygons_that_are_removed_end_the_review(panel, box, polygons):
    begin(box)
    QgsProject.instance().removeMapLayer(polygons.id())
    assert box.drafts is None
    assert panel.context.target is None


def test_drafts_that_are_removed_close_the_square(panel, box, polygons):
    begin(box)
    QgsProject.instance().removeMapLayer(box.drafts.id())
    assert box.drafts is None
    assert box.list.currentRow() == -1
    assert panel.context.target == polygons
    begin(box)
    assert box.drafts.featureCount() == 1


def test_a_qgis_project_that_is_closed_ends_the_review(panel, box):
    begin(box)
    QgsProject.instance().clear()
    assert box.drafts is None
    assert panel.context.run is None


def test_a_qgis_project_saved_with_a_square_in_view_opens_with_the_polygons_and_without_drafts(panel, box, tmp_path):
    begin(box)
    polygons = panel.context.polygons.id()
    assert not QgsProject.instance().layerTreeRoot().findLayer(polygons).itemVisibilityChecked()
    path = str(tmp_path / "town.qgz")
    QgsProject.instance().write(path)
    QgsProject.instance().clear()
    QgsProject.instance().read(path)
    wait_until(lambda: not QgsProject.instance().mapLayersByName("Drafts"))
    assert QgsProject.instance().layerTreeRoot().findLayer(polygons).itemVisibilityChecked()
    assert len(titles(box)) == 4


def test_classes_that_the_project_lacks_are_named(panel, box, path, monkeypatch):
    with sqlite3.connect(path) as file:
        file.execute("UPDATE orthomask_classes SET name = 'vineyard' WHERE value = 2")
    QgsProject.instance().removeMapLayers([panel.context.project.labels.id(), panel.context.project.areas.id()])
    open_project(QgsProject.instance(), path)
    assert box.words.text().startswith("The label project has no class “orchard”: objects of it are left out. 0 of 4")
    with sqlite3.connect(path) as file:
        file.execute("UPDATE orthomask_classes SET name = 'meadow' WHERE value = 1")
    QgsProject.instance().removeMapLayers([panel.context.project.labels.id(), panel.context.project.areas.id()])
    open_project(QgsProject.instance(), path)
    assert "Make a label project with the classes of the run." in box.words.text()
    assert not box.bar.isVisible()
    box.list.setCurrentRow(0)
    assert box.drafts is None


def test_squares_that_the_run_did_not_map_cannot_be_accepted(panel, box, canvas, tmp_path):
    path = write_squares(tmp_path / "far.gpkg", (500, 8, "train"), (28, 8, "train"), (*FIELD, "train"))
    panel.choice.choose_project(open_project(QgsProject.instance(), path).path)
    for _ in range(2):
        press(box.bar.buttons[Step.NEXT])
        assert "The run did not map" in box.reason.text()
        assert box.drafts is None
        key(canvas, Qt.Key.Key_A)
    assert {state for (state,) in rows(path, "areas", "state")} == {"todo"}
    key(canvas, Qt.Key.Key_N)
    assert box.drafts.featureCount() == 1


@pytest.mark.parametrize(("split", "told"), [("train", "All are for training"), ("test", "None is for training")])
def test_squares_of_one_purpose_alone_are_told(panel, box, canvas, tmp_path, split, told):
    path = write_squares(tmp_path / "sided.gpkg", *((x, 3, split) for x in (0, 5, 10, 15)))
    panel.choice.choose_project(open_project(QgsProject.instance(), path).path)
    begin(box)
    for _ in range(3):
        key(canvas, Qt.Key.Key_A)
    assert told not in box.words.text()
    key(canvas, Qt.Key.Key_A)
    assert told in box.words.text()


def test_squares_count_once_they_are_checked(panel, box, canvas):
    project = panel.context.project
    assert count_splits(project.areas, project.labels) == {Split.TODO: 4}
    assert empty_areas(project.areas, project.labels) == {}
    begin(box)
    key(canvas, Qt.Key.Key_A)
    assert count_splits(project.areas, project.labels) == {Split.TRAIN: 1, Split.TODO: 3}


def test_labels_drawn_by_hand_are_dated(panel, box, canvas, path):
    begin(box)
    key(canvas, Qt.Key.Key_A)  # an older project now has the attributes
    labels = panel.context.project.labels
    labels.startEditing()
    drawn = QgsVectorLayerUtils.createFeature(labels, QgsGeometry.fromWkt(square(0)), {})
    assert drawn["origin"] == "drawn"
    assert NOW.fullmatch(drawn["changed_at"])
    labels.dataProvider().changeAttributeValues({1: {labels.fields().lookupField("changed_at"): "long ago"}})
    labels.changeGeometry(1, QgsGeometry.fromWkt(outline(10, 2)))
    assert NOW.fullmatch(labels.getFeature(1)["changed_at"])
    assert labels.getFeature(1)["origin"] == "accepted"
