"""What earlier versions left in QGIS's settings is taken over, as they wrote it."""

import json

import pytest
from qgis.core import QgsSettings
from scene import script

from orthomask.protocol import Encoder, ErrorCode, Image, OrthomaskError, PredictRequest, Split
from orthomask.ui.client import environment, store
from orthomask.ui.models import own_models
from orthomask.ui.runs import folders as run_folders
from orthomask.ui.setup.dialog import State, state_of
from orthomask.ui.train.job import TrainingJob

RUN_0_1 = {
    "image": {"path": "/data/photo.tif", "crs": "", "bands": []}, "model": "buildings", "output_dir": "/data/Orthomask",
    "region": None, "threshold": None, "existing": "refuse", "window_px": 512, "overlap_px": 128, "device": "auto",
    "image_date": "", "polygons": {"min_area_m2": 6.0, "min_hole_m2": 6.0, "simplify": True},
}  # fmt: skip
TRAINING_0_2 = {
    "data": {
        "projects": [], "chips": [], "root": "/data",
        "pictures": [
            {
                "images": "images", "masks": "masks", "gsd_m": 0.3, "mapping": [], "split": "train", "place": "Town",
                "weight": 1.0, "tile_step": 0.0, "north_up": False,
            }
        ],
    },
    "model": "", "name": "roofs", "title": "Roofs", "gsd_m": 0.0, "bands": [], "classes": [],
    "network": {"widths": [16, 16], "blocks": 1, "detail": 16, "attention": False},
    "objective": {
        "terms": [{"loss": "dice", "weight": 1.0, "gamma": 2.0, "false_positives": 0.3}],
        "class_weights": [], "border_weight": 0.0, "label_smoothing": 0.05,
    },
    "augmentation": {"scale": [0.9, 1.1], "flip": True, "rotate": True, "brightness": 0.08, "blank": 0.0},
    "schedule": {"epochs": 6, "steps": 4, "batch": 2, "chip_px": 32, "optimizer": "adamw", "decay": "cosine"},
    "hardware": {"device": "auto", "devices": 1, "machines": 1, "strategy": "auto"},
    "trackers": [], "licence": "", "attribution": "", "existing": "refuse",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_python(monkeypatch, tmp_path):
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(store, "base_folder", lambda: tmp_path / "orthomask")


def left(name, value):
    QgsSettings().setValue(f"orthomask/{name}", value)


def test_the_python_that_was_chosen_is_used_on(tmp_path):
    python = script(tmp_path / "python", "echo lacking")
    left("python", python)
    assert environment.worker_command()[0] == python
    assert state_of(None) is State.OWN


def test_one_that_lacks_what_the_newer_version_needs_is_told_and_replaced_by_set_up(tmp_path):
    left("python", script(tmp_path / "python", "echo lacking h5py lightning"))
    with pytest.raises(OrthomaskError) as caught:
        environment.worker_command()
    assert caught.value.code is ErrorCode.ENGINE_MISSING
    assert "it lacks h5py, lightning" in caught.value.sentence
    assert "Press Set up" in caught.value.remedy
    assert state_of(caught.value) is State.BROKEN


def test_a_training_that_was_paused_waits_to_go_on(client, tmp_path):
    left("unfinished-training", json.dumps({**TRAINING_0_2, "output_dir": str(tmp_path)}))
    job = TrainingJob(client)
    assert (job.request.title, job.request.schedule.epochs) == ("Roofs", 6)
    assert job.request.network.encoder == Encoder.RESIDUAL
    assert job.request.data.pictures[0].split is Split.TRAIN
    job.release()


def test_a_run_that_did_not_end_is_not_taken_for_one_of_now(tmp_path):
    left("unfinished", json.dumps({"request": RUN_0_1, "folder": str(tmp_path)}))
    request = PredictRequest(Image("/data/photo.tif"), "buildings", "/data/Orthomask")
    assert run_folders.unfinished_folder(request) is None  # its smallest polygons follow the model's resolution now
    assert run_folders.begin(request, "photo", "buildings").output_dir.startswith("/data/Orthomask/photo-buildings-")


def test_models_that_were_added_are_remembered(tmp_path):
    model = tmp_path / "own.safetensors"
    model.touch()
    left("model-files", json.dumps([str(model), "/gone.safetensors"]))
    assert own_models.remembered_files() == [str(model)]
