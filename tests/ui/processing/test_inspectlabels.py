import json
import shutil

import processing
import pytest
from qgis.core import QgsApplication, QgsProcessingException, QgsProcessingFeedback, QgsProject, QgsVectorLayer
from scene import write_polygons, write_project

from orthomask.ui.processing.provider import OrthomaskProvider
from orthomask.ui.review.quality.finding_list import KINDS
from orthomask.ui.review.quality.finding_style import style_findings


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def given(tmp_path, layer, engine, run_folder, monkeypatch):
    """Labels and areas of a label project; the engine answers with some findings."""
    answers = tmp_path / "answers"
    answers.mkdir()
    monkeypatch.setenv("FAKE_RUN", str(answers))
    write_polygons(answers / "findings.gpkg")
    path = write_project(tmp_path / "town.gpkg", [(0, 1)], [(0, "area 1", "train")])
    labels, areas = (f"{path}|layername={name}" for name in ("labels", "areas"))
    return {"IMAGE": layer, "LABELS": labels, "AREAS": areas, "OUTPUT": str(tmp_path / "found.gpkg")}


def complaint(given):
    feedback = QgsProcessingFeedback(False)
    with pytest.raises(QgsProcessingException) as caught:
        processing.run("orthomask:inspectlabels", given, feedback=feedback)
    return f"{caught.value} {feedback.textLog()}"


def test_labels_are_inspected_with_a_model(provider, engine, given, photo):
    results = processing.run("orthomask:inspectlabels", given)
    (asked,) = engine.asked("inspect")
    assert (asked["model"], asked["run_dir"], asked["image"]["path"]) == ("buildings", "", photo)
    assert asked["existing"] == "overwrite"
    assert asked["areas"] is not None
    assert (results["FINDINGS"], results["EAST_M"], results["NORTH_M"]) == (3, 1.2, -0.4)
    assert results["OUTPUT"] == given["OUTPUT"]


def test_labels_are_inspected_with_a_run_and_its_classes(provider, engine, given, run_folder, tmp_path):
    processing.run("orthomask:inspectlabels", {**given, "RUN": str(run_folder)})
    (asked,) = engine.asked("inspect")
    assert asked["run_dir"] == str(run_folder)
    assert [(entry["source"], entry["value"]) for entry in asked["labels"][0]["mapping"]] == [("1", 1)]
    assert "contains no finished run" in complaint({**given, "RUN": str(tmp_path)})
    other = tmp_path / "other"
    shutil.copytree(run_folder, other)
    record = json.loads((other / "run.json").read_text())
    record["model"]["classes"] = [{"value": 3, "name": "roof", "color": "#123456", "outline": "pixels"}]
    (other / "run.json").write_text(json.dumps(record))
    assert "is a class of the model: “roof”" in complaint({**given, "RUN": str(other)})


def test_each_kind_has_a_line_of_its_own(qgis_new_project):
    layer = QgsVectorLayer("Polygon?field=kind:string&field=reason:string", "findings", "memory")
    QgsProject.instance().addMapLayer(layer)
    style_findings(layer)
    symbols = [category.symbol().clone() for category in layer.renderer().categories()]
    lines = [symbol.symbolLayer(0) for symbol in symbols]
    assert (
        len({line.strokeStyle() for line in lines}) == len({line.strokeColor().name() for line in lines}) == len(KINDS)
    )
