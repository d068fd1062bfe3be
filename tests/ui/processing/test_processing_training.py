import json
from pathlib import Path

import processing
import pytest
from evaluations import answer
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from scene import CRS, square, write_project

from orthomask.protocol import FINE_TUNING, TrainRequest, from_json, to_json
from orthomask.ui.models import own_models
from orthomask.ui.processing.provider import OrthomaskProvider
from orthomask.ui.train.defaults import FROM_SCRATCH


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def town(qgis_new_project, tmp_path):
    """The layers of a label project, as `qgis_process` names them."""
    areas = [(0, "area 1", "train"), (15, "area 2", "validation"), (30, "area 3", "test")]
    path = write_project(tmp_path / "town.gpkg", [(0, 1), (15, 2)], areas)
    return {"LABELS": f"{path}|layername=labels", "AREAS": f"{path}|layername=areas"}


@pytest.fixture
def crops(qgis_new_project):
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=crop:string", "crops", "memory")
    for x, crop in ((0, "maize"), (10, "barley")):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square(x)))
        feature.setAttributes([crop])
        layer.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def run_dir(tmp_path, engine, monkeypatch):
    """A run folder in which the engine finishes its training at once."""
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "own")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "roofs.safetensors").write_bytes(b"weights")
    result = {
        "model_path": str(folder / "roofs.safetensors"), "run_dir": str(folder), "epochs": 5, "best_epoch": 4,
        "scores": {"iou": 0.5, "f1": 0.66}, "threshold": 0.4, "images_per_second": 30.0, "waiting_share": 0.1,
        "seconds": 90.0, "stopped": "finished", "warnings": ["1 label was mended."],
    }  # fmt: skip
    engine.script(train={"result": result})
    return folder


def train(photo, run_dir, **parameters):
    return processing.run("orthomask:train", {"IMAGE": photo, "OUTPUT": str(run_dir), **parameters})


def trained(engine):
    return from_json(TrainRequest, engine.asked("train")[-1])


def test_the_log_says_first_what_there_is_to_learn_from(provider, engine, photo, town, run_dir):
    feedback = QgsProcessingFeedback(False)
    processing.run("orthomask:train", {"IMAGE": photo, "OUTPUT": str(run_dir), **town}, feedback=feedback)
    asked = engine.asked("check_training")[-1]["training"]
    assert asked == engine.asked("train")[-1]
    log = feedback.textLog()
    assert "green: Enough to learn from." in log
    assert "amber: Is nothing there, or not drawn yet?" in log
    assert log.index("About 6 min on Test processor") < log.index("1 label was mended.")


def test_train_on_a_label_project_has_sound_defaults(provider, engine, photo, town, run_dir):
    results = train(photo, run_dir, **town)
    request = trained(engine)
    assert request.model == "buildings"
    assert [info.name for info in request.classes] == ["field", "orchard"]
    assert request.data.projects[0].labels[0].class_field == "class"
    assert request.schedule == FINE_TUNING
    assert request.existing.value == "refuse"
    (project,) = request.data.projects
    labels = QgsVectorLayer(f"{project.labels[0].path}|layername={project.labels[0].layer}", "labels")
    areas = QgsVectorLayer(f"{project.areas.path}|layername={project.areas.layer}", "areas")
    assert [feature["class"] for feature in labels.getFeatures()] == ["1", "2"]
    assert [feature["split"] for feature in areas.getFeatures()] == ["train", "validation", "test"]
    assert Path(request.data.projects[0].labels[0].path).parent == run_dir / "data"
    assert results["MODEL"] == str(run_dir / "roofs.safetensors")
    assert (results["IOU"], results["F1"], results["BEST_EPOCH"], results["SECONDS"]) == (0.5, 0.66, 4, 90)
    assert (own_models.own_folder() / "roofs.safetensors").exists()


def test_train_takes_what_is_given(provider, engine, photo, crops, run_dir):
    train(
        photo, run_dir, LABELS=crops, CLASS_FIELD="crop", START="from scratch", NAME="two crops", EPOCHS=3, STEPS=7,
        LEARNING_RATE=0.01, BATCH=2, CHIP_PX=128, PATIENCE=2, SEED=9, DEVICE="cpu", EXISTING=1, KEEP=False,
    )  # fmt: skip
    request = trained(engine)
    schedule = request.schedule
    assert (request.model, request.name, request.title) == ("", "two-crops", "two crops")
    assert [info.name for info in request.classes] == ["barley", "maize"]
    assert request.data.projects[0].areas is None
    assert (schedule.epochs, schedule.steps, schedule.learning_rate, schedule.batch) == (3, 7, 0.01, 2)
    assert (schedule.chip_px, schedule.patience, schedule.seed) == (128, 2, 9)
    assert request.hardware.device == "cpu"
    assert request.existing.value == "overwrite"
    assert not own_models.own_folder().exists()


