import pytest
from osgeo import ogr, osr
from qgis.core import QgsApplication, QgsGeometry, QgsProject
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from scene import CRS, square, wait_until, write_project

from orthomask.protocol import ErrorCode, Fault, InspectResult
from orthomask.ui.label.project import open_project
from orthomask.ui.review.context import Context
from orthomask.ui.review.quality.finding_list import KINDS
from orthomask.ui.review.quality.inspecting import Inspected, _read
from orthomask.ui.review.quality.quality_box import QualityBox
from orthomask.ui.runs.results import read_run

SHIFT = ("Move the labels 1.2 m east, 0.4 m south to match the image (± 0.1 m, from 40 labels)", 1.2, -0.4)
FOUND = [("shifted", *SHIFT, 0), ("unlabelled", "The model is 97% sure", None, None, 20),
         ("contradicted", "Labelled field, but the model finds background", None, None, 10)]  # fmt: skip


def write_findings(path, found):
    """Findings (kind, reason, east and north in metres, x)."""
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    layer = dataset.CreateLayer("findings", reference, ogr.wkbMultiPolygon)
    for name in ("kind", "reason"):
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTString))
    for name in ("east_m", "north_m", "x", "y"):
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTReal))
    for kind, reason, east, north, x in found:
        feature = ogr.Feature(layer.GetLayerDefn())
        feature["kind"], feature["reason"] = kind, reason
        if east is not None:
            feature["east_m"], feature["north_m"], feature["x"], feature["y"] = east, north, east, north
        feature.SetGeometry(ogr.ForceToMultiPolygon(ogr.CreateGeometryFromWkt(square(x))))
        layer.CreateFeature(feature)


@pytest.fixture
def found(tmp_path, engine, monkeypatch):
    folder = tmp_path / "answers"
    folder.mkdir()
    monkeypatch.setenv("FAKE_RUN", str(folder))
    write_findings(folder / "findings.gpkg", FOUND)
    return folder / "findings.gpkg"


@pytest.fixture
def town(qgis_new_project, tmp_path):
    path = write_project(tmp_path / "town.gpkg", [(0, 1), (10, 2)], [(0, "area 1", "train", "checked")])
    opened = open_project(QgsProject.instance(), path)
    yield opened
    opened.labels.rollBack()


@pytest.fixture
def box(qgis_iface, canvas, client, town, run_folder):
    box = QualityBox(qgis_iface, client)
    box.resize(380, 600)
    box.setCollapsed(False)
    box.show()
    box.follow(Context(read_run(run_folder), None, town))
    yield box
    box.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    box.deleteLater()
    QCoreApplication.processEvents()


