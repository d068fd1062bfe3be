from dataclasses import replace

import pytest
from qgis.core import QgsLayerNotesUtils, QgsProject
from qgis.PyQt.QtGui import QTextDocument

from orthomask.protocol import OrthomaskError
from orthomask.ui.runs import results


@pytest.fixture
def run(run_folder):
    return results.read_run(run_folder)


def test_one_group_on_top_with_the_polygons_shown_and_the_rasters_hidden(qgis_new_project, layer, run):
    group = results.add_run(QgsProject.instance(), run)
    assert QgsProject.instance().layerTreeRoot().children()[0].name() == group.name() == run.title
    nodes = group.findLayers()
    kinds = ["Polygons", "Classes", "Probability of field", "Probability of orchard"]
    assert [node.layer().name() for node in nodes] == [f"{kind} · {run.short_title}" for kind in kinds]
    assert [node.isVisible() for node in nodes] == [True, False, False, False]
    assert all(node.layer().isValid() for node in nodes)


def test_polygons_wear_the_colours_of_their_classes(qgis_new_project, run):
    layer = results.polygon_layer(run)
    categories = layer.renderer().categories()
    assert [(c.value(), c.label()) for c in categories] == [(1, "field"), (2, "orchard"), (None, "no class")]
    assert [c.symbol().symbolLayer(0).strokeColor().name() for c in categories[:2]] == ["#4daf4a", "#984ea3"]
    assert 0 < categories[0].symbol().symbolLayer(0).fillColor().alpha() < 255
    assert layer.attributeDisplayName(layer.fields().indexOf("area_m2")) == "Area (m²)"
    assert layer.featureCount() == 2


def test_classes_have_palette_and_names_and_no_background(qgis_new_project, run):
    layer = results.class_layer(run)
    classes = layer.renderer().classes()
    assert [(c.value, c.label, c.color.name()) for c in classes] == [(1, "field", "#4daf4a"), (2, "orchard", "#984ea3")]


def test_probabilities_are_heat_maps_of_their_own_band(qgis_new_project, run):
    first, second = results.probability_layers(run)
    assert [layer.renderer().usesBands() for layer in (first, second)] == [[1], [2]]
    items = second.renderer().shader().rasterShaderFunction().colorRampItemList()
    assert (items[0].value, items[-1].value) == (0, 1)
    assert items[0].color.alpha() == 0
    assert second.dataProvider().sample(second.extent().center(), 2)[0] == pytest.approx(0.5)


def test_layers_carry_their_provenance(qgis_new_project, run):
    layer = results.polygon_layer(run)
    assert "Farmland (cdcdcdcdcdcd)" in layer.metadata().abstract()
    assert "/data/photo.tif" in QgsLayerNotesUtils.layerNotes(layer)
    assert layer.metadata().licenses() == ["CC-BY-4.0"]


def test_every_layer_says_in_its_notes_what_it_shows_and_where_it_comes_from(qgis_new_project, run):
    results.add_run(QgsProject.instance(), run)
    layers = QgsProject.instance().mapLayers().values()
    notes = {layer.name().split(" · ")[0]: QgsLayerNotesUtils.layerNotes(layer) for layer in layers}
    assert len(notes) == 4
    assert all("<b>Source</b>: /data/photo.tif<br>" in text and "Farmland" in text for text in notes.values())
    assert "Outlines" in notes["Polygons"]
    assert "most probable" in notes["Classes"]
    assert "The probability that each pixel is orchard" in notes["Probability of orchard"]


def test_notes_outlive_the_project_file_and_show_names_as_they_are(qgis_new_project, run, tmp_path):
    strange = replace(run, record={**run.record, "source": {"path": "/data/<b>&.tif"}})
    QgsProject.instance().addMapLayer(results.class_layer(strange))
    QgsProject.instance().write(str(tmp_path / "project.qgs"))
    QgsProject.instance().clear()
    QgsProject.instance().read(str(tmp_path / "project.qgs"))
    (layer,) = QgsProject.instance().mapLayers().values()
    shown = QTextDocument()
    shown.setHtml(QgsLayerNotesUtils.layerNotes(layer))
    assert "Source: /data/<b>&.tif" in shown.toPlainText()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(OrthomaskError, match="no finished run"):
        results.read_run(tmp_path)
