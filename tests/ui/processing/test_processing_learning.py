import json
import shutil
from pathlib import Path

import processing
import pytest
from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingException, QgsProcessingFeedback, QgsProject
from scene import write_project

from orthomask.protocol import CompareRequest, LearnRequest, from_json
from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def town(qgis_new_project, tmp_path):
    """The layers of a label project, as `qgis_process` names them."""
    areas = [(0, "area 1", "train", "checked"), (15, "area 2", "validation", "checked")]
    path = write_project(tmp_path / "town.gpkg", [(0, 1), (15, 2)], areas)
    return {"LABELS": f"{path}|layername=labels", "AREAS": f"{path}|layername=areas"}


def learn(photo, folder, feedback=None, **parameters):
    given = {"IMAGE": photo, "OUTPUT": str(folder), **parameters}
    return processing.run("orthomask:learn", given, feedback=feedback or QgsProcessingFeedback(False))


def test_learning_gives_the_candidate_and_what_it_gained(provider, engine, photo, town, tmp_path):
    feedback = QgsProcessingFeedback(False)
    found = learn(photo, tmp_path / "run", feedback, **town, MODEL="farmland", NAME="my town", SEED=3)
    assert found["CANDIDATE"] == str(tmp_path / "run" / "my-town.safetensors")
    assert (found["BETTER"], found["SHARE"]) == (True, 0.6)
    assert (found["IOU_BEFORE"], found["IOU_AFTER"], found["F1_AFTER"]) == (0.5, 0.71, 0.74)
    assert found["HOME_AFTER"] == 0.5
    assert "Better here by 0.21 IoU" in feedback.textLog()
    assert "About 3 min" in feedback.textLog()
    request = from_json(LearnRequest, engine.asked("learn")[-1])
    assert (request.model, request.name, request.seed) == ("farmland", "my-town", 3)
    seen = [message for message in engine.requests if message["method"] == "learn"][-1]["seen"]
    (areas,) = seen.values()  # the labels' layer has the same name
    assert [row[1:] for row in areas] == [["train", "checked"], ["validation", "checked"]]


def test_an_interrupted_learning_resumes_with_its_own_data(provider, engine, photo, town, tmp_path):
    error = {"code": "engine_died", "sentence": "The engine stopped.", "remedy": "Run it again.", "details": ""}
    engine.script(learn={"error": error})
    with pytest.raises(QgsProcessingException, match=r"The engine stopped\. Run it again\."):
        learn(photo, tmp_path / "run", **town)
    first = from_json(LearnRequest, engine.asked("learn")[-1])
    engine.script()
    learn(photo, tmp_path / "run", **town, EXISTING=2)
    again = from_json(LearnRequest, engine.asked("learn")[-1])
    assert again.data == first.data
    assert again.existing.value == "resume"


def test_what_is_missing_is_said(provider, engine, photo, town, tmp_path):
    feedback = QgsProcessingFeedback(False)
    with pytest.raises(QgsProcessingException) as caught:
        learn(photo, tmp_path / "run", feedback, LABELS=town["LABELS"])
    assert "No areas were given" in f"{caught.value} {feedback.textLog()}"
    assert not engine.asked("learn")
    feedback = QgsProcessingFeedback(False)
    found = {"counts": {"train": 2}, "problem": "Check two more squares.", "seconds": None, "device": "cpu"}
    engine.script(check_learning={"result": found})
    learn(photo, tmp_path / "run", feedback, **town)
    assert "Check two more squares." in feedback.textLog()


def test_two_runs_are_compared_into_a_styled_layer(provider, engine, run_folder, town, tmp_path):
    after = shutil.copytree(run_folder, tmp_path / "after")
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    given = {"BEFORE": str(run_folder), "AFTER": str(after), "OUTPUT": str(tmp_path / "d.gpkg"), **town}
    found = processing.runAndLoadResults("orthomask:compareruns", given, context=context)
    assert {name: found[name] for name in ("GAINED", "LOST", "RESHAPED", "RIGHT", "WRONG")} == {
        "GAINED": 2, "LOST": 1, "RESHAPED": 1, "RIGHT": 2, "WRONG": 1,
    }  # fmt: skip
    request = from_json(CompareRequest, engine.asked("compare")[-1])
    assert (request.before, request.after) == (str(run_folder), str(after))
    assert request.truth is not None
    assert request.truth.areas is not None
    (layer,) = [each for each in QgsProject.instance().mapLayers().values() if "Differences" in each.name()]
    assert len(layer.renderer().categories()) == 9


def test_runs_are_compared_without_labels(provider, engine, run_folder, tmp_path):
    given = {"BEFORE": str(run_folder), "AFTER": str(run_folder), "OUTPUT": str(tmp_path / "d.gpkg")}
    processing.run("orthomask:compareruns", given)
    assert engine.asked("compare")[-1]["truth"] is None
    assert json.loads(json.dumps(engine.asked("compare")[-1]))["existing"] == "overwrite"
    assert Path(tmp_path / "d.gpkg").exists()
