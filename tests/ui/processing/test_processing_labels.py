import json

import processing
import pytest
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from scene import CRS, LEFT, TOP, square, write_project, write_raster

from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def parcels(*rows, name="parcels", fields="&field=use:string"):
    layer = QgsVectorLayer(f"Polygon?crs={CRS}{fields}", name, "memory")
    for x, *values in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square(x)))
        feature.setAttributes(values)
        layer.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(layer)
    return layer


def seen(engine):
    return engine.requests[-1]["seen"]


def test_a_mask_with_classes_from_the_values(provider, layer, engine, photo, tmp_path):
    areas = parcels((0, "first", "train"), name="areas", fields="&field=name:string&field=split:string")
    results = processing.run(
        "orthomask:exportmask",
        {
            "IMAGE": layer, "LABELS": parcels((0, "wood"), (5, "rye")), "CLASS_FIELD": "use", "AREAS": areas,
            "TOUCH": 1, "BORDER": 2, "OUTPUT": str(tmp_path / "mask.tif"),
        },
    )  # fmt: skip
    asked = engine.asked("mask")[-1]
    assert asked["image"]["path"] == photo
    assert asked["touch"] == "all"
    assert asked["border_px"] == 2
    assert asked["existing"] == "overwrite"
    assert [(info["value"], info["name"]) for info in asked["classes"]] == [(1, "rye"), (2, "wood")]
    assert asked["labels"][0]["mapping"] == [{"source": "rye", "value": 1}, {"source": "wood", "value": 2}]
    assert seen(engine) == {"parcels": [["wood"], ["rye"]], "areas": [["first", "train"]]}
    assert QgsRasterLayer(results["OUTPUT"], "mask").isValid()
    assert json.loads(results["COUNTS"])[0]["objects"] == 2
    assert results["UNKNOWN_PIXELS"] == 7


def test_several_layers_and_a_mapping_of_ones_own(provider, layer, engine, tmp_path):
    osm, drawn, yards = (
        parcels((0, "wood"), (5, "rye")),
        parcels((0, "rye"), name="drawn"),
        parcels((1, ""), name="yards"),
    )
    osm.selectByIds([1])
    processing.run(
        "orthomask:exportmask",
        {
            "IMAGE": layer, "LABELS": osm, "CLASS_FIELD": "use", "MAPPING": ["wood", "0", "rye", 7], "OVER": drawn,
            "SUBTRACT": yards, "ONLY_SELECTED": True, "OUTPUT": str(tmp_path / "mask.tif"),
            "EXTENT": f"{LEFT},{LEFT + 10},{TOP - 10},{TOP} [{CRS}]",
        },
    )  # fmt: skip
    asked = engine.asked("mask")[-1]
    assert [(entry["layer"], entry["subtract"]) for entry in asked["labels"]] == [
        ("parcels", False), ("drawn", False), ("yards", True),
    ]  # fmt: skip
    assert asked["labels"][1]["mapping"] == [{"source": "wood", "value": 0}, {"source": "rye", "value": 7}]
    assert asked["classes"] == []
    assert asked["region"]["crs"] == CRS
    assert seen(engine) == {"parcels": [["wood"]], "drawn": [["rye"]], "yards": [[]]}


def test_the_classes_of_a_label_project(provider, layer, engine, tmp_path):
    path = write_project(tmp_path / "town.gpkg", [(0, 1)], [(0, "area 1", "train")])
    processing.run(
        "orthomask:exportmask",
        {
            "IMAGE": layer, "LABELS": f"{path}|layername=labels", "AREAS": f"{path}|layername=areas",
            "OUTPUT": str(tmp_path / "mask.tif"),
        },
    )  # fmt: skip
    asked = engine.asked("mask")[-1]
    assert [info["name"] for info in asked["classes"]] == ["field", "orchard"]
    assert asked["labels"][0]["class_field"] == "class"


