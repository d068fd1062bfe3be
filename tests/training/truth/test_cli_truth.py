from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result
from truth_data import box, read_layer, write_image, write_layer

from orthomask.cli import commands

Invoke = Callable[..., Result]


@pytest.fixture
def invoke() -> Invoke:
    def call(*arguments: object) -> Result:
        return CliRunner().invoke(commands, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "image.tif", 60, 80)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = write_layer(tmp_path / "labels.gpkg", [box(5, 5, 10), box(30, 5, 10)], kind=["tin", "tile"])
    write_layer(path, [box(30, 5, 4)], layer="yards")
    return write_layer(path, [shapely.box(0, 0, 80, 30)], layer="known", split=["train"])


def mask_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def test_a_project_is_made_filled_with_areas_and_burned(
    invoke: Invoke, image: Path, labels: Path, tmp_path: Path
) -> None:
    path = tmp_path / "project.gpkg"
    made = invoke("project", "--out", path, "--image", image, "--class", "building:#FF0000", "--class", "field")
    assert made.exit_code == 0, made.output
    placed = invoke(
        "areas", image, "--out", path, "--count", 3, "--size", 3, "--shares", "1,0,0", "--checked", "--json"
    )
    assert json.loads(placed.output)["count"] == 3
    attributes = read_layer(path, "areas")[1]
    assert (attributes["split"], attributes["state"]) == (["train"] * 3, ["checked"] * 3)
    arguments = ("--labels", labels, "--areas", path, "--class", "building", "--out", tmp_path / "mask.tif", "--json")
    burned = json.loads(invoke("mask", image, *arguments).output)
    assert burned["unknown_px"] == 60 * 80 - 300
    assert burned["counts"][0]["name"] == "building"


@pytest.mark.parametrize("layer", ["labels.gpkg|labels", "labels.gpkg|layername=labels"])
def test_values_are_mapped_and_layers_subtracted(
    invoke: Invoke, image: Path, labels: Path, tmp_path: Path, layer: str
) -> None:
    out = tmp_path / "mask.tif"
    result = invoke(
        "mask", image, "--labels", tmp_path / layer, "--class-field", "kind", "--map", "tin=2", "--map", "tile=1",
        "--subtract", f"{labels}|yards", "--areas", f"{labels}|known", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    mask = mask_of(out)
    assert [mask[7, 7], mask[7, 32], mask[12, 37], mask[40, 40]] == [2, 0, 1, 255]
    assert "1 tile: 84 px, 1 objects" in result.output


@pytest.fixture
def without_crs(tmp_path: Path, labels: Path) -> Path:
    """The labels as a shapefile without `.prj`."""
    _, _, geometry, columns = pyogrio.raw.read(labels, layer="labels")
    path = tmp_path / "labels.shp"
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(path, geometry, columns, ["kind"], geometry_type="Polygon")
    return path


def test_labels_without_crs_need_a_name_of_it_in_every_command(
    invoke: Invoke, image: Path, labels: Path, without_crs: Path, tmp_path: Path
) -> None:
    crs = pyogrio.read_info(labels, layer="labels")["crs"]
    mask = ("mask", image, "--out", tmp_path / "mask.tif", "--labels", without_crs)
    chips = ("chips", image, "--out", tmp_path / "chips", "--labels", without_crs, "--size", 16)
    areas = ("areas", image, "--out", tmp_path / "areas.gpkg", "--count", 2, "--size", 2, "--weights", without_crs)
    strata = (*areas[:-2], "--method", "stratified", "--strata", f"{without_crs}|field=kind")
    train = ("train", "--image", image, "--out", tmp_path / "run", "--labels", without_crs)
    for command in (mask, chips, areas, strata, train):
        refused = invoke(*command)
        assert (refused.exit_code, len(refused.output.splitlines())) == (2, 2), refused.output
        assert "--labels-crs" in refused.output
    for command in (mask, chips, areas, strata, train):
        assert "--labels-crs" not in invoke(*command, "--labels-crs", crs).output
    assert invoke("mask", image, "--labels", labels, "--out", tmp_path / "other.tif").exit_code == 0
    assert np.array_equal(mask_of(tmp_path / "mask.tif"), mask_of(tmp_path / "other.tif"))


def test_background_among_the_classes_is_0(invoke: Invoke, image: Path, labels: Path, tmp_path: Path) -> None:
    named = [part for name in ("Background", "tile", "tin") for part in ("--class", name)]
    result = invoke(
        "mask", image, "--labels", labels, "--class-field", "kind", *named, "--out", tmp_path / "mask.tif", "--json"
    )
    assert [(count["value"], count["name"]) for count in json.loads(result.output)["counts"]] == [
        (1, "tile"),
        (2, "tin"),
    ]


def test_each_layer_can_have_its_own_field_or_class(invoke: Invoke, image: Path, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.tif"
    layers = ("--labels", f"{labels}|labels|field=kind", "--labels", f"{labels}|yards|class=3")
    named = ("--class", "tile", "--class", "tin", "--class", "yard")
    result = invoke("mask", image, *layers, *named, "--out", out)
    assert result.exit_code == 0, result.output
    assert [mask_of(out)[7, x] for x in (7, 32, 37)] == [2, 3, 1]


def test_border_weights_and_touch(invoke: Invoke, image: Path, labels: Path, tmp_path: Path) -> None:
    options = ("--border", 1, "--weights", tmp_path / "w.tif", "--all-touched", "--out", tmp_path / "mask.tif")
    result = invoke("mask", image, "--labels", labels, *options)
    assert result.exit_code == 0, result.output
    assert mask_of(tmp_path / "w.tif").dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["mask", "IMAGE", "--out", "OUT.tif"], 2, "No labels were given."),
        (["mask", "IMAGE", "--labels", "gone.gpkg", "--out", "OUT.tif"], 2, "does not exist"),
        (["mask", "IMAGE", "--labels", "LABELS", "--map", "tin=x", "--out", "OUT.tif"], 2, "is not a class number"),
        (["mask", "IMAGE", "--labels", "LABELS|labels|colour=red", "--out", "OUT.tif"], 2, "not known"),
        (["mask", "IMAGE", "--labels", "LABELS", "--out", "IMAGE"], 3, "one of the inputs"),
        (["areas", "IMAGE", "--out", "OUT.gpkg", "--shares", "a,b"], 2, "are not valid shares"),
        (["areas", "IMAGE", "--out", "OUT.gpkg", "--size", "500"], 2, "No area of 500 m fits."),
        (["project", "--out", "OUT.gpkg", "--class", "a"], 2, "either --crs or --image"),
        (["project", "--out", "OUT.gpkg", "--crs", "EPSG:1", "--class", "a"], 2, "not a known coordinate reference"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    invoke: Invoke, image: Path, labels: Path, tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    places = {"IMAGE": str(image), "LABELS": str(labels), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("out*"))