def inspect(box):
    QTest.mouseClick(box.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait_until(box.run_bar.run_button.isVisible)


def listed(box):
    return [box.list.topLevelItem(row).text(0) for row in range(box.list.topLevelItemCount())]


def press(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def looks_at(canvas, x):
    """Whether the middle of the map is in the square there."""
    return QgsGeometry.fromWkt(square(x)).contains(QgsGeometry.fromPointXY(canvas.extent().center()))


def test_what_is_missing_is_said(box, town):
    reviewed = box._context
    box.follow(Context(project=town))
    assert not box.run_bar.run_button.isEnabled()
    assert box.words.text() == "Choose a run and a label project."
    box.follow(reviewed)
    assert box.run_bar.run_button.isEnabled()
    assert not box.words.isVisible()


def test_findings_are_listed_worst_first_and_a_click_away(box, canvas, found):
    inspect(box)
    assert listed(box) == ["Shifted", "No label", "Contradicted"]
    assert box.words.text() == "40 labels inspected: Shifted 1, No label 1, Contradicted 1."
    item = box.list.topLevelItem(1)
    QTest.mouseClick(box.list.viewport(), Qt.MouseButton.LeftButton, pos=box.list.visualItemRect(item).center())
    assert looks_at(canvas, 20)
    assert box.reason.text() == "The model is 97% sure"
    QTest.keyClick(box.list, Qt.Key.Key_Down)
    assert looks_at(canvas, 10)
    press(box.next_button)  # after the last one, the first
    assert looks_at(canvas, 0)
    QTest.keyClick(box.list, Qt.Key.Key_Down)
    canvas.setExtent(canvas.extent().buffered(500))
    QTest.keyClick(box.list, Qt.Key.Key_Return)
    assert looks_at(canvas, 20)


def test_labels_are_inspected_as_they_are_edited(box, engine, town, found):
    town.labels.startEditing()
    town.labels.deleteFeature(2)
    inspect(box)
    (request,) = engine.asked("inspect")
    assert request["labels"][0]["mapping"] == [
        {"source": "1", "value": 1, "called": "field"}, {"source": "2", "value": 2, "called": "orchard"},
    ]  # fmt: skip
    (seen,) = [message["seen"] for message in engine.requests if message["method"] == "inspect"]
    assert seen == {"labels": [["1"]], "areas": [["area 1", "train", "checked"]]}
    assert request["run_dir"]


def test_without_areas_the_whole_image_is_inspected(box, engine, town, found):
    town.areas.dataProvider().truncate()
    inspect(box)
    assert engine.asked("inspect")[0]["areas"] is None


def test_a_dismissed_finding_stays_away(box, found):
    inspect(box)
    press(box.next_button)
    press(box.next_button)
    press(box.dismiss_button)
    assert listed(box) == ["Shifted", "Contradicted"]
    assert box.list.currentItem().text(0) == "Contradicted"
    QTest.keyClick(box.list, Qt.Key.Key_Delete)
    inspect(box)
    assert listed(box) == ["Shifted"]
    assert box.words.text() == "40 labels inspected: Shifted 1."


def test_labels_are_moved_by_the_button_alone_as_one_step_to_undo(box, town, found):
    before = [feature.geometry().asWkt() for feature in town.labels.getFeatures()]
    inspect(box)
    assert not town.labels.isEditable()
    assert box.move_button.text() == "Move labels by 1.2 m east, 0.4 m south"
    press(box.move_button)
    moved = [feature.geometry().boundingBox() for feature in town.labels.getFeatures()]
    was = [QgsGeometry.fromWkt(text).boundingBox() for text in before]
    for now, then in zip(moved, was):
        assert (now.xMinimum() - then.xMinimum(), now.yMinimum() - then.yMinimum()) == pytest.approx((1.2, -0.4))
    assert box.words.text().startswith("2 labels were moved.")
    assert not box.move_button.isVisible()  # not twice
    town.labels.undoStack().undo()
    assert [feature.geometry().asWkt() for feature in town.labels.getFeatures()] == before
    assert town.labels.undoStack().count() == 1


def test_only_selected_labels_are_moved(box, town, found):
    town.labels.selectByIds([2])
    inspect(box)
    press(box.move_button)
    assert box.words.text().startswith("1 label was moved.")
    assert set(town.labels.editBuffer().changedGeometries()) == {2}


def test_a_shift_of_a_neighbourhood_moves_that_alone(box, town, found, engine):
    found.unlink()
    write_findings(found, [("shifted", "Here, move the labels", 0.0, 2.0, 10)])
    result = {"findings_path": "", "counts": {}, "labels": 2, "shift": None}
    box._finish(_inspected(found, result))
    assert box.move_button.text() == "Move labels by 2.0 m north"
    press(box.move_button)
    assert set(town.labels.editBuffer().changedGeometries()) == {2}


def _inspected(path, result):
    return Inspected(InspectResult(**result), tuple(_read(str(path), shifted=False)))


def test_labels_that_cannot_be_edited_are_an_error(box, town, found, monkeypatch):
    errors = []
    box.failed.connect(errors.append)
    inspect(box)
    town.labels.setReadOnly(True)
    press(box.move_button)
    assert [error.code for error in errors] == [ErrorCode.OUTPUT_UNWRITABLE]
    assert listed(box) == ["Shifted", "No label", "Contradicted"]


def test_another_run_or_project_drops_the_findings(box, town, found):
    inspect(box)
    box.follow(Context(box._context.run, None, town))
    assert len(listed(box)) == 3
    box.follow(Context(None, None, town))
    assert listed(box) == []
    assert not box.list.isVisible()


def test_an_error_of_the_engine_is_passed_on_and_cancelling_is_none(box, engine, found):
    errors = []
    box.failed.connect(errors.append)
    data = {"code": "labels_outside", "sentence": "The labels lie outside.", "remedy": "Check.", "details": ""}
    engine.script(inspect={"error": data})
    inspect(box)
    assert [error.sentence for error in errors] == ["The labels lie outside."]
    engine.script(inspect={"steps": 1000})
    press(box.run_bar.run_button)
    wait_until(lambda: "Window" in box.run_bar.status.text())
    press(box.run_bar.cancel_button)
    wait_until(box.run_bar.run_button.isVisible)
    assert len(errors) == 1
    assert box.run_bar.status.text() == "Cancelled."


def test_a_model_of_other_classes_is_refused(box, town, run_folder):
    run = read_run(run_folder)
    run.record["model"] = {**run.record["model"], "classes": [{**run.classes[0].__dict__, "name": "roof", "value": 9}]}
    errors = []
    box.failed.connect(errors.append)
    run.record["model"]["classes"][0]["outline"] = "pixels"
    box.follow(Context(run, None, town))
    press(box.run_bar.run_button)
    assert [error.code for error in errors] == [ErrorCode.LABELS_CLASSES]


def test_every_kind_has_a_name():
    assert set(KINDS) == set(Fault)
