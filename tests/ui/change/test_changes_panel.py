import json
import shutil

import pytest
from change_files import result_of, write_changes
from qgis.core import QgsFeature, QgsGeometry, QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QFileDialog
from scene import CRS, square, wait_until

from orthomask.protocol import ErrorCode
from orthomask.ui.change.layers import change_layers
from orthomask.ui.change.objects import date_in, is_date
from orthomask.ui.change.panel import ChangesPanel
from orthomask.ui.runs import results

LEFT = Qt.MouseButton.LeftButton
WAY_OFF = {
    "code": "shift", "sentence": "The dates are 9 m apart.", "remedy": "Check the images, or go on anyway.",
    "details": "",
}  # fmt: skip


@pytest.fixture
def footprints(qgis_new_project):
    """A layer in memory, as from any service."""
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=kind:string&field=id:integer", "cadastre 2012-05", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(square(8.0)))
    feature.setAttributes(["house", 7])
    layer.dataProvider().addFeatures([feature])
    return QgsProject.instance().addMapLayer(layer)


@pytest.fixture
def run(footprints, run_folder, tmp_path):
    """A run on the map, whose image date is known."""
    folder = shutil.copytree(run_folder, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "image_date": "2013"}))
    return QgsProject.instance().addMapLayer(results.polygon_layer(results.read_run(folder)))


@pytest.fixture
def panel(qgis_iface, canvas, bar, client, engine, run, tmp_path):
    path = tmp_path / "answer" / "changes.gpkg"
    path.parent.mkdir()
    write_changes(path, steps=2)
    engine.script(changes={"result": result_of(path)})
    panel = ChangesPanel(qgis_iface, client)
    panel.options.folder_chooser.setFilePath(str(tmp_path / "out"))
    panel.resize(340, 700)
    panel.show()
    yield panel
    panel.release()
    panel.deleteLater()
    QCoreApplication.processEvents()


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, LEFT)


def choose(row, text):
    row.chooser.setCurrentIndex(next(n for n in range(row.chooser.count()) if text in row.chooser.itemText(n)))


def compare(panel):
    """Choose the cadastre and the run, and wait for the end."""
    choose(panel.dates.rows[0], "cadastre")
    choose(panel.dates.rows[1], "fields")
    press(panel.run_bar.run_button)
    wait_until(lambda: not panel.run_bar.cancel_button.isVisible())


def test_nothing_runs_before_both_dates_are_chosen(panel):
    button = panel.run_bar.run_button
    assert not button.isEnabled()
    choose(panel.dates.rows[0], "cadastre")
    assert not button.isEnabled()
    choose(panel.dates.rows[1], "cadastre")
    assert "twice" in button.toolTip()
    choose(panel.dates.rows[1], "fields")
    assert button.isEnabled()
    panel.dates.rows[1].date.setText("2011")
    assert "order" in button.toolTip()
    panel.dates.rows[1].date.setText("May")
    assert "“May” is not a date" in button.toolTip()


def test_dates_come_from_the_run_or_the_name_and_what_is_written_stays(panel):
    first, second = panel.dates.rows
    choose(first, "cadastre")
    choose(second, "fields")
    assert (first.date.text(), second.date.text()) == ("2012-05", "2013")
    second.date.setText("2014")
    choose(second, "cadastre")
    assert second.date.text() == "2014"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("naip_nd_2012", "2012"), ("ortho 2019-07-31.tif", "2019-07-31"), ("dop20_20180612", "2018-06-12"),
        ("T32_1234", ""), ("2010 to 2015", "2015"), ("20181399", ""), ("2015_2", "2015"),
    ],
)  # fmt: skip
def test_a_date_in_a_name(name, found):
    assert date_in(name) == found


def test_what_is_no_date():
    assert [text for text in ("2024", "2024-02", "2024-02-30", "24", "2024-1", "") if is_date(text)] == [
        "2024",
        "2024-02",
    ]


