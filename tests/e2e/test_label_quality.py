"""Label quality with the real engine: labels that were moved and one that was left out, found and put right."""

import pytest
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtTest import QTest
from scene import PATIENCE_SECONDS, wait_until

from orthomask.protocol import ClassInfo, Image, PredictRequest, ProjectRequest, Region
from orthomask.ui.label.project import open_project
from orthomask.ui.review.context import Context
from orthomask.ui.review.quality.quality_box import QualityBox
from orthomask.ui.runs.results import read_run

MOVED_M = 1.5


@pytest.fixture
def run(client, sample, tmp_path):
    """A run on the middle of the photograph."""
    middle = sample.extent().center()
    place = QgsGeometry.fromPointXY(middle).buffer(60, 1).boundingBox()
    region = Region(QgsGeometry.fromRect(place).asWkt(), sample.crs().toWkt())
    client.call(PredictRequest(Image(sample.source()), "buildings", str(tmp_path / "run"), region, device="cpu"))
    return read_run(tmp_path / "run")


@pytest.fixture
def project(client, run, sample, tmp_path):
    """A label project with what the run found, all but the largest, moved to the east."""
    path = tmp_path / "town.gpkg"
    client.call(ProjectRequest(str(path), sample.crs().toWkt(), (ClassInfo(1, "building", "#d95f02"),)))
    project = open_project(QgsProject.instance(), str(path))
    found = QgsVectorLayer(f"{run.folder}/polygons.gpkg|layername=polygons", "polygons")
    shapes = sorted((feature.geometry() for feature in found.getFeatures()), key=lambda shape: shape.area())[:-1]
    for shape in shapes:
        shape.convertToMultiType()
        shape.translate(MOVED_M, 0)
        feature = QgsFeature(project.labels.fields())
        feature.setGeometry(shape)
        feature["class"] = 1
        assert project.labels.dataProvider().addFeatures([feature])[0]
    yield project
    project.labels.rollBack()


@pytest.fixture
def box(qgis_iface, client, run, project):
    box = QualityBox(qgis_iface, client)
    box.setCollapsed(False)
    box.show()
    box.follow(Context(run, None, project))
    yield box
    box.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks(), PATIENCE_SECONDS)
    box.deleteLater()
    QCoreApplication.processEvents()


def inspect(box):
    QTest.mouseClick(box.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait_until(box.run_bar.run_button.isVisible, PATIENCE_SECONDS)
    return [box.list.topLevelItem(row).text(0) for row in range(box.list.topLevelItemCount())]


def test_moved_labels_go_back_and_the_missing_one_is_shown(box, project, run):
    errors = []
    box.failed.connect(errors.append)
    kinds = inspect(box)
    assert errors == []
    assert kinds[0] == "Shifted"
    assert "m west" in box.move_button.text()
    QTest.mouseClick(box.move_button, Qt.MouseButton.LeftButton)
    assert project.labels.isEditable()
    again = inspect(box)  # with the edits, which are not saved
    assert "Shifted" not in again
    assert again[0] == "No label"
