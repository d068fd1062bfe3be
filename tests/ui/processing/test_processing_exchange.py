import processing
import pytest
from qgis.core import QgsApplication, QgsProcessingException

from orthomask.ui.models import own_models
from orthomask.ui.processing.provider import OrthomaskProvider

ROOF = {"value": 1, "name": "roof", "color": "#aa3311", "outline": "squared"}


@pytest.fixture(autouse=True)
def provider(qgis_processing, client, monkeypatch, tmp_path):
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "own")
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield
    QgsApplication.processingRegistry().removeProvider(provider)


def test_a_model_is_exported(engine, tmp_path):
    path = str(tmp_path / "b.onnx")
    engine.script(export_model={"result": {"path": path, "opset": 13, "side_px": 256, "difference": 1e-6}})
    made = processing.run("orthomask:exportmodel", {"MODEL": "buildings", "SIZE": 256, "OUTPUT": path})
    assert made == {"OUTPUT": path, "DIFFERENCE": 1e-6}
    (asked,) = engine.asked("export_model")
    assert (asked["model"], asked["side_px"], asked["output_path"]) == ("buildings", 256, path)


def test_a_model_is_imported_and_kept(engine, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    out = tmp_path / "roads.safetensors"
    out.write_bytes(b"weights")
    model = {
        "name": "roads", "title": "Roads", "path": str(out), "sha256": "ab" * 32, "gsd_m": 0.2, "bands": ["1"],
        "classes": [ROOF], "threshold": 0.5, "licence": "", "attribution": "", "card": {},
    }  # fmt: skip
    engine.script(import_model={"result": model})
    given = {"INPUT": str(tmp_path / "m.onnx"), "OUTPUT": str(out), "GSD": 0.2, "CLASSES": "a, b", "MEAN": "0.5; 0.4"}
    made = processing.run("orthomask:importmodel", {**given, "STD": "0.2 0.2", "HEAD": 1})
    assert made["CLASS_NAMES"] == "roof"
    assert (tmp_path / "own" / "roads.safetensors").exists()
    (asked,) = engine.asked("import_model")
    assert (asked["gsd_m"], asked["classes"], asked["mean"], asked["head"]) == (0.2, ["a", "b"], [0.5, 0.4], 1)
    with pytest.raises(QgsProcessingException, match="do not belong together"):
        processing.run("orthomask:importmodel", given)
