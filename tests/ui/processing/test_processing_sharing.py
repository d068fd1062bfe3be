"""Algorithms that save runs and models for others."""

import processing
import pytest
from qgis.core import QgsApplication, QgsProcessingException

from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture(autouse=True)
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def test_a_run_as_web_page(engine, run_folder, tmp_path):
    path = str(tmp_path / "page.html")
    engine.script(page={"result": {"path": path, "objects": 5, "shown": 4, "size_bytes": 9, "warnings": ["Less."]}})
    found = processing.run("orthomask:page", {"RUN": str(run_folder), "CREDIT": "(c) Me", "OUTPUT": path})
    assert found == {"OUTPUT": path, "OBJECTS": 4}
    assert engine.asked("page")[-1] == {
        "run_dir": str(run_folder), "output_path": path, "credit": "(c) Me", "existing": "overwrite"
    }  # fmt: skip


def test_objects_of_a_run_as_fiboa_fields(engine, run_folder, tmp_path):
    path = str(tmp_path / "fields.geojson")
    engine.script(export_run={"result": {"path": path, "objects": 5, "warnings": []}})
    found = processing.run(
        "orthomask:exportrun", {"RUN": str(run_folder), "FORMAT": "fiboa", "CLASSES": "field, orchard", "OUTPUT": path}
    )
    assert found == {"OUTPUT": path, "OBJECTS": 5}
    asked = engine.asked("export_run")[-1]
    assert (asked["format"], asked["classes"], asked["output_path"]) == ("fiboa", ["field", "orchard"], path)


def test_a_name_that_is_none_of_the_format_is_refused(engine, run_folder, tmp_path):
    with pytest.raises(QgsProcessingException, match=r"Use a file name that ends in \.geojson\."):
        processing.run(
            "orthomask:exportrun",
            {"RUN": str(run_folder), "FORMAT": "fiboa", "OUTPUT": str(tmp_path / "fields.gpkg")},
        )
    assert not engine.asked("export_run")


def test_the_card_of_a_model(engine, tmp_path):
    path = str(tmp_path / "item.json")
    engine.script(model_item={"result": {"path": path}})
    found = processing.run("orthomask:modelitem", {"MODEL": "buildings", "HREF": "https://x.org/m", "OUTPUT": path})
    assert found == {"OUTPUT": path}
    asked = engine.asked("model_item")[-1]
    assert (asked["model"], asked["href"], asked["output_path"]) == ("buildings", "https://x.org/m", path)
