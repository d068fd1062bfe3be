import sqlite3
from contextlib import closing

import pytest
from mouse import LEFT, click, drag, move, on_map
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog, QLabel, QPushButton, QScrollArea
from scene import CRS, square, wait_until, write_project

from orthomask.protocol import Split
from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.label.project import open_project


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def shown(bar):
    item = bar.currentItem()
    return item.text() + " ".join(label.text() for label in item.findChildren(QLabel)) if item else ""


def finished(panel):
    wait_until(lambda: panel._task is None)


def seen(engine):
    """The attributes of the layers that the engine was last given."""
    return next(message["seen"] for message in reversed(engine.requests) if message["method"] != "check")


def choose(chooser, data):
    """What a click on an entry of a list does."""
    index = chooser.findData(data)
    chooser.setCurrentIndex(index)
    chooser.activated.emit(index)


def export(panel):
    press(panel.run_bar.run_button)
    finished(panel)


def parcels(*rows, name="parcels"):
    """Squares in memory with a use each."""
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=use:string", name, "memory")
    for x, use in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square(x)))
        feature.setAttributes([use])
        layer.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def panel(dock, canvas, tmp_path):
    dock.tabs.setCurrentWidget(dock.label)
    dock.resize(340, 900)
    dock.label.export.file_chooser.setFilePath(str(tmp_path / "mask.tif"))
    dock.label.export.folder_chooser.setFilePath(str(tmp_path / "chips"))
    yield dock.label
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer) and layer.isEditable():
            layer.rollBack()


@pytest.fixture
def town(panel, tmp_path):
    """The panel with a label project: two labels, and an area for training."""
    path = write_project(tmp_path / "town.gpkg", [(0, 1), (10, 2)], [(0, "area 1", "train")])
    panel.open_project(path)
    return panel.project.project


def draw(layer, x):
    assert layer.addFeature(QgsVectorLayerUtils.createFeature(layer, QgsGeometry.fromWkt(square(x))))


def test_an_empty_panel_says_what_to_do(panel):
    assert "Make a label project" in panel.project.words.text()
    assert not panel.project.label_button.isVisible()
    assert not panel.run_bar.run_button.isEnabled()
    assert "labels" in panel.run_bar.run_button.toolTip()


def test_a_new_label_project_is_made_and_opened(panel, engine, layer, tmp_path, monkeypatch):
    def accept(dialog):
        assert dialog.crs_chooser.crs() == layer.crs()
        assert [info.name for info in dialog.table.classes] == ["building"]
        dialog.model_chooser.setCurrentIndex(2)
        dialog.file_chooser.setFilePath(str(tmp_path / "fields"))
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(NewProjectDialog, "exec", accept)
    press(panel.project.new_button)
    finished(panel)
    asked = engine.asked("project")[-1]
    assert asked["output_path"] == str(tmp_path / "fields.gpkg")
    assert asked["crs"] == CRS
    assert asked["existing"] == "refuse"
    assert [(info["name"], info["outline"]) for info in asked["classes"]] == [
        ("field", "shared"),
        ("orchard", "shared"),
    ]
    assert panel.project.project.name == "fields"
    assert panel.project.label_button.isVisible()
    assert panel.export.areas_layer == panel.project.project.areas
    assert [source.layer for source in panel.labels.sources] == [panel.project.project.labels]


def test_a_dialog_wants_names_that_differ(qgis_new_project, layer, tmp_path):
    dialog = NewProjectDialog(str(tmp_path), layer.crs(), [])
    ok = dialog._buttons.buttons()[0]
    press(dialog.add_button)
    assert ok.isEnabled()
    dialog.table.item(1, 1).setText("building")
    assert not ok.isEnabled()
    press(dialog.remove_button)
    assert [info.name for info in dialog.table.classes] == ["building"]
    assert dialog.request().classes[0].color == "#dc3228"


def test_legend_and_numbers(panel, town):
    legend = panel.project.legend
    assert [legend.item(row).text() for row in range(2)] == ["1   field  (1)", "2   orchard  (1)"]
    assert panel.project.words.text() == "2 labels; areas: 1 training."
    town.labels.startEditing()
    draw(town.labels, 20)
    wait_until(lambda: legend.item(0).text() == "1   field  (2)")
    assert panel.project.save_button.isEnabled()
    press(panel.project.save_button)
    assert town.labels.isEditable()
    assert not town.labels.isModified()
    assert not panel.project.save_button.isEnabled()


