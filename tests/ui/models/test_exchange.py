"""Models leave as ONNX files and come in from them, through the panel's buttons and the dialog."""

import pytest
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QFileDialog, QMessageBox
from scene import wait_until
from test_dock import press, shown

from orthomask.protocol import ClassInfo, ErrorCode, ModelSummary, OnnxFacts, OnnxHead
from orthomask.ui.installer import part
from orthomask.ui.models import own_models
from orthomask.ui.models.import_dialog import ImportDialog
from orthomask.ui.setup import onnx_part

ROOF = {"value": 1, "name": "roof", "color": "#aa3311", "outline": "squared"}


def summary(path, title, card=None):
    return ModelSummary(
        title.lower(), title, str(path), "ef" * 32, 0.2, ("red", "green", "blue"), (ClassInfo(**ROOF),), 0.35, "CC0",
        "Us", card or {},
    )  # fmt: skip


def answer(path, title):
    return {**summary(path, title).__dict__, "bands": ["red", "green", "blue"], "classes": [ROOF], "networks": []}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(own_models, "own_folder", lambda: folder)
    return folder


@pytest.fixture
def panel(dock, own_folder):
    dock.tabs.setCurrentWidget(dock.models)
    dock.models.show_models([
        summary(own_models.EMBEDDED_DIR / "buildings.safetensors", "Buildings"),
        summary(own_folder / "foreign.safetensors", "Foreign", {"graph": {"side_px": 512}}),
    ])  # fmt: skip
    return dock.models


def test_a_model_is_exported_to_the_chosen_file(panel, engine, bar, monkeypatch, tmp_path):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out"), ""))
    made = {"path": str(tmp_path / "out.onnx"), "opset": 13, "side_px": 512, "difference": 1e-6}
    engine.script(export_model={"result": made})
    press(panel.buttons.export)
    wait_until(lambda: "Exported to" in shown(bar))
    (asked,) = engine.asked("export_model")
    assert (asked["output_path"], asked["existing"]) == (made["path"], "overwrite")
    assert asked["model"].endswith("buildings.safetensors")


def test_an_imported_model_is_not_offered_what_it_cannot_do(panel, own_folder):
    panel.list.select([str(own_folder / "foreign.safetensors")])
    for button in (panel.buttons.fine_tune, panel.buttons.export):
        assert not button.isEnabled()
        assert "imported from ONNX" in button.toolTip()
    assert panel.buttons.evaluate.isEnabled()
    assert panel.buttons.import_onnx.isEnabled()


def test_an_onnx_file_becomes_an_own_model(panel, engine, own_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "roads.onnx"), ""))
    facts = {"title": "Roads", "bands": 3, "side_px": 512, "heads": [{"channels": 1, "names": ["road"]}], "gsd_m": 0.2,
             "band_names": ["red", "green", "blue"], "is_normalised": True}  # fmt: skip
    engine.script(onnx={"result": facts}, import_model={"result": answer(own_folder / "Roads.safetensors", "Roads")})
    monkeypatch.setattr(ImportDialog, "exec", lambda dialog: dialog.ok.isEnabled())
    press(panel.buttons.import_onnx)
    wait_until(lambda: [model.title for model in panel.list.selected()] == ["Roads"])
    (asked,) = engine.asked("import_model")
    assert asked["output_path"] == str(own_folder / "Roads.safetensors")
    assert (asked["gsd_m"], asked["classes"], asked["mean"], asked["head"]) == (0.2, [], [], 1)


def test_the_dialog_asks_for_what_the_file_does_not_say(qgis_app):
    heads = (OnnxHead(1, ("tea",)), OnnxHead(3))
    dialog = ImportDialog("/x/m.onnx", OnnxFacts("m", 3, 256, heads, None, ("red", "green", "blue")))
    dialog.show()
    assert (dialog.ok.isEnabled(), "resolution" in dialog.problem.text()) == (False, True)
    dialog.gsd.setValue(0.3)
    assert dialog.ok.isEnabled()
    dialog.output.setCurrentIndex(1)
    assert "Name its 3 channels" in dialog.problem.text()
    QTest.keyClicks(dialog.classes, "a, b")
    assert dialog.ok.isEnabled()
    dialog.bands.setText("red, green")
    assert "Name its 3 bands" in dialog.problem.text()
    dialog.bands.setText("red, green, nir")
    dialog.scaling.setCurrentIndex(1)
    request = dialog.request("/own/m.safetensors")
    assert (request.head, request.gsd_m, request.classes) == (2, 0.3, ("a", "b"))
    assert request.bands == ("red", "green", "nir")
    assert request.mean == (0.485, 0.456, 0.406)


LACKING = {"code": "engine_part", "sentence": "ONNX support is not installed.", "remedy": "Install it.", "details": ""}


@pytest.fixture
def import_without_support(panel, engine, monkeypatch, tmp_path):
    """Presses Import… with an engine that lacks ONNX support."""
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "roads.onnx"), ""))
    engine.script(onnx={"error": LACKING})
    return lambda: press(panel.buttons.import_onnx)


def test_without_onnx_support_it_is_offered_and_installed(dock, import_without_support, bar, monkeypatch):
    asked, installed = [], []
    monkeypatch.setattr(onnx_part, "chosen_python", lambda: "")
    monkeypatch.setattr(onnx_part.store, "environments", lambda: ("environment",))
    monkeypatch.setattr(part, "add", lambda *given: installed.append(given[0]))
    monkeypatch.setattr(dock, "_restart_engine", lambda: None)
    monkeypatch.setattr(
        QMessageBox, "question", lambda *words: asked.append(words[2]) or QMessageBox.StandardButton.Yes
    )
    import_without_support()
    wait_until(lambda: "ONNX support is installed" in shown(bar))
    assert ("ONNX support" in asked[0], installed) == (True, ["environment"])


def test_a_python_of_the_users_own_is_not_changed(import_without_support, bar, monkeypatch):
    monkeypatch.setattr(onnx_part, "chosen_python", lambda: "/usr/bin/python3")
    import_without_support()
    wait_until(lambda: "onnx and onnxruntime" in shown(bar))


def test_the_part_is_installed_within_the_versions_of_the_engine(monkeypatch, tmp_path):
    ran, steps = [], []
    monkeypatch.setattr(part.processes, "run", lambda command, *_: ran.append(command) or 0)
    environment = part.Environment(tmp_path / "engine-1", None)
    watcher = type("Watcher", (), {"step": lambda _, *step: steps.append(step), "log": print, "isCanceled": bool})()
    part.add(environment, part.Network(), watcher)
    assert ran[0][0] == environment.python
    assert {"--constraint", str(part.builds.LOCK), "--requirement", str(part.LOCK)} < set(ran[0])
    monkeypatch.setattr(part.processes, "run", lambda *_: 1)
    with pytest.raises(part.failures.OrthomaskError) as caught:
        part.add(environment, part.Network(), watcher)
    assert caught.value.code is ErrorCode.ENGINE_SETUP
