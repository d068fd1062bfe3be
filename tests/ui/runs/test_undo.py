from pathlib import Path

import pytest
from qgis.core import QgsFeature, QgsGeometry, QgsLayerTreeGroup, QgsProject, QgsVectorLayer
from qgis.PyQt.QtWidgets import QMessageBox, QPushButton
from scene import square, wait_until
from test_dock import groups, press, run, shown

from orthomask.ui.runs import undo_button

CHOICES = QMessageBox.StandardButton


@pytest.fixture
def added(dock):
    """The panel, after a run has added its group."""
    press(dock.segment.region.extent_button)
    run(dock.segment)
    wait_until(groups)
    return dock.segment


def tree():
    return QgsProject.instance().layerTreeRoot()


def layers():
    return sorted(layer.name() for layer in QgsProject.instance().mapLayers().values())


def polygons():
    return next(layer for layer in QgsProject.instance().mapLayers().values() if layer.name().startswith("Polygons"))


def message_button(bar):
    return next(b for b in bar.currentItem().findChildren(QPushButton) if b.text() == "Undo")


def edit(layer):
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(square(40)))
    layer.startEditing()
    assert layer.addFeature(feature)
    return layer.featureCount()


def answer(monkeypatch, choice):
    asked = []
    monkeypatch.setattr(undo_button, "_ask", lambda names, _: asked.append(names) or choice)
    return asked


@pytest.mark.parametrize("from_message", [True, False])
def test_undo_takes_out_what_the_run_added_and_leaves_the_files(added, bar, engine, from_message):
    assert polygons().name() in layers()
    press(message_button(bar) if from_message else added.undo)
    assert layers() == ["photo"]
    assert groups() == []
    assert "files are kept" in shown(bar)
    assert len(bar.items()) == 1  # the run's summary went with its layers
    assert added.run_bar.status.isHidden()
    assert added.undo.isHidden()
    folder = Path(engine.asked("predict")[-1]["output_dir"])
    assert all((folder / name).exists() for name in ("classes.tif", "polygons.gpkg", "probabilities.tif", "run.json"))


def test_the_summary_goes_with_layers_that_were_removed_by_hand(added, bar):
    assert "polygons" in added.run_bar.status.text()
    QgsProject.instance().removeMapLayers([layer.id() for layer in QgsProject.instance().mapLayers().values()])
    assert bar.items() == []
    assert added.run_bar.status.isHidden()


def test_the_map_is_asked_to_be_drawn_anew(added, canvas, monkeypatch):
    """QGIS itself goes on showing layers that are gone; the stub's canvas does not, so only the call can be seen."""
    asked = []
    monkeypatch.setattr(type(canvas), "refresh", lambda _: asked.append(True))
    press(added.undo)
    assert asked


def test_nothing_else_is_offered(added, bar, engine):
    added.model.threshold.setValue(0.7)
    assert added.undo.isVisible()  # other choices do not end it
    assert message_button(bar)
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})
    press(added.run_bar.run_button)
    wait_until(lambda: engine.asked("predict")[1:])
    assert added.undo.isHidden()
    assert bar.items() == []
    assert len(layers()) == 5
    press(added.run_bar.cancel_button)
    wait_until(added.run_bar.run_button.isVisible)


def test_only_the_last_run_goes(added):
    first = {layer.id() for layer in QgsProject.instance().mapLayers().values()}
    added.model.threshold.setValue(0.7)
    run(added)
    assert len(groups()) == 2
    press(added.undo)
    assert set(QgsProject.instance().mapLayers()) == first
    assert len(groups()) == 1


def test_layers_that_the_person_put_into_the_group_stay(added):
    own = QgsVectorLayer("Polygon?crs=EPSG:4326", "mine", "memory")
    QgsProject.instance().addMapLayer(own, addToLegend=False)
    tree().children()[0].addLayer(own)
    press(added.undo)
    assert layers() == ["mine", "photo"]
    assert [node.name() for node in tree().children()[0].children()] == ["mine"]


def test_a_group_that_was_moved_and_renamed_goes_all_the_same(added):
    outer = tree().addGroup("outer")
    group = tree().children()[0]
    moved = group.clone()  # as QGIS does when it is dragged
    outer.addChildNode(moved)
    tree().removeChildNode(group)
    moved.setName("another name")
    press(added.undo)
    assert layers() == ["photo"]
    assert isinstance(outer, QgsLayerTreeGroup)
    assert outer.children() == []


def test_unsaved_changes_stay_when_the_person_thinks_better_of_it(added, monkeypatch):
    asked, layer = answer(monkeypatch, CHOICES.Cancel), polygons()
    count = edit(layer)
    press(added.undo)
    assert asked == [[layer.name()]]
    assert layer.isEditable()
    assert layer.featureCount() == count
    assert len(layers()) == 5
    layer.rollBack()


@pytest.mark.parametrize(("choice", "more"), [(CHOICES.Save, 1), (CHOICES.Discard, 0)])
def test_unsaved_changes_are_saved_or_dropped_as_the_person_wants(added, monkeypatch, choice, more):
    asked, layer = answer(monkeypatch, choice), polygons()
    source, before = layer.source(), layer.featureCount()
    edit(layer)
    press(added.undo)
    assert len(asked) == 1
    assert layers() == ["photo"]
    assert QgsVectorLayer(source, "again", "ogr").featureCount() == before + more


def test_changes_that_cannot_be_saved_keep_the_layers(added, bar, monkeypatch):
    answer(monkeypatch, CHOICES.Save)
    layer = polygons()
    edit(layer)
    monkeypatch.setattr(type(layer), "commitChanges", lambda _: False)
    press(added.undo)
    assert "cannot be saved" in shown(bar)
    assert len(layers()) == 5
    monkeypatch.undo()
    layer.rollBack()


def test_an_edit_session_without_changes_is_not_asked_about(added, monkeypatch):
    asked = answer(monkeypatch, CHOICES.Cancel)
    polygons().startEditing()
    press(added.undo)
    assert asked == []
    assert layers() == ["photo"]


def test_it_ends_with_the_project_and_with_the_last_of_its_layers(added):
    ids = [layer.id() for layer in QgsProject.instance().mapLayers().values() if layer.name() != "photo"]
    QgsProject.instance().removeMapLayers(ids[1:])
    assert added.undo.isVisible()
    QgsProject.instance().removeMapLayer(ids[0])
    assert added.undo.isHidden()
    run(added)
    assert added.undo.isVisible()
    QgsProject.instance().clear()
    assert added.undo.isHidden()