@pytest.fixture
def village(panel, tmp_path):
    """Four areas: one holds a label, two are to do, one is confirmed as empty."""
    areas = [(0, "a", "train", "todo"), (20, "b", "train", "todo"), (30, "c", "validation", "todo"),
             (40, "d", "test", "checked")]  # fmt: skip
    panel.open_project(write_project(tmp_path / "village.gpkg", [(0, 1)], areas))
    return panel.project.project


def test_areas_are_to_do_until_they_hold_something_or_are_confirmed_as_empty(panel, village, canvas):
    row, words = panel.project.empty_areas, panel.project.words
    assert words.text() == "1 label; areas: 1 training, 1 test, 2 to do."
    assert row.words.text() == "2 areas contain no label: is nothing there, or not drawn yet?"
    assert not row.confirm_button.isEnabled()
    press(row.next_button)
    assert row.confirm_button.text() == "Nothing is in b"
    assert canvas.extent().contains(village.areas.getFeature(2).geometry().boundingBox())
    assert village.areas.selectedFeatureCount() == 0  # it would hide what is there
    press(row.next_button)
    press(row.confirm_button)
    assert row.confirm_button.text() == "Nothing is in b"  # the next one is shown
    wait_until(lambda: words.text() == "1 label; areas: 1 training, 1 validation, 1 test, 1 to do.")
    village.labels.startEditing()
    draw(village.labels, 20)
    wait_until(lambda: not row.isVisible())
    assert words.text() == "2 labels; areas: 2 training, 1 validation, 1 test."
    village.areas.undoStack().undo()
    wait_until(row.isVisible)


def test_new_areas_are_to_do_and_the_engine_learns_of_every_state(panel, engine, tmp_path):
    panel.open_project(write_project(tmp_path / "town.gpkg", [(0, 1)], [(0, "a", "train", "checked")]))
    areas = panel.project.project.areas
    panel.areas.button.click()  # the engine places one more
    finished(panel)
    areas.startEditing()
    draw(areas, 50)
    assert sorted(area["state"] for area in areas.getFeatures()) == ["checked", "todo", "todo"]
    export(panel)
    assert sorted(row[2] for row in seen(engine)["areas"]) == ["checked", "todo", "todo"]


def test_a_project_of_an_older_version_counts_as_before_and_can_confirm(panel, tmp_path):
    areas = [(0, "a", "train"), (20, "b", "train"), (30, "c", "train")]
    panel.open_project(write_project(tmp_path / "old.gpkg", [(0, 1)], areas))
    project, row = panel.project.project, panel.project.empty_areas
    assert panel.project.words.text() == "1 label; areas: 3 training."
    assert row.words.text().startswith("2 areas contain no label")
    project.areas.selectByIds([2, 3])
    wait_until(row.confirm_button.isEnabled)
    assert row.confirm_button.text() == "Nothing is in 2 areas"
    project.areas.selectByIds([2])
    wait_until(lambda: row.confirm_button.text() == "Nothing is in b")
    press(row.confirm_button)
    wait_until(lambda: row.words.text().startswith("1 area contains no label"))
    assert panel.project.words.text() == "1 label; areas: 3 training."
    wait_until(panel.project.save_button.isEnabled)
    press(panel.project.save_button)
    again = QgsVectorLayer(f"{project.path}|layername=areas", "again")
    assert [area["state"] or "" for area in again.getFeatures()] == ["", "checked", ""]


def test_draw_starts_editing_the_right_layer(panel, town, qgis_iface):
    press(panel.project.label_button)
    assert town.labels.isEditable()
    assert qgis_iface.activeLayer() == town.labels
    press(panel.project.area_polygon_button)
    assert town.areas.isEditable()
    assert qgis_iface.activeLayer() == town.areas