def test_the_engine_gets_a_copy_of_the_layer_and_the_folder_of_the_run(panel, engine, run, tmp_path):
    choose(panel.dates.rows[0], "cadastre")
    panel.dates.rows[0].class_field.setCurrentIndex(1)
    panel.options.limit.setValue(2.5)
    compare(panel)
    (asked,) = [message for message in engine.requests if message["method"] == "changes"]
    before, after = asked["params"]["surveys"]
    assert asked["seen"]["cadastre 2012-05"] == [["house", "7"]]
    assert (before["date"], before["class_field"], before["crs"]) == ("2012-05", "class", CRS)
    assert before["name"] == "cadastre 2012-05", "the copy is gone afterwards"
    assert (after["path"], after["date"]) == (str(tmp_path / "run"), "2013")
    assert (asked["params"]["register"], asked["params"]["limit_m"], asked["params"]["anyway"]) == (True, 2.5, False)
    assert asked["params"]["output_dir"].startswith(str(tmp_path / "out" / "changes-2012-05-2013"))


def test_results_come_as_one_group_by_kind_the_unchanged_hidden(panel, footprints, run):
    before = footprints.crs(), footprints.source(), run.renderer().type()
    compare(panel)
    group = QgsProject.instance().layerTreeRoot().children()[0]
    assert group.name() == "Changes 2012-05 to 2013"
    assert [node.name() for node in group.children()] == [group.name(), "All objects over time", "Measured shift"]
    assert [node.itemVisibilityChecked() for node in group.children()] == [True, False, False]
    (changes,) = change_layers(QgsProject.instance())
    categories = changes.renderer().categories()
    assert [each.value() for each in categories if not each.renderState()] == ["unchanged"]
    looks = {(s.color().name(), s.symbolLayer(0).strokeStyle()) for s in (each.symbol() for each in categories)}
    assert len(looks) == 10
    assert (footprints.crs(), footprints.source(), run.renderer().type()) == before


def test_the_shift_stands_first_and_the_table_below_it(panel):
    compare(panel)
    box = panel.outcome
    assert box.isVisible()
    assert "Shift: 1.26 m, remaining error: 0.41 m." in box.shift.text()
    assert "42 of 60 places" in box.words.text()
    assert "0.5 km² of the ground that either date covers (80%)" in box.words.text()
    rows = [[box.table.item(row, n).text() for n in range(4)] for row in range(box.table.rowCount())]
    assert rows[0] == ["new", "1", "25 m²", "0 – 3"]
    assert [row[0] for row in rows] == ["new", "removed", "unsure", "unchanged"]
    assert box.report_button.isEnabled()


def test_a_shift_that_is_too_large_stops_until_the_user_goes_on(panel, engine, tmp_path):
    engine.script(changes={"error": WAY_OFF})
    compare(panel)
    assert panel.problem.words.text() == "The dates are 9 m apart. Check the images, or go on anyway."
    assert not change_layers(QgsProject.instance())
    engine.script(changes={"result": result_of(tmp_path / "answer" / "changes.gpkg")})
    press(panel.anyway_button)
    wait_until(lambda: change_layers(QgsProject.instance()))
    assert [asked["anyway"] for asked in engine.asked("changes")] == [False, True]
    assert not panel.anyway_button.isVisible()
    assert not panel.problem.isVisible()


def test_other_errors_offer_no_way_on(panel, engine):
    engine.script(changes={"error": {**WAY_OFF, "code": ErrorCode.LABELS_CRS.value}})
    compare(panel)
    assert panel.problem.isVisible()
    assert not panel.anyway_button.isVisible()


def test_cancel_leaves_nothing(panel, engine):
    engine.script(changes={"steps": 1000, "step_seconds": 0.01})
    choose(panel.dates.rows[0], "cadastre")
    choose(panel.dates.rows[1], "fields")
    press(panel.run_bar.run_button)
    wait_until(lambda: engine.asked("changes"))
    press(panel.run_bar.cancel_button)
    wait_until(lambda: not panel.run_bar.cancel_button.isVisible())
    assert panel.run_bar.status.text() == "Cancelled."
    assert not change_layers(QgsProject.instance())


