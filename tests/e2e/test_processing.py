"""The toolbox and `qgis_process`, with the real engine."""

import json

import processing
import pytest
from qgis.core import QgsApplication, QgsRasterLayer, QgsVectorLayer

from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def corner(sample):
    """An extent of 60 m in the middle of the photograph, as Processing writes it."""
    x, y = sample.extent().center().x(), sample.extent().center().y()
    return f"{x - 30},{x + 30},{y - 30},{y + 30} [{sample.crs().authid()}]"


def test_segment_then_polygonize_at_another_threshold(provider, sample, corner, tmp_path):
    run = processing.run("orthomask:segment", {"IMAGE": sample, "EXTENT": corner, "OUTPUT": str(tmp_path / "run")})
    assert QgsRasterLayer(run["CLASSES"], "classes").isValid()
    assert QgsRasterLayer(run["PROBABILITIES"], "probabilities").isValid()
    assert QgsVectorLayer(run["POLYGONS"], "polygons").featureCount() == run["POLYGON_COUNT"]
    fewer = processing.run(
        "orthomask:polygonize",
        {"PROBABILITIES": run["PROBABILITIES"], "THRESHOLD": 0.95, "OUTPUT": str(tmp_path / "sure.gpkg")},
    )
    assert fewer["POLYGON_AREA_M2"] < run["POLYGON_AREA_M2"]


def test_rasters_are_cloud_optimized_by_gdals_own_judgement(provider, sample, tmp_path):
    validator = pytest.importorskip("osgeo_utils.samples.validate_cloud_optimized_geotiff")
    run = processing.run("orthomask:segment", {"IMAGE": sample, "OUTPUT": str(tmp_path / "run")})
    for kind in ("CLASSES", "PROBABILITIES"):
        warnings, errors, _ = validator.validate(run[kind], full_check=True)
        assert (warnings, errors) == ([], []), kind


def test_a_folder_that_holds_a_run_is_refused_in_words(provider, sample, corner, tmp_path):
    parameters = {"IMAGE": sample, "EXTENT": corner, "OUTPUT": str(tmp_path / "run")}
    processing.run("orthomask:segment", parameters)
    with pytest.raises(Exception, match="already"):
        processing.run("orthomask:segment", {**parameters, "THRESHOLD": 0.2})
    processing.run("orthomask:segment", {**parameters, "THRESHOLD": 0.2, "EXISTING": 1})


def test_check(provider, sample):
    """The sample has a white margin that it does not mark as missing."""
    assert processing.run("orthomask:check", {"IMAGE": sample})["LEVEL"] == "amber"
    assert processing.run("orthomask:check", {"IMAGE": sample, "NODATA": 255})["LEVEL"] == "green"


def test_qgis_process(qgis_process, sample, corner, tmp_path):
    status, told, _ = qgis_process("help", "orthomask:segment")
    assert status == 0
    assert "OUTPUT: Folder for the results" in told
    status, printed, errors = qgis_process(
        "--json", "run", "orthomask:segment", "--", f"IMAGE={sample.source()}", f"EXTENT={corner}",
        f"OUTPUT={tmp_path / 'run'}",
    )  # fmt: skip
    assert status == 0, errors
    results = json.loads(printed[printed.index("{") :])["results"]
    assert results["POLYGON_COUNT"] == QgsVectorLayer(results["POLYGONS"], "polygons").featureCount()
    status, printed, errors = qgis_process(
        "run", "orthomask:segment", "--", f"IMAGE={sample.source()}", "MODEL_FILE=/nowhere/model.safetensors",
        f"OUTPUT={tmp_path / 'other'}",
    )  # fmt: skip
    assert status != 0
    assert "model.safetensors" in printed + errors
    assert "Traceback" not in printed + errors