def test_areas_are_drawn_as_rectangles_until_escape(panel, town, canvas):
    canvas.setExtent(town.areas.extent().buffered(10))
    before = canvas.mapTool()
    town.set_split(Split.VALIDATION)
    press(panel.project.area_button)
    assert panel.project.area_button.isChecked()
    QTest.mousePress(canvas.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(50, 60))
    move(canvas, 150, 160, LEFT)
    shown_area = [label.text() for label in canvas.viewport().findChildren(QLabel) if label.isVisible()]
    assert any(text.endswith(" m²") for text in shown_area)
    QTest.mouseRelease(canvas.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(150, 160))
    drag(canvas, (200, 60), (250, 100), (300, 160))
    click(canvas, 20, 20)  # no rectangle
    assert town.areas.featureCount() == 3
    new = [area for area in town.areas.getFeatures() if area.id() < 0]
    assert {(area["name"], area["split"]) for area in new} == {("area 2", "validation"), ("area 3", "validation")}
    assert all(area.geometry().contains(QgsGeometry.fromPointXY(on_map(canvas, x, 110))) for area, x in
               zip(sorted(new, key=lambda area: area["name"]), (100, 250)))  # fmt: skip
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert not panel.project.area_button.isChecked()
    assert canvas.mapTool() is before
    town.areas.undoStack().undo()
    assert town.areas.featureCount() == 2


def test_areas_are_drawn_in_the_crs_of_their_layer(panel, town, canvas):
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    canvas.zoomToFeatureExtent(
        QgsCoordinateTransform(town.areas.crs(), canvas.mapSettings().destinationCrs(), QgsProject.instance())
        .transformBoundingBox(town.areas.extent())
    )  # fmt: skip
    press(panel.project.area_button)
    drag(canvas, (50, 60), (120, 100), (300, 200))
    new = next(area for area in town.areas.getFeatures() if area.id() < 0)
    assert new.geometry().intersects(QgsGeometry.fromRect(town.areas.extent()))
    assert new.geometry().boundingBox().width() < 100
    panel.project.choose(town.path)
    QgsProject.instance().removeMapLayer(town.areas.id())
    assert not panel.project.area_button.isChecked()


def test_keys_set_the_class_while_labels_are_edited(panel, town, canvas):
    QTest.keyClick(canvas, Qt.Key.Key_2)
    assert town.current_class == 1
    press(panel.project.label_button)
    QTest.keyClick(canvas, Qt.Key.Key_2)
    assert town.current_class == 2
    assert panel.labels.field.field == "class"
    assert panel.project.legend.currentRow() == 1
    draw(town.labels, 20)
    town.labels.selectByIds([1])
    QTest.keyClick(canvas, Qt.Key.Key_2)
    assert sorted(feature["class"] for feature in town.labels.getFeatures()) == [2, 2, 2]
    panel.project.legend.setCurrentRow(0)
    assert town.current_class == 1


def test_digits_typed_elsewhere_are_digits(panel, town):
    press(panel.project.label_button)
    panel.export.kind.setCurrentIndex(1)
    panel.export.chips.gsd.clear()
    QTest.keyClicks(panel.export.chips.gsd, "2")
    assert panel.export.chips.gsd.text() == "2"
    assert town.current_class == 1


def test_a_removed_project_leaves_nothing_behind(panel, town):
    QgsProject.instance().removeMapLayer(town.labels.id())
    assert panel.project.project is None
    assert panel.labels.sources == []
    assert "Make a label project" in panel.project.words.text()
    QgsProject.instance().clear()


def test_a_file_that_is_no_label_project_is_one_message(panel, bar, tmp_path):
    (tmp_path / "notes.gpkg").write_text("hello")
    panel.open_project(str(tmp_path / "notes.gpkg"))
    assert "notes.gpkg is not a label project. Choose" in shown(bar)


def test_areas_are_added_to_the_layer(panel, town, engine, photo):
    panel.areas.count.setValue(2)
    panel.areas.side.setValue(8)
    panel.areas.button.click()
    finished(panel)
    asked = engine.asked("areas")[-1]
    assert asked["image"]["path"] == photo
    assert (asked["count"], asked["size_m"], asked["sampling"]) == (2, 8.0, "random")
    assert asked["shares"] == [0.7, 0.15, 0.15]
    assert asked["output_path"] != town.path
    assert seen(engine)["areas"] == [["area 1", "train"]]
    assert [feature["split"] for feature in town.areas.getFeatures()] == [
        "train",
        "test",
    ]


