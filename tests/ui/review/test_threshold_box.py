"""Another threshold after the fact: shown at once, made in the background, nothing of the user's touched."""

import json
import shutil
from contextlib import suppress

import pytest
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsProject, QgsRectangle, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from scene import LEFT, SIZE, TOP, square, wait_until

from orthomask.protocol import PolygonOptions
from orthomask.ui.review.context import Context
from orthomask.ui.review.remake import threshold_box
from orthomask.ui.review.remake.histogram import ConfidenceCounter
from orthomask.ui.review.remake.sketch import SCALE
from orthomask.ui.review.remake.threshold_box import ThresholdBox
from orthomask.ui.runs import deletion, generations, results

PART = QgsRectangle(LEFT + 11, TOP - 9, LEFT + 14, TOP - 6)
"""Of one of the two polygons."""


@pytest.fixture
def run(run_folder, tmp_path, qgis_new_project):
    shutil.copytree(run_folder, tmp_path / "run")
    return results.read_run(tmp_path / "run")


@pytest.fixture
def polygons(run):
    group = results.add_run(QgsProject.instance(), run)
    return group.findLayers()[0].layer()


@pytest.fixture
def box(qgis_iface, canvas, client, run, polygons, monkeypatch):
    monkeypatch.setattr(threshold_box, "REST_MS", 50)
    canvas.setLayers([polygons])
    canvas.setExtent(PART)
    box = ThresholdBox(qgis_iface, client)
    box.errors = []
    box.failed.connect(box.errors.append)
    box.resize(300, 300)
    box.follow(Context(run, polygons))
    wait_until(lambda: "2 objects" in box.words.text())
    yield box
    box.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    box.deleteLater()


def file_of(layer):
    return layer.source().split("|")[0].rsplit("/", 1)[1]


def slide(box, to):
    """Move the slider by its keys."""
    while box.slider.value() != round(100 * to):
        QTest.keyClick(box.slider, Qt.Key.Key_Left if box.slider.value() > 100 * to else Qt.Key.Key_Right)


def settle(box, polygons, name):
    """Wait until the layer shows this file."""
    wait_until(lambda: file_of(polygons) == name)
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())


def asked(engine):
    return [request for request in engine.asked("polygonize") if "first" not in request["output_path"]]


def test_it_says_what_is_missing(box, run, polygons):
    assert box.problem.isHidden()
    for context, words in (
        (Context(), "Choose a run"),
        (Context(run), "polygons are not in the project"),
        (Context(run, QgsVectorLayer("nowhere.gpkg", "p", "ogr")), "polygons are not in the project"),
    ):
        box.follow(context)
        assert words in box.problem.text()
        assert box._body.isHidden()
        assert not box.problem.isHidden()
    (run.folder / "probabilities.tif").unlink()
    box.follow(Context(run, polygons))
    assert "probabilities.tif is missing. Put it back into" in box.problem.text()
    assert box.errors == []


def test_numbers_are_in_plain_words_for_eye_and_ear(box):
    assert (box.slider.value(), box.words.text()) == (50, "0.50: 2 objects")
    slide(box, 0.91)
    assert box.words.text() == "0.91: about 0 of 2 objects"
    slide(box, 0.4)
    assert box.words.text() == "0.40: counted when the slider rests"
    assert box.slider.accessibleDescription() == box.words.text()
    assert box.slider.accessibleName() == "Threshold"


def test_the_pixels_shown_are_those_that_the_engine_would_take(box, run, polygons, canvas):
    """The canvas shows each pixel of the raster as ten: none is blended."""
    canvas.resize(10 * SIZE, 10 * SIZE)
    canvas.setExtent(QgsRectangle(LEFT, TOP - SIZE / 2, LEFT + SIZE / 2, TOP))
    sketch = box._sketch
    for threshold in (0.5, 0.33):
        sketch.show_threshold(threshold)
        wait_until(lambda: len(sketch._item._pictures) == 3)
        picture = sketch._item._pictures[1]
        for row, column in ((0, 0), (1, 5), (2, 17), (20, 40), (63, 63), (1, 63)):
            value = (row * SIZE + column) % 255
            shown = picture.pixelColor(10 * column + 5, 10 * row + 5).alpha() > 0
            assert shown == (value >= threshold * SCALE), (threshold, value)
    sketch.clear()
    assert not sketch._item.isVisible()


