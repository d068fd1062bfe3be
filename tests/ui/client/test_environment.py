import os
import sys

import pytest
from scene import script

from orthomask.protocol import ErrorCode, InfoRequest, OrthomaskError
from orthomask.ui.client import environment, store


def test_what_qgis_sets_for_itself_does_not_reach_the_engine():
    qgis = {
        "PROJ_LIB": "/osgeo/proj", "GDAL_DATA": "/osgeo/gdal", "PYTHONHOME": "/osgeo/python", "PYTHONPATH": "/qgis",
        "LD_LIBRARY_PATH": "/qgis/lib", "QT_PLUGIN_PATH": "/qgis/qt", "gdal_driver_path": "/osgeo",
    }  # fmt: skip
    own = {"HOME": "/home/me", "PATH": "/usr/bin", "CUDA_VISIBLE_DEVICES": "1", "HTTPS_PROXY": "http://proxy"}
    assert environment.clean_environment({**qgis, **own}) == own


def test_the_child_starts_clean(client, engine, monkeypatch):
    monkeypatch.setenv("PROJ_LIB", "/osgeo/proj")
    monkeypatch.setenv("PYTHONPATH", "/qgis/python")
    client.call(InfoRequest())
    seen = engine.requests[0]["environment"]
    assert "PROJ_LIB" not in seen
    assert "PYTHONPATH" not in seen


def test_the_variable_comes_before_the_setting_until_another_python_is_chosen(monkeypatch):
    monkeypatch.setenv(environment.PYTHON_VARIABLE, "/from/variable")
    assert environment.configured_python() == "/from/variable"
    environment.set_python("/from/setting")
    assert environment.configured_python() == "/from/setting"


def test_without_a_chosen_python_the_newest_environment_is_taken(monkeypatch, tmp_path):
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(store, "base_folder", lambda: tmp_path)
    assert environment.configured_python() == ""
    for made in ("2026-01-01T00:00:00", "2026-03-01T00:00:00", "2026-02-01T00:00:00"):
        folder = store.new_folder(tmp_path, "1.0")
        folder.mkdir()
        store.finish(folder, store.Record("1.0", "abc", "cpu", "", "3.12.1", "a processor", 1, 2, made))
    assert environment.configured_python() == str(store.python_of(tmp_path / "engine-1.0-2"))
    environment.set_python("/from/setting")
    assert environment.configured_python() == "/from/setting"


def refusal(monkeypatch, python):
    monkeypatch.setenv(environment.PYTHON_VARIABLE, python)
    with pytest.raises(OrthomaskError) as caught:
        environment.worker_command()
    assert caught.value.code is ErrorCode.ENGINE_MISSING
    assert "Set up" in caught.value.remedy
    return caught.value


def test_no_python_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "base_folder", lambda: tmp_path)
    assert "not set up" in refusal(monkeypatch, "").sentence


def test_the_python_is_not_there(monkeypatch):
    assert "/nowhere/python" in refusal(monkeypatch, "/nowhere/python").sentence


def test_the_program_is_no_python(monkeypatch, tmp_path):
    error = refusal(monkeypatch, script(tmp_path / "cat", "echo meow; exit 3"))
    assert "is not a working Python" in error.sentence
    assert "meow" in error.details


def test_the_program_cannot_be_started(monkeypatch, tmp_path):
    (tmp_path / "data").write_text("no program")
    assert "is not a working Python" in refusal(monkeypatch, str(tmp_path / "data")).sentence


def test_the_python_lacks_torch(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "NEEDED", ("json", "torch_that_is_not_there"))
    error = refusal(monkeypatch, sys.executable)
    assert "lacks torch_that_is_not_there" in error.sentence


def test_a_sound_python_starts_the_worker(monkeypatch):
    monkeypatch.setattr(environment, "NEEDED", ("json",))
    monkeypatch.setenv(environment.PYTHON_VARIABLE, sys.executable)
    command = environment.worker_command()
    assert command[0] == sys.executable
    assert os.path.basename(command[-1]) == "worker.py"
