import processing
import pytest
from change_files import result_of, write_changes
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsLayerTreeModel,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from qgis.gui import QgsLayerTreeView
from scene import CRS, square

from orthomask.ui.change.layers import change_layers, facts_of
from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, qgis_new_project, qgis_iface, client, monkeypatch):
    """Our algorithms, and the layer tree that newer QGIS adds layers to."""
    tree = QgsLayerTreeView()
    tree.setModel(QgsLayerTreeModel(QgsProject.instance().layerTreeRoot()))
    monkeypatch.setattr(type(qgis_iface), "layerTreeView", lambda _: tree, raising=False)
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def cadastre(provider):
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=kind:string", "cadastre 2012", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(square(8.0)))
    feature.setAttributes(["house"])
    layer.dataProvider().addFeatures([feature])
    return QgsProject.instance().addMapLayer(layer)


def find(given, feedback=None):
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    return processing.runAndLoadResults("orthomask:changes", given, feedback=feedback, context=context)


@pytest.mark.parametrize("steps", [1, 2])
def test_changes_are_loaded_styled_with_what_the_panel_needs(provider, engine, cadastre, run_folder, tmp_path, steps):
    path = tmp_path / "changes.gpkg"
    write_changes(path, steps)
    engine.script(changes={"result": result_of(path, steps)})
    feedback = QgsProcessingFeedback(False)
    given = {
        "BEFORE": cadastre, "BEFORE_CLASS": "kind", "AFTER_RUN": str(run_folder), "AFTER_DATE": "2013", "LIMIT": 3,
        "ANYWAY": True, "OUTPUT": str(tmp_path), "MORE": ["/data/third", "2014"] if steps == 2 else [],
    }  # fmt: skip
    found = find(given, feedback)
    assert (found["NEW"], found["REMOVED"], found["UNSURE"], found["SHIFT"]) == (steps, 1, 1, 1.26)
    assert "Shift: 1.26 m, remaining error: 0.41 m." in feedback.textLog()
    asked = engine.asked("changes")[-1]
    assert [survey["date"] for survey in asked["surveys"]] == ["2012", "2013", "2014"][: steps + 1]
    assert asked["surveys"][1]["path"] == str(run_folder)
    assert asked["surveys"][0]["class_field"] == "class"
    assert (asked["limit_m"], asked["anyway"], asked["existing"]) == (3, True, "refuse")
    layers = change_layers(QgsProject.instance())
    assert [layer.name() for layer in layers] == ["Changes 2012 to 2013", "Changes 2013 to 2014"][:steps]
    assert all(len(layer.renderer().categories()) == 10 for layer in layers)
    assert [facts_of(layer).step for layer in layers] == [1, 2][:steps]


def test_the_polygons_of_a_run_stand_for_the_run_and_a_date_without_objects_is_refused(
    provider, engine, cadastre, run_folder, tmp_path
):  # fmt: skip
    path = tmp_path / "changes.gpkg"
    write_changes(path)
    engine.script(changes={"result": result_of(path)})
    polygons = f"{run_folder}/polygons.gpkg|layername=polygons"
    find({"BEFORE": cadastre, "AFTER": polygons, "LOAD": False, "OUTPUT": str(tmp_path)})
    assert engine.asked("changes")[-1]["surveys"][1]["path"] == str(run_folder)
    assert change_layers(QgsProject.instance()) == []
    feedback = QgsProcessingFeedback(False)
    with pytest.raises(QgsProcessingException) as caught:
        find({"BEFORE": cadastre, "OUTPUT": str(tmp_path)}, feedback)
    assert "A date has no objects." in f"{caught.value} {feedback.textLog()}"