def test_polygons_in_view_come_first_then_the_layer_shows_all(box, run, polygons, engine, canvas):
    views = []
    box._remaking.seen.connect(lambda layer: views.append(layer.featureCount()))
    style = polygons.renderer()
    slide(box, 0.35)
    assert box._sketch.is_shown
    settle(box, polygons, "polygons-2.gpkg")
    view, whole = asked(engine)
    assert QgsGeometry.fromWkt(view["region"]["wkt"]).boundingBox().contains(PART)
    assert whole["region"] is None
    assert view["threshold"] == whole["threshold"] == 0.35
    assert view["edited_path"] == whole["edited_path"] == str(run.folder / "polygons.gpkg")
    assert views == [2]
    assert polygons.isValid()
    assert polygons.name().startswith("Polygons · fields 0.35 · ")
    assert polygons.renderer().type() == style.type()
    assert "Threshold: 0.35" in polygons.metadata().abstract()
    assert (run.folder / "polygons.gpkg").exists()
    assert json.loads((run.folder / "run.json").read_text())["threshold"] == 0.5
    assert box.words.text() == "0.35: 2 objects"
    canvas.refresh()
    wait_until(lambda: not box._sketch.is_shown)
    assert box.errors == []


def test_a_new_polygon_is_still_filled_in_afterwards(box, polygons):
    slide(box, 0.35)
    settle(box, polygons, "polygons-2.gpkg")
    polygons.startEditing()
    index = polygons.fields().indexOf("run")
    assert polygons.defaultValueDefinition(index).expression() == "'0123456789ab'"
    assert polygons.editorWidgetSetup(polygons.fields().indexOf("class")).type() == "ValueMap"
    polygons.rollBack()


def test_options_and_reset(box, run, polygons, engine):
    box.min_area.setValue(12)
    box.simplify.setChecked(False)
    settle(box, polygons, "polygons-2.gpkg")
    assert asked(engine)[-1]["polygons"] == {"min_area_m2": 12.0, "min_hole_m2": None, "simplify": False}
    assert generations.made(run.folder / "polygons-2.gpkg", run.record).options == PolygonOptions(12.0, None, False)
    box.reset_button.click()
    settle(box, polygons, "polygons-3.gpkg")
    assert asked(engine)[-1]["polygons"] == {"min_area_m2": None, "min_hole_m2": None, "simplify": True}
    assert asked(engine)[-1]["threshold"] == 0.5
    number = len(asked(engine))
    box.reset_button.click()
    QTest.qWait(100)
    assert len(asked(engine)) == number, "nothing is to do"


def test_a_file_that_only_this_made_goes_and_one_in_a_saved_project_stays(box, run, polygons, tmp_path):
    slide(box, 0.45)
    settle(box, polygons, "polygons-2.gpkg")
    slide(box, 0.4)
    settle(box, polygons, "polygons-3.gpkg")
    assert not (run.folder / "polygons-2.gpkg").exists()
    assert QgsProject.instance().write(str(tmp_path / "project.qgz"))
    slide(box, 0.35)
    settle(box, polygons, "polygons-4.gpkg")
    assert [path.name for path in generations.later(run.folder)] == ["polygons-3.gpkg", "polygons-4.gpkg"]
    again = results.polygon_layer(run)
    assert (file_of(again), "0.35" in again.name()) == ("polygons-4.gpkg", True)
    assert {"polygons-3.gpkg", "polygons-4.gpkg"} <= {path.name for path in deletion.own_files(run.folder)}


