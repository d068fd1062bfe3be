import pytest
from qgis.core import QgsProject
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDialog
from scene import CRS, wait_until, write_project

from orthomask.ui.label.new_project_dialog import NewProjectDialog
from orthomask.ui.label.project import open_project
from orthomask.ui.review.choice_box import reviewable
from orthomask.ui.runs import results


@pytest.fixture
def panel(dock):
    dock.tabs.setCurrentWidget(dock.review)
    return dock.review


@pytest.fixture
def polygons(panel, run_folder):
    """The polygons of a run that was added to the project."""
    group = results.add_run(QgsProject.instance(), results.read_run(run_folder))
    return group.findLayers()[0].layer()


def test_an_empty_panel_says_what_is_missing(panel, run_folder, tmp_path):
    assert "Run a model in Segment" in panel.words.text()
    results.add_run(QgsProject.instance(), results.read_run(run_folder))
    assert "Make a label project" in panel.words.text()
    open_project(QgsProject.instance(), write_project(tmp_path / "town.gpkg"))
    assert not panel.words.isVisible()


def test_a_run_is_chosen_when_it_is_added_and_left_when_it_is_removed(panel, polygons):
    assert panel.context.polygons == panel.context.target == polygons
    assert panel.context.run.record["run_id"] == "0123456789ab"
    QgsProject.instance().removeMapLayer(polygons.id())
    assert panel.context.run is panel.context.polygons is None
    assert not panel.choice.run_chooser.isEnabled()


def test_runs_are_found_again_in_a_project_that_is_opened(panel, polygons, tmp_path):
    path = str(tmp_path / "town.qgz")
    polygons.removeCustomProperty(results.RUN)  # as projects of older versions have it
    QgsProject.instance().write(path)
    QgsProject.instance().clear()
    assert reviewable(QgsProject.instance()) == []
    QgsProject.instance().read(path)
    assert panel.context.polygons.name() == polygons_name(panel)


def polygons_name(panel):
    return results.layer_name("Polygons", panel.context.run)


def test_a_new_project_proposes_the_classes_and_crs_of_the_run(panel, polygons, engine, tmp_path, monkeypatch):
    def accept(dialog):
        assert [info.name for info in dialog.table.classes] == ["field", "orchard"]
        assert dialog.crs_chooser.crs().authid() == CRS
        dialog.file_chooser.setFilePath(str(tmp_path / "fields.gpkg"))
        return QDialog.DialogCode.Accepted

    open_project(QgsProject.instance(), write_project(tmp_path / "another.gpkg"))
    monkeypatch.setattr(NewProjectDialog, "exec", accept)
    QTest.mouseClick(panel.choice.new_button, Qt.MouseButton.LeftButton)
    wait_until(lambda: panel.context.project is not None and panel.context.project.name == "fields")


def test_a_label_project_that_is_closed_is_left(panel, polygons, tmp_path):
    town = open_project(QgsProject.instance(), write_project(tmp_path / "town.gpkg"))
    assert panel.context.project == town
    QgsProject.instance().removeMapLayer(town.areas.id())
    assert panel.context.project is None
