import sqlite3

import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsSnappingConfig,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from scene import square, write_project

from orthomask.protocol import OrthomaskError, Outline, Split
from orthomask.ui.label.keys import LabelKeys
from orthomask.ui.label.project import file_of, open_project, open_projects, read_classes
from orthomask.ui.label.snapping import LabelSnapping


@pytest.fixture
def path(tmp_path):
    return write_project(tmp_path / "town.gpkg", [(0, 1), (10, 2)], [(0, "area 1", "train")])


@pytest.fixture
def town(qgis_new_project, path):
    opened = open_project(QgsProject.instance(), path)
    yield opened
    for layer in QgsProject.instance().mapLayers().values():
        layer.rollBack()


def draw(layer, x):
    """What QGIS's own tool does when a polygon is finished and no form is shown."""
    feature = QgsVectorLayerUtils.createFeature(layer, QgsGeometry.fromWkt(square(x)))
    assert layer.addFeature(feature)
    return feature


def test_classes_are_read_from_the_file(path):
    classes = read_classes(path)
    assert [(info.value, info.name, info.color) for info in classes] == [
        (1, "field", "#4daf4a"),
        (2, "orchard", "#984ea3"),
    ]
    assert classes[0].outline is Outline.SHARED


def test_two_styled_layers_in_a_group(town):
    group = QgsProject.instance().layerTreeRoot().children()[0]
    assert group.name() == "town"
    assert [node.name() for node in group.findLayers()] == ["areas", "labels"]
    categories = town.labels.renderer().categories()
    assert [(str(entry.value()), entry.label()) for entry in categories[:2]] == [("1", "field"), ("2", "orchard")]
    symbol = categories[0].symbol()
    assert symbol.color().name() == "#4daf4a"
    assert symbol.color().alpha() < 128
    assert symbol.symbolLayer(0).strokeColor().name() == "#4daf4a"
    assert [entry.value() for entry in town.areas.renderer().categories()] == [split.value for split in Split]
    assert town.areas.labelsEnabled()
    assert town.areas.renderer().categories()[0].symbol().symbolLayer(0).brushStyle() == Qt.BrushStyle.NoBrush


def test_digitising_asks_nothing(town):
    for layer in (town.labels, town.areas):
        layer.startEditing()
        assert "On" in str(layer.editFormConfig().suppress()) or layer.editFormConfig().suppress() == 1
    town.set_class(2)
    assert draw(town.labels, 20)["class"] == 2
    town.set_class(1)
    assert draw(town.labels, 30)["class"] == 1
    area = draw(town.areas, 20)
    assert (area["name"], area["split"]) == ("area 2", "train")
    town.set_split(Split.TEST)
    assert draw(town.areas, 30)["split"] == "test"
    assert town.current_class == 1
    assert town.current_split is Split.TEST


def test_forms_have_lists_of_names(town):
    setup = town.labels.editorWidgetSetup(town.labels.fields().lookupField("class"))
    assert setup.type() == "ValueMap"
    assert setup.config()["map"] == [{"field": "1"}, {"orchard": "2"}]
    setup = town.areas.editorWidgetSetup(town.areas.fields().lookupField("split"))
    assert setup.config()["map"][0] == {"training": "train"}


def test_a_class_for_the_selected_labels_can_be_undone(town):
    town.labels.startEditing()
    town.labels.selectByIds([1])
    town.set_class(2)
    assert [feature["class"] for feature in town.labels.getFeatures()] == [2, 2]
    town.labels.undoStack().undo()
    assert [feature["class"] for feature in town.labels.getFeatures()] == [1, 2]


def test_labels_that_are_not_edited_stay_as_they_are(town):
    town.labels.selectAll()
    town.set_class(2)
    assert [feature["class"] for feature in town.labels.getFeatures()] == [1, 2]
    assert town.current_class == 2


def test_the_style_comes_back_in_any_qgis(town, path):
    again = QgsVectorLayer(f"{path}|layername=labels", "again", "ogr")
    assert again.renderer().categories()[1].label() == "orchard"
    assert again.editorWidgetSetup(1).type() == "ValueMap"
    with sqlite3.connect(path) as database:
        styles = database.execute("SELECT f_table_name, useAsDefault FROM layer_styles").fetchall()
    assert sorted(styles) == [("areas", 1), ("labels", 1)]


def test_a_style_of_the_persons_own_is_kept(qgis_new_project, path):
    first = open_project(QgsProject.instance(), path)
    first.labels.renderer().categories()
    first.labels.setOpacity(0.4)
    first.labels.saveStyleToDatabase("mine", "", True, "")
    QgsProject.instance().clear()
    assert open_project(QgsProject.instance(), path).labels.opacity() == pytest.approx(0.4)