def test_what_makes_no_sense_is_refused_in_words(provider, layer, tmp_path):
    labels = parcels((0, "wood"))
    given = {"IMAGE": layer, "LABELS": labels, "CLASS_FIELD": "use", "OUTPUT": str(tmp_path / "mask.tif")}
    for wrong, words in (
        ({"MAPPING": ["wood", "tree"]}, "A class is not a whole number. Write"),
        ({"ONLY_SELECTED": True}, "Nothing is selected in the layer parcels"),
    ):
        feedback = QgsProcessingFeedback(False)
        with pytest.raises(QgsProcessingException) as caught:
            processing.run("orthomask:exportmask", {**given, **wrong}, feedback=feedback)
        assert words in f"{caught.value} {feedback.textLog()}"


def test_chips(provider, layer, engine, tmp_path):
    results = processing.run(
        "orthomask:exportchips",
        {
            "IMAGE": layer, "LABELS": parcels((0, "wood")), "FORMAT": 1, "SIZE": 64, "STRIDE": 32, "GSD": "0.5, 1",
            "ROTATIONS": "0 45", "CATALOGUES": [0, 1], "EMPTY": 0.2, "OUTPUT": str(tmp_path / "chips"),
        },
    )  # fmt: skip
    asked = engine.asked("chips")[-1]
    assert (asked["format"], asked["chip_px"], asked["stride_px"]) == ("png", 64, 32)
    assert (asked["gsd_m"], asked["rotations"]) == ([0.5, 1], [0, 45])
    assert asked["catalogues"] == ["coco", "arcgis"]
    assert asked["empty_share"] == 0.2
    assert asked["shares"] == [0.7, 0.15, 0.15]
    assert asked["existing"] == "refuse"
    assert results["CHIPS"] == 10
    assert json.loads(results["LEFT_OUT"]) == {"empty": 3}
    assert results["MANIFEST"].endswith("chips/manifest.json")


def test_areas_by_weight_and_class(provider, layer, engine, tmp_path):
    people = parcels((0, 120.5), name="people", fields="&field=number:double")
    results = processing.run(
        "orthomask:sampleareas",
        {
            "IMAGE": layer, "SAMPLING": 2, "COUNT": 2, "SIZE": 8, "DISTANCE": 1, "WEIGHTS": people,
            "WEIGHT_FIELD": "number", "STRATA": parcels((0, "wood")), "STRATA_FIELD": "use", "SHARE_TRAIN": 0.5,
            "OUTPUT": str(tmp_path / "areas.gpkg"),
        },
    )  # fmt: skip
    asked = engine.asked("areas")[-1]
    assert asked["output_path"] == str(tmp_path / "areas.gpkg")
    assert (asked["sampling"], asked["count"], asked["size_m"]) == ("stratified", 2, 8)
    assert asked["shares"] == [0.5, 0, 0]
    assert asked["weight_field"] == "weight"
    assert asked["strata"]["mapping"] == [{"source": "wood", "value": 1}]
    assert seen(engine) == {"people": [[120.5]], "parcels": [["wood"]]}
    assert QgsVectorLayer(results["OUTPUT"], "areas").featureCount() == 2
    assert results["ADDED"] == 2


def test_areas_by_a_weight_raster(provider, layer, engine, tmp_path):
    path = write_raster(tmp_path / "people.tif", [3])
    processing.run("orthomask:sampleareas", {"IMAGE": layer, "WEIGHTS": path, "OUTPUT": str(tmp_path / "areas.gpkg")})
    assert engine.asked("areas")[-1]["weight_path"] == path


def test_help_for_everything(provider):
    for name in ("exportmask", "exportchips", "sampleareas"):
        algorithm = QgsApplication.processingRegistry().algorithmById(f"orthomask:{name}")
        assert algorithm.shortHelpString()
        assert all(parameter.help() for parameter in algorithm.parameterDefinitions())