def test_areas_go_to_the_project_they_were_made_for(panel, town, engine, tmp_path):
    engine.script(areas={"steps": 30, "step_seconds": 0.02})
    panel.areas.button.click()
    panel.open_project(write_project(tmp_path / "village.gpkg"))
    village = panel.project.project
    assert village.path != town.path
    finished(panel)
    assert (town.areas.featureCount(), village.areas.featureCount()) == (2, 0)
    panel.project.choose(town.path)
    panel.areas.button.click()
    QgsProject.instance().removeMapLayer(town.areas.id())
    finished(panel)
    assert panel.run_bar.status.text() == "The areas were not added: “town” has been closed."


def test_areas_that_cannot_be_added_are_not_said_to_be(panel, town, bar):
    with closing(sqlite3.connect(town.path)) as file:
        file.execute("CREATE TRIGGER full BEFORE INSERT ON areas BEGIN SELECT RAISE(FAIL, 'disk full'); END")
        file.commit()
    panel.areas.button.click()
    finished(panel)
    assert "cannot be written" in shown(bar)
    assert "added" not in panel.run_bar.status.text()
    assert town.areas.featureCount() == 1


def test_areas_go_into_the_edits_while_areas_are_edited(panel, town):
    town.areas.startEditing()
    panel.areas.button.click()
    finished(panel)
    assert town.areas.featureCount() == 2
    assert town.areas.isModified()
    town.areas.undoStack().undo()
    assert town.areas.featureCount() == 1


def test_what_does_not_belong_to_the_choice_is_hidden(panel, town):
    box = panel.areas
    box.setCollapsed(False)
    assert not box.strata.isVisible()
    assert not box.weight_field.isVisible()
    box.way.setCurrentIndex(2)
    assert box.strata.isVisible()
    box.weights.setLayer(town.labels)
    assert box.weight_field.isVisible()


def test_strata_and_weights_are_frozen_too(panel, town, engine, layer):
    people = QgsVectorLayer(f"Polygon?crs={CRS}&field=people:double", "people", "memory")
    feature = QgsFeature(people.fields())
    feature.setGeometry(QgsGeometry.fromWkt(square(0)))
    feature.setAttributes([120.5])
    people.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(people)
    box = panel.areas
    box.way.setCurrentIndex(2)
    box.strata.setLayer(town.labels)
    assert box.strata_field.field == "class"
    box.weights.setLayer(people)
    choose(box.weight_field, "people")
    box.button.click()
    finished(panel)
    asked, layers = engine.asked("areas")[-1], seen(engine)
    assert asked["sampling"] == "stratified"
    assert asked["strata"]["class_field"] == "class"
    assert asked["weight_field"] == "weight"
    assert layers["people"] == [[120.5]]
    assert layers["labels"] == [["1"], ["2"]]


def test_a_mask_of_the_label_project(panel, town, engine, bar, photo, tmp_path):
    export(panel)
    asked = engine.asked("mask")[-1]
    assert asked["image"]["path"] == photo
    assert asked["output_path"] == str(tmp_path / "mask.tif")
    assert asked["touch"] == "centre"
    (labels,) = asked["labels"]
    assert labels["class_field"] == "class"
    assert labels["mapping"] == [{"source": "1", "value": 1}, {"source": "2", "value": 2}]
    assert [info["name"] for info in asked["classes"]] == ["field", "orchard"]
    assert seen(engine) == {"labels": [["1"], ["2"]], "areas": [["area 1", "train"]]}
    assert "Mask with 2 field" in shown(bar)
    (mask,) = QgsProject.instance().mapLayersByName("mask")
    assert isinstance(mask, QgsRasterLayer)
    assert mask.renderer().classes()[0].label == "field"
    assert QgsProject.instance().layerTreeRoot().children()[0].name() == "mask"
    assert not (tmp_path / labels["path"]).exists()


def test_layers_lie_over_each_other_in_the_order_of_the_list(panel, engine):
    farms, yards, drawn = parcels((0, "a"), name="farms"), parcels((1, "b"), name="yards"), parcels(name="drawn")
    for layer in (farms, yards, drawn):
        panel.labels.add(layer)
    panel.labels.list.setCurrentRow(1)
    panel.labels.subtract.click()
    export(panel)
    labels = engine.asked("mask")[-1]["labels"]
    assert [(entry["layer"], entry["subtract"]) for entry in labels] == [
        ("farms", False),
        ("yards", True),
        ("drawn", False),
    ]
    press(panel.labels.up_button)
    panel.export.overwrite.setChecked(True)
    export(panel)
    assert [entry["layer"] for entry in engine.asked("mask")[-1]["labels"]] == ["farms", "drawn", "yards"]
    assert engine.asked("mask")[-1]["existing"] == "overwrite"