def test_edits_of_a_run_must_be_saved_first(panel, run):
    run.startEditing()
    run.deleteFeature(next(run.getFeatures()).id())
    compare(panel)
    assert "has edits that are not saved" in panel.problem.words.text()
    run.rollBack()


def test_a_layer_that_goes_is_chosen_no_more(panel, footprints):
    choose(panel.dates.rows[0], "cadastre")
    QgsProject.instance().removeMapLayer(footprints)
    assert panel.dates.rows[0].objects is None
    assert not panel.run_bar.run_button.isEnabled()


def test_a_folder_and_a_third_date(panel, engine, run_folder, tmp_path, monkeypatch, bar):
    answer = tmp_path / "answer" / "changes.gpkg"
    engine.script(changes={"result": result_of(answer, steps=2)})
    press(panel.dates.add_button)
    row = panel.dates.rows[2]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    press(row.folder_button)
    assert "contains no finished run" in bar.currentItem().findChildren(type(panel.outcome.words))[-1].text()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(run_folder))
    press(row.folder_button)
    row.date.setText("2014")
    compare(panel)
    assert [survey["path"] for survey in engine.asked("changes")[0]["surveys"]][2] == str(run_folder)
    layers = change_layers(QgsProject.instance())
    assert [layer.name() for layer in layers] == ["Changes 2012-05 to 2013", "Changes 2013 to 2014"]
    assert [layer.featureCount() for layer in layers] == [4, 1]
    press(row.remove_button)
    assert len(panel.dates.rows) == 2


def test_a_run_remade_at_another_threshold_is_compared_as_it_is_now(panel, engine, tmp_path):
    shutil.copy(tmp_path / "run" / "polygons.gpkg", tmp_path / "run" / "polygons-2.gpkg")
    compare(panel)
    assert engine.asked("changes")[0]["surveys"][1]["path"] == str(tmp_path / "run" / "polygons-2.gpkg")


@pytest.mark.parametrize("steps", [1, 2])
def test_a_comparison_made_elsewhere_is_opened(panel, tmp_path, monkeypatch, bar, steps):
    path = tmp_path / "changes.gpkg"
    write_changes(path, steps)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    press(panel.open_button)
    names = ["Changes 2012 to 2013", "Changes 2013 to 2014"]
    assert [layer.name() for layer in change_layers(QgsProject.instance())] == names[:steps]
    assert "Shift: 1.26 m, remaining error: 0.30 m." in panel.outcome.shift.text()
    assert "at 1 of 2 places" in panel.outcome.words.text()
    rows = [panel.outcome.table.item(row, 0).text() for row in range(panel.outcome.table.rowCount())]
    assert rows == ["new", "removed", "unsure"], "the unchanged one flickers"
    assert panel.outcome.table.isColumnHidden(3)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "run" / "polygons.gpkg"), ""))
    press(panel.open_button)
    assert "holds no changes" in bar.currentItem().findChildren(type(panel.outcome.words))[-1].text()


def test_the_image_of_a_run_goes_with_the_run_and_a_chosen_one_stays(panel, photo, run, tmp_path):
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "source": {**record["source"], "path": photo}}))
    picture = QgsProject.instance().addMapLayer(QgsRasterLayer(photo, "photo"))
    QCoreApplication.processEvents()
    row = panel.dates.rows[0]
    choose(row, "fields")
    assert row.image.currentLayer() == picture
    choose(row, "cadastre")
    assert row.image.currentLayer() is None
    row.image.setLayer(picture)
    choose(panel.dates.rows[1], "fields")
    choose(row, "cadastre")
    assert row.image.currentLayer() == picture
    assert panel.look.later.currentLayer() == picture


def test_tab_goes_through_all_dates_to_the_button_below_them(panel):
    press(panel.dates.add_button)
    wanted, found, widget = [stop for row in panel.dates.rows for stop in row.stops], [], panel.dates.rows[0].chooser
    while widget is not panel.dates.add_button:
        found.append(widget)
        widget = widget.nextInFocusChain()
    assert [each for each in found if each in wanted] == wanted
