"""The quick tools on the map: real moves, clicks and turns of the wheel over a real canvas."""

import shutil

import pytest
from mouse import click, drag, move, on_map, turn
from qgis.core import QgsApplication, QgsGeometry, QgsPointXY, QgsProject, QgsRectangle, QgsVectorLayer
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from scene import CRS, LEFT, TOP, square, wait_until, write_project

from orthomask.ui.label.project import open_project
from orthomask.ui.layers.map_tools import PointerWords
from orthomask.ui.review.context import Context
from orthomask.ui.review.tools import asking, edits
from orthomask.ui.review.tools.tools_box import ToolsBox
from orthomask.ui.runs import results

FREE = (200, 150)
"""Pixels of the canvas where nothing is."""


@pytest.fixture
def run(run_folder, tmp_path):
    return results.read_run(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture
def polygons(layer, run):
    found = results.polygon_layer(run)
    QgsProject.instance().addMapLayer(found)
    return found


@pytest.fixture
def looking(canvas, layer):
    canvas.setExtent(layer.extent())
    return canvas


@pytest.fixture
def box(qgis_iface, looking, client, run, polygons):
    box = ToolsBox(qgis_iface, client)
    box.errors = []
    box.failed.connect(box.errors.append)
    box.follow(Context(run=run, polygons=polygons, target=polygons))
    box.show()
    yield box
    box.release()
    client.close()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    box.deleteLater()
    QCoreApplication.processEvents()


def pixel(canvas, x, y):
    """The pixel of a place, metres from the photograph's left and top."""
    place = canvas.getCoordinateTransform().transform(QgsPointXY(LEFT + x, TOP - y))
    return round(place.x()), round(place.y())


def shown(canvas):
    """The polygons that rubber bands show."""
    bands = [item for item in canvas.scene().items() if type(item).__name__ == "QgsRubberBand" and item.isVisible()]
    return [band.asGeometry() for band in bands if band.size()]


def said(canvas):
    return [words.text() for words in canvas.findChildren(PointerWords) if words.isVisible()]


def outlines(layer):
    return {feature.id(): feature.geometry() for feature in edits.near(layer, QgsRectangle(-1e8, -1e8, 1e8, 1e8))}


def hover(canvas, x, y):
    move(canvas, x, y)
    wait_until(lambda: shown(canvas))


def test_what_is_shown_is_what_a_click_saves(box, looking, polygons, engine):
    before = set(outlines(polygons))
    box.add_button.click()
    hover(looking, *FREE)
    (seen,) = shown(looking)
    assert "orchard" in box.words.text()
    click(looking, FREE[0] + 1, FREE[1])
    (identity,) = set(outlines(polygons)) - before
    added = polygons.getFeature(identity)
    assert added.geometry().symDifference(seen).area() < 1e-6
    assert (added["class"], added["class_value"], added["outline"], added["id"]) == ("orchard", 2, "added", 3)
    assert added["area_m2"] == pytest.approx(16, rel=0.01)
    assert shown(looking) == []
    assert polygons.undoStack().undoText() == "Add object"
    polygons.undoStack().undo()
    assert set(outlines(polygons)) == before
    assert box.errors == []


def test_a_click_before_the_answer_is_saved_when_it_comes(box, looking, polygons, engine):
    engine.script(grow={"steps": 5, "step_seconds": 0.02})
    box.add_button.click()
    click(looking, *FREE)
    move(looking, 300, 60)
    wait_until(lambda: len(outlines(polygons)) == 3)
    there = on_map(looking, *FREE)
    assert any(shape.contains(there) for shape in outlines(polygons).values())


def test_the_wheel_makes_it_larger_and_with_ctrl_zooms_the_map(box, looking, engine):
    box.add_button.click()
    hover(looking, *FREE)
    area, scale = shown(looking)[0].area(), looking.scale()
    turn(looking, *FREE, notches=3)
    wait_until(lambda: shown(looking) and shown(looking)[0].area() > 1.9 * area)
    assert looking.scale() == scale
    turn(looking, *FREE, notches=-6)
    wait_until(lambda: shown(looking) and shown(looking)[0].area() < 0.6 * area)
    turn(looking, *FREE, keys=Qt.KeyboardModifier.ControlModifier)
    assert looking.scale() != scale


def test_a_moving_pointer_asks_one_question_at_a_time(box, looking, engine, tmp_path):
    engine.script(grow={"until": str(tmp_path / "moved")})
    box.add_button.click()
    for step in range(40):
        move(looking, 120 + 3 * step, 140)
        wait_until(lambda: engine.asked("grow"))
    (tmp_path / "moved").touch()
    end = on_map(looking, 237, 140)
    wait_until(lambda: shown(looking) and shown(looking)[0].contains(end))
    asked = engine.asked("grow")
    assert len(asked) == 2, "the first place and the last"
    assert (asked[-1]["x"], asked[-1]["y"]) == (end.x(), end.y())
    assert len(asked[-1]["taken"]) > 20, "the other objects go with it"


@pytest.mark.parametrize("clicked", [False, True])
def test_on_an_object_it_says_that_it_is_there(box, looking, polygons, engine, clicked):
    box.add_button.click()
    place = pixel(looking, 12.5, 8)
    move(looking, *place)
    if clicked:
        click(looking, *place)
    wait_until(lambda: said(looking) == ["There is an object here already."])
    assert len(outlines(polygons)) == 2
    assert engine.asked("grow") == []


def test_an_error_is_said_beside_the_pointer_and_fails_only_at_a_click(box, looking, polygons, engine):
    error = {"code": "image_empty", "sentence": "The run has no data here.", "remedy": "Go.", "details": ""}
    engine.script(grow={"error": error})
    box.add_button.click()
    move(looking, *FREE)
    wait_until(lambda: said(looking) == ["The run has no data here."])
    assert box.errors == []
    click(looking, *FREE)
    wait_until(lambda: box.errors)
    assert len(outlines(polygons)) == 2


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(asking, "SLOW_MS", 20)


def test_a_busy_engine_is_told(impatient, box, looking, engine):
    engine.script(grow={"steps": 10, "step_seconds": 0.05})
    box.add_button.click()
    move(looking, *FREE)
    wait_until(lambda: "busy" in "".join(said(looking)))
    wait_until(lambda: shown(looking))
    assert said(looking) == []


@pytest.mark.parametrize("name", ["add", "remove", "split", "merge", "square"])
def test_escape_brings_the_tool_from_before_back(box, looking, name):
    pan = QgsMapToolPan(looking)
    looking.setMapTool(pan)
    button = getattr(box, f"{name}_button")
    button.click()
    assert button.isChecked()
    assert looking.mapTool() is not pan
    QTest.keyClick(looking, Qt.Key.Key_Escape)
    assert looking.mapTool() is pan
    assert not button.isChecked()
    QTest.keyClick(looking, button.property("key"))
    assert button.isChecked()
    QTest.keyClick(looking, button.property("key"))
    assert looking.mapTool() is pan


def test_remove(box, looking, polygons):
    box.remove_button.click()
    place = pixel(looking, 12.5, 8)
    move(looking, *place)
    assert len(shown(looking)) == 1
    click(looking, *place)
    assert len(outlines(polygons)) == 1
    assert polygons.undoStack().undoText() == "Remove object"
    click(looking, *place)
    assert said(looking) == ["There is no object here."]
    polygons.undoStack().undo()
    assert len(outlines(polygons)) == 2


@pytest.mark.parametrize("dragged", [True, False])
def test_split(box, looking, polygons, dragged):
    (whole,) = [shape for shape in outlines(polygons).values() if shape.contains(QgsPointXY(LEFT + 12, TOP - 8))]
    box.split_button.click()
    ends = pixel(looking, 12, 3), pixel(looking, 12, 12)
    if dragged:
        drag(looking, *ends)
    else:
        for end in ends:
            click(looking, *end)
            move(looking, *end)
    shapes = outlines(polygons)
    assert len(shapes) == 3
    parts = [shape for shape in shapes.values() if whole.contains(shape.centroid())]
    assert sum(part.area() for part in parts) == pytest.approx(whole.area())
    halves = [each for each in polygons.getFeatures() if whole.contains(each.geometry().centroid())]
    assert {each["class"] for each in halves} == {"field"}
    assert len({each["id"] for each in polygons.getFeatures()}) == 3
    assert sum(each["area_m2"] for each in halves) == pytest.approx(25, rel=0.01)
    polygons.undoStack().undo()
    assert len(outlines(polygons)) == 2


def test_a_line_that_does_not_cross_changes_nothing(box, looking, polygons):
    box.split_button.click()
    drag(looking, pixel(looking, 12, 3), pixel(looking, 12, 8))
    assert "crosses no object" in box.words.text()
    assert polygons.undoStack().count() == 0


@pytest.mark.parametrize(("gap", "joined"), [(0.0, True), (0.2, True), (1.0, False)])
def test_merge(box, looking, qgis_new_project, run, gap, joined):
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=name:string", "drafts", "memory")
    QgsProject.instance().addMapLayer(layer)
    layer.startEditing()
    box.follow(Context(run=run, target=layer))
    shapes = [QgsGeometry.fromWkt(square(5)), QgsGeometry.fromWkt(square(10 + gap))]
    for shape in shapes:
        with edits.step(layer, "x"):
            edits.add(layer, shape, {"name": "a"})
    box.merge_button.click()
    click(looking, *pixel(looking, 7, 12))
    assert "merge" in said(looking)[0]
    move(looking, *pixel(looking, 13, 12))
    assert shown(looking)[0].area() == pytest.approx(50, rel=0.01), "both are shown"
    click(looking, *pixel(looking, 13, 12))
    found = list(outlines(layer).values())
    assert len(found) == (1 if joined else 2)
    if joined:
        assert found[0].area() == pytest.approx((10 + gap) * 5, rel=0.01)
        assert layer.undoStack().undoText() == "Merge objects"
    else:
        assert "do not touch" in said(looking)[0]


@pytest.mark.parametrize("fits", [True, False])
def test_square_up(box, looking, polygons, engine, fits):
    turned = "POLYGON ((500010 2999989, 500016 2999989, 500016 2999996, 500010 2999996, 500010 2999989))"
    engine.script(square={"result": {"wkt": turned, "is_squared": fits}})
    box.square_button.click()
    click(looking, *pixel(looking, 12.5, 8))
    if fits:
        wait_until(lambda: any(abs(shape.area() - 42) < 1e-6 for shape in outlines(polygons).values()))
        assert polygons.undoStack().undoText() == "Square up"
    else:
        wait_until(lambda: "do not fit" in "".join(said(looking)))
        assert polygons.undoStack().count() == 0


def test_labels_of_a_project_get_class_and_origin(box, looking, run, tmp_path, engine):
    project = open_project(QgsProject.instance(), write_project(tmp_path / "town.gpkg"))
    box.follow(Context(run=run, project=project, target=project.labels))
    box.add_button.click()
    click(looking, *FREE)
    wait_until(lambda: project.labels.featureCount() == 1)
    (label,) = project.labels.getFeatures()
    assert label["class"] == 2, "orchard"
    assert engine.asked("grow")[-1]["class_value"] == 1
    project.labels.rollBack()


def test_a_layer_that_goes_away_while_a_tool_is_in_use(box, looking, polygons):
    box.remove_button.click()
    QgsProject.instance().removeMapLayer(polygons.id())
    assert not box.remove_button.isChecked()
    assert not box.remove_button.isEnabled()
    assert "Choose a run" in box.words.text()
    click(looking, *FREE)
    assert box.errors == []


def test_a_layer_that_cannot_be_edited(box, looking, polygons):
    polygons.setReadOnly(True)
    box.remove_button.click()
    (error,) = box.errors
    assert "cannot be edited" in error.sentence
    assert not box.remove_button.isChecked()


def test_in_another_crs_than_the_map(box, looking, run, engine):
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326", "drafts", "memory")
    QgsProject.instance().addMapLayer(layer)
    box.follow(Context(run=run, target=layer))
    box.add_button.click()
    click(looking, *FREE)
    wait_until(lambda: layer.featureCount() == 1)
    asked = engine.asked("grow")[-1]
    assert asked["crs"] == "EPSG:4326"
    assert abs(asked["x"] - 87) < 1