def test_a_layer_that_is_added_goes_below_what_was_drawn_by_hand(panel, town, engine):
    for name in ("farms", "yards"):
        panel.labels.layer_chooser.setLayer(parcels((0, "a"), name=name))
        press(panel.labels.add_button)
    rows = panel.labels.list
    assert [rows.item(row).text() for row in range(3)] == ["labels", "yards", "farms"]
    assert rows.currentItem().text() == "yards"
    rows.setCurrentRow(2)
    panel.labels.subtract.click()  # at the bottom it would take nothing away
    assert [rows.item(row).text() for row in range(3)] == ["labels", "farms", "yards"]
    assert rows.currentItem().text() == "farms"
    export(panel)
    labels = engine.asked("mask")[-1]["labels"]
    assert [(entry["layer"], entry["subtract"]) for entry in labels] == [
        ("yards", False), ("farms", True), ("labels", False),
    ]  # fmt: skip


def test_classes_come_from_the_values_and_can_be_remapped(panel, engine):
    panel.labels.add(parcels((0, "wood"), (5, "wheat"), (10, "rye"), (15, None)))
    assert [info.name for info in panel.labels.classes] == ["parcels"]
    choose(panel.labels.field, "use")
    assert [info.name for info in panel.labels.classes] == ["rye", "wheat", "wood"]
    table = panel.labels.mapping
    texts = [table.item(row, 0).text() for row in range(table.rowCount())]
    assert texts == ["(empty)", "rye", "wheat", "wood"]
    chooser = table.cellWidget(2, 1)  # wheat is rye
    chooser.setCurrentIndex(chooser.findData(1))
    panel.labels.class_table.item(0, 1).setText("grain")
    export(panel)
    asked = engine.asked("mask")[-1]
    assert {entry["source"]: entry["value"] for entry in asked["labels"][0]["mapping"]} == {
        "": 255, "rye": 1, "wheat": 1, "wood": 3,
    }  # fmt: skip
    assert asked["classes"][0]["name"] == "grain"
    assert seen(engine)["parcels"] == [["wood"], ["wheat"], ["rye"], [""]]


def test_only_the_selected_polygons(panel, engine, bar):
    layer = parcels((0, "a"), (5, "b"))
    panel.labels.add(layer)
    choose(panel.labels.field, "use")
    panel.labels.only_selected.click()
    press(panel.run_bar.run_button)
    assert "Nothing is selected in the layer parcels. Select" in shown(bar)
    layer.selectByIds([2])
    export(panel)
    assert seen(engine)["parcels"] == [["b"]]


def test_chips(panel, town, engine, bar, tmp_path):
    panel.export.kind.setCurrentIndex(1)
    chips = panel.export.chips
    chips.side.setValue(64)
    chips.stride.setValue(32)
    chips.gsd.setText("0.5, 1")
    chips.rotations.setText("0; 45")
    chips.format.setCurrentIndex(3)
    chips.empty.setValue(20)
    for tick in chips.catalogues.values():
        tick.setChecked(True)
    export(panel)
    asked = engine.asked("chips")[-1]
    assert asked["output_dir"] == str(tmp_path / "chips")
    assert (asked["chip_px"], asked["stride_px"], asked["gsd_m"], asked["rotations"]) == (64, 32, [0.5, 1], [0, 45])
    assert (asked["format"], asked["empty_share"], asked["catalogues"]) == ("hdf5", 0.2, ["coco", "arcgis"])
    assert "10 chips (7 training, 2 validation, 1 test) in 1 s. Left out: 3 empty." in shown(bar)
    assert [button.text() for button in bar.currentItem().findChildren(QPushButton)][-1] == "Open folder"


def test_numbers_that_are_none_are_one_message(panel, town, bar):
    panel.export.kind.setCurrentIndex(1)
    panel.export.chips.gsd.setText("small")
    press(panel.run_bar.run_button)
    assert "“small” is not a list of numbers. Write numbers" in shown(bar)


