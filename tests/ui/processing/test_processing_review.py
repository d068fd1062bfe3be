import processing
import pytest
from qgis.core import (
    QgsApplication,
    QgsLayerNotesUtils,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProject,
)
from review_squares import rows
from scene import write_project

from orthomask.ui.label.project import open_project
from orthomask.ui.processing.provider import OrthomaskProvider
from orthomask.ui.review.squares import squares_of


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def path(tmp_path):
    return write_project(tmp_path / "town.gpkg", areas=[(0, "area 1", "train")])


def suggest(run_folder, path, **more):
    return processing.run("orthomask:suggest", {"RUN": str(run_folder), "OUTPUT": path, "COUNT": 2, **more})


def test_squares_of_a_run_are_added_and_seen_in_an_open_project(provider, qgis_new_project, engine, run_folder, path):
    town = open_project(QgsProject.instance(), path)
    assert suggest(run_folder, path)["ADDED"] == 2
    asked = engine.asked("suggest")[-1]
    assert (asked["run_dir"], asked["output_path"], asked["size_m"]) == (str(run_folder), path, None)
    assert [square.name for square in squares_of(town.areas)] == ["square 2", "square 3"]
    suggest(run_folder, path, SIZE=15)
    assert engine.asked("suggest")[-1]["size_m"] == 15
    assert len(squares_of(town.areas)) == 4


def test_unsaved_edits_are_to_be_saved_first(provider, qgis_new_project, engine, run_folder, path):
    town = open_project(QgsProject.instance(), path)
    town.areas.startEditing()
    town.areas.deleteFeature(1)
    with pytest.raises(QgsProcessingException, match="has unsaved edits in QGIS"):
        suggest(run_folder, path)
    assert len(rows(path, "areas", "name")) == 1
    town.areas.rollBack()
    suggest(run_folder, path)
    assert len(rows(path, "areas", "name")) == 3


def test_the_uncertainty_of_a_run_is_a_styled_raster(provider, qgis_new_project, engine, run_folder, tmp_path):
    path = str(tmp_path / "unsure.tif")
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    asking = {"RUN": str(run_folder), "FLIPS": False, "OUTPUT": path}
    found = processing.runAndLoadResults("orthomask:uncertainty", asking, context=context)
    assert found["UNSURE"] == 12.5
    asked = engine.asked("uncertainty")[-1]
    assert (asked["run_dir"], asked["output_path"], asked["flips"]) == (str(run_folder), path, False)
    assert asked["existing"] == "overwrite"
    (layer,) = QgsProject.instance().mapLayers().values()
    assert (layer.source(), layer.renderer().type(), layer.renderer().band()) == (path, "singlebandpseudocolor", 1)
    assert "sure and wrong" in QgsLayerNotesUtils.layerNotes(layer)