def test_opening_twice_gives_the_same_layers(town, path):
    assert open_project(QgsProject.instance(), path).labels == town.labels
    assert len(QgsProject.instance().mapLayers()) == 2


def test_it_is_found_again_in_a_saved_project(town, path, tmp_path):
    assert QgsProject.instance().write(str(tmp_path / "map.qgz"))
    QgsProject.instance().clear()
    assert open_projects(QgsProject.instance()) == []
    assert QgsProject.instance().read(str(tmp_path / "map.qgz"))
    (found,) = open_projects(QgsProject.instance())
    assert found.name == "town"
    assert file_of(found.areas) == path


def test_what_is_no_label_project_is_refused_in_words(qgis_new_project, tmp_path, path):
    text = tmp_path / "notes.gpkg"
    text.write_text("hello")
    for wrong in (text, tmp_path / "nowhere.gpkg"):
        with pytest.raises(OrthomaskError, match="is not a label project"):
            open_project(QgsProject.instance(), str(wrong))
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM orthomask_classes")
    with pytest.raises(OrthomaskError, match="is not a label project"):
        open_project(QgsProject.instance(), path)
    assert not QgsProject.instance().mapLayers()
    assert not (tmp_path / "nowhere.gpkg").exists()


def snapping():
    project = QgsProject.instance()
    config = project.snappingConfig()
    return config.enabled(), project.topologicalEditing(), len(project.avoidIntersectionsLayers())


def test_snapping_lasts_as_long_as_labels_are_edited(town):
    roads = QgsVectorLayer("LineString?crs=EPSG:32645", "roads", "memory")
    QgsProject.instance().addMapLayer(roads)
    watching = LabelSnapping(town)
    before = snapping()
    assert before == (False, False, 0)
    town.labels.startEditing()
    assert snapping() == (True, True, 1)  # parcels share their borders
    config = QgsProject.instance().snappingConfig()
    assert config.mode() == QgsSnappingConfig.SnappingMode.AdvancedConfiguration
    ours = config.individualLayerSettings(town.labels)
    assert ours.enabled()
    assert ours.tolerance() == 10
    assert not config.individualLayerSettings(roads).enabled()
    town.labels.rollBack()
    assert snapping() == before
    assert QgsProject.instance().snappingConfig().individualLayerSettings(roads).enabled()
    watching.release()


def test_a_layer_that_comes_meanwhile_does_not_keep_snapping_on(town):
    watching = LabelSnapping(town)
    town.labels.startEditing()
    QgsProject.instance().addMapLayer(QgsVectorLayer("LineString?crs=EPSG:32645", "roads", "memory"))
    town.labels.rollBack()
    assert snapping() == (False, False, 0)
    watching.release()


def test_snapping_of_the_persons_own_is_left_alone(town):
    project = QgsProject.instance()
    config = project.snappingConfig()
    config.setEnabled(True)
    config.setMode(QgsSnappingConfig.SnappingMode.ActiveLayer)
    project.setSnappingConfig(config)
    watching = LabelSnapping(town)
    town.labels.startEditing()
    assert project.snappingConfig() == config
    town.labels.rollBack()
    assert project.snappingConfig() == config
    watching.release()


def test_what_the_person_changes_meanwhile_stays(town):
    watching = LabelSnapping(town)
    town.labels.startEditing()
    config = QgsProject.instance().snappingConfig()
    config.setTolerance(33)
    QgsProject.instance().setSnappingConfig(config)
    town.labels.rollBack()
    assert QgsProject.instance().snappingConfig().tolerance() == 33
    watching.release()


@pytest.fixture
def keys(canvas):
    heard = []
    counts = [2]
    listener = LabelKeys(canvas, lambda: counts[0])
    listener.pressed.connect(heard.append)
    yield heard, counts
    listener.release()


def test_digits_on_the_map_are_heard(keys, canvas):
    heard, counts = keys
    QTest.keyClick(canvas, Qt.Key.Key_2)
    QTest.keyClick(canvas, Qt.Key.Key_1, Qt.KeyboardModifier.KeypadModifier)
    assert heard == [2, 1]
    QTest.keyClick(canvas, Qt.Key.Key_3)  # there is no third class
    QTest.keyClick(canvas, Qt.Key.Key_0)
    QTest.keyClick(canvas, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    counts[0] = 0  # nothing is edited
    QTest.keyClick(canvas, Qt.Key.Key_1)
    assert heard == [2, 1]


def test_areas_drawn_count_up(town):
    town.areas.startEditing()
    names = [draw(town.areas, x)["name"] for x in (20, 30, 40)]
    assert names == ["area 2", "area 3", "area 4"]
    assert isinstance(next(town.areas.getFeatures()), QgsFeature)
