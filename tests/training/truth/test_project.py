from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import shapely

from orthomask.engine.progress import Progress
from orthomask.protocol import (
    ClassInfo,
    ClassValue,
    ErrorCode,
    Existing,
    Labels,
    OrthomaskError,
    Outline,
    ProjectRequest,
)
from orthomask.training.truth import project
from orthomask.training.truth.classes import class_field, named_otherwise, resolve_classes

CLASSES = (ClassInfo(1, "building", "#e69f00", Outline.SQUARED), ClassInfo(2, "field", "#56b4e9", Outline.SHARED))


def make(path: Path, crs: str = "EPSG:32645", existing: Existing = Existing.REFUSE) -> str:
    return project.run(ProjectRequest(str(path), crs, CLASSES, existing), Progress()).project_path


def test_a_project_has_its_layers_classes_and_spatial_index(tmp_path: Path) -> None:
    path = make(tmp_path / "new" / "project.gpkg")
    assert dict(pyogrio.list_layers(path)) == {
        "labels": "MultiPolygon", "areas": "MultiPolygon", "orthomask_classes": None,
    }  # fmt: skip
    fields = {layer: list(pyogrio.read_info(path, layer=layer)["fields"]) for layer in ("labels", "areas")}
    assert fields == {
        "labels": ["class", "origin", "run_id", "changed_at"],
        "areas": ["name", "split", "state", "reason", "rank", "seconds"],
    }
    assert pyogrio.read_info(path, layer="labels")["crs"] == "EPSG:32645"
    with closing(sqlite3.connect(path)) as connection:
        indexed = connection.execute("SELECT table_name FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index'")
        assert {row[0] for row in indexed} == {"labels", "areas"}
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["project.gpkg"]


def test_the_labels_of_a_project_know_their_classes(tmp_path: Path) -> None:
    labels = Labels(make(tmp_path / "project.gpkg"))
    assert resolve_classes([labels]) == CLASSES
    assert class_field(labels) == "class"


def test_a_project_that_exists_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "project.gpkg"
    make(path)
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)], object)), [np.array([1])], ["class"], layer="labels",
        driver="GPKG", geometry_type="MultiPolygon", promote_to_multi=True, crs="EPSG:32645", append=True,
    )  # fmt: skip
    before = path.read_bytes()
    with pytest.raises(OrthomaskError) as caught:
        make(path)
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    assert path.read_bytes() == before
    make(path, existing=Existing.OVERWRITE)
    assert pyogrio.read_info(path, layer="labels")["features"] == 0


def test_an_unknown_crs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrthomaskError) as caught:
        make(tmp_path / "project.gpkg", crs="EPSG:1")
    assert caught.value.code is ErrorCode.LABELS_CRS
    assert not (tmp_path / "project.gpkg").exists()


def test_classes_that_a_model_calls_otherwise_are_told(tmp_path: Path) -> None:
    path = make(tmp_path / "project.gpkg")
    model = (ClassInfo(1, "Building", "#0000ff"), ClassInfo(2, "road", "#00ffff"))
    assert named_otherwise([Labels(path)], model) == ["Class 2 is “field” in the labels and “road” in the model."]
    assert named_otherwise([Labels(path, mapping=(ClassValue("2", 1),))], model) == [], "a mapping says what is meant"