def test_from_scratch_has_defaults_of_its_own_and_a_file_comes_before_the_list(provider, engine, photo, town, run_dir):
    train(photo, run_dir, START="from scratch", **town)
    assert trained(engine).schedule == FROM_SCRATCH
    train(photo, run_dir, START="from scratch", MODEL_FILE="/models/mine.safetensors", EXISTING=1, **town)
    assert trained(engine).model == "/models/mine.safetensors"


def test_going_on_uses_the_labels_that_the_training_began_with(provider, engine, photo, town, run_dir):
    train(photo, run_dir, **town)
    begun = trained(engine)
    (run_dir / "request.json").write_text(json.dumps(to_json(begun)))
    before = Path(begun.data.projects[0].labels[0].path).read_bytes()
    train(photo, run_dir, EXISTING=2, **town)
    assert trained(engine).data == begun.data
    assert trained(engine).existing.value == "resume"
    assert Path(begun.data.projects[0].labels[0].path).read_bytes() == before
    train(photo, run_dir, EXISTING=1, **town)
    assert trained(engine).data == begun.data  # written anew under the same names


def test_an_error_is_sentence_and_remedy(provider, engine, photo, town, run_dir):
    error = {"code": "output_exists", "sentence": "There is a training.", "remedy": "Choose another.", "details": "x"}
    engine.script(train={"error": error})
    with pytest.raises(QgsProcessingException, match=r"There is a training\. Choose another\."):
        train(photo, run_dir, **town)
    lines = QgsVectorLayer(f"LineString?crs={CRS}", "lines", "memory")
    with pytest.raises(QgsProcessingException):
        train(photo, run_dir, LABELS=lines)


def test_evaluate(provider, engine, photo, town, tmp_path):
    engine.script(evaluate={"result": answer(tmp_path)})
    feedback = QgsProcessingFeedback(False)
    results = processing.run(
        "orthomask:evaluate",
        {
            "IMAGE": photo,
            "OUTPUT": str(tmp_path / "out"),
            "THRESHOLD": 0.3,
            "SPLIT": "validation",
            "DIAGNOSIS": True,
            **town,
        },
        feedback=feedback,
    )
    asked = engine.asked("evaluate")[-1]
    assert (asked["model"], asked["split"], asked["threshold"]) == ("buildings", "validation", 0.3)
    assert asked["diagnosis"] is True
    assert asked["output_dir"] == str(tmp_path / "out")
    assert not Path(asked["data"]["projects"][0]["labels"][0]["path"]).exists()  # the copies are gone
    assert (results["IOU"], results["BEST_THRESHOLD"]) == (0.55, 0.35)
    assert QgsVectorLayer(results["OBJECTS"], "objects").featureCount() == 3
    assert "IoU 0.550" in feedback.textLog()
    assert "2 labels were mended." in feedback.textLog()


def test_evaluate_matches_classes_by_name_or_as_given(provider, engine, photo, town, crops, tmp_path):
    engine.script(evaluate={"result": {**answer(tmp_path), "warnings": ["The model has no class for “wood”."]}})
    given = {"IMAGE": photo, "MODEL": "farmland", "LABELS": crops, "CLASS_FIELD": "crop"}

    def mapped(number, **parameters):
        parameters = {**given, "OUTPUT": str(tmp_path / f"out {number}"), **parameters}
        processing.run("orthomask:evaluate", parameters)
        (labels,) = engine.asked("evaluate")[-1]["data"]["projects"][0]["labels"]
        return {entry["source"]: entry["value"] for entry in labels["mapping"]}

    feedback = QgsProcessingFeedback(False)
    with pytest.raises(QgsProcessingException) as caught:
        processing.run("orthomask:evaluate", {**given, "OUTPUT": str(tmp_path / "out 1")}, feedback=feedback)
    assert "No value of “crop” is a class of the model: “field”" in f"{caught.value}{feedback.textLog()}"
    assert mapped(2, MAPPING=["maize", 1, "barley", 0]) == {"maize": 1, "barley": 0}
    crops.dataProvider().changeAttributeValues({1: {0: "Field"}})
    assert sorted(mapped(3).values()) == [0, 1]


def test_areas_are_refused_as_labels(provider, engine, photo, town, tmp_path):
    given = {"IMAGE": photo, "LABELS": town["AREAS"], "OUTPUT": str(tmp_path / "out")}
    feedback = QgsProcessingFeedback(False)
    with pytest.raises(QgsProcessingException) as caught:
        processing.run("orthomask:evaluate", given, feedback=feedback)
    assert "contains areas, not labels" in f"{caught.value}{feedback.textLog()}"
    assert not engine.asked("evaluate")
