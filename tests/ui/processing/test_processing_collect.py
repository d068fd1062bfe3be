import json

import processing
import pytest
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)
from scene import CRS, LEFT, TOP

from orthomask.ui.processing.provider import OrthomaskProvider

URL = "https://tiles.example/{z}/{x}/{y}.png?token=SECRET"


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def country(qgis_new_project):
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=use:string", "country", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(LEFT, TOP - 500, LEFT + 500, TOP)))
    feature.setAttributes(["rye"])
    layer.dataProvider().addFeatures([feature])
    layer.updateExtents()
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_random_squares_with_tiles(provider, engine, country, photo, tmp_path):
    given = {
        "WITHIN": country, "WEIGHTS": photo, "COUNT": 200, "DISTANCE": 50, "URL": URL, "ZOOMS": "18, 17",
        "LICENCE": "CC BY 4.0", "ATTRIBUTION": "© Town", "OBJECTS": 1, "OUTPUT": str(tmp_path / "out"),
    }  # fmt: skip
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    results = processing.run("orthomask:collect", given, context=context)
    asked = engine.asked("collect")[-1]
    assert asked["sample"]["count"] == 200
    assert asked["sample"]["size_px"] == 256
    assert asked["sample"]["within_layer"] == "country"
    assert asked["sample"]["weights"] == photo
    assert asked["imagery"]["zooms"] == [17, 18]
    assert asked["imagery"]["url"] == URL.replace("SECRET", "{key}")
    assert asked["imagery"]["access"] == {"key": "SECRET"}
    assert [rule["class_name"] for rule in asked["osm"]["rules"]] == ["field", ""]
    assert asked["output_dir"] == results["OUTPUT"]
    assert QgsVectorLayer(results["LABELS_LAYER"], "labels", "ogr").isValid()
    assert results["IMAGES"] == 2
    assert json.loads(results["COUNTS"]) == {"building": 3}
    names = sorted(details.name for details in context.layersToLoadOnCompletion().values())
    assert names == ["areas", "labels", "zoom 17", "zoom 18"]


def test_an_extent_and_the_labels_of_a_layer(provider, engine, country, tmp_path):
    processing.run(
        "orthomask:collect",
        {
            "EXTENT": f"{LEFT},{LEFT + 10},{TOP - 10},{TOP} [{CRS}]", "LABELS": 2, "LABEL_LAYER": country,
            "CLASS_FIELD": "use", "OUTPUT": str(tmp_path / "out"),
        },
    )  # fmt: skip
    asked = engine.asked("collect")[-1]
    assert asked["imagery"] is None
    assert asked["osm"] is None
    assert asked["vectors"][0]["name"] == "country"
    assert engine.requests[-1]["seen"] == {"extent": [[]], "country": [["rye"]]}


def test_what_is_missing_is_said_in_words(provider, country, tmp_path):
    for wrong, words in (
        ({}, "It is not clear where to collect. Give one of these"),
        ({"AREAS": country, "WITHIN": country}, "It is not clear where to collect"),
        ({"AREAS": country, "URL": URL}, "The licence of the images is not confirmed"),
        ({"AREAS": country, "LABELS": 1}, "No OpenStreetMap file is chosen"),
        ({"AREAS": country, "LABELS": 2}, "No layer of labels is chosen"),
        ({"AREAS": country, "TAGS": ["a&b", "field"]}, "is not a tag of OpenStreetMap"),
    ):
        feedback = QgsProcessingFeedback(False)
        with pytest.raises(QgsProcessingException) as caught:
            processing.run("orthomask:collect", {**wrong, "OUTPUT": str(tmp_path / "out")}, feedback=feedback)
        assert words in f"{caught.value} {feedback.textLog()}"
