import processing
import pytest
from qgis.core import QgsApplication, QgsProcessingException, QgsProject, QgsRasterLayer

from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def explain(layer, tmp_path, **more):
    parameters = {"IMAGE": layer, "POINT": "500010,2999990 [EPSG:32645]", "OUTPUT": str(tmp_path / "why.tif"), **more}
    return processing.run("orthomask:explain", parameters)


def test_an_explanation_is_a_raster_and_a_sentence(provider, layer, engine, photo, tmp_path):
    results = explain(layer, tmp_path, METHOD=1, CLASS=1, STAGE="encoder.4", CHANNELS=5)
    asked = engine.asked("explain")[-1]
    assert (asked["image"]["path"], asked["model"], asked["method"]) == (photo, "buildings", "occlusion")
    assert (asked["x"], asked["y"], asked["crs"]) == (500010, 2999990, "EPSG:32645")
    assert (asked["class_value"], asked["stage"], asked["channels"]) == (1, "encoder.4", 5)
    assert QgsRasterLayer(results["OUTPUT"], "why").isValid()
    assert results["SENTENCE"] == "What occlusion shows of the field."
    assert (results["CLASS_NAME"], results["CONFIDENCE"]) == ("field", 0.87)


def test_the_defaults_are_grad_cam_of_the_most_probable_class(provider, layer, engine, tmp_path):
    explain(layer, tmp_path)
    asked = engine.asked("explain")[-1]
    assert (asked["method"], asked["class_value"], asked["stage"], asked["device"]) == ("grad-cam", 0, "", "auto")


def test_an_error_of_the_engine_is_its_sentence(provider, layer, engine, tmp_path):
    error = {"code": "image_empty", "sentence": "There is no data here.", "remedy": "Click elsewhere.", "details": ""}
    engine.script(explain={"error": error})
    with pytest.raises(QgsProcessingException, match=r"There is no data here\. Click elsewhere\."):
        explain(layer, tmp_path)


def test_the_layer_is_loaded_with_colours_and_the_sentence(provider, layer, engine, tmp_path):
    parameters = {"IMAGE": layer, "POINT": "500010,2999990 [EPSG:32645]", "OUTPUT": str(tmp_path / "why.tif")}
    processing.runAndLoadResults("orthomask:explain", parameters)
    (shown,) = [found for found in QgsProject.instance().mapLayers().values() if found.source().endswith("why.tif")]
    assert shown.renderer().type() == "singlebandpseudocolor"
    assert "What grad-cam shows" in shown.customProperty("userNotes")