def test_the_preview_shows_chips_and_goes_with_the_tab(dock, panel, town, canvas):
    panel.export.kind.setCurrentIndex(1)
    panel.export.chips.side.setValue(16)
    panel.export.chips.stride.setValue(16)
    wait_until(lambda: "chips before" in panel.preview_words.text())
    assert panel.preview_words.text().startswith("1 chips")  # the area is 5 m wide, a chip 8 m
    band = panel._preview._band
    assert band in canvas.scene().items()
    dock.tabs.setCurrentWidget(dock.segment)
    assert panel._preview._band is None
    dock.tabs.setCurrentWidget(panel)
    panel.export.areas.setLayer(None)
    wait_until(lambda: panel.preview_words.text().startswith("16 chips"))
    panel.export.preview.setChecked(False)
    wait_until(lambda: panel._preview._band is None)


def test_an_error_of_the_engine_is_one_message_and_everything_stays(panel, town, engine, bar):
    error = {"code": "labels_outside", "sentence": "No label lies on it.", "remedy": "Move it.", "details": ""}
    engine.script(mask={"error": error})
    layers = set(QgsProject.instance().mapLayers())
    export(panel)
    assert shown(bar).endswith("No label lies on it. Move it.")
    assert set(QgsProject.instance().mapLayers()) == layers
    assert len(panel.labels.sources) == 1


def test_cancel(panel, town, engine, bar):
    engine.script(mask={"steps": 1000, "step_seconds": 0.05})
    press(panel.run_bar.run_button)
    wait_until(lambda: panel.run_bar.progress.value() > 1)
    press(panel.run_bar.cancel_button)
    finished(panel)
    assert panel.run_bar.status.text() == "Cancelled."
    assert shown(bar) == ""


def test_layers_stay_as_they_are(panel, town, engine):
    town.labels.startEditing()
    draw(town.labels, 20)
    town.labels.selectByIds([1])
    before = town.labels.source(), town.labels.crs(), town.labels.selectedFeatureIds(), town.labels.isModified()
    export(panel)
    assert sorted(seen(engine)["labels"]) == [["1"], ["1"], ["2"]]
    assert (
        town.labels.source(), town.labels.crs(), town.labels.selectedFeatureIds(), town.labels.isModified()
    ) == before  # fmt: skip


def test_two_projects_and_the_chosen_one(panel, town, tmp_path):
    other = write_project(tmp_path / "village.gpkg")
    panel.open_project(other)
    assert panel.project.project.name == "village"
    assert [source.layer for source in panel.labels.sources] == [panel.project.project.labels]
    panel.project.choose(town.path)
    assert panel.project.project.name == "town"
    assert panel.export.areas_layer == panel.project.project.areas


def test_a_project_opened_in_qgis_otherwise_is_found(panel, tmp_path):
    path = write_project(tmp_path / "town.gpkg")
    open_project(QgsProject.instance(), path)
    assert panel.project.project.path == path


def test_nothing_is_cut_at_the_default_width(dock, panel, village):
    panel.areas.setCollapsed(False)
    dock.resize(320, 900)  # 300 with QGIS's own smaller font
    scroll = panel.findChild(QScrollArea)
    wait_until(lambda: dock.width() == 320 and scroll.verticalScrollBar().maximum() > 0)
    assert scroll.horizontalScrollBar().maximum() == 0
    assert panel.project.chooser.width() > 150
    for chooser in (panel.areas.way, panel.export.kind):
        assert chooser.width() >= chooser.fontMetrics().horizontalAdvance(chooser.currentText())


def test_fits_a_narrow_screen(dock, panel, town):
    panel.areas.setCollapsed(False)
    panel.export.kind.setCurrentIndex(1)
    dock.resize(320, 900)
    assert dock.widget().minimumSizeHint().width() <= 320
    scroll = panel.export.parent()
    assert scroll.minimumSizeHint().width() <= 320


def test_a_place_that_cannot_be_written_is_named_before_the_export(panel, tmp_path):
    (tmp_path / "file").write_text("")
    for kind, chooser in ((0, panel.export.file_chooser), (1, panel.export.folder_chooser)):
        panel.export.kind.setCurrentIndex(kind)
        assert panel.export.place.isHidden()
        chooser.setFilePath(str(tmp_path / "file" / "new" / "mask.tif"))
        assert f"The folder {tmp_path}/file/new" in panel.export.place.text()
        assert not panel.export.place.isHidden()