def add(polygons):
    feature = QgsFeature(polygons.fields())
    feature.setGeometry(QgsGeometry.fromWkt(square(1)))
    assert polygons.addFeature(feature)


def test_unsaved_edits_are_refused_in_words_and_stay(box, polygons, engine):
    polygons.startEditing()
    add(polygons)
    slide(box, 0.45)
    wait_until(lambda: box.errors)
    assert "has unsaved edits. Save or discard them first." in f"{box.errors[0].sentence} {box.errors[0].remedy}"
    assert (box.slider.value(), file_of(polygons), polygons.featureCount()) == (50, "polygons.gpkg", 3)
    assert not box._sketch.is_shown
    assert asked(engine) == []
    polygons.rollBack()


def test_edits_begun_meanwhile_win(box, run, polygons, engine):
    engine.script(polygonize={"steps": 20, "step_seconds": 0.02})
    slide(box, 0.45)
    wait_until(lambda: len(asked(engine)) == 2)
    polygons.startEditing()
    add(polygons)
    wait_until(lambda: box.errors)
    assert (box.slider.value(), file_of(polygons), polygons.featureCount()) == (50, "polygons.gpkg", 3)
    assert generations.later(run.folder) == []
    polygons.rollBack()


def test_edits_saved_meanwhile_are_in_what_is_made(box, run, polygons, engine):
    engine.script(polygonize={"steps": 20, "step_seconds": 0.02})
    slide(box, 0.45)
    wait_until(lambda: len(asked(engine)) == 2)
    polygons.startEditing()
    add(polygons)
    assert polygons.commitChanges(stopEditing=False)
    settle(box, polygons, "polygons-2.gpkg")
    assert len(asked(engine)) == 4, "view and whole, twice"
    assert polygons.isEditable()
    polygons.rollBack()
    assert QgsVectorLayer(results.polygons_uri(run.folder / "polygons.gpkg"), "p", "ogr").featureCount() == 3


def test_a_move_cancels_what_the_last_one_began(box, run, polygons, engine):
    engine.script(polygonize={"steps": 1000, "step_seconds": 0.02})
    slide(box, 0.45)
    wait_until(lambda: asked(engine))
    engine.script()
    slide(box, 0.4)
    settle(box, polygons, "polygons-2.gpkg")
    assert generations.made(run.folder / "polygons-2.gpkg", run.record).threshold == 0.4
    assert box.errors == []


@pytest.mark.parametrize("end", ["error", "die"])
def test_a_failure_leaves_everything_as_it_was(box, run, polygons, engine, end):
    error = {"code": "output_unwritable", "sentence": "It cannot be written.", "remedy": "Choose.", "details": ""}
    engine.script(polygonize={"steps": 5, "die_at": 2} if end == "die" else {"error": error})
    slide(box, 0.45)
    wait_until(lambda: box.errors)
    assert len(box.errors) == 1
    assert (box.slider.value(), file_of(polygons)) == (50, "polygons.gpkg")
    assert not box._sketch.is_shown
    assert generations.later(run.folder) == []


def test_a_layer_that_is_removed_meanwhile(box, polygons, engine):
    engine.script(polygonize={"steps": 20, "step_seconds": 0.02})
    slide(box, 0.45)
    wait_until(lambda: asked(engine))
    QgsProject.instance().removeMapLayer(polygons.id())
    box.follow(Context())
    with suppress(AssertionError):
        wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    assert box.errors == []


def test_confidences_of_what_a_person_drew_do_not_count(run):
    layer = results.polygon_layer(run)
    layer.startEditing()
    add(layer)
    layer.changeAttributeValue(1, layer.fields().indexOf("confidence"), 0.123)
    assert layer.commitChanges()
    counts = ConfidenceCounter().call(run.folder / "polygons.gpkg", None)
    assert (counts.steps[90], counts.kept, sum(counts.steps)) == (1, 2, 1)
