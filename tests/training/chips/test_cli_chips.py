"""`orthomask chips`: what a person types and reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from chip_data import labelled, noise
from click.testing import CliRunner, Result

from orthomask import cli
from orthomask.protocol import Catalogue, ChipFormat, Split
from orthomask.training.chips.manifest import load_manifest


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.commands, ["chips", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def given(tmp_path: Path) -> list[object]:
    areas = [("train", shapely.box(0, 0, 200, 150)), ("test", shapely.box(230, 150, 320, 256))]
    labelled(tmp_path, areas=areas)
    labels, bounds = tmp_path / "labels.gpkg", tmp_path / "areas.gpkg"
    return [tmp_path / "image.tif", "--labels", labels, "--areas", bounds, "--out", tmp_path / "out", "--size", 64]


def test_chips_are_cut_and_told(given: list[object], tmp_path: Path) -> None:
    result = invoke(*given)
    assert result.exit_code == 0, result.output
    assert "test)" in result.stdout
    assert str(tmp_path / "out") in result.stdout
    manifest = load_manifest(tmp_path / "out")
    assert set(manifest.counts) == {"train", "test"}


def test_all_options_reach_the_request(given: list[object], tmp_path: Path) -> None:
    options = ["--format", "hdf5", "--stride", 48, "--gsd", "0.5, 1", "--rotation", "0,30", "--empty", 0.5, "--coco",
               "--arcgis", "--max-unknown", 0.7, "--shares", "0.5,0.5,0", "--seed", 7, "--bands", "blue,1",
               "--class", "house:#00ff00", "--all-touched", "--json"]  # fmt: skip
    result = json.loads(invoke(*given, *options).stdout)
    manifest = load_manifest(Path(result["manifest_path"]).parent)
    request = manifest.request
    assert sum(result["counts"].values()) == len(manifest.chips)
    assert (request.format, request.chip_px, request.stride_px) == (ChipFormat.HDF5, 64, 48)
    assert (request.gsd_m, request.rotations, request.seed) == ((0.5, 1.0), (0.0, 30.0), 7)
    assert (request.empty_share, request.max_unknown_share, request.shares) == (0.5, 0.7, (0.5, 0.5, 0.0))
    assert set(request.catalogues) == set(Catalogue)
    assert manifest.bands == ("blue", "red")
    assert manifest.classes[0].name == "house"
    assert {chip.split for chip in manifest.chips} <= {Split.TRAIN, Split.TEST}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--format", "png"], 2, "PNG supports 1 to 4 bands"),
        (["--size", 5], 2, "chip size"),
        (["--shares", "1,1,1"], 2, "shares"),
        (["--gsd", "fine"], 2, "is not a list of numbers"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, change: list[object], status: int, words: str) -> None:
    labelled(tmp_path, noise(bands=5, dtype=str(np.dtype("uint16"))))
    labels = tmp_path / "labels.gpkg"
    result = invoke(tmp_path / "image.tif", "--labels", labels, "--out", tmp_path / "out", "--size", 64, *change)
    assert result.exit_code == status
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_16_bits_are_stretched_and_have_no_value_for_no_data(tmp_path: Path) -> None:
    pixels = noise(dtype="uint16")
    labelled(tmp_path, pixels)
    with rasterio.open(tmp_path / "image.tif", "r+") as dataset:
        dataset.nodata = 60000
    result = invoke(tmp_path / "image.tif", "--labels", tmp_path / "labels.gpkg", "--out", tmp_path / "out",
                    "--size", 64, "--bands", "3,1", "--stretch", "0,255,0,510")  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = load_manifest(tmp_path / "out")
    assert (manifest.dtype, manifest.nodata, len(manifest.bands)) == ("uint8", "", 2)
    with rasterio.open(tmp_path / "out" / manifest.chips[0].image) as found:
        assert found.dtypes == ("uint8", "uint8")


def test_chips_that_are_there_are_kept(given: list[object]) -> None:
    assert invoke(*given).exit_code == 0
    refused = invoke(*given)
    assert refused.exit_code == 3
    assert "already exists" in refused.stderr
    assert invoke(*given, "--overwrite").exit_code == 0
